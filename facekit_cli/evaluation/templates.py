"""Pictures of holes in bands by the hole's share, such as PConv's irregular templates (thesis 4.3.1 and 5.3.2)."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facekit.images.masks import load_mask
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.tables import Condition
from facekit_cli.photos import list_pictures

LARGE = 0.6  # from this share on the thesis draws holes with CoModGAN's generator; PConv's templates end here
IRREGULAR = Condition("50-60%", hole="band", low=0.5, high=0.6)  # of the mixed holes of thesis section 6.3.1


def find_templates(masks: Path | None, conditions: Sequence[Condition]) -> dict[str, tuple[Path, ...]]:
    """The templates of each band, by its name such as "50-60%"; bands that have none are drawn.

    Args:
        masks: a folder with a subfolder for each band, such as 10-20; or with pictures alone, which are sorted by their
            hole's share: into 10-20% go those above 10% and up to 20%. None: all bands are drawn.
        conditions: the table's. Mixed holes take their irregular ones from 50-60%.

    Raises:
        UsageError: the table has no bands, or there are no templates for one below `LARGE`.
    """
    if masks is None:
        return {}
    bands = bands_of(conditions)
    if not bands:
        raise UsageError("--masks is for tables whose holes lie in bands, such as 10-20%; this one has none")
    if not masks.is_dir():
        raise UsageError(f"--masks {masks} is no folder")
    folders = any(re.fullmatch(r"\d+-\d+", child.name) for child in masks.iterdir() if child.is_dir())
    found = {}
    for band in bands:
        if folders:
            folder = masks / band.name.rstrip("%")
            files = tuple(list_pictures(folder)) if folder.is_dir() else ()
        else:
            shares = _shares_in(masks)
            files = tuple(file for file, share in shares.items() if band.low < share <= band.high)
        if files:
            found[band.name] = files
        elif band.low < LARGE:
            where = masks / band.name.rstrip("%") if folders else f"{masks} ({len(shares)} pictures)"
            raise UsageError(f"--masks needs pictures of holes for the band {band.name} in {where}")
    return found


def bands_of(conditions: Sequence[Condition]) -> list[Condition]:
    """The bands that a table's holes lie in."""
    bands = [condition for condition in conditions if condition.hole == "band"]
    return bands + [IRREGULAR] * any(condition.hole == "mix" for condition in conditions)


def describe_bands(
    conditions: Sequence[Condition], templates: dict[str, tuple[Path, ...]], masks: Path | None
) -> list[str]:
    """Sentences for the table's notes about where the holes of its bands come from."""
    given: list[str] = []
    large: list[str] = []
    drawn: list[str] = []
    for band in bands_of(conditions):
        if band.name in templates:
            given.append(f"{band.name} ({len(templates[band.name])})")
        else:
            (large if band.low >= LARGE else drawn).append(band.name)
    notes = []
    if given and masks is not None:
        notes.append(
            f"Holes of {', '.join(given)}: templates of the folder {masks.name}, resized to the nearest pixel. The "
            "pictures, by file name, take one after the other, in an order drawn by seed."
        )
    if drawn:
        notes.append(
            f"Holes of {', '.join(drawn)} are drawn by seed (strokes and rectangles whose share lies in the band "
            "for certain); --masks takes templates."
        )
    if large:
        notes.append(
            f"Holes of {', '.join(large)}: CoModGAN's generator, drawn anew until the share lies in the band."
        )
    return notes


def read_template(file: Path, size: int) -> np.ndarray:
    """A picture of a hole, see `facekit.images.masks`, as uint8 [size, size]. ValueError where there is none in it."""
    hole, notes = _read(file)
    mask = cv2.resize(hole.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
    if not mask.any():
        raise ValueError("; ".join([f"the mask {file} has no hole", *notes]))
    return mask


def _read(file: Path) -> tuple[np.ndarray, list[str]]:
    with Image.open(file) as image:
        own_size = image.size
    hole, notes = load_mask(file, own_size)
    return hole, [str(note) for note in notes]


@cache
def _shares_in(folder: Path) -> dict[Path, float]:
    """The hole's share of every template of a folder, in the size that it has there."""
    from tqdm import tqdm

    try:
        return {
            file: float(_read(file)[0].mean())
            for file in tqdm(list_pictures(folder), desc="templates", unit="picture")
        }
    except (OSError, ValueError) as error:
        raise UsageError(f"--masks {folder}: ", error) from error
