"""An invisible mark in the pixels that a model made, and its detector, which needs no original.

The mark is a fixed band-limited noise pattern, faint in the luma and a little stronger in the blue-yellow chroma,
where neither eye nor JPEG looks closely (spread spectrum after Cox et al., Secure spread spectrum watermarking for
multimedia, IEEE TIP 1997). It is laid over the picture in fractions of the picture's longer side, so that resizing
stretches picture and pattern alike: the detector brings a picture to a few sizes that are powers of two, and at one of
them the pattern lies where it was drawn.

Why not a library: the mark must stay inside the edited region, which may be a mouth, and every pixel outside it must
keep its numbers. `invisible-watermark` 0.2.0 (the last one, of 2023; needs torch and a second OpenCV) spreads a message
over a whole picture of at least 256 x 256 pixels. On aligned faces its dwtDctSvd reads at most one of 32 bits wrong
after JPEG 75, and half of them, which is nothing, after enlarging by a fifth; its dwtDct reads up to 14 bits wrong
from the untouched file. `trustmark` marks whole pictures with networks that it downloads. `benchmarks/watermark.py`
measures this mark.

Measured on 100 sharp faces of 256 x 256: a whole and a half face are found again always (JPEG 75, 20% smaller or
larger, smaller and JPEG), a hole over the mouth in 86% after JPEG 75, 99% after resizing, 28% after both; none of 2,200
unmarked pictures was taken for marked. PSNR of the whole picture 41.9, 44.6 and 48.5 dB.

What it does not do: it carries no message, a cropped picture or one shrunk to less than 0.71 of its size can lose it
(the pattern no longer lies where it is sought), and whoever reads this file can remove it. It labels the pictures of
honest people and proves nothing about others.
"""

import functools
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from facekit.images.modes import LUMA
from facekit.images.photo import as_float, from_float

Plane = Literal["luma", "chroma"]

TILE = 128  # the pattern repeats after so many cells of the grid that it is laid on
# Cycles a cell: coarser than this is hidden under the face, finer does not survive JPEG and halving.
BANDS: dict[Plane, tuple[float, float]] = {"luma": (0.05, 0.15), "chroma": (0.03, 0.12)}
# Root mean square in gray levels; together 41 dB inside the region. Gray pictures have the luma alone.
STRENGTH: dict[Plane, float] = {"luma": 0.9, "chroma": 2.0}
GRAY_STRENGTH = 2.0
MOST_NOISE = 2.4  # gray levels over the whole picture: 40.5 dB
REGION_CELLS = (
    256  # a region's side on the grid: larger ones have a coarser pattern, which survives shrinking
)
SMALL_CELLS = 128**2  # regions of fewer cells are marked more strongly, in proportion to their side
MOST_GAIN = 2.5
# A smooth place shows the mark and needs less of it; where the picture itself moves this much in the mark's band (gray
# levels), or more, the mark has its full strength.
TEXTURE: dict[Plane, float] = {"luma": 4.0, "chroma": 1.0}
SMOOTH_SHARE = 0.75
FIRST_SIZE, LAST_SIZE = 7, 13  # grids of 2**7 to 2**13 cells along the longer side
WINDOWS = (
    (24, 48),
    (32, 64),
    (40, 80),
    (48, 48),
    (48, 96),
    (64, 64),
    (96, 96),
    (128, 128),
    (192, 192),
    (256, 256),
)
BLOCK = 1024  # cells a side that are looked at together, so that memory does not grow with the picture
FLOOR = 0.7  # gray levels: flat regions are not magnified beyond this
LIMIT = 1.5  # in units of the local deviation: an edge counts no more than this
FALSE_ALARMS = 1e-4  # a picture
CELLS_A_TRIAL = 64  # windows nearer to each other see the same
CHROMA_TO_RGB = np.array([0.0, -0.344136, 1.772], dtype=np.float32)  # Cb of JFIF
RGB_TO_CHROMA = np.array([-0.168736, -0.331264, 0.5], dtype=np.float32)


@dataclass(frozen=True)
class Mark:
    """The result of the detector.

    Attributes:
        found: the score reaches the threshold.
        score: how far the strongest window stands out, in standard deviations of an unmarked picture's windows.
        threshold: chosen by the picture's size so that about one unmarked picture in 10,000 reaches it.
        box: left, top, right, bottom of that window in pixels; it lies over a part of the marked region.
    """

    found: bool
    score: float
    threshold: float
    box: tuple[int, int, int, int]


def mark(rgb: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Draw the mark where a picture was edited.

    Args:
        rgb: `[H, W, 3]`, uint8, uint16, or floating in [0, 1].
        where: bool `[H, W]`, the edited pixels.

    Returns:
        A copy of the same type; pixels outside `where` keep their numbers, and the whole picture differs by less
        than 1/100 of the range, root mean square (over 40 dB).

    Raises:
        ValueError: shapes that do not fit.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or where.shape != rgb.shape[:2]:
        raise ValueError(
            f"a mark needs a picture [H, W, 3] and its mask [H, W], got {list(rgb.shape)} and {list(where.shape)}"
        )
    out = rgb.copy()
    regions = list(_regions(where))
    gray = all(bool((patch == patch[..., :1]).all()) for patch in (rgb[region.slices] for region in regions))
    changes, power = [], 0.0
    for region in regions:
        change = _draw(rgb[region.slices], region, gray)
        change *= region.inside[..., None]
        power += float(np.dot(change.ravel(), change.ravel()))
        changes.append(change)
    share = min(1.0, MOST_NOISE / math.sqrt(max(power / (3 * where.size), 1e-12)))
    for region, change in zip(regions, changes, strict=True):
        change *= np.float32(share / 255)
        change += as_float(rgb[region.slices])
        np.copyto(out[region.slices], from_float(change, rgb.dtype), where=region.inside[..., None])
    return out


def detect(rgb: np.ndarray) -> Mark:
    """Look for the mark in a picture `[H, W, 3]`, uint8, uint16, or floating in [0, 1], resized or compressed or not.

    Raises ValueError for another shape.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"the detector needs a picture [H, W, 3], got {list(rgb.shape)}")
    height, width = rgb.shape[:2]
    longer = max(height, width)
    last = min(max(FIRST_SIZE, math.ceil(math.log2(longer))), LAST_SIZE)
    best, place, cells = 0.0, (0, 0, width, height), 0
    for size in range(FIRST_SIZE, last + 1):
        scale = 2**size / longer
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        cells += shape[0] * shape[1]
        for score, (left, top, right, bottom) in _scores(_resize(rgb, shape)):
            if score > best:
                best = score
                fit_x, fit_y = width / shape[1], height / shape[0]
                place = (
                    *(math.floor(left * fit_x), math.floor(top * fit_y)),
                    *(math.ceil(right * fit_x), math.ceil(bottom * fit_y)),
                )
    threshold = _threshold(cells)
    return Mark(best >= threshold, round(best, 2), round(threshold, 2), place)


@functools.cache
def _pattern(plane: Plane) -> np.ndarray:
    """The tile float32 `[TILE, TILE]`: all waves of the band, equally strong, in phases of a fixed hash."""
    digest = hashlib.shake_256(f"facekit {plane} mark 1".encode()).digest(4 * TILE * TILE)
    phases = np.frombuffer(digest, dtype="<u4").reshape(TILE, TILE) / 2.0**32
    frequency = np.fft.fftfreq(TILE)
    radius = np.hypot(frequency[:, None], frequency[None])
    low, high = BANDS[plane]
    waves = np.exp(2j * np.pi * phases) * ((radius >= low) & (radius <= high))
    tile = np.fft.ifft2(waves).real
    return (tile / tile.std()).astype(np.float32)


def _lay_pattern(plane: Plane, scale: float, left: int, top: int, shape: tuple[int, ...]) -> np.ndarray:
    """The pattern float32 `[h, w]` for the pixels from (left, top) on, at `scale` cells a pixel."""
    columns = (np.arange(left, left + shape[1], dtype=np.float64) + 0.5) * scale - 0.5
    rows = (np.arange(top, top + shape[0], dtype=np.float64) + 0.5) * scale - 0.5
    border = 4  # cubic interpolation reads two neighbours
    tile = np.pad(_pattern(plane), border, mode="wrap")
    # remap has no more than 32767 columns; the strips also bound the memory of the coordinates
    parts = []
    for start in range(0, shape[0], 256):
        x, y = np.meshgrid(columns % TILE + border, rows[start : start + 256] % TILE + border)
        parts.append(cv2.remap(tile, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC))
    return np.concatenate(parts)


def _shares(patch: np.ndarray, scale: float, gain: float) -> list[np.ndarray]:
    """How strong the mark may be at each pixel, float32 `[h, w]` up to `gain`, for luma and chroma."""
    height, width = patch.shape[:2]
    cells = _resize(patch, (max(2, round(height * scale)), max(2, round(width * scale))))
    cells = as_float(cells) * np.float32(255)
    shares = []
    planes: dict[Plane, np.ndarray] = {"luma": cells @ LUMA, "chroma": cells @ RGB_TO_CHROMA}
    for plane, values in planes.items():
        texture = np.sqrt(cv2.GaussianBlur(np.square(_band_pass(values, *BANDS[plane])), (0, 0), 4))
        share = np.clip(texture / TEXTURE[plane], SMOOTH_SHARE * math.sqrt(gain), gain)
        shares.append(cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR))
    return shares


@dataclass(frozen=True)
class _Region:
    """A separate part of an edit.

    Attributes:
        left, top: its box's corner in the picture.
        inside: bool `[h, w]`, its pixels in its box.
        scale: cells of the grid a pixel.
        gain: how much more strongly it is marked because it is small.
    """

    left: int
    top: int
    inside: np.ndarray
    scale: float
    gain: float

    @property
    def slices(self) -> tuple[slice, slice]:
        height, width = self.inside.shape
        return np.s_[self.top : self.top + height, self.left : self.left + width]


def _regions(where: np.ndarray) -> Iterator[_Region]:
    """The separate regions of the edit `[H, W]`, each alone in its box."""
    window = _box(where)
    if window is None:
        return
    inside, longer = where[window], max(where.shape)
    height, width = inside.shape
    step = max(1, -(-max(height, width) // 512))
    coarse = np.logical_or.reduceat(inside, np.arange(0, height, step), axis=0)
    coarse = np.logical_or.reduceat(coarse, np.arange(0, width, step), axis=1).astype(np.uint8)
    # Pixels that an edit happened to leave as they were must not cut a region to pieces.
    coarse = cv2.morphologyEx(coarse, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(coarse, connectivity=8)
    for label in range(1, count):
        x, y, columns, rows = (int(value) for value in boxes[label][:4])
        blocks = labels[y : y + rows, x : x + columns] == label
        around = np.s_[y * step : (y + rows) * step, x * step : (x + columns) * step]
        part = inside[around]
        part = part & np.repeat(np.repeat(blocks, step, 0), step, 1)[: part.shape[0], : part.shape[1]]
        box = _box(part)
        if box is None:
            continue
        part = part[box]
        area = int(np.count_nonzero(part))
        pixels_a_cell = max(1.0, math.sqrt(area) / REGION_CELLS)
        size = math.ceil(math.log2(longer / pixels_a_cell) - 0.5)
        scale = 2 ** min(max(size, FIRST_SIZE), LAST_SIZE) / longer
        gain = round(min(max(math.sqrt(SMALL_CELLS / (area * scale**2)), 1.0), MOST_GAIN), 2)
        yield _Region(
            window[1].start + x * step + box[1].start,
            window[0].start + y * step + box[0].start,
            part,
            scale,
            gain,
        )


def _box(where: np.ndarray) -> tuple[slice, slice] | None:
    """The smallest window around the True pixels of `[H, W]`, None where there are none."""
    rows = np.flatnonzero(where.any(1))
    if len(rows) == 0:
        return None
    band = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(where[band].any(0))
    return band, slice(int(columns[0]), int(columns[-1]) + 1)


def _draw(patch: np.ndarray, region: _Region, gray: bool) -> np.ndarray:
    """The mark float32 `[h, w, 3]` in gray levels for the pixels of a region's box."""
    luma_share, chroma_share = _shares(patch, region.scale, region.gain)
    where = (region.scale, region.left, region.top, region.inside.shape)
    luma = _lay_pattern("luma", *where)
    luma *= luma_share
    luma *= np.float32(GRAY_STRENGTH if gray else STRENGTH["luma"])
    if gray:
        return cv2.merge([luma, luma, luma])
    chroma = _lay_pattern("chroma", *where)
    chroma *= chroma_share
    weights = CHROMA_TO_RGB * np.float32(STRENGTH["chroma"])
    return cv2.merge([luma + weight * chroma if weight else luma for weight in weights])


def _resize(rgb: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if rgb.dtype.kind == "f":
        rgb = rgb.astype(np.float32)
    if rgb.shape[:2] == shape:
        return rgb
    shrinks = shape[0] < rgb.shape[0]
    return cv2.resize(rgb, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _scores(cells: np.ndarray) -> Iterator[tuple[float, tuple[int, int, int, int]]]:
    """The strongest window of every block of a picture on the grid, and where it lies there."""
    height, width = cells.shape[:2]
    overlap = max(WINDOWS[-1])
    for top in range(0, max(1, height - overlap), BLOCK - overlap):
        for left in range(0, max(1, width - overlap), BLOCK - overlap):
            block = as_float(cells[top : top + BLOCK, left : left + BLOCK]) * np.float32(255)
            totals = [
                _correlation("luma", block @ LUMA, left, top),
                _correlation("chroma", block @ RGB_TO_CHROMA, left, top),
            ]
            for rows, columns in WINDOWS:
                window = (min(columns, block.shape[1]), min(rows, block.shape[0]))
                luma, chroma = (
                    _sums(along, window) / np.sqrt(np.maximum(_sums(power, window), 300.0))
                    for along, power in totals
                )
                for score in (luma, chroma, (luma + chroma) / math.sqrt(2)):
                    y, x = np.unravel_index(int(score.argmax()), score.shape)
                    start = (left + int(x), top + int(y))
                    yield float(score[y, x]), (*start, start[0] + window[0], start[1] + window[1])


def _correlation(plane: Plane, values: np.ndarray, left: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Integrals `[H + 1, W + 1]` of the product with the pattern, and of its square's mean without a mark."""
    low, high = BANDS[plane]
    filtered = _band_pass(values, low, high)
    energy = cv2.GaussianBlur(filtered * filtered, (0, 0), 8)
    limited = np.clip(filtered / np.sqrt(energy + FLOOR**2), -LIMIT, LIMIT)
    rows, columns = np.arange(values.shape[0]) + top, np.arange(values.shape[1]) + left
    pattern = _pattern(plane)[rows[:, None] % TILE, columns % TILE]
    # Two noises of one band agree by chance over the correlation area, 1 / (share of the spectrum) cells.
    power = limited * limited / np.float32(math.pi * (high**2 - low**2))
    return cv2.integral(limited * pattern, sdepth=cv2.CV_64F), cv2.integral(power, sdepth=cv2.CV_64F)


def _band_pass(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """float32 `[H, W]` -> its part between two frequencies (cycles a cell), without ringing at the picture's edge."""
    height, width = values.shape
    border = 24
    rows, columns = (cv2.getOptimalDFTSize(length + 2 * border) for length in values.shape)
    below, right = rows - height - border, columns - width - border
    padded = cv2.copyMakeBorder(values, border, below, border, right, cv2.BORDER_REFLECT)
    filtered = np.fft.irfft2(np.fft.rfft2(padded) * _pass_band(rows, columns, low, high), padded.shape)
    return filtered[border : border + height, border : border + width].astype(np.float32)


@functools.lru_cache(8)
def _pass_band(rows: int, columns: int, low: float, high: float) -> np.ndarray:
    """The filter's share of every frequency of `rfft2`."""
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]).astype(np.float32)
    return 1 / ((1 + np.exp((low - radius) / 0.008)) * (1 + np.exp((radius - high) / 0.008)))


def _sums(total: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Sums over all windows (columns, rows) that lie wholly inside, from an integral."""
    columns, rows = window
    return (
        total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    )


def _threshold(cells: int) -> float:
    """The score that the largest of all windows over so many cells exceeds by chance in FALSE_ALARMS of pictures."""
    chance = FALSE_ALARMS * CELLS_A_TRIAL / cells
    low, high = 0.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) / 2 > chance else (low, middle)
    return high
