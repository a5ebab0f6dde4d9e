"""The texts of a family's model cards, from what its stages wrote."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from train.starters.family import STAGES, Family
from train.starters.history import MEASURES, History, format_number, format_stages
from train.starters.kinds import PRIOR, Kind

INVENTED = "Not for identifying people or for claims about how somebody looks: what it paints is invented."
# What the loss terms are called in the curves, and in words; {critic} is the run's image-level discriminator.
TERMS = {
    "l1": "L1",
    "pixel": "L1 in the hole",
    "l2": "L2",
    "chroma": "distance of colour alone",
    "imagenet": "ImageNet distance (feature maps of EfficientNet-Lite0 compared)",
    "imagenet_close": "the same of eyes and mouth, enlarged",
    "lpips": "LPIPS",
    "feature_matching": "feature matching on the discriminator",
    "adversarial": "adversarial loss of {critic}",
    "adversarial_close": "the same of eyes and mouth, enlarged",
    "mixing": "adversarial loss on mixed codes",
    "patch": "adversarial loss of a small forged-patch discriminator",
    "parser": "distance of a face parser's maps",
    "identity": "identity loss",
    "codes": "difference of style codes",
    "teacher": "squared distance from the style codes of the whole picture",
    "attribute": "distance of style codes",
    "delta": "norm of the codes' offsets",
}
CRITICS = {
    "projected": "projected critics (small critics with hinge losses on those maps of EfficientNet-Lite0)",
    "stylegan2": "a StyleGAN2 discriminator",
    "grig": "GRIG's projected discriminator",
}


@dataclass(frozen=True)
class Pictures:
    """What the family was trained on.

    Attributes:
        counts: last part of the name of each folder, and the number of its pictures that were used.
        weights: how often each folder is drawn from, in the same order; they need not sum to 1.
        left_out: number of pictures that were excluded.
        excluded: metadata column -> values by which they were.
        validation: last part of the name of the held-out pictures' folder, and their number; None without any.
    """

    counts: list[tuple[str, int]]
    weights: list[float]
    left_out: int = 0
    excluded: dict[str, list[Any]] = field(default_factory=dict)
    validation: tuple[str, int] | None = None

    def describe(self) -> str:
        """Describe the pictures in a few sentences."""
        parts = [f"`{name}`, {count:,} pictures" for name, count in self.counts]
        if len(parts) > 1:
            total = sum(self.weights)
            parts = [
                f"{part}, {weight / total:.0%} of the draws"
                for part, weight in zip(parts, self.weights, strict=True)
            ]
        text = "; ".join(parts) + "."
        if self.excluded:
            named = [f"{column} {', '.join(map(str, values))}" for column, values in self.excluded.items()]
            text += f" Left out by their metadata: {'; '.join(named)} ({self.left_out:,} pictures)."
        text += " Mirrored at random."
        return text


def describe_losses(history: History) -> str:
    """Name the loss terms of a stage in words, by the curves that it wrote."""
    critic = CRITICS.get(
        str(history.config.get("adversarial", {}).get("critic", "stylegan2")), "a discriminator"
    )
    words = [text.format(critic=critic) for term, text in TERMS.items() if term in history.terms]
    words += [f"`{term}`" for term in sorted(history.terms - set(TERMS) - {"target", "source"})]
    return ", ".join(words) or "too short for a line of curves"


def make_hub_name(name: str) -> str:
    """Turn a folder's name into one that the Hub allows for data sets."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:90] or "pictures"


def describe_beginnings(kind: Kind, chains: Sequence[Sequence[History]], family: Family) -> list[str]:
    """Say where networks came from that these stages did not train from scratch, a sentence each."""
    found = []
    for chain in chains:
        first = chain[0]
        if first.given is not None:
            found.append(f"`{first.stage}` went on from the networks of `{first.given}`.")
        elif first.before is not None:
            found.append(f"`{first.stage}` went on from those of stage `{first.before}`.")
    trained = {history.stage for chain in chains for history in chain}
    for stage in find_needed_stages(kind):
        if stage in family.starts and stage not in trained:
            found.append(
                f"In place of stage `{stage}`: the networks of `{take_last_part(family.starts[stage])}`."
            )
    if (
        "autoencoder" in find_needed_stages(kind)
        and "autoencoder" not in kind.finals
        and "autoencoder" not in family.starts
    ):
        found.append(f"Prior and RGB style encoder: those of `{PRIOR.name(family.size)}`.")
    return found


def find_needed_stages(kind: Kind) -> list[str]:
    """Find the stages whose networks are in a model, or were read while it was trained."""
    needs = (need for stage in kind.completing for need in STAGES[stage].needs)
    return list(dict.fromkeys([*kind.completing, *kind.finals, *needs]))


def name_datasets(kind: Kind, family: Family, pictures: Pictures, trained: bool) -> list[str]:
    """Name data sets for the front matter: the pictures', or, where all networks were given, those in their cards.

    Where these cards name none it is the pictures' again, since the Hub asks for some.

    Args:
        trained: whether any of the model's networks was trained here.
    """
    names = [make_hub_name(folder) for folder, _ in pictures.counts]
    if not trained:
        folders = [family.starts[stage] for stage in find_needed_stages(kind) if stage in family.starts]
        cards = [folder / "README.md" for folder in folders if (folder / "README.md").is_file()]
        named = [name for file in cards for name in ModelCard.load(file).data.get("datasets") or []]
        names = named or names
    return list(dict.fromkeys(names))


def build_model_index(kind: Kind, size: int, pictures: Pictures, last: History) -> list[dict[str, Any]]:
    """Build the `model-index` of a card: the scores of the networks that it holds; empty where there are none."""
    scores = last.kept_scores
    if not scores or pictures.validation is None:
        return []
    folder, count = pictures.validation
    count = min(count, int(last.config.get("validation", {}).get("images", count)))
    metrics = [
        {"type": name, "value": float(format_number(value)), "name": MEASURES[name].label}
        for name, value in scores.items()
    ]
    result = {
        "task": {"type": kind.pipeline_tag, "name": f"validation of stage {last.stage}"},
        "dataset": {"type": make_hub_name(folder), "name": f"{count} held-out pictures of {folder}"},
        "metrics": metrics,
    }
    return [{"name": kind.name(size), "results": [result]}]


def compose_card(
    kind: Kind,
    family: Family,
    pictures: Pictures,
    chains: Sequence[Sequence[History]],
    megabytes: float,
    parameters: int,
    curves: bool,
    faces: str,
    codes: bool,
) -> str:
    """Compose the whole README.md of a model.

    Args:
        kind, family, pictures: what it is, what was asked for, and what it was trained on.
        chains: the stages behind each of the kind's networks, in order; none where the networks were given.
        megabytes, parameters: of all its networks.
        curves: whether there is `curves.png`.
        faces: whose faces the contact sheet shows beside the photo, in words.
        codes: whether codes of faces lie beside the weights.
    """
    name, histories = kind.name(family.size), [history for chain in chains for history in chain]
    front: dict[str, Any] = {
        "license": family.license,
        "library_name": "diffusers",
        "pipeline_tag": kind.pipeline_tag,
        "tags": ["facekit", "face", *kind.tags],
        "datasets": name_datasets(kind, family, pictures, bool(histories)),
    }
    own = next((chain for chain in reversed(chains) if chain[-1].stage == kind.finals[-1]), None)
    if own is not None and (results := build_model_index(kind, family.size, pictures, own[-1])):
        front["model-index"] = results
    what = kind.what.format(size=family.size, codes="lie" if codes else "are missing")
    text = [
        f"# {name}",
        f"{what} {parameters / 1e6:.1f} million parameters, {megabytes:.1f} MB (half "
        "precision on disk, float32 in memory). Made by `python -m train.starters` of facekit.",
        f"```python\n{kind.use.format(name=name)}\n```",
        "![samples](samples.png)",
        f"*{kind.shown.format(faces=faces)}*",
        "## Training",
        f"- **Data**: {pictures.describe()}" if histories else "- None of its networks was trained here.",
        *_training(kind, chains, family),
    ]
    if curves:
        text += ["![curves](curves.png)", "The raw curves are in `training/`."]
    text += [
        "## Scores",
        *_scores(histories, pictures),
        "## Limits",
        f"{kind.limits} It is a small network: the pictures above show what it does, the curves whether it was still "
        "learning. It knows faces aligned as those that it was trained on, and who is rare among them is served worse. "
        f"{INVENTED}",
    ]
    if family.license == "other":
        text.append(
            "The licence says `other`: it is for whoever publishes the model to say what the pictures' terms allow."
        )
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n" + _join(text)


def _training(kind: Kind, chains: Sequence[Sequence[History]], family: Family) -> list[str]:
    """Lines of a list: stages with their minutes and pictures, losses, where networks came from."""
    lines = []
    for history in (history for chain in chains for history in chain):
        config = history.config
        data = name_folders(config.get("data"))
        other = "" if data in ([], name_folders(family.data)) else f", on {' and '.join(data)}"
        lines.append(
            f"- **{history.stage}**: {history.steps:,} steps of {config.get('batch_size', '?')}, {history.pictures:,} "
            f"pictures seen{other}, {history.minutes:.1f} minutes, {describe_precision(config)}. "
            f"Losses: {describe_losses(history)}."
        )
    lines += [f"- {line}" for line in describe_beginnings(kind, chains, family)]
    return lines


def describe_precision(config: dict[str, Any]) -> str:
    """The number format that a run with these options computed in, in words."""
    return {"bf16": "bfloat16", "fp16": "float16"}.get(str(config.get("mixed_precision")), "float32")


def _scores(histories: Sequence[History], pictures: Pictures) -> list[str]:
    """A table of the stages' scores and what its columns mean."""
    scored = [history for history in histories if history.scores]
    if not scored:
        return ["No held-out pictures were scored."]
    used = [name for name in MEASURES if any(name in history.scores for history in scored)]
    where = "" if pictures.validation is None else f" of `{pictures.validation[0]}`"
    text = f"Scores on held-out pictures{where}, the last value / the best one: "
    text += "; ".join(f"`{name}`: {MEASURES[name].label}" for name in used) + ". "
    kept = [f"of `{history.stage}` those of the best `{history.kept}`" for history in scored if history.kept]
    text += f"The model has the last networks of each stage{''.join(f', but {each}' for each in kept)}."
    return [format_stages(scored).rstrip("\n"), text]


def _join(parts: Sequence[str]) -> str:
    """Paragraphs with an empty line between them, but none between the items of a list."""
    text = ""
    for before, part in zip(("", *parts), parts, strict=False):
        gap = "\n" if before.startswith("- ") and part.startswith("- ") else "\n\n" if before else ""
        text += gap + part
    return text + "\n"


def name_folders(data: Any) -> list[str]:
    """Name the folders of a run's option `data` by the last parts of their paths."""
    folders = data if isinstance(data, (list, dict)) else [data] if data else []
    return [take_last_part(folder) for folder in folders]


def take_last_part(folder: str | Path) -> str:
    """Take the last part of a folder's path; the rest tells about this machine and does not belong on a card."""
    return Path(folder).resolve().name
