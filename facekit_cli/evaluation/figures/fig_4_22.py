"""Fig. 4.22: what a hole looks like after each reasoning step, and heat maps of the residuals."""

import argparse
from typing import Any

import numpy as np

from facekit_cli.evaluation.figures.frame import Drawn, Frame, Line, Source, open_frame, seeded, to_pixels
from facekit_cli.evaluation.inputs import Case
from facekit_cli.evaluation.measures import Measurer
from facekit_cli.evaluation.participants import Row
from facekit_cli.evaluation.registry import ENTRIES
from facekit_cli.evaluation.tables import HALF, TEMPLATES, Table

RESIDUAL = "mean |residual|"
NAME = "fig-4.22"
TABLE = Table(
    NAME,
    ENTRIES[NAME].title,
    "inpaint",
    ("fid", "lpips", "psnr"),
    HALF,
    notes=(
        TEMPLATES,
        f"{RESIDUAL}: how much the step changed a pixel of the hole, mean over channels and hole, in units of [-1, 1]. "
        "In heat maps red is the largest change of a picture, blue none.",
    ),
)


def draw(args: argparse.Namespace) -> int:
    """Draw the figure; 0 when all went well, 1 when pictures failed."""
    frame = open_frame(args, Source(TABLE, "FaceInpaintPipeline", "face-inpaint"))
    frame.make(reason)
    measurer = Measurer(frame.networks)
    lines: list[Line] = []
    for row in frame.rows:
        lines += _lines_of(frame, row, measurer)
    sheet = []
    for row, place in frame.shown(2):
        case, count = frame.pictures.case(place), _count_steps(frame, row)
        mask = np.repeat(np.asarray(case.mask)[..., None] * np.uint8(255), 3, 2)
        steps = range(1, count + 1)
        results = [(f"step {step}", frame.read(row, f"step-{step}", place)) for step in steps]
        heat = [(f"residual {step}", frame.read(row, f"residual-{step}", place)) for step in steps]
        sheet += [[("masked", case.image), *results, ("original", case.truth)], [("mask", mask), *heat]]
    return frame.finish(lines, sheet, {RESIDUAL: (0, 4)})


def reason(pipeline: Any, given: dict[str, Any], case: Case) -> Drawn:
    """The picture after each step, and its residual."""
    output = pipeline(**given, aligned=True, return_steps=True, generator=seeded(case))
    pictures = {f"step-{t}": to_pixels(step) for t, step in enumerate(output.steps[0], start=1)}
    heat = {f"residual-{t}": to_pixels(step) for t, step in enumerate(output.heat_maps()[0], start=1)}
    hole = np.asarray(case.mask) > 0
    numbers = {
        f"residual-{t}": float(step[hole].mean()) for t, step in enumerate(output.residuals[0], start=1)
    }
    return Drawn(pictures | heat, numbers, frozenset(heat))


def _count_steps(frame: Frame, row: Row) -> int:
    return sum(kind.startswith("step-") for kind in frame.kinds(row))


def _lines_of(frame: Frame, row: Row, measurer: Measurer) -> list[Line]:
    if row.label in frame.failed:
        return [(row.label, dict.fromkeys((RESIDUAL, *frame.metrics), frame.failed[row.label]))]

    def cells(step: int) -> dict[str, Any]:
        measured = frame.measure(
            measurer, lambda place: frame.read(row, f"step-{step}", place), frame.metrics
        )
        return {RESIDUAL: frame.mean(row, f"residual-{step}")} | measured

    steps = range(1, _count_steps(frame, row) + 1)
    return [(f"{row.label}, step {step}", cells(step)) for step in steps]
