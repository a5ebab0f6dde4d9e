"""Photos without colours of their own: what networks draw into them takes their tone.

Networks that learnt from photos in colour put some colour into everything. In a black-and-white photo, gray or toned
(sepia, blueprint, evenly yellowed), each luminance has one colour. What is drawn there keeps its luminance and takes
the colour that the photo has for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facekit.images.modes import LUMA
from facekit.images.photo import Photo, as_float

# Longer side of the copies on which photos and squares are judged; noise and compression are averaged out in them.
PHOTO_SIDE, SQUARE_SIDE = 128, 32
LEVELS = 33  # luminances at which a tone is measured
# Colours are those of a tone where 98% of them differ by no more than 4 levels and a fifth of the tone's own range
# (compression and soft edges leave errors in proportion to it). Measured: gray and toned photos with noise of 6 levels
# or as JPEG 75 lie within, the astronaut lies beyond even at a tenth of its saturation.
TOLERANCE, RANGE_SHARE, STRAY = 4 / 255, 0.2, 0.02
# Scratches, dust and rubbed places are paler than the tone, or white. A photo with so many of them is toned where
# hardly anything else is beyond the tone. Measured on 26 portraits in faded sepia with twice the usual scratches and
# dust: 25 are toned (by `STRAY` alone 18); of 40 in colour none is, also those that have one hue.
PALE, STRAY_IN_PALE = 0.1, 0.002
LEAST_SHRINK = 4
# Near black and white no photo shows colour. What can be seen beside a hole tells enough where this share of the photo
# lies between, over such a range of luminances.
MIDDLE, EVIDENCE, EVIDENT_RANGE = (0.1, 0.9), 0.05, 0.25
GRAY = 1.5 / 255  # a tone fainter than this is rounding
PAINT_EDGE = 1 / 64  # of a square's side: how softly painted colours end


@dataclass(frozen=True)
class Tint:
    """The tone of a photo.

    Attributes:
        offsets: float32 `[LEVELS, 3]`, colour minus luminance at the luminances 0 to 1.
    """

    offsets: np.ndarray

    def colorize(self, luminance: np.ndarray) -> np.ndarray:
        """Luminances float32 `[...]` in [0, 1] as colours float32 `[..., 3]` in [0, 1]."""
        if not self.offsets.any():
            return np.repeat(luminance[..., None], 3, axis=-1)
        levels = np.linspace(0, 1, LEVELS)
        channels = [luminance + np.interp(luminance, levels, self.offsets[:, c]) for c in range(3)]
        return np.clip(np.stack(channels, axis=-1), 0, 1).astype(np.float32)

    @property
    def tolerance(self) -> float:
        """How far colours may lie off the tone."""
        return TOLERANCE + RANGE_SHARE * float(np.ptp(self.offsets, axis=0).max())

    def find_strangers(self, colors: np.ndarray) -> np.ndarray:
        """Which colours float32 `[..., 3]` in [0, 1] the tone does not have, bool `[...]`."""
        return np.abs(colors - self.colorize(colors @ LUMA)).max(axis=-1) > self.tolerance

    def find_hues(self, colors: np.ndarray) -> np.ndarray:
        """Which colours float32 `[..., 3]` in [0, 1] are neither the tone's nor paler, down to gray, bool `[...]`."""
        luminance = colors @ LUMA
        own, tone = colors - luminance[..., None], self.colorize(luminance) - luminance[..., None]
        along, length = (own * tone).sum(axis=-1), np.square(tone).sum(axis=-1)
        share = np.clip(along / np.maximum(length, 1e-12), 0, 1)[..., None]
        return np.abs(own - share * tone).max(axis=-1) > self.tolerance

    def fits(self, colors: np.ndarray) -> bool:
        """Whether colours float32 `[N, 3]` in [0, 1] are those of the tone, but for a few, or for pale damage."""
        if not len(colors):
            return True
        strange = float(self.find_strangers(colors).mean())
        return strange <= STRAY or (strange <= PALE and float(self.find_hues(colors).mean()) <= STRAY_IN_PALE)


def find_tint(photo: Photo, hole: np.ndarray | None = None) -> Tint | None:
    """The tone of a photo without colours, None for one in colour.

    What the hole bool `[H, W]` hides is looked at only where the rest is too little or too plain to tell: scribbles on
    a black-and-white photo do not make it colourful, nor does a plain gray wall round a face make a photo colourless.
    """
    visible = np.ones(photo.pixels.shape[:2], dtype=bool) if hole is None else ~hole
    alpha = photo.alpha
    if alpha is not None:
        visible &= alpha > 0
    colors, seen = _shrink(photo.rgb, visible, PHOTO_SIDE)
    for part, least_range in ((colors[seen], EVIDENT_RANGE), (colors.reshape(-1, 3), 0)):
        luminance = part @ LUMA
        middle = luminance[(luminance > MIDDLE[0]) & (luminance < MIDDLE[1])]
        if len(middle) >= EVIDENCE * seen.size and np.ptp(np.percentile(middle, (5, 95))) >= least_range:
            tint = _measure(part, luminance)
            return tint if tint.fits(part) else None
    return None


def find_tints(
    photo: Photo, hole: np.ndarray | None, squares: Sequence[tuple[np.ndarray, np.ndarray | None]]
) -> list[Tint | None]:
    """The tone that each square cut from a photo has to keep; None where it shows colour, or the photo does.

    Args:
        photo: as it came.
        hole: what is filled, bool `[H, W]`; None where nothing is hidden.
        squares: what the networks see, float32 `[S, S, 3]` in [0, 1], and the hole in it, bool `[S, S]` or None.
    """
    tint = find_tint(photo, hole) if squares else None
    if tint is None:
        return [None] * len(squares)
    return [tint if suits(tint, image, own) else None for image, own in squares]


def suits(tint: Tint, image: np.ndarray, hole: np.ndarray | None) -> bool:
    """Whether a square float32 `[S, S, 3]` in [0, 1] cut from a photo of that tone shows no other colours.

    Of a wide gray scene a small face in colour is next to nothing, of its own square it is not. A scratch across the
    face is no colour. `hole` bool `[S, S]`: what does not count.
    """
    visible = np.ones(image.shape[:2], dtype=bool) if hole is None else ~hole
    colors, seen = _shrink(image, visible, SQUARE_SIDE)
    return not seen.any() or float(tint.find_hues(colors[seen]).mean()) <= STRAY


def apply_tint(picture: np.ndarray, tint: Tint | None, painted: np.ndarray | None = None) -> np.ndarray:
    """Give a square float32 `[S, S, 3]` in [0, 1] the photo's tone; with None it stays as it is.

    `painted` bool `[S, S]`: where colours were asked for, which stay.
    """
    if tint is None:
        return picture
    toned = tint.colorize(picture @ LUMA)
    if painted is None or not painted.any():
        return toned
    weight = cv2.GaussianBlur(painted.astype(np.float32), (0, 0), PAINT_EDGE * picture.shape[0])[..., None]
    return toned + (picture - toned) * weight


def _shrink(rgb: np.ndarray, visible: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours float32 `[h, w, 3]` of a picture's parts, and which of these are wholly visible bool `[h, w]`."""
    height, width = visible.shape
    shrink = min(side / max(height, width), 1 / LEAST_SHRINK)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    colors = as_float(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    hidden = cv2.resize(np.where(visible, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    return colors, hidden == 0


def _measure(colors: np.ndarray, luminance: np.ndarray) -> Tint:
    """The median colour at each luminance, of colours float32 `[N, 3]`: that of the print, not of what covers it."""
    places = np.rint(np.clip(luminance, 0, 1) * (LEVELS - 1)).astype(np.intp)
    own = colors - luminance[:, None]
    near = [np.abs(places - level) <= 1 for level in range(LEVELS)]
    known = [level for level in range(LEVELS) if near[level].any()]
    medians = np.array([np.median(own[near[level]], axis=0) for level in known])
    medians -= (medians @ LUMA)[:, None]  # of each channel alone, they could change the luminance together
    channels = [np.interp(np.arange(LEVELS), known, medians[:, channel]) for channel in range(3)]
    offsets = np.stack(channels, axis=-1).astype(np.float32)
    return Tint(np.zeros_like(offsets) if np.abs(offsets).max() < GRAY else offsets)
