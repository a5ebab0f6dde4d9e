"""What every method is given, made from the pictures by seed alone: the same for each, in any order.

A picture's randomness comes from the seed, the run, its condition and its own file name, so that a part of a
collection has the same inputs as the whole. Templates of holes alone go by its place in the collection, so that each
is taken as often as any other.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from facekit.conditions.color import region_means
from facekit.conditions.semantics import CLASS_NAMES, UNLABELLED
from facekit.conditions.sketch import pencil_sketch, sketch_strokes
from facekit.damage.degrade import degrade
from facekit.damage.gconv import gconv_mask
from facekit.damage.holes import centre_mask, large_mask, ratio_mask
from facekit.images.files import write_atomically
from facekit_cli.captions import caption_in
from facekit_cli.evaluation.data import Pictures
from facekit_cli.evaluation.pairs import Partners
from facekit_cli.evaluation.tables import Condition, Table
from facekit_cli.evaluation.templates import IRREGULAR, LARGE, read_template
from facekit_cli.results import save_picture

HOLE_GRAY = 128
FACE = tuple(
    CLASS_NAMES.index(name) for name in "skin l_brow r_brow l_eye r_eye eye_g nose mouth u_lip l_lip".split()
)
HAIR = CLASS_NAMES.index("hair")
LEAST_SHARE = 0.01  # a smaller region is no hole worth filling


@dataclass(frozen=True, eq=False)
class Case:
    """One picture's inputs; all squares of side S.

    Attributes:
        name: file name without ending.
        truth: uint8 [S, S, 3].
        image: what a method sees: `truth`, damaged, or with the hole in gray.
        mask: uint8 [S, S], 1 = hole; None in restoration.
        exemplar: uint8 [S, S, 3].
        sketch: uint8 [S, S], 1 = stroke.
        semantics: uint8 [S, S], class numbers, 255 = unsaid.
        color: uint8 [S, S, 3].
        prompt: a text.
        seed: for the method's own randomness.
    """

    name: str
    truth: np.ndarray
    image: np.ndarray
    mask: np.ndarray | None = None
    exemplar: np.ndarray | None = None
    sketch: np.ndarray | None = None
    semantics: np.ndarray | None = None
    color: np.ndarray | None = None
    prompt: str | None = None
    seed: int = 0


def rng_of(seed: int, run: int, *names: str) -> np.random.Generator:
    """A source of randomness that depends on these alone."""
    return np.random.default_rng([seed, run, *(zlib.crc32(name.encode()) for name in names)])


def make_case(
    table: Table,
    condition: Condition,
    pictures: Pictures,
    index: int,
    *,
    partners: Partners | None = None,
    modalities: str | None = None,
    templates: Mapping[str, Sequence[Path]] | None = None,
    seed: int = 0,
    run: int = 0,
) -> Case:
    """The inputs of picture `index`.

    Args:
        partners: who is whose exemplar, where the table pairs.
        modalities: such as "Sk+Ma"; without "Ma" everything is hole. None: the condition's hole.
        templates: pictures of holes by the names of bands, instead of drawn ones; see `templates.py`.

    Raises:
        ValueError: a modality or hole that the collection has no semantic map or text for.
    """
    name = pictures.files[index].stem
    truth = pictures.read(index)
    rng = rng_of(seed, run, condition.name, name)
    given: dict[str, Any] = {"seed": int(rng_of(seed, run, "method", name).integers(2**31))}
    parts = set(modalities.split("+")) if modalities else set()
    image = truth
    if condition.damage is not None:
        image = degrade(truth, condition.damage, rng)
    if condition.hole is not None:
        order = rng_of(seed, run, condition.name, "templates")
        mask = make_hole(condition, pictures, index, rng, templates, order)
        if modalities is not None and "Ma" not in parts:
            mask = np.ones_like(mask)
        given["mask"] = mask
        image = np.where(mask[..., None] > 0, np.uint8(HOLE_GRAY), truth)
    if partners is not None and (modalities is None or "Ex" in parts):
        given["exemplar"] = pictures.read(partners[index])
    if "Sk" in parts:
        given["sketch"] = sketch_strokes(pencil_sketch(truth))
    if parts & {"Se", "Co"}:
        labels = _labels(pictures, index)
        if "Co" in parts:
            given["color"] = region_means(truth, labels)
        if "Se" in parts:
            given["semantics"] = _shown(labels, table.classes)
    if "Te" in parts:
        given["prompt"] = _prompt(pictures, index)
    return Case(name, truth, image, **given)


def make_hole(
    condition: Condition,
    pictures: Pictures,
    index: int,
    rng: np.random.Generator,
    templates: Mapping[str, Sequence[Path]] | None = None,
    order: np.random.Generator | None = None,
) -> np.ndarray:
    """The hole of a picture, uint8 [S, S].

    Args:
        rng: what is random about this picture.
        templates: see `make_case`.
        order: the same for all pictures: in which order they take templates; None: as they lie there.
    """
    size = pictures.size
    if condition.hole == "centre":
        return centre_mask(size)
    if condition.hole == "band":
        return _band_hole(condition, size, index, rng, templates, order)
    if condition.hole == "free-form":
        mask = gconv_mask(size, rng)
        return mask if mask.any() else centre_mask(size)
    labels = _labels(pictures, index)
    regions = {
        "hair": labels == HAIR,
        "face": np.isin(labels, FACE),
        "subject": labels != 0,
    }
    kinds = [
        *(kind for kind, region in regions.items() if region.mean() >= LEAST_SHARE),
        "irregular",
        "centre",
    ]
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "irregular":
        return _band_hole(IRREGULAR, size, index, rng, templates, order)
    return centre_mask(size) if kind == "centre" else regions[kind].astype(np.uint8)


def _band_hole(
    band: Condition,
    size: int,
    index: int,
    rng: np.random.Generator,
    templates: Mapping[str, Sequence[Path]] | None,
    order: np.random.Generator | None,
) -> np.ndarray:
    files = (templates or {}).get(band.name, ())
    if files:
        places = np.arange(len(files)) if order is None else order.permutation(len(files))
        return read_template(files[int(places[index % len(files)])], size)
    make = large_mask if band.low >= LARGE else ratio_mask
    return make(size, band.low, band.high, rng)


def _labels(pictures: Pictures, index: int) -> np.ndarray:
    labels = pictures.labels(index)
    if labels is None:
        raise ValueError(
            f"{pictures.files[index].name} has no semantic map, which this table needs; put gray pictures of class "
            f"numbers into the folder semantic/{pictures.folder.name} beside it"
        )
    return labels


def _shown(labels: np.ndarray, classes: tuple[str, ...] | None) -> np.ndarray:
    if classes is None:
        return labels
    shown = np.isin(labels, [CLASS_NAMES.index(name) for name in classes])
    return np.where(shown, labels, UNLABELLED).astype(np.uint8)


def caption_of(pictures: Pictures, index: int) -> str | None:
    """What is said of a picture; None where nothing is."""
    return caption_in(pictures.said(index))


def _prompt(pictures: Pictures, index: int) -> str:
    caption = caption_of(pictures, index)
    if caption is None:
        raise ValueError(f"{pictures.files[index].name} has no caption, which this configuration reads")
    return caption


def export(case: Case, folder: Path) -> None:
    """Write a case's inputs for other tools: KIND/NAME.png (masks and strokes white on black), and its text."""
    pictures: Mapping[str, np.ndarray | None] = {
        "truth": case.truth,
        "image": case.image,
        "mask": None if case.mask is None else case.mask * 255,
        "exemplar": case.exemplar,
        "sketch": None if case.sketch is None else case.sketch * 255,
        "semantics": case.semantics,
        "color": case.color,
    }
    for kind, pixels in pictures.items():
        if pixels is not None:
            save_picture(Image.fromarray(pixels), folder / kind / f"{case.name}.png")
    if case.prompt is not None:
        text = case.prompt.encode()
        write_atomically(folder / "prompt" / f"{case.name}.txt", lambda file: file.write(text))


def thumbnail(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 [S, S] or [S, S, 3] -> [side, side, 3]."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, 2)
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
