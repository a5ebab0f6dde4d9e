"""Fig. 6.13: an exemplar's inversion before and after the latent warper, and the edits that follow from each."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from facekit_cli.evaluation.figures.frame import Drawn, Frame, Line, Source, open_frame, seeded, to_pixels
from facekit_cli.evaluation.inputs import Case
from facekit_cli.evaluation.measures import Cell, Measurer, five_points
from facekit_cli.evaluation.pairs import pose_of
from facekit_cli.evaluation.participants import Row
from facekit_cli.evaluation.registry import ENTRIES
from facekit_cli.evaluation.tables import CENTRE, Table

# In the order of the thesis, with what stands above each.
KINDS = {
    "exemplar": "inversion of the exemplar",
    "edit-without-warping": "edit w/o warping",
    "warped": "warped inversion",
    "edit": "edit with warping",
}
POSE = "pose distance"
NAME = "fig-6.13"
TABLE = Table(
    NAME,
    ENTRIES[NAME].title,
    "edit",
    ("fid", "lpips"),
    (CENTRE,),
    pairing="reversed",
    modalities=("Ex+Ma",),
    notes=(
        "The hole is the fixed one of section 6.3.5.",
        f"{POSE}: of the face to the undamaged one's, in yaw, pitch and roll as they are read off the five points of "
        "the bundled detector; mean over the pictures in which it finds both.",
    ),
)


def draw(args: argparse.Namespace) -> int:
    """Draw the figure; 0 when all went well, 1 when pictures failed."""
    frame = open_frame(args, Source(TABLE, "FaceEditPipeline", "face-edit"))
    frame.make(edit)
    measurer = Measurer(frame.networks)
    truths = [_pose(frame.truth(place)) for place in range(len(frame.pictures.indices))]
    lines: list[Line] = []
    for row in frame.rows:
        lines += _lines_of(frame, row, measurer, truths)
    sheet = []
    for row, place in frame.shown(1):
        case = frame.pictures.case(place, row.modalities)
        drawn = [(label, frame.read(row, kind, place)) for kind, label in KINDS.items()]
        given = [("masked", case.image), ("exemplar", np.asarray(case.exemplar))]
        sheet.append([*given, *drawn, ("original", case.truth)])
    return frame.finish(lines, sheet, {POSE: (-1, 3)})


def edit(pipeline: Any, given: dict[str, Any], case: Case) -> Drawn:
    """The edit with the warper and without it, and what their codes hold."""
    warped = pipeline(**given, aligned=True, return_inversions=True, generator=seeded(case))
    plain = pipeline(**given | {"align_pose": False}, aligned=True, generator=seeded(case))
    inversions = {name: to_pixels(shown[0][0]) for name, shown in warped.inversions.items()}
    edits = {"edit-without-warping": to_pixels(plain.images[0]), "edit": to_pixels(warped.images[0])}
    return Drawn(inversions | edits, generated=frozenset(inversions))


def _pose(picture: np.ndarray) -> np.ndarray | None:
    points = five_points(picture)
    return None if points is None else pose_of(points)


def _pose_cell(read: Callable[[int], np.ndarray], truths: list[np.ndarray | None]) -> Cell:
    found = [(truth, _pose(read(place))) for place, truth in enumerate(truths)]
    distances = [np.linalg.norm(a - b) for a, b in found if a is not None and b is not None]
    if not distances:
        return Cell(missing="no face found", reason="the detector finds no face in both")
    return Cell(float(np.mean(distances)))


def _lines_of(frame: Frame, row: Row, measurer: Measurer, truths: list[np.ndarray | None]) -> list[Line]:
    if row.label in frame.failed:
        return [(row.label, dict.fromkeys((POSE, *frame.metrics), frame.failed[row.label]))]

    def cells(kind: str) -> dict[str, Any]:
        def read(place: int) -> np.ndarray:
            return frame.read(row, kind, place)

        return {POSE: _pose_cell(read, truths)} | frame.measure(measurer, read, frame.metrics)

    return [(f"{row.label}, {label}", cells(kind)) for kind, label in KINDS.items()]
