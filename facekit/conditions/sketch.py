"""Sketches of faces: the pencil filter that makes training sketches from photos, and strokes for the networks.

Thesis Section 5.4.3 names the filter (that of pSp's data script). It is written out in whole numbers, so that
sketches are the same on every machine.
"""

import numpy as np

# 8-bit weights of red, green and blue in grey, of 32768.
GREY = (9798, 19235, 3735)
STROKE_BELOW = 128  # darker pixels of a sketch are strokes


def grey_picture(rgb: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` -> grey uint8 `[H, W]`; ValueError for anything else, or sides below 2 pixels."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or min(rgb.shape[:2]) < 2:
        raise ValueError(
            f"a sketch is made of an 8-bit RGB picture [H, W, 3], not of {rgb.dtype} {list(rgb.shape)}"
        )
    total = sum(weight * rgb[..., c].astype(np.int32) for c, weight in enumerate(GREY))
    return ((total + 16384) >> 15).astype(np.uint8)


def smooth(grey: np.ndarray) -> np.ndarray:
    """uint8 `[H, W]` blurred with (1 2 1) / 4 along both axes, rounded; borders are reflected."""
    total = _weighted(_weighted(grey.astype(np.int32), (1, 2, 1), 0), (1, 2, 1), 1)
    return ((total + 8) >> 4).astype(np.uint8)


def pencil_sketch(rgb: np.ndarray) -> np.ndarray:
    """Photo -> pencil sketch, dark strokes on white.

    The Sobel gradients of the smoothed grey picture in x and y, each clipped to 0..255 and joined bit by bit, plus
    the same of the inverted picture; both weigh 0.75.

    Args:
        rgb: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W]`.

    Raises:
        ValueError: another kind of picture.
    """
    grey = smooth(grey_picture(rgb)).astype(np.int32)
    across = _weighted(_weighted(grey, (1, 2, 1), 0), (-1, 0, 1), 1)
    down = _weighted(_weighted(grey, (1, 2, 1), 1), (-1, 0, 1), 0)
    rising = np.clip(across, 0, 255) | np.clip(down, 0, 255)
    falling = np.clip(-across, 0, 255) | np.clip(-down, 0, 255)
    # In quarters, as 0.75 is not whole; halves go to the even number.
    edge = np.minimum(np.rint((3 * rising + 3 * falling) / 4), 255)
    return (255 - edge).astype(np.uint8)


def sketch_strokes(sketch: np.ndarray) -> np.ndarray:
    """Pencil sketch uint8 `[H, W]` -> what networks take: uint8 `[H, W]`, 1 = stroke."""
    return (sketch < STROKE_BELOW).astype(np.uint8)


def thin_strokes(strokes: np.ndarray, size: int, vertical_only: bool = False) -> np.ndarray:
    """Strokes uint8 `[H, W]` eroded with a square of `size` pixels; the picture's border takes nothing away.

    `vertical_only` erodes along columns alone, as the authors' trainer in effect did. ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"strokes are thinned by a square of at least 1 pixel, got {size}")
    for axis in (0,) if vertical_only else (0, 1):
        reach = (size // 2, size - 1 - size // 2)
        padded = np.pad(strokes, (reach, (0, 0)) if axis == 0 else ((0, 0), reach), constant_values=1)
        strokes = np.lib.stride_tricks.sliding_window_view(padded, size, axis).min(-1)
    return strokes


def _weighted(x: np.ndarray, taps: tuple[int, int, int], axis: int) -> np.ndarray:
    """Each pixel's sum over itself and its two neighbours; borders are reflected without their own pixel."""
    padded = np.pad(x, ((1, 1), (0, 0)) if axis == 0 else ((0, 0), (1, 1)), mode="reflect")
    height, width = x.shape
    parts = [
        weight * (padded[i : i + height] if axis == 0 else padded[:, i : i + width])
        for i, weight in enumerate(taps)
        if weight
    ]
    return sum(parts)
