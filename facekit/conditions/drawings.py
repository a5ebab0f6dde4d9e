"""What is drawn on a photo to guide an edit: sketch, semantic map, colour; and how much each of them counts.

Guidance is read at the photo's size, so that it can travel through the same warp as the face.

| semantics | read as |
|---|---|
| gray picture, integer array or tensor `[H, W]` | labels 0 to 18 in the order of `CLASS_NAMES`; 255 or -1: unsaid |
| colour picture, array `[H, W, 3]` | colours of `PALETTE`; gray 222: unsaid |
| picture with alpha, array `[H, W, 4]` | an editor's layer: colours of `PALETTE` where alpha > 0, else unsaid |
| mapping such as `{"hair": mask}` | class names and masks, later ones on top; True is the whole region to edit |

| color | read as |
|---|---|
| picture with alpha, array `[H, W, 4]` | strokes where alpha > 0, else unsaid |
| any other picture | its colours everywhere |
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from facekit.conditions.semantics import CLASS_NAMES, PALETTE
from facekit.faces.squares import Square
from facekit.images.masks import ASPECT_TOLERANCE, MaskInput, load_mask, load_strokes
from facekit.images.photo import ImageInput, Photo, as_uint8, load_image, open_upright

SemanticsInput = MaskInput | Mapping[str, MaskInput | bool]
UNSAID = 255
UNSAID_GREY = 222
# Colours of the palette are at least 85 apart in some channel, so less than half of that is unambiguous.
PALETTE_TOLERANCE = 40
# A stroke is kept where it covers this share of a pixel of the network's picture.
STROKE_COVER = 0.1
STRAY_SHARE = 0.02  # blended pixels along the edges of painted areas


@dataclass
class Guidance:
    """What is drawn on one photo; None where nothing is.

    Attributes:
        sketch: strokes bool `[H, W]`.
        labels: classes uint8 `[H, W]`, 255 = unsaid.
        color: uint8 `[H, W, 3]`.
        painted: where `color` says something, bool `[H, W]`.
        notes: remarks for the user.
    """

    sketch: np.ndarray | None = None
    labels: np.ndarray | None = None
    color: np.ndarray | None = None
    painted: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    def within(self, hole: np.ndarray) -> "Guidance":
        """Only what lies in the hole bool `[H, W]`, with a note on what does not."""
        kept = Guidance(notes=list(self.notes))
        if self.sketch is not None:
            kept.sketch = _clipped(self.sketch, hole, "sketch", kept.notes)
        if self.labels is not None:
            said = _clipped(self.labels != UNSAID, hole, "semantic map", kept.notes)
            kept.labels = np.where(said, self.labels, np.uint8(UNSAID))
        if self.color is not None:
            kept.color = self.color
            kept.painted = _clipped(self.painted, hole, "colour guidance", kept.notes)
        return kept

    def seen_by(self, square: Square) -> "Guidance":
        """The guidance as the network sees it: all maps `[S, S]`, colour float32 in [0, 1], inside the hole."""
        seen = Guidance()
        if self.sketch is not None:
            seen.sketch = (square.view(self.sketch.astype(np.float32)) >= STROKE_COVER) & square.hole
        if self.labels is not None:
            seen.labels = _labels_seen(self.labels, square)
        if self.color is not None:
            cover = np.maximum(square.view(self.painted.astype(np.float32)), 0)
            sums = [
                square.view(np.where(self.painted, self.color[..., c], 0).astype(np.float32) / 255)
                for c in range(3)
            ]
            seen.painted = (cover >= STROKE_COVER) & square.hole
            mean = np.stack(sums, axis=-1) / np.maximum(cover, STROKE_COVER)[..., None]
            seen.color = np.where(seen.painted[..., None], np.clip(mean, 0, 1), 0).astype(np.float32)
        return seen


def _clipped(said: np.ndarray, hole: np.ndarray, what: str, notes: list[str]) -> np.ndarray:
    total, inside = said.sum(), said & hole
    if total == 0:
        notes.append(f"the {what} is empty and says nothing")
    elif not inside.any():
        notes.append(f"the {what} lies outside the mask and is ignored")
    elif (outside := total - inside.sum()) > 0:
        notes.append(f"{max(outside / total, 0.01):.0%} of the {what} lies outside the mask and is ignored")
    return inside


def _labels_seen(labels: np.ndarray, square: Square) -> np.ndarray:
    """At each pixel the class that covers most of it; unsaid where less than half is said."""
    best = np.full(square.hole.shape, 0.0, dtype=np.float32)
    seen, total = np.full(best.shape, UNSAID, dtype=np.uint8), np.zeros_like(best)
    for label in np.unique(labels[labels != UNSAID]):
        cover = square.view((labels == label).astype(np.float32))
        seen[cover > best] = label
        best, total = np.maximum(best, cover), total + cover
    return np.where((total >= 0.5) & square.hole, seen, np.uint8(UNSAID))


def load_sketches(
    sketch: MaskInput | Sequence[MaskInput] | None, photos: Sequence[Photo], max_pixels: int | None
) -> list[tuple[np.ndarray, list[str]] | None]:
    """Strokes bool `[H, W]` for every photo, from one sketch for all or one for each.

    Raises:
        ValueError: neither one sketch nor as many as photos, or whatever `load_strokes` refuses.
    """
    if sketch is None:
        return [None] * len(photos)
    sketches = list(sketch) if isinstance(sketch, list | tuple) else [sketch]
    if len(sketches) not in (1, len(photos)):
        raise ValueError(
            f"{len(sketches)} sketches for {len(photos)} photos. Pass one sketch for all, or one for each."
        )
    names = [f"sketch {index}" if len(sketches) > 1 else "sketch" for index in range(len(photos))]
    return [
        load_strokes(sketches[index % len(sketches)], photo.size, name=name, max_pixels=max_pixels)
        for index, (photo, name) in enumerate(zip(photos, names, strict=True))
    ]


def read_guidance(
    photos: Sequence[Photo],
    holes: Sequence[np.ndarray],
    sketch: MaskInput | Sequence[MaskInput] | None,
    semantics: SemanticsInput | Sequence[SemanticsInput] | None,
    color: ImageInput | Sequence[ImageInput] | None,
    max_pixels: int | None,
) -> list[Guidance]:
    """The guidance of every photo, each modality once for all photos or one for each, outside the hole ignored.

    Raises:
        FileNotFoundError, TypeError, ValueError: see the readers of the three modalities.
    """
    sketches = load_sketches(sketch, photos, max_pixels)
    maps = _one_for_each(semantics, len(photos), "semantic maps")
    colors = _one_for_each(color, len(photos), "colour pictures")
    guidance = []
    for photo, hole, strokes, labels, paint in zip(photos, holes, sketches, maps, colors, strict=True):
        drawn = Guidance()
        if strokes is not None:
            drawn.sketch = strokes[0]
            drawn.notes += strokes[1]
        if labels is not None:
            drawn.labels, notes = read_semantics(labels, photo.size, hole, max_pixels=max_pixels)
            drawn.notes += notes
        if paint is not None:
            drawn.color, drawn.painted, notes = read_color(paint, photo.size, max_pixels=max_pixels)
            drawn.notes += notes
        guidance.append(drawn.within(hole))
    return guidance


def _one_for_each(given: Any, count: int, what: str) -> list[Any]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    if len(values) not in (1, count):
        raise ValueError(f"{len(values)} {what} for {count} photos. Pass one for all, or one for each.")
    return values * count if len(values) == 1 else values


def read_semantics(
    semantics: SemanticsInput,
    size: tuple[int, int],
    hole: np.ndarray,
    *,
    name: str = "semantics",
    max_pixels: int | None = None,
) -> tuple[np.ndarray, list[str]]:
    """A semantic map as labels uint8 `[H, W]` (255 = unsaid) of the photo's `size`, and notes.

    Raises:
        FileNotFoundError: no such file.
        TypeError: another kind than the table at the head of this module names.
        ValueError: unknown labels, colours or class names (the message lists the known), a size that does not
            fit, or a picture that is refused.
    """
    if isinstance(semantics, Mapping):
        return _named_masks(semantics, size, hole, name, max_pixels)
    if isinstance(semantics, str | os.PathLike | Image.Image):
        name = str(semantics) if isinstance(semantics, str | os.PathLike) else name
        picture = open_upright(semantics, name, max_pixels)
        if picture.mode == "P":
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        elif picture.mode in ("PA", "La", "RGBa", "CMYK", "YCbCr", "HSV"):
            picture = picture.convert("RGBA" if picture.mode in ("PA", "La", "RGBa") else "RGB")
        array = np.asarray(picture)
    elif isinstance(semantics, torch.Tensor):
        array = semantics.detach().cpu().numpy() if not semantics.dtype == torch.bfloat16 else None
        while array is not None and array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
    elif isinstance(semantics, np.ndarray):
        array = semantics
    else:
        raise TypeError(
            f"{name} is a {type(semantics).__name__}. Pass a label map, a palette picture, or a mapping such as "
            '{"hair": mask}.'
        )
    labels, notes = _labels(array, name)
    labels, resized = fit(labels, size, name)
    return labels, notes + resized


def _labels(array: np.ndarray | None, name: str) -> tuple[np.ndarray, list[str]]:
    classes = ", ".join(f"{label} {word}" for label, word in enumerate(CLASS_NAMES))
    if array is None or array.dtype.kind not in "ui":
        raise ValueError(
            f"{name} has no whole numbers. Pass labels, a palette picture, or for a mask the class that it marks: "
            f'{{"hair": mask}}. Classes are {classes}.'
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        labels = np.where(array == -1, UNSAID, array) if array.dtype.kind == "i" else array
        wrong = (labels != UNSAID) & ((labels < 0) | (labels >= len(CLASS_NAMES)))
        if wrong.any():
            found = ", ".join(map(str, np.unique(labels[wrong])[:5].tolist()))
            raise ValueError(f"{name} has unknown labels ({found}). Known are {classes}; 255 is unsaid.")
        return labels.astype(np.uint8), []
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype != np.uint8:
        raise ValueError(
            f"{name} is {array.dtype} {list(array.shape)}; expected labels [H, W], or colours uint8 [H, W, 3] or "
            "[H, W, 4]."
        )
    said = array[..., 3] > 0 if array.shape[2] == 4 else np.ones(array.shape[:2], dtype=bool)
    return _from_palette(array[..., :3], said, name)


def _from_palette(rgb: np.ndarray, said: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    table = np.array([*PALETTE, (UNSAID_GREY,) * 3], dtype=np.int16)
    labels = np.full(rgb.shape[:2], UNSAID, dtype=np.uint8)
    colors, places = np.unique(rgb[said].reshape(-1, 3), axis=0, return_inverse=True)
    if len(colors) == 0:
        return labels, []
    distance = np.abs(colors[:, None].astype(np.int16) - table[None]).max(axis=2)
    nearest = distance.argmin(axis=1)
    unknown = distance.min(axis=1) > PALETTE_TOLERANCE
    share = unknown[places.ravel()].mean()
    if share > STRAY_SHARE:
        counts = np.bincount(places.ravel(), minlength=len(colors)) * unknown
        example = tuple(colors[counts.argmax()].tolist())
        known = ", ".join(
            f"{word} {tuple(map(int, PALETTE[label]))}" for label, word in enumerate(CLASS_NAMES)
        )
        raise ValueError(
            f"{share:.0%} of {name} shows colours of no class, for example {example}. The palette is {known}."
        )
    unsaid = unknown | (nearest == len(PALETTE))
    labels[said] = np.where(unsaid, UNSAID, nearest).astype(np.uint8)[places.ravel()]
    notes = [f"{max(share, 0.001):.1%} of {name} shows blended colours and says nothing"] if share else []
    return labels, notes


def _named_masks(
    masks: Mapping[str, MaskInput | bool],
    size: tuple[int, int],
    hole: np.ndarray,
    name: str,
    max_pixels: int | None,
) -> tuple[np.ndarray, list[str]]:
    unknown = [word for word in masks if word not in CLASS_NAMES]
    if unknown:
        raise ValueError(f"{name} has the class {unknown[0]!r}; known are {', '.join(CLASS_NAMES)}.")
    labels, notes = np.full((size[1], size[0]), UNSAID, dtype=np.uint8), []
    for word, mask in masks.items():
        where = hole
        if mask is not True:
            where, remarks = load_mask(mask, size, name=f"{name} {word}", max_pixels=max_pixels)
            notes += remarks
        labels[where] = CLASS_NAMES.index(word)
    return labels, notes


def read_color(
    color: ImageInput, size: tuple[int, int], *, name: str = "color", max_pixels: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Colours uint8 `[H, W, 3]`, where they were said bool `[H, W]`, both of the photo's `size`, and notes.

    Raises:
        FileNotFoundError, TypeError, ValueError: whatever `load_image` refuses, or a size that does not fit.
    """
    label = None if isinstance(color, str | os.PathLike) else name
    picture = load_image(color, max_pixels=max_pixels, name=label)
    alpha = picture.alpha
    painted = np.ones(picture.pixels.shape[:2], dtype=bool) if alpha is None else alpha > 0
    layer = np.dstack([as_uint8(picture.rgb), np.where(painted, 255, 0).astype(np.uint8)])
    layer, notes = fit(layer, size, picture.name)
    return np.ascontiguousarray(layer[..., :3]), layer[..., 3] > 0, notes


def fit(array: np.ndarray, size: tuple[int, int], name: str) -> tuple[np.ndarray, list[str]]:
    """A map `[H, W]` or `[H, W, C]` at the photo's (width, height), by nearest neighbour.

    Raises:
        ValueError: the aspect ratios differ by more than 1%.
    """
    (height, width), (wide, high) = array.shape[:2], size
    if (width, height) == (wide, high):
        return array, []
    if abs((width / height) / (wide / high) - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"{name} is {width}x{height} and the photo {wide}x{high}: the shapes differ. Draw it on the photo, or "
            "crop one to the other."
        )
    rows = ((np.arange(high) + 0.5) * height / high).astype(np.intp)
    columns = ((np.arange(wide) + 0.5) * width / wide).astype(np.intp)
    return array[rows[:, None], columns], [
        f"{name} of {width}x{height} was resized to the photo's {wide}x{high}"
    ]
