"""Draws on a photo what years in a shoebox do to it: scratches, creases, dust, torn edges and stains.

Everything is drawn in units of the photo's shorter side, so that a photo looks the same at any resolution, and by a
seed. The truth that comes with it is what can be seen: pixels whose brightness changed by `VISIBLE` or more.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

KINDS = ("scratch", "crease", "dust", "tear", "stain")
VISIBLE = 12  # gray levels of 255: a smaller change of brightness is not counted as damage
HIDDEN = 255  # label of pixels that changed less
FRACTION = 4  # bits of OpenCV's coordinates below the pixel


@dataclass
class Sheet:
    """A photo that is being worn.

    Attributes:
        pixels: float32 [H, W, 3], 0..255.
        side: pixels that count as the photo's shorter side; all lengths are shares of it.
        rng: the only source of randomness.
    """

    pixels: np.ndarray
    side: float
    rng: np.random.Generator

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def draw_length(self, low: float, high: float) -> float:
        """A length in pixels between two shares of the shorter side."""
        return float(self.rng.uniform(low, high)) * self.side

    def draw_point(self) -> np.ndarray:
        """A point (x, y) on the photo."""
        return self.rng.uniform(0, 1, 2) * (self.width, self.height)

    def draw_count(self, low: float, high: float, amount: float) -> int:
        """A number between `low` and `high` times `amount`, at least 1."""
        return max(1, round(float(self.rng.uniform(low, high)) * amount))

    def cover(self, alpha: np.ndarray, corner: tuple[int, int], colour: np.ndarray) -> None:
        """Lay a colour over the photo.

        Args:
            alpha: float32 [h, w], 0..1, how much of it.
            corner: (x, y) of its top left pixel; what lies outside the photo is left out.
            colour: [3], or [h, w, 3] where it changes from place to place, 0..255.
        """
        x, y = corner
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + alpha.shape[1], self.width), min(y + alpha.shape[0], self.height)
        if left >= right or top >= bottom:
            return
        inside = slice(top - y, bottom - y), slice(left - x, right - x)
        share = alpha[inside][..., None]
        place = self.pixels[top:bottom, left:right]
        tint = colour[inside] if colour.ndim == 3 else colour.astype(np.float32)
        place += share * (tint - place)

    def cover_line(
        self, points: np.ndarray, width: float, colour: np.ndarray, opacity: np.ndarray | float
    ) -> None:
        """Lay a line through points [N, 2] (x, y) over the photo; `opacity`: 0..1, one or that of each piece."""
        thickness = max(1, round(width))
        strength = np.broadcast_to(np.asarray(opacity, float) * min(1.0, width / thickness), len(points) - 1)
        layer, corner = self._start_layer(points, thickness + 2)
        if layer is None:
            return
        fixed = np.rint((points - corner) * 2**FRACTION).astype(int)
        for a, b, value in zip(fixed[:-1].tolist(), fixed[1:].tolist(), strength.tolist(), strict=True):
            if value > 0:
                cv2.line(layer, a, b, round(255 * value), thickness, cv2.LINE_AA, FRACTION)
        self.cover(layer.astype(np.float32) / 255, corner, colour)

    def fill_shape(self, points: np.ndarray, margin: float) -> tuple[np.ndarray | None, tuple[int, int]]:
        """The inside of a polygon [N, 2] as uint8 [h, w], 0 or 255 and between them at its edge, and its corner (x, y).

        `margin`: pixels around it that the layer has too; None instead of a layer where all of it is off the photo.
        """
        layer, corner = self._start_layer(points, margin)
        if layer is not None:
            fixed = np.rint((points - corner) * 2**FRACTION).astype(np.int32)
            cv2.fillPoly(layer, [fixed], 255, cv2.LINE_AA, FRACTION)
        return layer, corner

    def _start_layer(self, points: np.ndarray, margin: float) -> tuple[np.ndarray | None, tuple[int, int]]:
        """An empty layer around points, cut to the photo and a margin, and its corner (x, y)."""
        low = np.maximum(np.floor(points.min(0) - margin), -math.ceil(margin))
        high = np.minimum(np.ceil(points.max(0) + margin), (self.width + margin, self.height + margin))
        (x, y), (across, down) = low.astype(int).tolist(), np.ceil(high - low).astype(int).tolist()
        if across <= 0 or down <= 0:
            return None, (x, y)
        return np.zeros((down, across), np.uint8), (x, y)


def draw_scratches(sheet: Sheet, amount: float) -> None:
    """Draw thin bent lines with gaps: the emulsion is scraped off (light) or dirt is rubbed in (dark)."""
    rng = sheet.rng
    for _ in range(sheet.draw_count(1.5, 5, amount)):
        steps = int(rng.integers(8, 28))
        turns = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, rng.uniform(0.01, 0.12), steps))
        stride = sheet.draw_length(0.2, 0.9) / steps
        moves = np.stack((np.cos(turns), np.sin(turns)), 1) * stride
        points = sheet.draw_point() + np.concatenate((np.zeros((1, 2)), np.cumsum(moves, 0)))
        points -= moves.sum(0) / 2
        colour = _draw_light(rng) if rng.random() < 0.65 else _draw_dark(rng)
        opacity = np.clip(rng.uniform(0.6, 1.0) + rng.normal(0, 0.15, steps), 0.3, 1)
        opacity[rng.random(steps) < 0.08] = 0
        sheet.cover_line(points, sheet.draw_length(0.003, 0.008), colour, opacity)


def draw_creases(sheet: Sheet, amount: float) -> None:
    """Draw folds from edge to edge: a broken white line, a shadow along it, and flakes that came off."""
    rng = sheet.rng
    for _ in range(sheet.draw_count(0.8, 2.2, amount)):
        turn = rng.uniform(0, math.pi)
        along = np.array([math.cos(turn), math.sin(turn)])
        across = np.array([-along[1], along[0]])
        reach = math.hypot(sheet.width, sheet.height)
        steps = max(8, round(reach / (0.03 * sheet.side)))
        middle = np.array([sheet.width, sheet.height]) * rng.uniform(0.15, 0.85, 2)
        bend = np.cumsum(rng.normal(0, 0.0012 * sheet.side, steps + 1)) + rng.normal(
            0, 0.0012 * sheet.side, steps + 1
        )
        points = middle + np.linspace(-reach, reach, steps + 1)[:, None] * along + bend[:, None] * across
        width = sheet.draw_length(0.004, 0.010)
        shadow = points + across * width * rng.uniform(0.8, 1.4)
        sheet.cover_line(shadow, 2 * width, _draw_dark(rng), rng.uniform(0.15, 0.4))
        opacity = np.clip(rng.uniform(0.65, 1.0) + rng.normal(0, 0.15, steps), 0.3, 1)
        light = _draw_light(rng)
        sheet.cover_line(points, width, light, opacity)
        for _ in range(int(rng.integers(4, 14))):
            centre = points[int(rng.integers(len(points)))] + rng.normal(0, width, 2)
            _cover_blot(sheet, centre, width * rng.uniform(0.6, 1.6), light, rng.uniform(0.7, 1.0))


def draw_dust(sheet: Sheet, amount: float) -> None:
    """Draw specks and short curled fibres, as many as the area asks for."""
    rng = sheet.rng
    area = sheet.width * sheet.height / sheet.side**2
    for _ in range(sheet.draw_count(15, 60, amount * area)):
        colour = _draw_light(rng) if rng.random() < 0.65 else _draw_dark(rng)
        opacity = rng.uniform(0.65, 1.0)
        if rng.random() < 0.85:
            _cover_blot(sheet, sheet.draw_point(), sheet.draw_length(0.003, 0.009), colour, opacity)
            continue
        turns = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.5, 8))
        moves = np.stack((np.cos(turns), np.sin(turns)), 1) * sheet.draw_length(0.004, 0.011)
        sheet.cover_line(
            sheet.draw_point() + np.cumsum(moves, 0), sheet.draw_length(0.003, 0.005), colour, opacity
        )


def draw_tears(sheet: Sheet, amount: float) -> None:
    """Tear off corners and bites of the edges: bare paper or the scanner's lid, along it a rim of fibres."""
    rng = sheet.rng
    for _ in range(sheet.draw_count(0.8, 2.2, amount)):
        ends, outside = _choose_cut(sheet)
        curve = _make_jagged(ends, rng)
        layer, corner = sheet.fill_shape(np.concatenate((curve, outside)), 2)
        if layer is None:
            continue
        if rng.random() < 0.6:
            paper, rim = _draw_light(rng), _draw_light(rng) * rng.uniform(0.6, 0.8)
        else:
            paper, rim = _draw_dark(rng), _draw_light(rng)
        grain = rng.normal(0, rng.uniform(0.5, 4), layer.shape).astype(np.float32)
        colour = (paper + grain[..., None]).clip(0, 255).astype(np.float32)
        sheet.cover(layer.astype(np.float32) / 255, corner, colour)
        sheet.cover_line(curve, sheet.draw_length(0.004, 0.012), rim, rng.uniform(0.6, 1.0))


def draw_stains(sheet: Sheet, amount: float) -> None:
    """Draw dried drops: a wash of brown, ink or bleach with a stronger rim, and small drops beside it."""
    rng = sheet.rng
    for _ in range(sheet.draw_count(0.8, 2.2, amount)):
        centre, radius = sheet.draw_point(), sheet.draw_length(0.04, 0.13)
        colour = _draw_wash(rng)
        wash, rim = rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.5)
        _cover_drop(sheet, centre, radius, colour, wash, rim)
        for _ in range(int(rng.integers(0, 4))):
            turn = rng.uniform(0, 2 * math.pi)
            away = radius * rng.uniform(1.2, 2.0) * np.array([math.cos(turn), math.sin(turn)])
            _cover_drop(sheet, centre + away, radius * rng.uniform(0.1, 0.3), colour, wash, rim)


DRAWERS: dict[str, Callable[[Sheet, float], None]] = {
    # In the order in which they are drawn: what is torn off shows nothing of the others.
    "stain": draw_stains,
    "crease": draw_creases,
    "scratch": draw_scratches,
    "dust": draw_dust,
    "tear": draw_tears,
}


def draw_wear(
    photo: np.ndarray,
    rng: np.random.Generator,
    kinds: Sequence[str] = KINDS,
    amount: float = 1.0,
    side: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """As `wear`, and tells which kind of damage is where.

    Args:
        photo: uint8 [H, W, 3].
        rng: the source of randomness.
        kinds, amount: as of `wear`.
        side: pixels that count as the photo's shorter side, for a part of a larger photo; None: its own.

    Returns:
        The worn photo, uint8 [H, W, 3], and labels, uint8 [H, W]: 0 undamaged, `HIDDEN` changed less than can be seen,
        else 1 + the place in `KINDS` of the kind that changed the pixel most.

    Raises:
        ValueError: see `wear`.
    """
    _check(photo, kinds, amount)
    if amount == 0:
        return photo.copy(), np.zeros(photo.shape[:2], np.uint8)
    sheet = Sheet(photo.astype(np.float32), float(side or min(photo.shape[:2])), rng)
    before = original = _find_brightness(sheet.pixels)
    labels = np.zeros(photo.shape[:2], np.uint8)
    strongest = np.zeros(photo.shape[:2], np.float32)
    for kind in (kind for kind in DRAWERS if kind in kinds):
        DRAWERS[kind](sheet, amount)
        after = _find_brightness(sheet.pixels)
        change = np.abs(after - before)
        labels[change > strongest] = 1 + KINDS.index(kind)
        strongest, before = np.maximum(strongest, change), after
    worn = np.rint(sheet.pixels).astype(np.uint8)
    seen = np.abs(_find_brightness(worn.astype(np.float32)) - original) >= VISIBLE
    labels[~seen] = 0
    labels[~seen & (worn != photo).any(2)] = HIDDEN
    return worn, labels


def wear(
    photo: np.ndarray, seed: int, kinds: Sequence[str] = KINDS, amount: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw damage on a photo of any size, the same for the same seed.

    Args:
        photo: uint8 [H, W, 3], RGB.
        seed: 0 or more.
        kinds: which of `KINDS`; each of them occurs.
        amount: how much of each, 1 is a photo that was kept badly; 0 leaves the photo as it is.

    Returns:
        The worn photo, uint8 [H, W, 3], and where damage can be seen, bool [H, W]: the brightness changed by at least
        `VISIBLE` gray levels.

    Raises:
        ValueError: the photo is no uint8 [H, W, 3], a kind is unknown, or `amount` is negative.
    """
    worn, labels = draw_wear(photo, np.random.default_rng(seed), kinds, amount)
    return worn, is_seen(labels)


def is_seen(labels: np.ndarray) -> np.ndarray:
    """Where damage can be seen, bool [H, W], by labels of `draw_wear`."""
    return (labels > 0) & (labels != HIDDEN)


def _check(photo: np.ndarray, kinds: Sequence[str], amount: float) -> None:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"the photo must be uint8 [H, W, 3], got {photo.dtype} {list(photo.shape)}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"there is no damage called {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if not amount >= 0:
        raise ValueError(f"amount must be 0 or more, got {amount}")


def _find_brightness(pixels: np.ndarray) -> np.ndarray:
    """Brightness float32 [H, W] of float32 [H, W, 3], by the weights of Rec. 601."""
    return pixels @ np.array([0.299, 0.587, 0.114], np.float32)


def _draw_light(rng: np.random.Generator) -> np.ndarray:
    """The colour of bare paper."""
    return np.float32(rng.uniform(215, 255)) * rng.uniform((0.98, 0.95, 0.86), (1.0, 1.0, 1.0))


def _draw_dark(rng: np.random.Generator) -> np.ndarray:
    """The colour of dirt."""
    return np.float32(rng.uniform(5, 45)) * rng.uniform((0.9, 0.8, 0.7), (1.0, 1.0, 1.0))


def _draw_wash(rng: np.random.Generator) -> np.ndarray:
    """The colour of a stain: mostly tea and rust, else ink, else bleach."""
    kind = rng.random()
    if kind < 0.6:
        return rng.uniform((90, 55, 15), (150, 100, 50))
    if kind < 0.75:
        return rng.uniform((15, 20, 40), (50, 60, 110))
    return rng.uniform((225, 210, 170), (250, 240, 215))


def _make_outline(centre: np.ndarray, radius: float, rng: np.random.Generator, wobble: float) -> np.ndarray:
    """A round outline [N, 2] whose radius wobbles by about `wobble` (share)."""
    count = 48 if radius > 8 else 12
    turns = np.linspace(0, 2 * math.pi, count, endpoint=False)
    reach = np.ones(count)
    for waves in range(2, 7):
        reach += rng.normal(0, wobble / waves) * np.cos(waves * turns + rng.uniform(0, 2 * math.pi))
    return centre + radius * reach.clip(0.3)[:, None] * np.stack((np.cos(turns), np.sin(turns)), 1)


def _cover_blot(sheet: Sheet, centre: np.ndarray, radius: float, colour: np.ndarray, opacity: float) -> None:
    """Cover a small uneven spot."""
    layer, corner = sheet.fill_shape(_make_outline(centre, radius, sheet.rng, 0.4), 2)
    if layer is not None:
        sheet.cover(layer.astype(np.float32) * np.float32(opacity / 255), corner, colour)


def _cover_drop(
    sheet: Sheet, centre: np.ndarray, radius: float, colour: np.ndarray, wash: float, rim: float
) -> None:
    """Cover an uneven spot by a wash that is stronger along its edge; `wash`, `rim`: opacities that add up."""
    rng = sheet.rng
    soft = max(0.06 * radius, 0.5)
    layer, corner = sheet.fill_shape(_make_outline(centre, radius, rng, 0.35), 2 + 3 * soft)
    cloud = rng.uniform(0.8, 1.0, (5, 5)).astype(np.float32)
    if layer is None:
        return
    inside: np.ndarray = cv2.GaussianBlur(
        layer.astype(np.float32) / 255, (0, 0), soft / 2, borderType=cv2.BORDER_REPLICATE
    )
    deep = cv2.GaussianBlur(inside, (0, 0), 2 * soft, borderType=cv2.BORDER_REPLICATE)
    edge = inside * (2 - 2 * deep).clip(0, 1)
    uneven = cv2.resize(cloud, layer.shape[::-1], interpolation=cv2.INTER_LINEAR)
    sheet.cover((inside * wash * uneven + edge * rim).clip(0, 0.95), corner, colour)


def _choose_cut(sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """Two ends [2, 2] of a tear on the photo's edges, and corners [N, 2] that close it beyond the edge."""
    rng = sheet.rng
    size = np.array([sheet.width, sheet.height], float)
    beyond = 0.05 * sheet.side
    if rng.random() < 0.55:
        corner = rng.integers(0, 2, 2)
        inwards = 1 - 2 * corner
        at = corner * size
        first = at + inwards * (sheet.draw_length(0.06, 0.28), -beyond)
        last = at + inwards * (-beyond, sheet.draw_length(0.06, 0.28))
        return np.stack((first, last)), (at - inwards * beyond)[None]
    axis = int(rng.integers(2))
    far = int(rng.integers(2))
    length = sheet.draw_length(0.12, 0.4)
    start = rng.uniform(-0.5, max(size[axis] / length - 0.5, 0.0)) * length
    ends = np.zeros((2, 2))
    ends[:, axis] = start, start + length
    ends[:, 1 - axis] = far * size[1 - axis] + (1 if far else -1) * beyond
    peak = ends.mean(0)
    peak[axis] += rng.uniform(-0.25, 0.25) * length
    peak[1 - axis] = far * size[1 - axis] + (-1 if far else 1) * sheet.draw_length(0.02, 0.09)
    return np.stack((ends[0], peak, ends[1])), ends[::-1]


def _make_jagged(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Break a line through points [N, 2] into small pieces, each middle moved aside by chance."""
    for _ in range(5):
        step = np.diff(points, axis=0)
        aside = np.stack((-step[:, 1], step[:, 0]), 1) * rng.normal(0, 0.12, (len(step), 1))
        middles = points[:-1] + step / 2 + aside
        points = np.insert(points, np.arange(1, len(points)), middles, axis=0)
    return points
