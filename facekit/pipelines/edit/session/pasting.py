"""Objects of other photos, such as a hat, put into a photo before it is edited (thesis Fig. 6.23, last row)."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from facekit.images.masks import MaskInput, load_mask
from facekit.images.photo import ImageInput, Photo, as_float, as_uint8, from_float, load_image
from facekit.notes import Note

LARGEST = 4  # sides of the photo that a cut-out may be wide or high
RIM = 0.06  # width of the rim to either side of the outline, in sides of a square as large as the object
LEAST_RIM = 3  # pixels


def cut_out(
    picture: ImageInput, mask: MaskInput | None, max_pixels: int | None
) -> tuple[np.ndarray, list[Note]]:
    """An object without what lies around it, uint8 `[h, w, 4]`, and notes about the mask.

    Args:
        picture: what `load_image` takes.
        mask: what of it is the object, as masks are read everywhere; None: what is not transparent.
        max_pixels: refuse larger pictures before they are decoded; None lifts the limit.

    Raises:
        FileNotFoundError, TypeError, ValueError: the picture or mask cannot be used, is empty, or there is neither
            transparency nor a mask.
    """
    photo = load_image(picture, max_pixels=max_pixels, name="the object")
    notes: list[Note] = []
    alpha = None if photo.alpha is None else as_uint8(photo.alpha)
    if mask is not None:
        inside, notes = load_mask(mask, photo.size, name="the object's mask", max_pixels=max_pixels)
        alpha = np.where(inside, 255 if alpha is None else alpha, 0).astype(np.uint8)
    elif alpha is None:
        raise ValueError(
            "the object has no transparency that says where it ends. Pass a cut-out (PNG with transparency), or a "
            "mask that is white on the object"
        )
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        raise ValueError("there is no object: the mask or the opaque part of its picture is empty")
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.dstack([as_uint8(photo.rgb)[box], alpha[box]]), list(notes)


def check_place(place: Sequence[float] | None, width: float | None) -> None:
    """Refuse a place that is no pair of numbers, and a width that is none or 0. Raises ValueError."""
    numbers = list(place) if isinstance(place, list | tuple) else []
    fits = len(numbers) == 2 and all(_is_number(n) and abs(n) < 2**31 for n in numbers)
    if place is not None and not fits:
        raise ValueError(f"place is {place!r}; it must be the middle of the object, x and y in pixels")
    if width is not None and not (_is_number(width) and width >= 1):
        raise ValueError(f"width is {width!r}; it must be 1 pixel or more")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def paste_object(
    photo: Photo, cut: np.ndarray, place: Sequence[float], width: float
) -> tuple[Photo, np.ndarray]:
    """Put a cut-out into a photo; where it is half transparent the photo shows through.

    Args:
        cut: uint8 `[h, w, 4]`.
        place: the middle of the cut-out, x and y in the photo's pixels; parts beyond the photo are cut off.
        width: in the photo's pixels; the height follows.

    Returns:
        The photo, every pixel outside the object as it was, and where the object is, bool `[H, W]`.

    Raises:
        ValueError: an object that is too large, or lies beside the photo.
    """
    height = max(1, round(width * cut.shape[0] / cut.shape[1]))
    width, most = max(1, round(width)), LARGEST * max(photo.size)
    if max(width, height) > most:
        raise ValueError(
            f"the object would have {width}x{height} pixels; {most} are possible in this photo. Make it smaller"
        )
    left, top = round(place[0] - width / 2), round(place[1] - height / 2)
    wide, high = photo.size
    seen = np.s_[max(top, 0) : min(top + height, high), max(left, 0) : min(left + width, wide)]
    where = np.zeros((high, wide), dtype=bool)
    if seen[0].start < seen[0].stop and seen[1].start < seen[1].stop:
        part = np.s_[seen[0].start - top : seen[0].stop - top, seen[1].start - left : seen[1].stop - left]
        colors, alpha = _resize(cut, width, height)
        colors, alpha = colors[part], alpha[part]
        where[seen] = alpha[..., 0] * 255 >= 0.5
    if not where.any():
        raise ValueError(
            f"the object lies beside the photo: its middle is at {tuple(place)}, and the photo has {wide}x{high} pixels"
        )
    rgb = photo.rgb.copy()
    mixed = alpha * colors + (1 - alpha) * as_float(rgb[seen])
    inside = where[seen]
    rgb[seen][inside] = from_float(mixed, rgb.dtype)[inside]
    return photo.recolor(rgb, where), where


def rim_of(region: np.ndarray, width: float | None = None) -> np.ndarray:
    """The rim of an object, to be filled anew so that it joins what is around it.

    Args:
        region: bool `[H, W]`.
        width: how far the rim goes to either side of the outline, in pixels; None: `RIM` of the object's size.

    Returns:
        bool `[H, W]`. Where the photo's border cuts the object off there is none.
    """
    reach = max(LEAST_RIM, RIM * math.sqrt(region.sum())) if width is None else width
    side = 2 * max(1, round(reach)) + 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    values = region.astype(np.uint8)
    grown = cv2.dilate(values, brush, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    shrunk = cv2.erode(values, brush, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return (grown > 0) & (shrunk == 0)


def _resize(cut: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours float32 `[height, width, 3]` and opacity `[height, width, 1]`, in [0, 1].

    Colours are weighed by opacity, or the hidden ones around the object would show along its outline.
    """
    alpha = as_float(cut[..., 3])
    layers = np.dstack([as_float(cut[..., :3]) * alpha[..., None], alpha])
    if (width, height) != (cut.shape[1], cut.shape[0]):
        shrinks = width <= cut.shape[1]
        layers = cv2.resize(
            layers, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
    alpha = layers[..., 3:]
    colors = np.divide(layers[..., :3], alpha, out=np.zeros_like(layers[..., :3]), where=alpha > 0)
    return np.clip(colors, 0, 1), np.clip(alpha, 0, 1)
