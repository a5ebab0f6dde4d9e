"""Read masks of any kind: which pixels of a photo are the hole.

What counts as hole:

| mask | hole |
|---|---|
| black and white, gray | >= 128 (16 bits: 32768, floats: 0.5), the strongest channel of three |
| bool, or a largest value of 1 | True, 1 |
| labels: at most 32 values, 0 among them, all below 128 | everything but 0 |
| labels in colour: at most 32 colours | everything but black (strongest channel >= 64) |
| strokes in colour, or in one dark tone on 0, with soft edges | at least half as bright as the brightest |
| layer of an editor: transparent, with strokes | alpha > 0, in any colour |
| erased picture: opaque in more than half of its area and of its border | alpha < 128 |
| the same in flat black and white, or alpha >= 128 everywhere | the colours, as above |
| photo in colour without an erased part, painted over or not | refused: its own bright parts would count |

White is filled, black is kept. Where a mask could be understood in several ways, a note says how it was read.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import numpy as np
from PIL import Image

from facekit.images.modes import LUMA
from facekit.images.opening import MaskInput, is_tensor, read_array
from facekit.images.photo import MAX_PIXELS, Photo, as_uint8, check_range
from facekit.notes import Note

ASPECT_TOLERANCE = 0.01
MOST_LABELS = 32
DARKEST_LABEL = 0.25  # of white: the darkest colours that the usual palettes give to a class
# A picture has a hue where its channels differ by this share of white in this share of its pixels.
HUE, HUE_SHARE = 0.125, 0.001
# Neighbours in a row differ in 40% to 98% of a photo, in less than 1% of a mask after hard JPEG compression.
PHOTO_BUSY, MASK_BUSY = 0.4, 0.1
SAMPLED_SIDE = 1024  # shares are measured on about this number of rows and columns
MUCH_GRAY = 0.25  # more than the soft edges of a mask hold


@dataclass(frozen=True)
class MaskReading:
    """How a mask was understood.

    Attributes:
        hole: bool `[H, W]`.
        rule: what counted as hole, in words.
        notes: remarks for the user.
    """

    hole: np.ndarray
    rule: str
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class MaskPicture:
    """The picture of a mask, before it is decided what counts as hole.

    Attributes:
        tones: `[H, W, 1 or 3]`, uint8, uint16 or floating.
        alpha: opacity `[H, W]` of the same type; None without.
        name: how notes call it.
        label: how errors call it, with its path.
    """

    tones: np.ndarray
    alpha: np.ndarray | None
    name: str
    label: str

    @property
    def white(self) -> int | float:
        """The largest number of its type, 1.0 for floats."""
        return 1.0 if self.tones.dtype.kind == "f" else int(np.iinfo(self.tones.dtype).max)

    @property
    def half(self) -> int | float:
        """The smallest number that is nearer to white than to black."""
        return 0.5 if self.tones.dtype.kind == "f" else (self.white + 1) // 2

    @cached_property
    def strongest(self) -> np.ndarray:
        """The largest of each pixel's channels, `[H, W]`."""
        return reduce(np.maximum, np.moveaxis(self.tones, 2, 0))

    @property
    def luminance(self) -> np.ndarray:
        """The brightness of each pixel, `[H, W]`, in the numbers of `tones`."""
        return self.tones[..., 0] if self.tones.shape[2] == 1 else self.tones.astype(np.float32) @ LUMA

    def has_hue(self) -> bool:
        """Whether a part of it is coloured."""
        if self.tones.shape[2] == 1:
            return False
        tones = _sample(self.tones)
        difference = tones.max(axis=2) - tones.min(axis=2)
        return bool((difference > HUE * self.white).mean() > HUE_SHARE)

    def has_few_colors(self) -> bool:
        """Whether it has at most `MOST_LABELS` colours."""
        return Image.fromarray(as_uint8(self.tones)).getcolors(MOST_LABELS) is not None

    def measure_busyness(self) -> float:
        """How restless it is: the share (0 to 1) of opaque neighbours in a row that differ."""
        rows = slice(None, None, max(1, self.tones.shape[0] // SAMPLED_SIDE))
        differ = (self.tones[rows, 1:] != self.tones[rows, :-1]).any(axis=2)
        differ = differ[self.opaque[rows, 1:] & self.opaque[rows, :-1]]
        return float(differ.mean()) if differ.size else 0.0

    @cached_property
    def strokes(self) -> np.ndarray | None:
        """What is painted on a transparent layer, bool `[H, W]`; None for an opaque picture, erased in part or not."""
        if self.alpha is None:
            return None
        opaque = self.opaque
        border = np.concatenate([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]])
        return self.alpha > 0 if opaque.mean() <= 0.5 or border.mean() <= 0.5 else None

    @cached_property
    def opaque(self) -> np.ndarray:
        """Where it is nearer to opaque than to transparent, bool `[H, W]`."""
        if self.alpha is None:
            return np.ones(self.tones.shape[:2], dtype=bool)
        return self.alpha >= (1 if self.alpha.max() == 1 else self.half)


def load_mask(
    mask: MaskInput, size: tuple[int, int], *, name: str = "mask", max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, list[Note]]:
    """The hole of a mask, bool `[H, W]` of the photo's `size` (width, height), and notes; see `read_mask`."""
    reading = read_mask(mask, size, name=name, max_pixels=max_pixels)
    return reading.hole, reading.notes


def read_mask(
    mask: MaskInput, size: tuple[int, int], *, name: str = "mask", max_pixels: int | None = MAX_PIXELS
) -> MaskReading:
    """Read a mask by the table at the head of this module, at the photo's size.

    A mask of another size is resized (nearest) when its aspect ratio is within 1% of the photo's.

    Args:
        mask: a path, Pillow image, array `[H, W]` or `[H, W, 1..4]`, or tensor `[H, W]`, `[1, H, W]` or
            `[1, 1, H, W]` in [0, 1].
        size: width and height of the photo after its EXIF orientation was applied.
        name: how messages call the mask.
        max_pixels: refuse larger pictures before they are decoded; None lifts the limit.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of these kinds.
        ValueError: a file that is no picture, a photo in the place of a mask, wrong dtype, rank or range, NaN, or an
            aspect ratio that does not fit.
    """
    picture = open_mask(mask, name, max_pixels)
    strokes = picture.strokes
    if strokes is None:
        hole, rule, notes = _read_opaque(picture)
    else:
        hole, rule, notes = strokes, "what is painted on the transparent layer", []
    hole, resized = fit(hole, size, name, picture.label)
    return MaskReading(hole, rule, notes + resized)


def load_masks(
    masks: MaskInput | Sequence[MaskInput], photos: Sequence[Photo], *, max_pixels: int | None = MAX_PIXELS
) -> list[tuple[np.ndarray, list[Note]]]:
    """A hole for every photo, from one mask for all or one for each (a list or a `[B, 1, H, W]` tensor).

    Raises:
        ValueError: neither one mask nor as many as photos, or whatever `load_mask` refuses.
    """
    given = assign_to_photos(masks, len(photos), "mask", "masks")
    return [
        load_mask(mask, photo.size, name=name, max_pixels=max_pixels)
        for (name, mask), photo in zip(given, photos, strict=True)
    ]


def assign_to_photos(given: Any, count: int, name: str, plural: str) -> list[tuple[str, Any]]:
    """Give each of `count` photos what it needs, from one thing for all photos or one for each.

    Args:
        given: one thing; or one for each photo in a list, a tuple, or an array or tensor of four axes whose first is
            longer than 1.
        count: the number of photos.
        name: how messages call one of them; its place is added where there are several.
        plural: how messages call several.

    Returns:
        For each photo the name, and what is given for it.

    Raises:
        ValueError: neither one nor as many as photos.
    """
    batched = (isinstance(given, np.ndarray) or is_tensor(given)) and given.ndim == 4 and given.shape[0] > 1
    values = list(given) if batched or isinstance(given, list | tuple) else [given]
    if len(values) not in (1, count):
        raise ValueError(f"{len(values)} {plural} for {count} photos. Pass one for all, or one for each.")
    if len(values) == 1:
        return [(name, values[0])] * count
    return [(f"{name} {index}", value) for index, value in enumerate(values)]


def open_mask(mask: MaskInput, name: str, max_pixels: int | None) -> MaskPicture:
    """Open a mask or sketch of any kind; arguments and errors are those of `read_mask`."""
    label = f"{name} {mask}" if isinstance(mask, str | os.PathLike) else name
    return _to_picture(read_array(mask, label, max_pixels), name, label)


def _to_picture(array: np.ndarray, name: str, label: str) -> MaskPicture:
    shape = tuple(array.shape)
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= shape[2] <= 4) or 0 in shape:
        raise ValueError(f"{label} is an array of shape {shape}; expected [H, W] or [H, W, 1 to 4].")
    kind = array.dtype.kind
    if kind not in "buif":
        raise ValueError(
            f"{label} is an array of {array.dtype}; expected bool, integers or floats in [0, 1]."
        )
    if kind == "f":
        check_range(array, 0.0, 1.0, label, "A mask is 0 for known pixels and 1 for the hole.")
    else:
        smallest, largest = int(array.min()), int(array.max())
        if smallest < 0 or largest > 65535:
            raise ValueError(
                f"{label} has numbers from {smallest} to {largest}; expected 0..1, 0..255 or 16 bits."
            )
        wide = array.dtype == np.uint16 or largest > 255
        array = array.astype(np.uint16 if wide else np.uint8, copy=False)
    array = array.reshape(*shape[:2], -1)
    if array.shape[2] in (1, 3):
        return MaskPicture(array, None, name, label)
    alpha = array[..., -1]
    # The same opacity everywhere marks nothing.
    is_even = alpha.min() == alpha.max() > 0
    return MaskPicture(array[..., :-1], None if is_even else alpha, name, label)


def _read_opaque(picture: MaskPicture) -> tuple[np.ndarray, str, list[Note]]:
    """Hole, rule and notes of a mask that is no transparent layer."""
    opaque = picture.opaque
    if not opaque.all():
        hole, rule, notes = read_tones(picture)
        if picture.measure_busyness() < MASK_BUSY and hole[opaque].any() and not hole[opaque].all():
            return hole & opaque, rule, notes
        share = format_share((~opaque).mean())
        what = "{name} is opaque with a transparent part, {share} of it: that part is the hole"
        note = Note("reading", what, name=picture.name, share=share)
        return ~opaque, "the transparent part of an opaque picture", [note]
    if picture.has_hue():
        if picture.measure_busyness() > PHOTO_BUSY:
            raise ValueError(
                f"{picture.label} is a photo and no mask: what is painted on it cannot be told from what it shows. "
                "Paint white on black, or on a transparent layer, or erase the part so that it is transparent."
            )
        return _read_hues(picture)
    return read_tones(picture)


def _read_hues(picture: MaskPicture) -> tuple[np.ndarray, str, list[Note]]:
    """Hole, rule and notes of colours on black."""
    tone = picture.strongest
    # Dark red is a colour that programs paint with; blurred or compressed it lies on both sides of the middle.
    bright = tone >= min(picture.half, float(tone.max()) / 2)
    labels = tone >= DARKEST_LABEL * picture.white
    if picture.has_few_colors() and (labels != bright).any():
        return (
            labels,
            "every colour but black",
            [Note("reading", "{name} has labels in colour: all but black are hole", name=picture.name)],
        )
    return bright, "every colour at least half as bright as the brightest", []


def read_tones(picture: MaskPicture) -> tuple[np.ndarray, str, list[Note]]:
    """Hole bool `[H, W]`, rule and notes of a mask that is bright on dark; see `MaskReading`."""
    tone, half, white, name = picture.strongest, picture.half, picture.white, picture.name
    bright, rule = tone >= half, f"white: {half:g} and more of {white:g}"
    largest = tone.max().item()
    if largest >= half:
        some = _sample(tone)
        gray = ((some > white / 8) & (some < white * 7 / 8)).mean()
        what = "{share} of {name} is neither black nor white: {half:g} and more of {white:g} is hole"
        note = Note("reading", what, share=format_share(gray), name=name, half=half, white=white)
        return bright, rule, [note] if gray > MUCH_GRAY else []
    if largest == 0:
        return bright, rule, []
    if largest == 1:
        return tone == 1, "the value 1", []
    if tone.min() == 0:
        values = np.unique(tone)
        if len(values) <= MOST_LABELS:
            listed = ", ".join(f"{value:g}" for value in values[:6]) + (
                " and more" if len(values) > 6 else ""
            )
            note = Note(
                "reading", "{name} has the values {values}: all but 0 are hole", name=name, values=listed
            )
            return tone > 0, "every value but 0", [note]
        if (tone[tone > 0] > largest * 7 / 8).mean() > 0.5:
            rule = f"at least half of its brightest value, {largest:g} of {white:g}"
            return (
                tone >= largest / 2,
                rule,
                [Note("reading", "{name} is dark: hole is {rule}", name=name, rule=rule)],
            )
    what = "the brightest value of {name} is {largest:g} of {white:g}, and hole begins at {half:g}: paint it white"
    return bright, rule, [Note("reading", what, name=name, largest=largest, white=white, half=half)]


def _sample(pixels: np.ndarray) -> np.ndarray:
    """Every n-th pixel of `[H, W, ...]` both ways, about a thousand on a side: enough to measure shares."""
    step = max(1, max(pixels.shape[:2]) // SAMPLED_SIDE)
    return pixels[::step, ::step]


def format_share(share: float) -> str:
    """A share (0 to 1) as a percentage in words; 0% and 100% only for 0 and 1 themselves."""
    if share in (0, 1) or 0.1 <= share <= 0.9:
        return f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}"


def fit(
    values: np.ndarray, size: tuple[int, int], name: str, label: str = ""
) -> tuple[np.ndarray, list[Note]]:
    """Bring a mask or map to the photo's size by nearest neighbour; a note says if it had another.

    Args:
        values: bool or uint8, `[H, W]` or `[H, W, 4]`.
        size: width and height of the photo.
        name: how notes call it.
        label: how errors call it; empty: as notes do.

    Raises:
        ValueError: the aspect ratios differ by more than 1%.
    """
    (own_height, own_width), (width, height) = values.shape[:2], size
    if (own_width, own_height) == (width, height):
        return values, []
    if abs((own_width / own_height) / (width / height) - 1) > ASPECT_TOLERANCE:
        turned = abs((own_height / own_width) / (width / height) - 1) <= ASPECT_TOLERANCE
        hint = (
            " It would fit turned by 90 degrees: photos are turned upright by their EXIF first."
            if turned
            else ""
        )
        raise ValueError(
            f"{label or name} is {own_width}x{own_height} and the photo {width}x{height}: the shapes differ. "
            f"Draw it on the photo, or crop one to the other.{hint}"
        )
    image = Image.fromarray(values.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    what = "{name} of {own} was resized to the photo's {photo}"
    note = Note("resized", what, name=name, own=f"{own_width}x{own_height}", photo=f"{width}x{height}")
    return np.asarray(image).astype(values.dtype), [note]
