"""Colour guidance: colours that a user painted, and the mean colours of regions, from which the networks learn.

Thesis Section 6.3.1: colour images are painted with the mean colour of each semantic region.

| color | read as |
|---|---|
| picture with alpha, array `[H, W, 4]` | strokes where alpha > 0, no colour elsewhere |
| any other picture | its colours everywhere |
"""

import os

import numpy as np
import torch
from torch import Tensor

from facekit.images.masks import fit
from facekit.images.photo import ImageInput, as_uint8, load_image
from facekit.notes import Note


def read_color(
    color: ImageInput, size: tuple[int, int], *, name: str = "color", max_pixels: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[Note]]:
    """The colours uint8 `[H, W, 3]`, which pixels have one bool `[H, W]`, and notes for the user.

    Args:
        color: see the table at the head of this module.
        size: width and height of the photo; both results are of that size.
        name: how messages call the picture, unless it is a path.
        max_pixels: refuse larger pictures before they are decoded; None lifts the limit.

    Raises:
        FileNotFoundError, TypeError, ValueError: a picture that `load_image` refuses, or one of another aspect ratio.
    """
    label = None if isinstance(color, str | os.PathLike) else name
    picture = load_image(color, max_pixels=max_pixels, name=label)
    alpha = picture.alpha
    painted = np.ones(picture.pixels.shape[:2], dtype=bool) if alpha is None else alpha > 0
    layer = np.dstack([as_uint8(picture.rgb), np.where(painted, 255, 0).astype(np.uint8)])
    layer, notes = fit(layer, size, picture.name)
    return np.ascontiguousarray(layer[..., :3]), layer[..., 3] > 0, notes


def region_means(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Paint each region of a picture in its mean colour.

    Args:
        pixels: uint8 `[H, W, 3]`.
        labels: whole numbers `[H, W]`: all pixels with the same number are one region, wherever they lie. Pixels with
            a negative number belong to none.

    Returns:
        uint8 `[H, W, 3]`, means rounded half to even; 0 where there is no region (see `color_tensor`).

    Raises:
        ValueError: pixels or labels of another type or shape, or of different sizes.
    """
    table, region = mean_colors(pixels, labels)
    painted = np.rint(table).astype(np.uint8)[region]
    painted[np.asarray(labels) < 0] = 0
    return painted


def mean_colors(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of each region, float64 `[R, 3]` in the order of their numbers, and each pixel's row, `[H, W]`.

    Arguments and errors are those of `region_means`; negative numbers count as regions here.
    """
    labels = np.asarray(labels)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(
            f"mean colours are taken of an 8-bit RGB picture [H, W, 3], not of {pixels.dtype} {list(pixels.shape)}"
        )
    if labels.shape != pixels.shape[:2] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"the regions must be whole numbers {list(pixels.shape[:2])}, as large as the picture; got "
            f"{labels.dtype} {list(labels.shape)}"
        )
    _, region, count = np.unique(labels, return_inverse=True, return_counts=True)
    region = region.reshape(labels.shape)
    flat = region.ravel()
    sums = [np.bincount(flat, pixels[..., c].ravel(), len(count)) for c in range(3)]  # exact: whole numbers
    return np.stack(sums, 1) / count[:, None], region


def color_tensor(pixels: np.ndarray, painted: np.ndarray | None = None) -> Tensor:
    """Colours uint8 `[H, W, 3]` -> float32 `[3, H, W]` in [-1, 1].

    `painted` bool `[H, W]`: which pixels have a colour; the others become 0. None: all have one.
    """
    values = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 127.5 - 1
    return values if painted is None else values * torch.from_numpy(np.asarray(painted, dtype=np.float32))
