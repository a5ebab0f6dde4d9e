"""Guidance that methods of others read, made of the exemplars (thesis 5.3.2, the comparison of Fig. 5.6).

    DIR/SET/sc-fegan/NAME.png      Canny's edges of the exemplar inside the hole: white lines, one pixel wide, on black
    DIR/SET/lafin/NAME.txt         the 68 landmarks of the exemplar by FAN, a line "x y" each, in pixels
    DIR/SET/lafin/images.flist     paths of the pictures, masks and landmarks, a line for each picture that has
    DIR/SET/lafin/masks.flist          landmarks, in one order
    DIR/SET/lafin/landmarks.flist

SC-FEGAN's network reads strokes of 0 and 1 at 512 pixels (`--size 512`); its colours stay black, as the thesis gives it
none. The lists are what LaFIn's configuration names TEST_INPAINT_IMAGE_FLIST, TEST_MASK_FLIST and
TEST_INPAINT_LANDMARK_FLIST.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.conditions.sketch import canny_edges
from facekit.images.files import write_atomically
from facekit.metrics import WeightsUnavailable, networks
from facekit_cli.evaluation.plan import InputSet, Plan
from facekit_cli.results import save_picture

POINTS = 68  # that LaFIn's published networks for CelebA-HQ read


def export_guidance(plan: Plan, folder: Path, device: str = "cpu") -> list[str]:
    """Write the guidance of every set that has exemplars and holes, beside its inputs.

    Args:
        folder: where `runner.export_inputs` wrote the inputs.
        device: of FAN.

    Returns:
        What was left out, and why, in words; nothing for tables without exemplars.
    """
    sets = [s for s in plan.sets if s.partners is not None and s.condition.hole is not None]
    if not sets:
        return []
    left_out = []
    find: Callable[[np.ndarray], np.ndarray | None] | None = None
    try:
        find = networks.fan_landmarks(device)
    except WeightsUnavailable as error:
        left_out.append(
            f"landmarks for LaFIn were left out: {error}. It reads {POINTS} points, and the bundled detector finds five"
        )
    known: dict[tuple[str, int], np.ndarray | None] = {}  # exemplars are the same under every condition
    for s in sets:
        _write_sketches(s, folder / s.key)
        if find is not None:
            without = _write_landmarks(s, folder / s.key, find, known)
            if without:
                left_out.append(
                    f"FAN found no face in the exemplars of {len(without)} of {len(s.indices)} pictures of {s.key}, "
                    f"{without[0]} for example; LaFIn's lists leave them out"
                )
    return left_out


def _write_sketches(s: InputSet, folder: Path) -> None:
    for place, name in enumerate(s.names):
        case = s.case(place, "Ex+Ma")
        if case.exemplar is not None and case.mask is not None:
            lines = canny_edges(case.exemplar) & case.mask
            save_picture(Image.fromarray(lines * np.uint8(255)), folder / "sc-fegan" / f"{name}.png")


def _write_landmarks(
    s: InputSet,
    folder: Path,
    find: Callable[[np.ndarray], np.ndarray | None],
    known: dict[tuple[str, int], np.ndarray | None],
) -> list[str]:
    """Write landmarks and lists of a set; returns the pictures whose exemplar has none."""
    partners = s.partners or {}
    found, without = [], []
    for index, name in zip(s.indices, s.names, strict=True):
        key = (s.pictures.name, partners[index])
        if key not in known:
            known[key] = find(s.pictures.read(partners[index]))
        points = known[key]
        if points is None:
            without.append(name)
            continue
        found.append(name)
        text = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)
        _write_text(text, folder / "lafin" / f"{name}.txt")
    folder = folder.resolve()
    for kind, ending, lists in (
        ("truth", "png", "images"),
        ("mask", "png", "masks"),
        ("lafin", "txt", "landmarks"),
    ):
        paths = "".join(f"{folder / kind / f'{name}.{ending}'}\n" for name in found)
        _write_text(paths, folder / "lafin" / f"{lists}.flist")
    return without


def _write_text(text: str, file: Path) -> None:
    write_atomically(file, lambda opened: opened.write(text.encode()))
