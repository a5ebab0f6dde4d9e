"""Fig. 3.8: FID of the pictures that the prior makes of denoised codes, step by step, and of ground-truth codes."""

import argparse
from typing import Any

from PIL import Image

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.curves import Graph, save_curves
from facekit_cli.evaluation.figures.frame import Drawn, Frame, Line, Source, open_frame, seeded, to_pixels
from facekit_cli.evaluation.inputs import Case
from facekit_cli.evaluation.measures import METRICS, Measurer
from facekit_cli.evaluation.participants import Row
from facekit_cli.evaluation.registry import ENTRIES
from facekit_cli.evaluation.tables import CELEBA_TEST, DAMAGED, Table

TRUTH = "ground-truth"
NAME = "fig-3.8"
TABLE = Table(
    NAME,
    ENTRIES[NAME].title,
    "restore",
    ("fid",),
    DAMAGED,
    data=CELEBA_TEST,
    notes=(
        "Real pictures are the undamaged ones. Ground-truth codes are what the style encoder reads off these; the "
        "prior makes pictures of both.",
    ),
)


def draw(args: argparse.Namespace) -> int:
    """Draw the figure; 0 when all went well, 1 when pictures failed."""
    frame = open_frame(args, Source(TABLE, "FaceRestorePipeline", "face-restore"))
    frame.make(invert, check)
    measurer, lines = Measurer(frame.networks), []
    for row in frame.rows:
        lines += _lines_of(frame, row, measurer)
    if args.sheet:
        save_curves(_graphs(frame, lines), args.output / "curves.png")
    sheet = [
        [
            ("input", frame.pictures.case(place).image),
            *((_label(kind), frame.read(row, kind, place)) for kind in frame.kinds(row)),
            ("original", frame.truth(place)),
        ]
        for row, place in frame.shown(1)
    ]
    return frame.finish(lines, sheet)


def check(pipeline: Any) -> None:
    """Raise UsageError for a model without steps."""
    if pipeline.code_diffuser is None:
        raise UsageError(f"{NAME} follows the code diffuser's steps, and this model has none")


def invert(pipeline: Any, given: dict[str, Any], case: Case) -> Drawn:
    """The inversion of the codes after each step, and of the undamaged face's codes."""
    output = pipeline(
        **given,
        truth=Image.fromarray(case.truth),
        aligned=True,
        return_aligned=True,
        generator=seeded(case),
    )
    (steps,), (truth,) = output.style_prompts[0], output.truth_prompts[0]
    pictures = {f"step-{step}": to_pixels(picture) for step, picture in enumerate(steps, start=1)}
    pictures[TRUTH] = to_pixels(truth)
    return Drawn(pictures, generated=frozenset(pictures))


def _label(kind: str) -> str:
    return "ground-truth codes" if kind == TRUTH else kind.replace("-", " ")


def _lines_of(frame: Frame, row: Row, measurer: Measurer) -> list[Line]:
    if row.label in frame.failed:
        return [(row.label, dict.fromkeys(frame.metrics, frame.failed[row.label]))]

    def cells(kind: str) -> dict[str, Any]:
        return frame.measure(measurer, lambda place: frame.read(row, kind, place), frame.metrics)

    return [(f"{row.label}, {_label(kind)}", cells(kind)) for kind in frame.kinds(row)]


def _graphs(frame: Frame, lines: list[Line]) -> list[Graph]:
    """A graph for each FID that could be measured: the steps of each row, and its ground truth across."""
    known = dict(lines)
    graphs = []
    for metric in frame.metrics:
        if METRICS[metric].title != "FID" or not any(cells[metric].value is not None for _, cells in lines):
            continue
        curves: dict[str, list[float | None]] = {}
        for row in frame.rows:
            if row.label in frame.failed:
                continue
            names = [f"{row.label}, {_label(kind)}" for kind in frame.kinds(row)]
            *steps, truth = [known[name][metric].value for name in names]
            curves[f"{row.label}, denoised"] = steps
            curves[f"{row.label}, ground truth"] = [truth] * len(steps)
        longest = max(map(len, curves.values()))
        padded = {name: values + [None] * (longest - len(values)) for name, values in curves.items()}
        title = frame.networks.title(metric)
        graphs.append(
            Graph("Inverted images", [str(step + 1) for step in range(longest)], padded, "step", title)
        )
    return graphs
