"""Bring back the contrast that a photo has lost by fading."""

import numpy as np

from facekit.images.modes import LUMA
from facekit.images.photo import as_float, from_float
from facekit.images.tint import Tint

# Percentiles of the luminance that become black and white. Specks and glints lie beyond.
DARK, LIGHT = 0.5, 99.5
MOST_GAIN = 4.0  # a photo of next to nothing does not become noise
SAMPLES = 500_000  # pixels by which the percentiles are judged
ROWS = 256  # worked on at once


def measure_range(rgb: np.ndarray, visible: np.ndarray | None = None) -> tuple[float, float]:
    """The luminances 0..1 of a photo `[H, W, 3]` that are to become black and white.

    Args:
        rgb: of any depth.
        visible: which pixels count, bool `[H, W]`; None: all.
    """
    step = max(1, int(np.sqrt(rgb[..., 0].size / SAMPLES)))
    colors = as_float(rgb[::step, ::step]).reshape(-1, 3)
    if visible is not None and visible[::step, ::step].any():
        colors = colors[visible[::step, ::step].ravel()]
    dark, light = np.percentile(colors @ LUMA, (DARK, LIGHT))
    missing = 1 / MOST_GAIN - (light - dark)
    if missing > 0:  # widened about its middle, but not beyond black and white
        dark, light = dark - missing / 2, light + missing / 2
        shift = max(0.0, -dark) - max(0.0, light - 1)
        dark, light = dark + shift, light + shift
    return float(dark), float(light)


def stretch_contrast(
    rgb: np.ndarray, contrast: float, tint: Tint | None = None, visible: np.ndarray | None = None
) -> np.ndarray:
    """Stretch a photo's luminances over the range from black to white.

    Every channel is stretched alike, so that a cast of colour stays as it is in proportion to all else; a photo of one
    tone keeps the colour that it has at each luminance.

    Args:
        rgb: `[H, W, 3]` of any depth.
        contrast: 0 (as it is) to 1 (from black to white).
        tint: the photo's tone; None for one in colour.
        visible: which pixels are to judge the range by, bool `[H, W]`; None: all.

    Returns:
        `[H, W, 3]` of the same depth.
    """
    dark, light = measure_range(rgb, visible)
    gain = 1 + contrast * (1 / (light - dark) - 1)
    shift = -contrast * dark / (light - dark)
    stretched = np.empty_like(rgb)
    for top in range(0, len(rgb), ROWS):
        rows = slice(top, top + ROWS)
        colors = as_float(rgb[rows])
        if tint is None:
            colors = colors * np.float32(gain) + np.float32(shift)
        else:
            # A stamp in red on a gray photo, lips that were coloured by hand, keep their colours.
            foreign = tint.find_strangers(colors)[..., None]
            toned = tint.colorize(np.clip((colors @ LUMA) * np.float32(gain) + np.float32(shift), 0, 1))
            colors = np.where(foreign, colors * np.float32(gain) + np.float32(shift), toned)
        stretched[rows] = from_float(np.clip(colors, 0, 1), rgb.dtype)
    return stretched
