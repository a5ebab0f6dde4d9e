"""Square crops around the holes of a photo, to the network's size and back.

Every crop is a `Region`: what the network sees of it, and how a filled square returns to the photo. Only
pixels under the region's own part of the hole are ever written.
"""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from facekit.images.photo import as_float, from_float, resize

CONTEXT = 2.0  # side of a crop in sides of the hole's bounding box
FEATHER = 2.0  # width of the blend just inside the hole, in pixels of the network's picture
_LABEL_SIDE = 1024  # holes are grouped on a mask of at most this side


class Region(Protocol):
    """A square that the network fills: float32 `image` `[S, S, 3]` in [0, 1] and bool `hole` `[S, S]`."""

    image: np.ndarray
    hole: np.ndarray

    def paint(self, canvas: np.ndarray, filled: np.ndarray) -> None:
        """Write the filled square float32 `[S, S, 3]` in [0, 1] into `canvas` `[H, W, 3]` of any depth."""

    def view(self, values: np.ndarray) -> np.ndarray:
        """A map float32 `[H, W]` of the photo as the network sees it, `[S, S]`; 0 outside the photo."""

    def lay(self, canvas: np.ndarray, values: np.ndarray) -> None:
        """Write a map float32 `[S, S]` into `canvas` float32 `[H, W]` as it is."""


@dataclass(frozen=True)
class Box:
    """Half-open rectangle in pixels: columns left..right, rows top..bottom."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def side(self) -> int:
        """The longer side."""
        return max(self.right - self.left, self.bottom - self.top)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array `[H, W]`."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def union(self, other: "Box") -> "Box":
        """The smallest rectangle around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def meets(self, other: "Box") -> bool:
        """Whether the two share a pixel."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)


def bounding_box(hole: np.ndarray) -> Box | None:
    """The smallest rectangle around the True pixels of `[H, W]`, None where there are none."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if len(rows) == 0:
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def crop_side(box: Box, size: tuple[int, int], sample_size: int) -> int:
    """Side of a hole's square: twice its box, at least `sample_size`, at most the photo's longer side."""
    return max(box.side, min(max(round(CONTEXT * box.side), sample_size), max(size)))


def group_holes(hole: np.ndarray, sample_size: int) -> list[Box]:
    """Rectangles that together cover the hole bool `[H, W]`, disjoint, one for each crop.

    Holes join one crop where that costs little resolution: when the joint crop is no more than 1.5 times the
    larger of the two, or their rectangles overlap.
    """
    outer = bounding_box(hole)
    if outer is None:
        return []
    inside = hole[outer.slices]
    step = -(-max(inside.shape) // _LABEL_SIDE)
    coarse = np.add.reduceat(inside, range(0, inside.shape[0], step), axis=0, dtype=np.int32)
    coarse = np.add.reduceat(coarse, range(0, inside.shape[1], step), axis=1) > 0
    # Specks nearer than a quarter of the network's picture would be joined anyway: closing them keeps the
    # list short.
    reach = max(1, sample_size // 8 // step)
    grown = cv2.dilate(coarse.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    boxes = []
    for label in range(1, count):
        left, top, width, height = (int(n) for n in stats[label, :4])
        around = np.s_[top : top + height, left : left + width]
        box = bounding_box(coarse[around] & (labels[around] == label))
        boxes.append(
            Box(
                outer.left + (left + box.left) * step,
                outer.top + (top + box.top) * step,
                min(outer.left + (left + box.right) * step, outer.right),
                min(outer.top + (top + box.bottom) * step, outer.bottom),
            )
        )
    return _join(boxes, (hole.shape[1], hole.shape[0]), sample_size)


def _join(boxes: list[Box], size: tuple[int, int], sample_size: int) -> list[Box]:
    done: list[Box] = []
    while boxes:
        box = boxes.pop()
        for index, other in enumerate(done):
            joint = box.union(other)
            sides = (crop_side(box, size, sample_size), crop_side(other, size, sample_size))
            if box.meets(other) or crop_side(joint, size, sample_size) <= 1.5 * max(sides):
                boxes.append(joint)
                del done[index]
                break
        else:
            done.append(box)
    return sorted(done, key=lambda box: (box.left, box.top))


def surroundings(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Colours float32 `[H, W, 3]` with the hole filled smoothly from the known pixels (pull-push pyramid).

    Known pixels stay; a picture without any becomes mid gray. Keeps what a hole hides from leaking into
    shrunk pictures and blends.
    """
    known = (~hole).astype(np.float32)
    if not known.any():
        return np.full_like(rgb, 0.5)
    return _pull_push(rgb, known)


def _pull_push(color: np.ndarray, weight: np.ndarray) -> np.ndarray:
    height, width = weight.shape
    if weight.min() > 0 or max(height, width) == 1:
        return color
    half = ((width + 1) // 2, (height + 1) // 2)
    total = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(color * weight[..., None], half, interpolation=cv2.INTER_AREA)
    coarse = _pull_push(mean / np.maximum(total, 1e-6)[..., None], (total > 1e-6).astype(np.float32))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(weight[..., None] > 0, color, smooth)


def feather(hole: np.ndarray, width: float) -> np.ndarray:
    """Weight of the fill float32 `[H, W]`: 0 outside the hole, rising to 1 over `width` pixels inside it."""
    if hole.all():
        return np.ones(hole.shape, dtype=np.float32)
    distance = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    return np.clip(distance / (width + 1), 0, 1)


class CropRegion:
    """A square of the photo around one group of holes.

    Args:
        rgb: the photo `[H, W, 3]` at its own depth.
        hole: all that is unknown in the photo, bool `[H, W]`.
        own: the part of the hole that this region fills, bool `[H, W]`; only what lies in `box` counts.
        box: rectangle around the holes that this region fills.
        side: side of the square in photo pixels; where it is longer than the photo is wide or high, the
            picture is continued by reflection.
        sample_size: side S of the network's picture.
    """

    def __init__(
        self, rgb: np.ndarray, hole: np.ndarray, own: np.ndarray, box: Box, side: int, sample_size: int
    ) -> None:
        height, width = hole.shape
        scale = side / sample_size
        self.inner, offset = _place(box, side, width, height)
        inner_size = (self.inner.right - self.inner.left, self.inner.bottom - self.inner.top)
        self.left, self.top = (round(start / scale) for start in offset)
        self.small = tuple(
            min(max(1, round(length / scale)), sample_size - start)
            for length, start in zip(inner_size, (self.left, self.top), strict=True)
        )
        unknown = hole[self.inner.slices]
        self.known = surroundings(as_float(rgb[self.inner.slices]), unknown)
        self.own = np.zeros(unknown.shape, dtype=bool)
        rows = slice(box.top - self.inner.top, box.bottom - self.inner.top)
        columns = slice(box.left - self.inner.left, box.right - self.inner.left)
        self.own[rows, columns] = own[box.slices]
        self.weight = feather(unknown, FEATHER * scale if scale > 1 else 0.0)[..., None]
        self.pad = pad = (
            (self.top, sample_size - self.top - self.small[1]),
            (self.left, sample_size - self.left - self.small[0]),
        )
        small_hole = resize(unknown.astype(np.float32), self.small) >= 0.5
        self.image = np.pad(np.clip(resize(self.known, self.small), 0, 1), (*pad, (0, 0)), mode="reflect")
        self.hole = np.pad(small_hole, pad, mode="reflect")

    def _large(self, square: np.ndarray) -> np.ndarray:
        part = square[self.top : self.top + self.small[1], self.left : self.left + self.small[0]]
        return resize(part, (self.own.shape[1], self.own.shape[0]))

    def view(self, values: np.ndarray) -> np.ndarray:
        """See `Region.view`."""
        return np.pad(resize(values[self.inner.slices], self.small), self.pad)

    def paint(self, canvas: np.ndarray, filled: np.ndarray) -> None:
        """See `Region.paint`."""
        large = np.clip(self._large(filled), 0, 1)
        blend = self.known + (large - self.known) * self.weight
        canvas[self.inner.slices][self.own] = from_float(blend[self.own], canvas.dtype)

    def lay(self, canvas: np.ndarray, values: np.ndarray) -> None:
        """See `Region.lay`."""
        canvas[self.inner.slices][self.own] = self._large(values)[self.own]


def _place(box: Box, side: int, width: int, height: int) -> tuple[Box, tuple[int, int]]:
    """The part of the square inside the photo, and where that part starts in the square."""
    starts, ends, offsets = [], [], []
    for low, high, length in ((box.left, box.right, width), (box.top, box.bottom, height)):
        if side >= length:
            starts.append(0)
            ends.append(length)
            offsets.append((side - length) // 2)
        else:
            start = min(max((low + high - side) // 2, 0), length - side)
            starts.append(start)
            ends.append(start + side)
            offsets.append(0)
    return Box(starts[0], starts[1], ends[0], ends[1]), (offsets[0], offsets[1])


def crop_regions(
    rgb: np.ndarray, hole: np.ndarray, sample_size: int, crop: str = "hole", own: np.ndarray | None = None
) -> list[CropRegion]:
    """The regions of one photo: a square around each group of holes (`crop="hole"`) or one for all
    (`"whole"`).

    `own` restricts what is filled to a part of the hole; the rest of the hole is unknown to the network too.
    """
    own = hole if own is None else own
    size = (hole.shape[1], hole.shape[0])
    if crop == "whole":
        box = bounding_box(own)
        return [] if box is None else [CropRegion(rgb, hole, own, box, max(size), sample_size)]
    boxes = group_holes(own, sample_size)
    return [CropRegion(rgb, hole, own, b, crop_side(b, size, sample_size), sample_size) for b in boxes]
