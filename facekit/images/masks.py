"""Any mask a user may hand over -> a hole per photo.

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

White is filled, black is kept. A note says what was understood where that is not plain.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Union

import numpy as np
from PIL import Image

from facekit.images.modes import LUMA
from facekit.images.photo import MAX_PIXELS, Photo, as_uint8, check_range, is_tensor, open_upright

if TYPE_CHECKING:
    import torch

MaskInput = Union[str, os.PathLike, Image.Image, np.ndarray, "torch.Tensor"]
ASPECT_TOLERANCE = 0.01
MOST_LABELS = 32
DARKEST_LABEL = 0.25  # of white: the darkest colours that the usual palettes give to a class
# A picture has a hue where its channels differ by this share of white in this share of its pixels.
HUE, HUE_SHARE = 0.125, 0.001
# Neighbours in a row differ in 40% to 98% of a photo, in less than 1% of a mask after hard JPEG compression.
PHOTO_BUSY, MASK_BUSY = 0.4, 0.1
SAMPLED_SIDE = 1024  # shares are told from so many rows and columns
MUCH_GRAY = 0.25  # more than the soft edges of a mask hold


@dataclass(frozen=True)
class MaskReading:
    """How a mask was understood.

    Attributes:
        hole: bool `[H, W]`.
        rule: what counted as hole.
        notes: remarks for the user.
    """

    hole: np.ndarray
    rule: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Picture:
    """A mask before anything is decided.

    Attributes:
        tones: `[H, W, 1 or 3]`, uint8, uint16 or floating.
        alpha: `[H, W]` alike, or None.
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
        """The largest channel `[H, W]`."""
        return reduce(np.maximum, np.moveaxis(self.tones, 2, 0))

    @property
    def luminance(self) -> np.ndarray:
        """Gray `[H, W]`."""
        return self.tones[..., 0] if self.tones.shape[2] == 1 else self.tones.astype(np.float32) @ LUMA

    def has_hue(self) -> bool:
        """Whether a part of it is coloured."""
        if self.tones.shape[2] == 1:
            return False
        tones = _sampled(self.tones)
        difference = tones.max(axis=2) - tones.min(axis=2)
        return bool((difference > HUE * self.white).mean() > HUE_SHARE)

    def has_few_colors(self) -> bool:
        """Whether it has at most `MOST_LABELS` colours."""
        return Image.fromarray(as_uint8(self.tones)).getcolors(MOST_LABELS) is not None

    def busyness(self) -> float:
        """The share of opaque neighbours in a row that differ."""
        rows = slice(None, None, max(1, self.tones.shape[0] // SAMPLED_SIDE))
        differ = (self.tones[rows, 1:] != self.tones[rows, :-1]).any(axis=2)
        differ = differ[self.opaque[rows, 1:] & self.opaque[rows, :-1]]
        return float(differ.mean()) if differ.size else 0.0

    def is_layer(self) -> bool:
        """Whether it is transparent, with strokes, rather than opaque, with or without an erased part."""
        opaque = self.opaque
        border = np.concatenate([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]])
        return opaque.mean() <= 0.5 or border.mean() <= 0.5

    @cached_property
    def opaque(self) -> np.ndarray:
        """Where it is nearer to opaque than to transparent, bool `[H, W]`."""
        if self.alpha is None:
            return np.ones(self.tones.shape[:2], dtype=bool)
        return self.alpha >= (1 if self.alpha.max() == 1 else self.half)


def load_mask(
    mask: MaskInput, size: tuple[int, int], *, name: str = "mask", max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, list[str]]:
    """One mask as bool `[H, W]` of the photo's `size` (width, height), and notes for the user; see `read_mask`."""
    reading = read_mask(mask, size, name=name, max_pixels=max_pixels)
    return reading.hole, reading.notes


def read_mask(
    mask: MaskInput, size: tuple[int, int], *, name: str = "mask", max_pixels: int | None = MAX_PIXELS
) -> MaskReading:
    """One mask, read by the table at the head of this module, at the photo's size.

    A mask of another size is resized (nearest) when its aspect ratio is within 1% of the photo's.

    Args:
        mask: a path, Pillow image, array `[H, W]` or `[H, W, 1..4]`, or tensor `[H, W]`, `[1, H, W]` or
            `[1, 1, H, W]` in [0, 1].
        size: width and height of the photo after its EXIF orientation was applied.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of these kinds.
        ValueError: a file that is no picture, a photo in the place of a mask, wrong dtype, rank or range, NaN, or an
            aspect ratio that does not fit.
    """
    picture = _open(mask, name, max_pixels)
    if picture.is_layer():
        hole, rule, notes = picture.alpha > 0, "what is painted on the transparent layer", []
    else:
        hole, rule, notes = _read_opaque(picture)
    hole, resized = _fit(hole, size, name)
    return MaskReading(hole, rule, notes + resized)


def load_strokes(
    sketch: MaskInput, size: tuple[int, int], *, name: str = "sketch", max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, list[str]]:
    """The strokes of a sketch as bool `[H, W]` of the photo's `size` (width, height), and notes for the user.

    Strokes are bright on black, in any colour, or painted on a transparent layer. A drawing that is mostly white is
    taken as dark lines on paper. Arguments and errors are those of `read_mask`.
    """
    picture = _open(sketch, name, max_pixels)
    if picture.is_layer():
        strokes, notes = picture.alpha > 0, []
    else:
        strokes, _, notes = _read_tones(picture)
    if strokes.mean() > 0.5:
        notes = [f"{name} is mostly white: its dark lines are the strokes"]
        # Lines of a pen in any colour are darker than paper, though one of their channels may be as bright.
        strokes = ~strokes if picture.is_layer() else picture.luminance < picture.half
    strokes, resized = _fit(strokes, size, name)
    return strokes, notes + resized


def load_masks(
    masks: MaskInput | Sequence[MaskInput], photos: Sequence[Photo], *, max_pixels: int | None = MAX_PIXELS
) -> list[tuple[np.ndarray, list[str]]]:
    """A hole for every photo, from one mask for all or one for each (a list or a `[B, 1, H, W]` tensor).

    Raises:
        ValueError: neither one mask nor as many as photos, or whatever `load_mask` refuses.
    """
    several = isinstance(masks, list | tuple) or (
        (isinstance(masks, np.ndarray) or is_tensor(masks)) and masks.ndim == 4 and masks.shape[0] > 1
    )
    masks = list(masks) if several else [masks]
    if len(masks) not in (1, len(photos)):
        raise ValueError(
            f"{len(masks)} masks for {len(photos)} photos. Pass one mask for all, or one for each."
        )
    names = [f"mask {i}" if len(masks) > 1 else "mask" for i in range(len(photos))]
    masks = masks * len(photos) if len(masks) == 1 else masks
    return [
        load_mask(mask, photo.size, name=name, max_pixels=max_pixels)
        for mask, photo, name in zip(masks, photos, names, strict=True)
    ]


def _open(mask: MaskInput, name: str, max_pixels: int | None) -> _Picture:
    if isinstance(mask, str | os.PathLike | Image.Image):
        label = f"{name} {mask}" if isinstance(mask, str | os.PathLike) else name
        return _picture(_pillow_pixels(open_upright(mask, label, max_pixels)), name, label)
    if is_tensor(mask):
        return _picture(_tensor_pixels(mask, name), name, name)
    if isinstance(mask, np.ndarray):
        return _picture(mask, name, name)
    raise TypeError(f"{name} is a {type(mask).__name__}. Pass a path, Pillow image, numpy array or tensor.")


def _pillow_pixels(image: Image.Image) -> np.ndarray:
    clear = "transparency" in image.info
    if image.mode in ("PA", "La", "RGBa") or (clear and image.mode in ("P", "RGB")):
        image = image.convert("RGBA")
    elif clear and image.mode == "L":
        image = image.convert("LA")
    elif image.mode in ("P", "CMYK", "YCbCr", "HSV"):
        image = image.convert("RGB")
    return np.asarray(image)


def _tensor_pixels(mask: "torch.Tensor", name: str) -> np.ndarray:
    shape = tuple(mask.shape)
    if mask.ndim < 2 or any(length != 1 for length in shape[:-2]):
        raise ValueError(f"{name} is a tensor of shape {shape}; expected [H, W], [1, H, W] or [1, 1, H, W].")
    mask = mask.detach().to("cpu").reshape(shape[-2:])
    return (mask.float() if str(mask.dtype) == "torch.bfloat16" else mask).numpy()  # numpy has no bfloat16


def _picture(array: np.ndarray, name: str, label: str) -> _Picture:
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
        return _Picture(array, None, name, label)
    alpha = array[..., -1]
    # The same opacity everywhere says nothing.
    says_nothing = alpha.min() == alpha.max() > 0
    return _Picture(array[..., :-1], None if says_nothing else alpha, name, label)


def _read_opaque(picture: _Picture) -> tuple[np.ndarray, str, list[str]]:
    """Hole, rule and notes of a mask that is no transparent layer."""
    opaque = picture.opaque
    if not opaque.all():
        hole, rule, notes = _read_tones(picture)
        if picture.busyness() < MASK_BUSY and hole[opaque].any() and not hole[opaque].all():
            return hole & opaque, rule, notes
        share = percent((~opaque).mean())
        note = f"{picture.name} is opaque with a transparent part, {share} of it: that part is the hole"
        return ~opaque, "the transparent part of an opaque picture", [note]
    if picture.has_hue():
        if picture.busyness() > PHOTO_BUSY:
            raise ValueError(
                f"{picture.label} is a photo and no mask: what is painted on it cannot be told from what it shows. "
                "Paint white on black, or on a transparent layer, or erase the part so that it is transparent."
            )
        return _read_hues(picture)
    return _read_tones(picture)


def _read_hues(picture: _Picture) -> tuple[np.ndarray, str, list[str]]:
    """Hole, rule and notes of colours on black."""
    tone = picture.strongest
    # Dark red is a colour that programs paint with; blurred or compressed it lies on both sides of the middle.
    bright = tone >= min(picture.half, float(tone.max()) / 2)
    labels = tone >= DARKEST_LABEL * picture.white
    if picture.has_few_colors() and (labels != bright).any():
        return (
            labels,
            "every colour but black",
            [f"{picture.name} has labels in colour: all but black are hole"],
        )
    return bright, "every colour at least half as bright as the brightest", []


def _read_tones(picture: _Picture) -> tuple[np.ndarray, str, list[str]]:
    """Hole, rule and notes of bright on dark."""
    tone, half, white, name = picture.strongest, picture.half, picture.white, picture.name
    bright, rule = tone >= half, f"white: {half:g} and more of {white:g}"
    largest = tone.max().item()
    if largest >= half:
        some = _sampled(tone)
        gray = ((some > white / 8) & (some < white * 7 / 8)).mean()
        note = f"{percent(gray)} of {name} is neither black nor white: {half:g} and more of {white:g} is hole"
        return bright, rule, [note] if gray > MUCH_GRAY else []
    if largest == 0:
        return bright, rule, []
    if largest == 1:
        return tone == 1, "the value 1", []
    if tone.min() == 0:
        values = np.unique(tone)
        if len(values) <= MOST_LABELS:
            told = ", ".join(f"{value:g}" for value in values[:6]) + (" and more" if len(values) > 6 else "")
            return tone > 0, "every value but 0", [f"{name} has the values {told}: all but 0 are hole"]
        if (tone[tone > 0] > largest * 7 / 8).mean() > 0.5:
            rule = f"at least half of its brightest value, {largest:g} of {white:g}"
            return tone >= largest / 2, rule, [f"{name} is dark: hole is {rule}"]
    note = f"the brightest value of {name} is {largest:g} of {white:g}, and hole begins at {half:g}: paint it white"
    return bright, rule, [note]


def _sampled(pixels: np.ndarray) -> np.ndarray:
    """Every n-th pixel of `[H, W, ...]` both ways, about a thousand on a side: enough to tell shares."""
    step = max(1, max(pixels.shape[:2]) // SAMPLED_SIDE)
    return pixels[::step, ::step]


def percent(share: float) -> str:
    """A share as a percentage, which is 0 or 100 only where the share is 0 or 1."""
    if share in (0, 1) or 0.1 <= share <= 0.9:
        return f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}"


def _fit(hole: np.ndarray, size: tuple[int, int], name: str) -> tuple[np.ndarray, list[str]]:
    width, height = size
    own_width, own_height = hole.shape[1], hole.shape[0]
    if (own_width, own_height) == (width, height):
        return hole, []
    if abs((own_width / own_height) / (width / height) - 1) > ASPECT_TOLERANCE:
        turned = abs((own_height / own_width) / (width / height) - 1) <= ASPECT_TOLERANCE
        hint = (
            " It would fit turned by 90 degrees: photos are turned upright by their EXIF first."
            if turned
            else ""
        )
        raise ValueError(
            f"{name} is {own_width}x{own_height} and the photo {width}x{height}: the shapes differ. "
            f"Draw the mask on the photo, or crop one to the other.{hint}"
        )
    image = Image.fromarray(hole.astype(np.uint8))
    resized = np.asarray(image.resize((width, height), Image.Resampling.NEAREST)).astype(bool)
    return resized, [f"{name} of {own_width}x{own_height} was resized to the photo's {width}x{height}"]
