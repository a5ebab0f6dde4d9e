"""What a family's stages wrote: how long each trained, on what, how well it scored, and what it began from."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.engine.checkpoints import find_checkpoints
from train.starters.family import STAGES, Family, StagePlan

Line = dict[str, float]


@dataclass(frozen=True)
class Measure:
    """A validation score.

    Attributes:
        label: what it is called.
        sense: which values are better: "high", "low", or "one", those near 1; "" where none is.
    """

    label: str
    sense: str

    def find_best(self, values: Sequence[float]) -> float | None:
        """Find the best of values; None where none is better than another."""
        keys = {"high": lambda x: -x, "low": lambda x: x, "one": lambda x: abs(x - 1)}
        return min(values, key=keys[self.sense]) if self.sense else None


MEASURES = {
    "psnr": Measure("PSNR in dB", "high"),
    "psnr_guided": Measure("PSNR in dB, everything drawn, codes projected", "high"),
    "psnr_alone": Measure("PSNR in dB, nothing given", "high"),
    "ssim": Measure("SSIM", "high"),
    "mae": Measure("mean absolute error", "low"),
    "lpips": Measure("LPIPS", "low"),
    "imagenet": Measure("ImageNet distance", "low"),
    "sharpness": Measure("sharpness, 1 is as sharp as the original", "one"),
    "match": Measure("share of other faces that are less alike", "high"),
    "attribute": Measure("distance of style codes", "low"),
    "target": Measure("the same for the target's codes, left as they are", ""),
    "source": Measure("the same for the source's codes, left as they are", ""),
}


@dataclass(frozen=True)
class History:
    """The training of one stage.

    Attributes:
        stage: its name.
        minutes, steps, pictures: of training so far, restarts included.
        config: the options of the run.
        curves: the lines of `curves.jsonl`.
        kept: name of the score by which its networks were kept as the best; None where the last ones are taken.
        before: the stage that it went on from, or None.
        given: last part of the path of the folder that it began from, where that is no stage's; else None.
    """

    stage: str
    minutes: float
    steps: int
    pictures: int
    config: dict[str, Any]
    curves: list[Line]
    kept: str | None
    before: str | None
    given: str | None

    @property
    def scores(self) -> dict[str, tuple[float, float | None]]:
        """Last and best value of each validation score by name, in the order of `MEASURES`."""
        found = {}
        for name, measure in MEASURES.items():
            values = [value for _, value in self.find_curve(f"validation_{name}")]
            if values:
                found[name] = (values[-1], measure.find_best(values))
        return found

    @property
    def kept_scores(self) -> dict[str, float]:
        """All scores at the step whose networks were kept as the best; empty where none were."""
        measure = MEASURES.get(self.kept or "")
        points = {name: dict(self.find_curve(f"validation_{name}")) for name in MEASURES}
        best = measure.find_best(list(points[self.kept].values())) if measure and self.kept else None
        at = [seen for seen, value in points[self.kept or "psnr"].items() if value == best]
        return {name: values[at[0]] for name, values in points.items() if at and at[0] in values}

    def find_curve(self, name: str) -> list[tuple[float, float]]:
        """Find a curve: pairs of pictures seen and finite value, wherever a value of that name was written."""
        return [
            (line["samples"], line[name])
            for line in self.curves
            if math.isfinite(line.get(name, math.nan)) and "samples" in line
        ]

    @property
    def terms(self) -> set[str]:
        """The last words of all loss terms that were written: "l1" of "restorer_l1"."""
        prefixes = ("encoder_", "generator_", "restorer_", "diffuser_", "warper_")
        names = {name for line in self.curves for name in line}
        return {name.removeprefix(p) for name in names for p in prefixes if name.startswith(p)}


def read_history(family: Family, stage: str) -> History | None:
    """Read the history of a stage from its folder; None where nothing was trained in it."""
    folder = family.folder(stage)
    found = find_checkpoints(folder)
    if not found:
        return None
    state = json.loads((found[-1] / "run.json").read_text())
    config = state.get("config", {})
    before, given = _read_beginning(config.get("init_from"))
    kept = None
    if family.find_result(stage).name == "best":
        kept = next(iter(state["best"]), None)
    return History(
        stage=stage,
        minutes=state.get("minutes", 0.0),
        steps=state["step"],
        pictures=state["samples_seen"],
        config=config,
        curves=read_curves(folder / "curves.jsonl"),
        kept=kept,
        before=before,
        given=given,
    )


def _read_beginning(folder: str | None) -> tuple[str | None, str | None]:
    """The stage, or else the folder, whose networks a run began with. The family may have been moved since."""
    if folder is None:
        return None, None
    path = Path(folder)
    if len(path.parts) >= 3 and path.parts[-3] == "stages" and path.parts[-2] in STAGES:
        return path.parts[-2], None
    return None, path.name


def read_curves(path: Path) -> list[Line]:
    """Read the lines of a `curves.jsonl`, without one that a kill cut short; none where there is no such file."""
    lines = []
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def is_there(family: Family, stage: str) -> bool:
    """Whether a stage was finished, or networks were given in its place (not only to begin from)."""
    folder = family.folder(stage)
    return (folder / "done").is_file() or (stage in family.starts and not (folder / "config.yaml").is_file())


def read_chain(family: Family, stage: str, others: Sequence[str] = ()) -> list[History]:
    """Read the histories of a stage and of those that it went on from, the earliest first.

    Args:
        others: stages at which the chain ends; they and what came before them are left out.
    """
    found: list[History] = []
    name: str | None = stage
    while name is not None and name not in others and len(found) < len(STAGES):
        history = read_history(family, name)
        if history is None:
            break
        found.insert(0, history)
        name = history.before
    return found


def format_number(value: float | None) -> str:
    """Write a number with three or four digits, for a table; None as a dash."""
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write cells as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def format_stages(histories: Sequence[History], planned: dict[str, float] | None = None) -> str:
    """Write a Markdown table, a line for each stage: minutes, steps, pictures, last and best value of each score.

    Args:
        planned: the minutes that a stage was to have, by name; they stand beside its own.
    """
    used = [name for name in MEASURES if any(name in history.scores for history in histories)]
    rows = []
    for history in histories:
        minutes = f"{history.minutes:.1f}"
        if planned is not None:
            minutes += f" of {planned[history.stage]:.1f}" if history.stage in planned else ""
        scores, cells = history.scores, []
        for name in used:
            if name not in scores:
                cells.append("")
                continue
            last, best = scores[name]
            cells.append(
                format_number(last) if best is None else f"{format_number(last)} / {format_number(best)}"
            )
        rows.append([history.stage, minutes, f"{history.steps:,}", f"{history.pictures:,}", *cells])
    return format_table(["stage", "minutes", "steps", "pictures seen", *used], rows)


def format_family(family: Family, plans: Sequence[StagePlan]) -> str:
    """Write the text of `table.md`: all stages of a family, those of earlier launches included."""
    found = (read_history(family, stage) for stage in STAGES)
    histories = [history for history in found if history is not None]
    planned = {plan.name: plan.minutes for plan in plans}
    used = [name for name in MEASURES if any(name in history.scores for history in histories)]
    lines = [
        "# Stages",
        "",
        format_stages(histories, planned).rstrip("\n") if histories else "Nothing was trained.",
        "",
    ]
    if used:
        lines += ["Scores on held-out pictures, the last value / the best one:", ""]
        lines += [f"- `{name}`: {MEASURES[name].label}" for name in used]
    elif histories and family.validation is None:
        lines.append("No held-out pictures were given (`--validation`), so nothing was scored.")
    elif histories:
        lines.append("No stage came as far as its first validation.")
    given = [f"{stage}: {folder.name}" for stage, folder in family.starts.items()]
    if given:
        lines += ["", f"Networks that were given: {', '.join(given)}."]
    return "\n".join(lines) + "\n"
