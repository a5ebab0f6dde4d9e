"""Put the fine structure of what was there before back into a fill: hair that gets another colour keeps its strands.

Not in the thesis, whose fills know nothing of what they cover.
"""

import cv2
import numpy as np

from facekit.faces.geometry import Box
from facekit.faces.squares import feather
from facekit.images.modes import LUMA
from facekit.images.photo import as_float, from_float
from facekit.images.tint import Tint

REACH = 0.055  # radius of the filter's windows, in shares of the square's side
# Variance of the brightness in a window below which it counts as fine structure. Hair and skin lie below, the edge
# between them above: so it stays an edge, with no halo.
FINE = 0.02
EDGE = 0.01  # width of the soft rim inside the region, in shares of the square's side
DARK = 0.08  # added to both brightnesses, so that their ratio stays tame where both are dark
CONTRAST = (0.5, 1.6)  # limits of that ratio


def keep_detail(
    before: np.ndarray, after: np.ndarray, region: np.ndarray, side: float, tint: Tint | None = None
) -> np.ndarray:
    """Colours and light of `after`, snapped to the edges of `before`, with the fine light and shade of `before` on top.

    Colours are fitted to the brightness of `before`, and what that smooths away of it is its fine structure: both by
    guided filters (He, Sun, Tang: Guided image filtering, 2010). The structure grows and shrinks with the brightness.

    Args:
        before, after: a photo `[H, W, 3]` of any depth, and its edit of the same depth.
        region: where it is put back, bool `[H, W]`; nothing else changes.
        side: of the square that the networks saw, in pixels of the photo.
        tint: the tone of a photo without colours, which stays in it.

    Returns:
        `after` with its detail, in the same depth.
    """
    radius = max(1, round(REACH * side))
    inner = Box.around_mask(region)
    if inner is None:
        return after
    height, width = region.shape
    box = Box(
        max(inner.left - 2 * radius, 0),
        max(inner.top - 2 * radius, 0),
        min(inner.right + 2 * radius, width),
        min(inner.bottom + 2 * radius, height),
    )
    inside, filled = region[box.slices], as_float(after[box.slices])
    guide = as_float(before[box.slices]) @ LUMA
    base = _fit(guide, guide[..., None], inside, radius)[..., 0]
    colors = _fit(guide, filled, inside, radius)
    light = colors @ LUMA
    detail = (guide - base) * np.clip((light + DARK) / (base + DARK), *CONTRAST)
    added = detail[..., None] if tint is None else tint.colorize(light + detail) - tint.colorize(light)
    share = feather(inside, EDGE * side)[..., None]
    result = after.copy()
    result[box.slices][inside] = from_float(filled + (colors + added - filled) * share, after.dtype)[inside]
    return result


def _fit(guide: np.ndarray, picture: np.ndarray, region: np.ndarray, radius: int) -> np.ndarray:
    """A picture float32 `[H, W, C]` as a linear function of the guide `[H, W]` in every window, by the region alone."""
    inside = region.astype(np.float32)[..., None]

    def total(values: np.ndarray) -> np.ndarray:
        window = (2 * radius + 1, 2 * radius + 1)
        return cv2.blur(values, window, borderType=cv2.BORDER_REFLECT_101).reshape(values.shape)

    count = np.maximum(total(inside), 1e-6)

    def mean(values: np.ndarray) -> np.ndarray:
        return total(values * inside) / count

    guide = guide[..., None]
    center, level = mean(guide), mean(picture)
    variance = mean(guide * guide) - center * center
    slope = (mean(guide * picture) - center * level) / (variance + FINE)
    return mean(slope) * guide + mean(level - slope * center)
