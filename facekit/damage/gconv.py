"""Free-form masks of gated convolution with rectangles of two sizes, as EXE-GAN trains on (thesis 5.2.5)."""

import math

import cv2
import numpy as np

from facekit.damage.holes import Rng, Size, draw_integer, generator_from, height_and_width

NARROWEST = 10  # pixels: the thinnest brush, unless max_width is below


def gconv_mask(
    size: Size = 256,
    rng: Rng = None,
    *,
    large_rectangles: int = 5,
    small_rectangles: int = 10,
    large_side: int | None = None,
    small_side: int | None = None,
    strokes: int = 10,
    max_vertices: int = 20,
    max_length: int = 100,
    max_width: int = 24,
) -> np.ndarray:
    """Brush strokes and rectangles; defaults are the thesis's.

    The published script: 4 large and 9 small rectangles, with sides below 128 and 64 whatever the picture's size.

    Args:
        size: side or `(height, width)` in pixels, at least 2.
        rng: seed or random generator.
        large_rectangles, small_rectangles: at most so many, uniform from 0.
        large_side, small_side: their sides are below so many pixels; None: half and a quarter of the picture.
        strokes: so many lines of 0 to `max_vertices` pieces.
        max_length, max_width: of a piece, in pixels; widths are even.

    Returns:
        `uint8 [H, W]`, 1 = hole.

    Raises:
        ValueError: bad size or counts, or rectangles larger than the picture.
    """
    height, width = height_and_width(size)
    counts = {"large_rectangles": large_rectangles, "small_rectangles": small_rectangles, "strokes": strokes}
    counts |= {"max_vertices": max_vertices, "max_length": max_length, "max_width": max_width}
    wrong = [f"{name} {value}" for name, value in counts.items() if value < 0]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: counts and lengths of a mask start at 0")
    sides = []
    for side, share in ((large_side, 2), (small_side, 4)):
        limits = (height // share, width // share) if side is None else (side, side)
        if limits[0] > height or limits[1] > width:
            raise ValueError(f"rectangles of up to {side} pixels do not fit into a {height}x{width} mask")
        sides.append(limits)
    rng = generator_from(rng)
    mask = np.zeros((height, width), np.uint8)
    few = draw_integer(rng, 0, small_rectangles + 1)
    for count, limits in zip((draw_integer(rng, 0, large_rectangles + 1), few), sides, strict=True):
        for _ in range(count):
            h, w = (draw_integer(rng, 0, limit) for limit in limits)
            top, left = draw_integer(rng, 0, height - h), draw_integer(rng, 0, width - w)
            mask[top : top + h, left : left + w] = 1
    for _ in range(strokes):
        _stroke(mask, rng, max_vertices, max_length, max_width)
    return mask


def _stroke(
    mask: np.ndarray,
    rng: np.random.Generator | np.random.RandomState,
    max_vertices: int,
    max_length: int,
    max_width: int,
) -> None:
    """Draw one zigzag line into the mask."""
    height, width = mask.shape
    count = draw_integer(rng, 0, max_vertices + 1)
    y, x = draw_integer(rng, 0, height), draw_integer(rng, 0, width)
    brush = 0
    for i in range(count):
        angle = math.radians(draw_integer(rng, 0, 361))
        angle = 2 * math.pi - angle if i % 2 == 0 else angle
        length = draw_integer(rng, 0, max_length + 1)
        brush = max(draw_integer(rng, min(NARROWEST, max_width), max_width + 1) // 2 * 2, 1)
        end_y = int(np.clip(y + length * math.cos(angle), 0, height - 1))
        end_x = int(np.clip(x + length * math.sin(angle), 0, width - 1))
        cv2.line(mask, (x, y), (end_x, end_y), 1, brush)
        cv2.circle(mask, (x, y), brush // 2, 1, 1)
        y, x = end_y, end_x
    cv2.circle(mask, (x, y), brush // 2, 1, 1)
