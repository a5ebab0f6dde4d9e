"""The squares of a photo that networks see, at the network's size, and the way back.

A `CropSquare` is cut straight from the photo around a group of holes, a `FaceSquare` is an aligned face. Only pixels
under a square's own part of the hole are ever written.
"""

import math
from typing import Protocol

import cv2
import numpy as np

from facekit.faces.align import AlignedFace, align_face
from facekit.faces.detect import Face
from facekit.faces.geometry import Box, invert, resample, shift_target, smoothstep
from facekit.images.photo import as_float, from_float, resize

CONTEXT = 2.0  # side of a crop in sides of the hole's bounding box
FEATHER = 2.0  # width of the blend just inside the hole, in pixels of the network's picture
_LABEL_SIDE = 1024  # holes are grouped on a mask of at most this side
# Where a hole leaves a face's crop, the fill changes into what lies beyond, in shares of the crop's side: tones
# over a wide band, details over a narrow one (Burt and Adelson, A multiresolution spline, 1983, with two bands).
TONE_BAND, DETAIL_BAND = 0.2, 0.06
TONE_BLUR = 0.03  # standard deviation of the blur that tells tones from details


class Square(Protocol):
    """A square that the network sees: float32 `image` `[S, S, 3]` in [0, 1] and bool `hole` `[S, S]` to be filled."""

    image: np.ndarray
    hole: np.ndarray

    @property
    def side(self) -> float:
        """How wide the square is in pixels of the photo."""

    def uncover(self, rgb: np.ndarray) -> np.ndarray:
        """What the photo `[H, W, 3]` shows in the square with nothing hidden, float32 `[S, S, 3]` in [0, 1]."""

    def view(self, values: np.ndarray) -> np.ndarray:
        """A map float32 `[H, W]` of the photo as the network sees it, `[S, S]`; 0 outside the photo."""

    def lay(self, canvas: np.ndarray, values: np.ndarray, where: np.ndarray) -> None:
        """Write a map float32 `[S, S]` into `canvas` float32 `[H, W]`, under the square where `where` is True."""


def choose_crop_side(box: Box, size: tuple[int, int], sample_size: int) -> int:
    """Side of a hole's square: twice its box, at least `sample_size`, at most the photo's longer side."""
    return max(box.side, min(max(round(CONTEXT * box.side), sample_size), max(size)))


def group_holes(hole: np.ndarray, sample_size: int) -> list[Box]:
    """Rectangles that together cover the hole bool `[H, W]`, disjoint, one for each crop.

    Holes join one crop where that costs little resolution: when the joint crop is no more than 1.5 times the
    larger of the two, or their rectangles overlap.
    """
    outer = Box.around_mask(hole)
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
        box = Box.around_mask(coarse[around] & (labels[around] == label))
        if box is None:  # never: every component has grown from a coarse pixel
            continue
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
            sides = (choose_crop_side(box, size, sample_size), choose_crop_side(other, size, sample_size))
            if box.intersection(other) is not None or choose_crop_side(joint, size, sample_size) <= 1.5 * max(
                sides
            ):
                boxes.append(joint)
                del done[index]
                break
        else:
            done.append(box)
    return sorted(done, key=lambda box: (box.left, box.top))


def fill_smoothly(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill the hole in colours float32 `[H, W, 3]` smoothly from the known pixels (pull-push pyramid).

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


class CropSquare:
    """A square of the photo around one group of holes.

    Args:
        rgb: the photo `[H, W, 3]` at its own depth.
        hole: all that is unknown in the photo, bool `[H, W]`.
        own: the part of the hole that this square fills, bool `[H, W]`; only what lies in `box` counts.
        box: rectangle around the holes that this square fills.
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
        self.small = (
            min(max(1, round(inner_size[0] / scale)), sample_size - self.left),
            min(max(1, round(inner_size[1] / scale)), sample_size - self.top),
        )
        unknown = hole[self.inner.slices]
        self.known = fill_smoothly(as_float(rgb[self.inner.slices]), unknown)
        self.own: np.ndarray = np.zeros(unknown.shape, dtype=bool)
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

    def enlarge(self, square: np.ndarray) -> np.ndarray:
        """The part of a square `[S, S]` or `[S, S, C]` that shows the photo, at the photo's size."""
        part = square[self.top : self.top + self.small[1], self.left : self.left + self.small[0]]
        return resize(part, (self.own.shape[1], self.own.shape[0]))

    def view(self, values: np.ndarray) -> np.ndarray:
        """See `Square.view`."""
        return np.pad(resize(values[self.inner.slices], self.small), self.pad)

    def paint(self, canvas: np.ndarray, filled: np.ndarray) -> None:
        """Write the filled square float32 `[S, S, 3]` in [0, 1] into `canvas` `[H, W, 3]` of any depth."""
        large = np.clip(self.enlarge(filled), 0, 1)
        blend = self.known + (large - self.known) * self.weight
        canvas[self.inner.slices][self.own] = from_float(blend[self.own], canvas.dtype)

    @property
    def side(self) -> float:
        """See `Square.side`."""
        return float(max(self.own.shape))

    def uncover(self, rgb: np.ndarray) -> np.ndarray:
        """See `Square.uncover`."""
        small = np.clip(resize(as_float(rgb[self.inner.slices]), self.small), 0, 1)
        return np.pad(small, (*self.pad, (0, 0)), mode="reflect")

    def lay(self, canvas: np.ndarray, values: np.ndarray, where: np.ndarray) -> None:
        """See `Square.lay`; of `where` only what this square fills."""
        inside = self.own & where[self.inner.slices]
        canvas[self.inner.slices][inside] = self.enlarge(values)[inside]


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


def cut_squares(
    rgb: np.ndarray, hole: np.ndarray, sample_size: int, crop: str = "hole", own: np.ndarray | None = None
) -> list[CropSquare]:
    """The squares of one photo: one around each group of holes (`crop="hole"`) or one for all
    (`"whole"`).

    `own` restricts what is filled to a part of the hole; the rest of the hole is unknown to the network too.
    """
    own = hole if own is None else own
    size = (hole.shape[1], hole.shape[0])
    if crop == "whole":
        box = Box.around_mask(own)
        return [] if box is None else [CropSquare(rgb, hole, own, box, max(size), sample_size)]
    boxes = group_holes(own, sample_size)
    return [CropSquare(rgb, hole, own, b, choose_crop_side(b, size, sample_size), sample_size) for b in boxes]


def frame_whole(rgb: np.ndarray, sample_size: int) -> CropSquare:
    """The whole photo `[H, W, 3]` as one square with nothing hidden."""
    height, width = rgb.shape[:2]
    nothing, box = np.zeros((height, width), dtype=bool), Box(0, 0, width, height)
    return CropSquare(rgb, nothing, ~nothing, box, box.side, sample_size)


class FaceSquare:
    """An aligned face, with a hole or without. `paste_faces` takes all faces of a photo back together.

    Args:
        rgb: the photo `[H, W, 3]` at its own depth.
        face: one of its faces.
        sample_size: side S of the network's picture.
        hole: what is filled in the photo, bool `[H, W]`; None: nothing is hidden.
        rest: the part of the hole that lies in no filled face's crop, bool `[H, W]`.

    Attributes:
        image: float32 `[S, S, 3]` in [0, 1].
        hole: bool `[S, S]`.
        aligned: the way back to the photo.
        face: as it was found.
        seam: distance float32 `[S, S]` in aligned pixels to where the hole leaves the crop; None where it does not.
    """

    def __init__(
        self,
        rgb: np.ndarray,
        face: Face,
        sample_size: int,
        hole: np.ndarray | None = None,
        rest: np.ndarray | None = None,
    ) -> None:
        self.aligned, self.face = align_face(rgb, face, sample_size), face
        self.image = as_float(self.aligned.image)
        self.hole = np.zeros((sample_size, sample_size), dtype=bool)
        if hole is not None:
            self.hole = self.aligned.warp(hole.astype(np.float32), "linear") >= 0.5
        self.seam = None if rest is None else measure_seam_distance(self.aligned, rest)

    def blend(self, canvas: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """The filled square `[S, S, 3]` in [0, 1], led over to what `canvas` `[H, W, 3]` shows beyond the crop.

        Under the hole the canvas must show what the fill is to change into, not the hole's old content.
        """
        if self.seam is None:
            return filled
        size = self.aligned.size
        around = as_float(align_face(canvas, self.face, size).image)
        difference = around - filled
        tones = cv2.GaussianBlur(difference, (0, 0), TONE_BLUR * size, borderType=cv2.BORDER_REFLECT)
        coarse, fine = (
            1 - smoothstep(self.seam / (band * size))[..., None] for band in (TONE_BAND, DETAIL_BAND)
        )
        return np.clip(filled + tones * coarse + (difference - tones) * fine, 0, 1)

    @property
    def side(self) -> float:
        """See `Square.side`."""
        return float(self.aligned.size / np.hypot(*self.aligned.matrix[:, 0]))

    def uncover(self, rgb: np.ndarray) -> np.ndarray:
        """See `Square.uncover`."""
        return as_float(align_face(rgb, self.face, self.aligned.size).image)

    def view(self, values: np.ndarray) -> np.ndarray:
        """See `Square.view`."""
        return self.aligned.warp(values, "linear")

    def lay(self, canvas: np.ndarray, values: np.ndarray, where: np.ndarray) -> None:
        """See `Square.lay`."""
        box = self.aligned.box.slices
        inside = where[box] & self.aligned.covers(self.aligned.box)
        canvas[box][inside] = self.aligned.unwarp(values)[box][inside]


def measure_seam_distance(aligned: AlignedFace, rest: np.ndarray) -> np.ndarray | None:
    """How far every aligned pixel is from the part of the hole outside all crops, `[S, S]` in aligned pixels.

    Args:
        rest: that part, bool `[H, W]`.

    Returns:
        float32, or None where that part does not touch the crop.
    """
    size = aligned.size
    # One pixel of the photo beyond the crop, and one of the crop, are enough to see it.
    ring = 1 + math.ceil(max(1.0, np.hypot(*aligned.matrix[:, 0])))
    wide = size + 2 * ring
    beyond = (
        resample(rest, shift_target(invert(aligned.matrix), -ring, -ring), wide, wide, border="zero") > 0.1
    )
    if not beyond.any():
        return None
    distance = cv2.distanceTransform((~beyond).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance[ring:-ring, ring:-ring]
