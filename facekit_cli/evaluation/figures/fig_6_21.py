"""Fig. 6.21 and section 6.5.4: faces turned to the front, and how much of their identity is left (CSIM)."""

import argparse
from typing import Any

import numpy as np
from PIL import Image

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.figures.frame import Drawn, Frame, Line, Source, open_frame, seeded, to_pixels
from facekit_cli.evaluation.inputs import Case
from facekit_cli.evaluation.measures import Cell, Measurer, five_points
from facekit_cli.evaluation.pairs import pose_of
from facekit_cli.evaluation.participants import Row, read_output
from facekit_cli.evaluation.registry import ENTRIES
from facekit_cli.evaluation.tables import Table

TURN = "turn of the head"
KINDS = {"frontal": "", "warped": ", inversion of the turned codes"}
NAME = "fig-6.21"
TABLE = Table(
    NAME,
    ENTRIES[NAME].title,
    "edit",
    ("csim",),
    pairing="pose",
    data=("CelebA-HQ",),
    notes=(
        "Faces are those that pair by pose (section 6.5.3). The whole picture is hole, and the face's codes are turned "
        "by the latent warper to the mean of its own and its mirror image's.",
        f"{TURN}: |yaw| as it is read off the five points of the bundled detector, 0 is straight ahead; mean over the "
        "pictures in which it finds the face.",
        "The thesis has 0.835 for FACEMUG and 0.035 for pSp, in ArcFace's space.",
    ),
)


def draw(args: argparse.Namespace) -> int:
    """Draw the figure; 0 when all went well, 1 when pictures failed."""
    if not args.identity:
        raise UsageError(
            f"{NAME} compares identities, and no network for it comes with facekit: say --identity FOLDER. "
            "A model that facekit convert vspbfr or exegan made with the authors' Arcface.pth has one, and facekit "
            "convert arcface makes one of model_ir_se50.pth"
        )
    frame = open_frame(args, Source(TABLE, "FaceEditPipeline", "face-edit", others=True))
    frame.make(turn)
    measurer = Measurer(frame.networks)
    lines: list[Line] = []
    for row in frame.rows:
        lines += _lines_of(frame, row, measurer)
    sheet = [
        [
            ("original", frame.truth(place)),
            *((kind if kind == "frontal" else "inversion", frame.read(row, kind, place)) for kind in KINDS),
        ]
        for row, place in frame.shown(1)
    ]
    return frame.finish(lines, sheet, {TURN: (-1, 3)}, [f"Identity network: {args.identity}."])


def turn(pipeline: Any, given: dict[str, Any], case: Case) -> Drawn:
    """The face turned to the front: the edit, and the inversion of its codes."""
    everything = Image.new("L", (case.truth.shape[1], case.truth.shape[0]), 255)
    own = {name: value for name, value in given.items() if name not in ("exemplar", "mask")}
    output = pipeline(
        **own,
        mask=everything,
        pose_from="front",
        aligned=True,
        return_inversions=True,
        generator=seeded(case),
    )
    pictures = {
        "frontal": to_pixels(output.images[0]),
        "warped": to_pixels(output.inversions["warped"][0][0]),
    }
    return Drawn(pictures, generated=frozenset(pictures))


def _lines_of(frame: Frame, row: Row, measurer: Measurer) -> list[Line]:
    if row.label in frame.failed:
        return [(row.label, dict.fromkeys((*frame.metrics, TURN), frame.failed[row.label]))]

    def cells(read: Any) -> dict[str, Cell]:
        measured = frame.measure(measurer, read, frame.metrics)
        points = [five_points(read(place)) for place in range(len(frame.pictures.indices))]
        turns = [abs(pose_of(found)[0]) for found in points if found is not None]
        absent = Cell(missing="no face found", reason="the detector finds no face in any picture")
        return measured | {TURN: Cell(float(np.mean(turns))) if turns else absent}

    if row.participant.kind == "input":
        return [(row.label, cells(frame.truth))]
    if row.participant.kind == "outputs":
        files = frame.plan.given[row.label, frame.pictures.key]

        def theirs(place: int) -> np.ndarray:
            return read_output(files[place], frame.pictures.case(place), keep_known=False)

        return [(row.label, cells(theirs))]
    return [
        (row.label + label, cells(lambda place, kind=kind: frame.read(row, kind, place)))
        for kind, label in KINDS.items()
    ]
