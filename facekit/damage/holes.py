"""Random hole masks for training and evaluation: `uint8 [H, W]`, 1 = hole (to be filled), 0 = known.

Every generator takes `rng`: a `numpy.random.Generator`, a legacy `numpy.random.RandomState`, an integer
seed or None (fresh entropy), and draws from nothing else, so equal seeds give equal masks. `size` is one
side of a square or a pair `(height, width)`.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Rng = np.random.Generator | np.random.RandomState | int | None
Size = int | tuple[int, int]

MAX_DRAWS = 1000


class OutOfDraws(ValueError):
    """No mask of `MAX_DRAWS` had the share of hole that was wanted."""


@dataclass(frozen=True)
class FreeFormScheme:
    """How many shapes a free-form mask may get; every count is drawn uniformly below its limit."""

    small_rectangles: int
    large_rectangles: int
    strokes: int


CMOD = FreeFormScheme(small_rectangles=10, large_rectangles=5, strokes=20)  # CoModGAN: mean hole share 0.73
MAT = FreeFormScheme(
    small_rectangles=4, large_rectangles=2, strokes=8
)  # MAT's lowered counts: mean share 0.40

MIN_VERTICES, MAX_VERTICES = 4, 18
MEAN_TURN, TURN_RANGE = 2 * math.pi / 5, 2 * math.pi / 15
MIN_BRUSH, MAX_BRUSH = 12, 48  # pixels, whatever the picture's size: the published scheme has them fixed


def free_form_mask(
    size: Size = 256,
    rng: Rng = None,
    *,
    hole_range: tuple[float, float] = (0.0, 1.0),
    scheme: FreeFormScheme = CMOD,
) -> np.ndarray:
    """Large free-form holes of the CoModGAN scheme: rectangles of two sizes and zigzag brush strokes.

    Args:
        size: side or `(height, width)` in pixels, at least 2.
        rng: source of randomness; `RandomState(seed)` repeats the published implementation's masks.
        hole_range: the hole share lies strictly between these two numbers; shapes are redrawn until it
            does, and their counts shrink with `min(low + high, 1)`. `ratio_mask` suits narrow ranges better.
        scheme: `CMOD` or `MAT`, or your own counts.

    Returns:
        `uint8 [H, W]`, 1 = hole.

    Raises:
        ValueError: bad size or range, or no mask within the range after 1,000 draws (`OutOfDraws`).
    """
    height, width = height_and_width(size)
    low, high = _share_range(hole_range, "hole_range")
    rng = generator_from(rng)
    scale = min(low + high, 1.0)
    for _ in range(MAX_DRAWS):
        holes = np.zeros((height, width), np.uint8)
        for count, divisor in ((scheme.small_rectangles, 2), (scheme.large_rectangles, 1)):
            for _ in range(draw_integer(rng, 0, int(count * scale))):
                top, left, bottom, right = _rectangle(rng, height, width, divisor)
                holes[top:bottom, left:right] = 1
        holes |= _brush_layer(rng, height, width, int(scheme.strokes * scale))
        if low < np.count_nonzero(holes) / holes.size < high:
            return holes
    raise OutOfDraws(
        f"no free-form mask with a hole share between {low} and {high} in {MAX_DRAWS} draws; "
        "widen hole_range or use ratio_mask, which meets any range"
    )


def large_mask(size: Size = 256, low: float = 0.6, high: float = 0.7, rng: Rng = None) -> np.ndarray:
    """CoModGAN's large free-form holes whose share lies in a band, as the thesis draws them above 60% (section 5.3.2).

    Its masks are drawn anew until one lies in the band. In the bands of ten percent from 60% on, one in 3 to one in 30
    does at 256 to 512 pixels, so that `MAX_DRAWS` are enough; where none of them lies in the band, as may happen in
    small pictures or narrow bands, the mask is that of `ratio_mask`.

    Args:
        size: side or `(height, width)` in pixels, at least 2.
        low, high: limits of the hole share, `0 <= low <= high <= 1`.
        rng: source of randomness.

    Returns:
        `uint8 [H, W]`, 1 = hole.

    Raises:
        ValueError: bad size or limits.
    """
    rng = generator_from(rng)
    try:
        return free_form_mask(size, rng, hole_range=(low, high))
    except OutOfDraws:
        return ratio_mask(size, low, high, rng)


def brush_mask(
    size: Size = 256, rng: Rng = None, *, hole_range: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """Brush strokes and rectangles in MAT's lowered numbers, mean hole share 0.40. See `free_form_mask`."""
    return free_form_mask(size, rng, hole_range=hole_range, scheme=MAT)


def ratio_mask(size: Size = 256, low: float = 0.2, high: float = 0.3, seed: Rng = None) -> np.ndarray:
    """Free-form mask whose hole share is certain to lie in `[low, high]` (e.g. the bands of ten percent).

    A share is drawn uniformly in the band, and strokes and rectangles are added until it is reached; the
    last shape is cut by a straight line where the wanted pixel count is met. Above one half the known part
    is grown instead.

    Args:
        size: side or `(height, width)` in pixels.
        low, high: limits of the hole share, `0 <= low <= high <= 1`, with a whole pixel count between
            them. The mask is empty only for `high` below one pixel.
        seed: seed or random generator.

    Returns:
        `uint8 [H, W]`, 1 = hole.

    Raises:
        ValueError: bad size or limits.
    """
    height, width = height_and_width(size)
    low, high = _share_range((low, high), "the band (low, high)")
    rng = generator_from(seed)
    area = height * width
    # The nudge keeps a limit such as 0.3 * 65536 on its own side of the rounding error.
    fewest, most = math.ceil(low * area - 1e-6), math.floor(high * area + 1e-6)
    if fewest > most:
        raise ValueError(f"no whole pixel count of a {height}x{width} mask lies between {low} and {high}")
    wanted = draw_integer(rng, max(fewest, min(most, 1)), most + 1)
    if wanted > area // 2:
        return 1 - _grow(rng, height, width, area - wanted)
    return _grow(rng, height, width, wanted)


def centre_mask(size: Size = 256, share: float = 0.25) -> np.ndarray:
    """Fixed centred rectangle with the picture's proportions, `share` of its area (to whole pixels).

    Returns:
        `uint8 [H, W]`, 1 = hole; the default is the half-side square of the published evaluation.
    """
    height, width = height_and_width(size)
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    hole_height, hole_width = round(height * math.sqrt(share)), round(width * math.sqrt(share))
    top, left = (height - hole_height) // 2, (width - hole_width) // 2
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + hole_height, left : left + hole_width] = 1
    return mask


# Where an FFHQ-aligned face has its parts: centre and half axes (x, y) of an ellipse, in shares of the picture.
FACE_PARTS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "eyes": ((0.37, 0.475, 0.115, 0.08), (0.63, 0.475, 0.115, 0.08)),
    "left half's eye": ((0.37, 0.475, 0.13, 0.1),),
    "right half's eye": ((0.63, 0.475, 0.13, 0.1),),
    "eyes and brows": ((0.5, 0.45, 0.3, 0.13),),
    "nose": ((0.5, 0.57, 0.12, 0.15),),
    "mouth": ((0.5, 0.73, 0.16, 0.09),),
    "lower face": ((0.5, 0.74, 0.28, 0.21),),
    "face": ((0.5, 0.56, 0.27, 0.34),),
}
PART_SHIFT, PART_SCALE = 0.03, (0.8, 1.3)


def part_mask(size: Size = 256, rng: Rng = None) -> np.ndarray:
    """Hole over a part of an FFHQ-aligned face, as a user paints one: eyes, an eye, nose, mouth or more.

    Which part, its place (by 3% of the picture), its size (0.8 to 1.3) and whether it is an ellipse or a rectangle
    are drawn anew each time.

    Returns:
        `uint8 [H, W]`, 1 = hole.
    """
    height, width = height_and_width(size)
    rng = generator_from(rng)
    part = list(FACE_PARTS.values())[draw_integer(rng, 0, len(FACE_PARTS))]
    square = rng.random() < 0.3
    dx, dy = rng.uniform(-PART_SHIFT, PART_SHIFT, 2)
    scale_x, scale_y = rng.uniform(*PART_SCALE, 2)
    layer = Image.new("L", (width, height), 0)
    canvas = ImageDraw.Draw(layer)
    for x, y, a, b in part:
        x, y, a, b = (x + dx) * width, (y + dy) * height, a * scale_x * width, b * scale_y * height
        (canvas.rectangle if square else canvas.ellipse)((x - a, y - b, x + a, y + b), fill=1)
    return np.array(layer, dtype=np.uint8)


def generator_from(rng: Rng) -> np.random.Generator | np.random.RandomState:
    """A random generator as it is, or a new one from a seed. Raises ValueError for anything else."""
    if isinstance(rng, np.random.Generator | np.random.RandomState):
        return rng
    if rng is None or isinstance(rng, int | np.integer):
        return np.random.default_rng(rng)
    raise ValueError(f"expected a seed or a numpy random generator, got {type(rng).__name__}")


def height_and_width(size: Size) -> tuple[int, int]:
    """Both sides in pixels. Raises ValueError unless both are whole numbers of at least 2."""
    pair = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int | np.integer) and side >= 2 for side in pair):
        raise ValueError(
            f"size must be one side or (height, width), whole numbers of at least 2, got {size!r}"
        )
    return int(pair[0]), int(pair[1])


def _share_range(limits: tuple[float, float], name: str) -> tuple[float, float]:
    low, high = limits
    if not 0 <= low <= high <= 1:
        raise ValueError(f"{name} must satisfy 0 <= low <= high <= 1, got ({low}, {high})")
    return float(low), float(high)


def draw_integer(rng: np.random.Generator | np.random.RandomState, low: int, high: int) -> int:
    """Uniform whole number in [low, high); `low` where that range is empty."""
    if high <= low:
        return low
    draw = rng.randint if isinstance(rng, np.random.RandomState) else rng.integers
    return int(draw(low, high))


def _rectangle(
    rng: np.random.Generator | np.random.RandomState, height: int, width: int, divisor: int
) -> tuple[int, int, int, int]:
    """Random rectangle (top, left, bottom, right), sides below picture / `divisor`, clipped to it."""
    w, h = draw_integer(rng, 0, width // divisor), draw_integer(rng, 0, height // divisor)
    x = draw_integer(rng, -(w // 2), width - w + w // 2)
    y = draw_integer(rng, -(h // 2), height - h + h // 2)
    return max(y, 0), max(x, 0), min(y + h, height), min(x + w, width)


def _stroke(
    rng: np.random.Generator | np.random.RandomState, height: int, width: int
) -> tuple[list[tuple[int, int]], int]:
    """Vertices (x, y) of one zigzag stroke, and its width in pixels."""
    count = draw_integer(rng, MIN_VERTICES, MAX_VERTICES)
    least = MEAN_TURN - rng.uniform(0, TURN_RANGE)
    greatest = MEAN_TURN + rng.uniform(0, TURN_RANGE)
    angles = rng.uniform(least, greatest, size=count)
    angles[::2] = 2 * math.pi - angles[::2]
    x, y = draw_integer(rng, 0, width), draw_integer(rng, 0, height)
    radius = math.hypot(height, width) / 8
    lengths = np.clip(rng.normal(radius, radius // 2, size=count), 0, 2 * radius)
    points = [(x, y)]
    for length, angle in zip(lengths, angles, strict=True):
        x = int(min(max(x + length * math.cos(angle), 0), width))
        y = int(min(max(y + length * math.sin(angle), 0), height))
        points.append((x, y))
    return points, int(rng.uniform(MIN_BRUSH, MAX_BRUSH))


def _draw_stroke(canvas: ImageDraw.ImageDraw, points: list[tuple[int, int]], width: int) -> None:
    canvas.line(points, fill=1, width=width)
    half = width // 2
    for x, y in points:
        canvas.ellipse((x - half, y - half, x + half, y + half), fill=1)


def _brush_layer(
    rng: np.random.Generator | np.random.RandomState, height: int, width: int, limit: int
) -> np.ndarray:
    """Fewer than `limit` strokes on one layer, flipped at random: `uint8 [H, W]`."""
    layer = Image.new("L", (width, height), 0)
    canvas = ImageDraw.Draw(layer)
    for _ in range(draw_integer(rng, 0, limit)):
        _draw_stroke(canvas, *_stroke(rng, height, width))
        rng.random(
            2
        )  # the published code draws two flips here and drops them; without them its stream is lost
    pixels = np.array(layer, dtype=np.uint8)
    if rng.random() > 0.5:
        pixels = pixels[::-1]
    if rng.random() > 0.5:
        pixels = pixels[:, ::-1]
    return pixels


def _grow(
    rng: np.random.Generator | np.random.RandomState, height: int, width: int, wanted: int
) -> np.ndarray:
    """Random shapes covering exactly `wanted` pixels: `uint8 [H, W]`, 1 = covered."""
    covered = np.zeros((height, width), np.uint8)
    missing = wanted
    while missing > 0:
        shape = _random_shape(rng, height, width)
        fresh = np.flatnonzero(shape > covered)
        if fresh.size > missing:
            rows, columns = np.divmod(fresh, width)
            angle = rng.uniform(0, 2 * math.pi)
            along = rows * math.sin(angle) + columns * math.cos(angle)
            fresh = fresh[np.argpartition(along, missing - 1)[:missing]]
        covered.flat[fresh] = 1
        missing -= fresh.size
    return covered


def _random_shape(rng: np.random.Generator | np.random.RandomState, height: int, width: int) -> np.ndarray:
    if rng.random() < 0.3:
        shape = np.zeros((height, width), np.uint8)
        top, left, bottom, right = _rectangle(rng, height, width, 2)
        shape[top:bottom, left:right] = 1
        return shape
    layer = Image.new("L", (width, height), 0)
    _draw_stroke(ImageDraw.Draw(layer), *_stroke(rng, height, width))
    return np.array(layer, dtype=np.uint8)
