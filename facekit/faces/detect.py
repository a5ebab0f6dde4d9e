"""Find the faces of a photo: box, score and five landmarks each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .detectors import DETECTORS, Candidate
from .geometry import resample

# Faces are sought in a copy of this many pixels on the longer side, so that time and memory have a bound.
WORKING_SIDE = 1600
# Reflected border of that copy: an aligned 256-pixel face touches its frame, and without the border the
# sliding windows of the cascade never fit around it.
BORDER_FRACTION, MAX_BORDER = 0.25, 96


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photo, in pixels of that photo (pixel centres at whole numbers).

    Attributes:
        index: place among the photo's faces, counted from the left.
        box: (x0, y0, x1, y1).
        score: 0 to 1.
        landmarks: [5, 2] float64, (x, y) of left eye, right eye, nose tip, left and right mouth corner; left
            and right as seen in the image.
    """

    index: int
    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray

    @property
    def area(self) -> float:
        """Box area in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


Detector = Callable[[np.ndarray], Sequence[Face]]


def detect_faces(
    image: np.ndarray,
    *,
    detector: str | Detector = "mtcnn",
    min_size: float = 32.0,
    min_score: float = 0.7,
    faces: str | Sequence[int] = "all",
) -> list[Face]:
    """Detect the faces of one photo.

    Args:
        image: [H, W, 3] uint8 RGB, upright (EXIF orientation applied).
        detector: "mtcnn" (offline; Zhang et al., Joint face detection and alignment using multi-task cascaded
            convolutional networks, 2016, refined in a second pass), "retinaface" or "scrfd" (extra `faces`),
            or a callable that takes the photo and returns `Face`s in its pixels (their `index` is ignored).
        min_size: smallest face, in photo pixels, measured on the shorter side of its box. Named detectors
            work on a copy of at most 1,600 pixels a side, and "mtcnn" finds no face below 20 pixels in it,
            whatever `min_size` says.
        min_score: smallest score kept.
        faces: "all", "largest", or the indices wanted, in the order wanted.

    Returns:
        Faces from left to right (or as `faces` orders them); empty when "all" or "largest" finds none.

    Raises:
        ValueError: wrong array, unknown detector, bad limits, or an index that does not exist.
        ImportError, FileNotFoundError: package or weights of an optional detector are missing.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = (
            f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        )
        raise ValueError(f"face detection takes a uint8 RGB array [H, W, 3], got {found}")
    if not callable(detector) and detector not in DETECTORS:
        raise ValueError(
            f"detector {detector!r} is unknown; choose one of {sorted(DETECTORS)} or pass a callable"
        )
    if not min_size >= 0 or not 0 <= min_score <= 1:
        raise ValueError(f"min_size must be >= 0 and min_score in [0, 1], got {min_size} and {min_score}")
    _check_selection(faces)

    found = list(detector(image)) if callable(detector) else _detect_by_name(image, detector, min_size)
    kept = []
    for face in sorted(found, key=lambda face: -face.score):
        landmarks = np.asarray(face.landmarks, dtype=np.float64)
        if landmarks.shape != (5, 2):
            raise ValueError(f"a detector must give landmarks [5, 2], got {list(landmarks.shape)}")
        side = min(face.box[2] - face.box[0], face.box[3] - face.box[1])
        if side < min_size or face.score < min_score or not np.isfinite(landmarks).all():
            continue
        if not any(_same_face(landmarks, other.landmarks) for other in kept):
            kept.append(replace(face, landmarks=landmarks))
    kept.sort(key=lambda face: face.box[0] + face.box[2])
    return _select([replace(face, index=index) for index, face in enumerate(kept)], faces)


def _check_selection(faces: str | Sequence[int]) -> None:
    wrong = ValueError(f'faces must be "all", "largest" or a list of indices from 0, got {faces!r}')
    if isinstance(faces, str):
        if faces not in ("all", "largest"):
            raise wrong
    elif not isinstance(faces, Sequence) or not all(
        isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in faces
    ):
        raise wrong


def _select(found: list[Face], faces: str | Sequence[int]) -> list[Face]:
    if faces == "all":
        return found
    if faces == "largest":
        return [max(found, key=lambda face: face.area)] if found else []
    missing = [int(index) for index in faces if not 0 <= index < len(found)]
    if missing:
        count = "1 face" if len(found) == 1 else f"{len(found) or 'no'} faces"
        way_out = f"choose from 0 to {len(found) - 1}" if found else "try a lower min_size or min_score"
        raise ValueError(f"face {missing[0]} was asked for, but the photo has {count}; {way_out}")
    return [found[index] for index in dict.fromkeys(int(index) for index in faces)]


def _same_face(a: np.ndarray, b: np.ndarray) -> bool:
    eyes = max(np.hypot(*(a[1] - a[0])), np.hypot(*(b[1] - b[0])))
    return bool(np.hypot(*(a.mean(axis=0) - b.mean(axis=0))) < 0.5 * eyes)


def _detect_by_name(image: np.ndarray, name: str, min_size: float) -> list[Face]:
    """Run a named detector on a bounded copy of the photo with a reflected border, and map the faces back."""
    height, width = image.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    working = image
    if scale < 1:
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        working = cv2.resize(image, target, interpolation=cv2.INTER_AREA)
    ratio = np.array([width / working.shape[1], height / working.shape[0]])
    border = min(MAX_BORDER, math.ceil(BORDER_FRACTION * min(working.shape[:2])))
    working = cv2.copyMakeBorder(working, border, border, border, border, cv2.BORDER_REFLECT)

    def to_photo(points: np.ndarray) -> np.ndarray:
        return (points - border + 0.5) * ratio - 0.5

    def sample(matrix: np.ndarray, side: int) -> np.ndarray:
        """A square of the photo's own pixels, for detectors that look twice."""
        return resample(image, matrix, side, side)

    found = []
    find, refine = DETECTORS[name]
    for candidate in find(working, min_size * scale):
        box = to_photo(candidate.box.reshape(2, 2)).reshape(4)
        candidate = Candidate(box, candidate.score, to_photo(candidate.landmarks))
        centre = candidate.landmarks.mean(axis=0)
        # The border shows mirror images of faces near the frame.
        if not (-0.5 <= centre[0] <= width - 0.5 and -0.5 <= centre[1] <= height - 0.5):
            continue
        if refine is not None:
            candidate = refine(candidate, sample)
        limits = np.array([width, height, width, height])
        box = tuple(float(value) for value in np.clip(candidate.box, 0, limits))
        found.append(Face(0, box, float(candidate.score), candidate.landmarks))
    return found
