"""Affine resampling of picture patches: the one place where the pixels of `facekit.faces` move.

Pixel `(x, y)` has its centre at the whole numbers `(x, y)`; a picture of width W spans x from -0.5 to W -
0.5.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

# Side of the cells in which photos are worked on: small enough for the processor's cache.
TILE = 512


class Box(NamedTuple):
    """Half-open rectangle in whole pixels: columns left..right, rows top..bottom."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around_points(cls, points: np.ndarray, height: int, width: int, margin: int = 0) -> "Box":
        """The smallest box around `points` [N, 2] and `margin` pixels more, cut to a picture of that size."""
        low, high = np.floor(points.min(axis=0)) - margin, np.ceil(points.max(axis=0)) + margin + 1
        left, right = (int(np.clip(value, 0, width)) for value in (low[0], high[0]))
        top, bottom = (int(np.clip(value, 0, height)) for value in (low[1], high[1]))
        return cls(left, top, right, bottom)

    @classmethod
    def around_mask(cls, mask: np.ndarray) -> "Box | None":
        """The smallest box around the True pixels of `[H, W]`, None where there are none."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows) == 0:
            return None
        return cls(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

    @property
    def side(self) -> int:
        """The longer side."""
        return max(self.right - self.left, self.bottom - self.top)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an array `[H, W]`."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def union(self, other: "Box") -> "Box":
        """The smallest box around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def intersection(self, other: "Box") -> "Box | None":
        """The pixels that both have, None where there are none."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, right, bottom) if left < right and top < bottom else None


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine `matrix` [2, 3] to `points` [N, 2], giving [N, 2]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """Inverse [2, 3] of an affine map [2, 3]."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def shift_target(matrix: np.ndarray, x: int, y: int) -> np.ndarray:
    """The map for a target window that starts at pixel (x, y) of the target that `matrix` was made for."""
    return np.concatenate(
        [matrix[:, :2], transform_points(matrix, np.array([[x, y]], dtype=float)).T], axis=1
    )


def tiles(box: Box, side: int = TILE) -> Iterator[Box]:
    """The cells of the fixed grid of `side` pixels that touch `box`, cut to it."""
    for top in range(box.top - box.top % side, box.bottom, side):
        for left in range(box.left - box.left % side, box.right, side):
            cell = box.intersection(Box(left, top, left + side, top + side))
            if cell is not None:
                yield cell


def sample_nearest(source: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Nearest source pixel for every target pixel, zero where the source ends; values kept exactly.

    Args:
        source: [H, W] or [H, W, C].
        matrix: [2, 3], target pixel -> source pixel.
        width, height: target size.

    Returns:
        [height, width] or [height, width, C] in the dtype of `source`.
    """
    x, y = _target_grid(matrix, width, height)
    column, row = np.rint(x).astype(np.int32), np.rint(y).astype(np.int32)
    inside = (column >= 0) & (row >= 0) & (column < source.shape[1]) & (row < source.shape[0])
    out = np.zeros((height, width, *source.shape[2:]), dtype=source.dtype)
    out[inside] = source[row[inside], column[inside]]
    return out


def resample(
    source: np.ndarray,
    matrix: np.ndarray,
    width: int,
    height: int,
    *,
    border: str = "reflect",
    kernel: str = "area",
) -> np.ndarray:
    """Smooth resampling without aliasing; works on the part of `source` that the target covers, and no more.

    Shrinking: the neighbourhood is reduced by area averaging first, then warped on a grid finer than the
    source and averaged down. Enlarging: cubic interpolation.

    Args:
        source: [H, W] or [H, W, C up to 4], real numbers of any dtype.
        matrix: [2, 3], target pixel -> source pixel, a similarity.
        width, height: target size.
        border: "reflect" mirrors the picture at its edges, "zero" continues it with zeros.
        kernel: how the finer grid is averaged when shrinking: "area" (no weight is negative) or "lanczos"
            (sharper, and lets less of the finest stripes through).

    Returns:
        float32 [height, width] or [height, width, C], in the value range of the covered part.
    """
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])
    margin = 3 + math.ceil(2 * max(scale, 1.0))
    box = Box.around_points(transform_points(matrix, corners), source.shape[0], source.shape[1], margin)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("the region to resample lies wholly outside the picture")
    patch = _as_opencv(source[box[1] : box[3], box[0] : box[2]])
    to_patch = matrix - np.array([[0, 0, box[0]], [0, 0, box[1]]])

    factor = math.floor(scale / 2)
    if factor > 1:
        reduced = (math.ceil(patch.shape[1] / factor), math.ceil(patch.shape[0] / factor))
        ratio = np.array([[reduced[0] / patch.shape[1]], [reduced[1] / patch.shape[0]]])
        patch = cv2.resize(patch, reduced, interpolation=cv2.INTER_AREA)
        to_patch = to_patch * ratio
        to_patch[:, 2:] += 0.5 * ratio - 0.5
        scale /= factor

    # From here on the patch is of the target's order of size, whatever the photo measures.
    patch = patch.astype(np.float32, copy=False)
    finer = max(1, math.ceil(scale - 1e-3))
    to_patch[:, 2] += to_patch[:, :2].sum(axis=1) * (0.5 / finer - 0.5)
    to_patch[:, :2] /= finer
    flags = (cv2.INTER_CUBIC if finer == 1 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    mode = cv2.BORDER_REFLECT_101 if border == "reflect" else cv2.BORDER_CONSTANT
    if min(patch.shape[:2]) < 2 and mode == cv2.BORDER_REFLECT_101:
        mode = cv2.BORDER_REPLICATE
    out = cv2.warpAffine(patch, to_patch, (width * finer, height * finer), flags=flags, borderMode=mode)
    if finer > 1:
        out = _shrink(out, width, height, kernel)
    # Cubic and Lanczos kernels overshoot at edges.
    low, high = float(patch.min()), float(patch.max())
    out = np.clip(out, min(low, 0.0), max(high, 0.0)) if border == "zero" else np.clip(out, low, high)
    return out.reshape(height, width, *source.shape[2:])


def target_coordinates(matrix: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Images x, y (float32 [h, w] each) of the pixels of `box` under `matrix`."""
    return _target_grid(shift_target(matrix, box[0], box[1]), box[2] - box[0], box[3] - box[1])


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 values rounded and clipped to an integer dtype; a plain cast for floating dtypes."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype, copy=False)


def smoothstep(values: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and a soft rise between."""
    values = np.clip(values, 0, 1)
    return values * values * (3 - 2 * values)


def _target_grid(matrix: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = np.arange(width)[None], np.arange(height)[:, None]
    x, y = (row[0] * columns + row[1] * rows + row[2] for row in matrix)
    return x.astype(np.float32), y.astype(np.float32)


def _shrink(picture: np.ndarray, width: int, height: int, kernel: str) -> np.ndarray:
    if kernel == "area":
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS))
        for plane in (picture[:, :, None] if picture.ndim == 2 else picture).transpose(2, 0, 1)
    ]
    return np.stack(planes, axis=2)


def _as_opencv(patch: np.ndarray) -> np.ndarray:
    if patch.dtype not in (np.uint8, np.uint16, np.float32):
        patch = patch.astype(np.float32)
    packed = patch.ndim == 2 or patch.strides[1] == patch.shape[2] * patch.itemsize
    return patch if packed and patch.strides[-1] == patch.itemsize else np.ascontiguousarray(patch)
