"""Find the faces of a photo: box, score and five landmarks each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from .detectors import DETECTORS, WORKING_SIDE, Candidate, NamedDetector
from .geometry import Box, resample, tiles
from .selection import check_selection, select_faces

# Reflected border of that copy: an aligned 256-pixel face touches its frame, and without the border the
# sliding windows of the cascade never fit around it.
BORDER_FRACTION, MAX_BORDER = 0.25, 96
# Photos in whose bounded copy a face of this size is too small to be found are searched part by part, too.
# Smaller faces hold too little to work on, and to seek them would take long.
SMALLEST_IN_PARTS = 32.0
MARGIN = 2.5  # what a part shows beyond its share of the photo, in sides of the smallest face that shows
# Where the darkest and the lightest hundredth of a picture are less than so many gray levels apart, detectors are
# shown it with this contrast, but for pictures that have almost none: of those only the noise would grow.
FAINT_CONTRAST, STRONG_CONTRAST, MIN_CONTRAST = 96, 192, 24
TURNS = (90, 270, 180)
# Parts and turned copies are many more places to go wrong: what is found there must be surer.
MIN_SURE_SCORE = 0.9


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photo, in pixels of that photo (pixel centres at whole numbers).

    Attributes:
        index: place among the photo's faces, counted from the left.
        box: (x0, y0, x1, y1).
        score: 0 to 1.
        landmarks: [5, 2] float64, (x, y) of left eye, right eye, nose tip, left and right mouth corner; left
            and right as seen in the image when the face stands upright.
        turn: 0, or 90, 180, 270: it was found in a copy of the photo turned clockwise by so many degrees.
    """

    index: int
    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray
    turn: int = 0

    @property
    def area(self) -> float:
        """Box area in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


Detector = Callable[[np.ndarray], Sequence[Face]]


def detect_faces(
    image: np.ndarray,
    *,
    detector: str | Detector | None = None,
    min_size: float = 32.0,
    min_score: float = 0.7,
    faces: str | Sequence[int] = "all",
    turned: bool | Literal["only"] = True,
) -> list[Face]:
    """Detect the faces of one photo.

    Args:
        image: [H, W, 3] uint8 RGB, upright (EXIF orientation applied).
        detector: "mtcnn" (offline, and what None means; Zhang et al., Joint face detection and alignment using
            multi-task cascaded convolutional networks, 2016, refined in a second pass), "retinaface" or "scrfd"
            (extra `faces`), or a callable that takes the photo and returns `Face`s in its pixels (their `index` is
            ignored).
        min_size: smallest face, in photo pixels, measured on the shorter side of its box. Named detectors
            look at a copy of at most 1,600 pixels a side, in which "mtcnn" finds no face below 20 pixels, and
            then search the photo part by part where faces of 32 pixels, or of a larger `min_size`, need it.
        min_score: smallest score kept.
        faces: "all", "largest", or the indices wanted, in the order wanted.
        turned: where no face is found, or none for sure, look for some in copies turned by 90, 270 and 180
            degrees; see `Face.turn`. They too are given in pixels of the photo as it is. "only" looks at nothing
            but these copies.

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
    detector = "mtcnn" if detector is None else detector
    if not callable(detector) and detector not in DETECTORS:
        raise ValueError(
            f"detector {detector!r} is unknown; choose one of {sorted(DETECTORS)} or pass a callable"
        )
    if not min_size >= 0 or not 0 <= min_score <= 1:
        raise ValueError(f"min_size must be >= 0 and min_score in [0, 1], got {min_size} and {min_score}")
    check_selection(faces)

    kept = [] if turned == "only" else _find(image, detector, min_size, min_score)
    if turned and all(face.score < MIN_SURE_SCORE for face in kept):
        kept = _find_turned(image, detector, min_size, max(min_score, MIN_SURE_SCORE)) or kept
    kept.sort(key=lambda face: face.box[0] + face.box[2])
    return select_faces([replace(face, index=index) for index, face in enumerate(kept)], faces)


def _find(image: np.ndarray, detector: str | Detector, min_size: float, min_score: float) -> list[Face]:
    if callable(detector):
        return _keep(detector(image), min_size, min_score)
    kept = _keep(_find_in_whole(image, DETECTORS[detector], min_size), min_size, min_score)
    return kept + _keep(_find_in_parts(image, DETECTORS[detector], min_size, kept), min_size, min_score)


def _find_turned(
    image: np.ndarray, detector: str | Detector, min_size: float, min_score: float
) -> list[Face]:
    """The faces of the copy of the photo, turned by 90, 270 or 180 degrees, that shows most; in no order."""
    best: list[Face] = []
    for turn in TURNS:
        if callable(detector):
            height, width = image.shape[:2]
            copy = np.ascontiguousarray(np.rot90(image, -turn // 90))
            found = [_turn_face_back(face, turn, width, height) for face in detector(copy)]
        else:
            found = _find_in_whole(image, DETECTORS[detector], min_size, turn)
        kept = _keep(found, min_size, min_score)
        if sum(face.score for face in kept) > sum(face.score for face in best):
            best = kept
    if best and not callable(detector):
        smaller = _find_in_parts(image, DETECTORS[detector], min_size, best, best[0].turn)
        best = best + _keep(smaller, min_size, min_score)
    return best


def _keep(found: Sequence[Face], min_size: float, min_score: float) -> list[Face]:
    """What is large and sure enough, each face once, the surest first."""
    kept: list[Face] = []
    for face in sorted(found, key=lambda face: -face.score):
        landmarks = np.asarray(face.landmarks, dtype=np.float64)
        if landmarks.shape != (5, 2):
            raise ValueError(f"a detector must give landmarks [5, 2], got {list(landmarks.shape)}")
        side = min(face.box[2] - face.box[0], face.box[3] - face.box[1])
        if side < min_size or face.score < min_score or not np.isfinite(landmarks).all():
            continue
        if not any(_same_face(landmarks, other.landmarks) for other in kept):
            kept.append(replace(face, landmarks=landmarks))
    return kept


def _same_face(a: np.ndarray, b: np.ndarray) -> bool:
    eyes = max(np.hypot(*(a[1] - a[0])), np.hypot(*(b[1] - b[0])))
    return bool(np.hypot(*(a.mean(axis=0) - b.mean(axis=0))) < 0.5 * eyes)


def _find_in_whole(image: np.ndarray, detector: NamedDetector, min_size: float, turn: int = 0) -> list[Face]:
    """Run a named detector on a bounded copy of the photo, turned clockwise by `turn` degrees."""
    height, width = image.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    return _search(image, Box(0, 0, width, height), scale, detector, min_size, turn)


def _find_in_parts(
    image: np.ndarray, detector: NamedDetector, min_size: float, found: Sequence[Face], turn: int = 0
) -> list[Face]:
    """Faces that are too small for a bounded copy of the whole photo and lie in no box of those `found` in it."""
    height, width = image.shape[:2]
    smaller: list[Face] = []
    for scale in _finer_scales(detector, max(height, width), max(min_size, SMALLEST_IN_PARTS)):
        margin, added = MARGIN * detector.smallest / scale, []
        largest = 2 * detector.smallest / scale  # the copy before, half as large, showed those
        for core in tiles(Box(0, 0, width, height), math.floor(detector.view / scale - 2 * margin)):
            corners = np.array(core, dtype=float).reshape(2, 2)
            part = Box.around_points(corners, height, width, margin=math.ceil(margin))
            for face in _search(image, part, scale, detector, min_size, turn, largest):
                x, y = face.landmarks.mean(axis=0)
                if not (core[0] <= x < core[2] and core[1] <= y < core[3]):
                    continue  # seen whole from another part
                # Larger faces may be cut, and were found in a smaller copy.
                complete = min(face.box[2] - face.box[0], face.box[3] - face.box[1]) <= margin
                if complete and face.score >= MIN_SURE_SCORE and not _inside_any(face, [*found, *smaller]):
                    added.append(face)
        smaller += added
    return smaller


def _finer_scales(detector: NamedDetector, side: int, min_size: float) -> list[float]:
    """Scales at which a photo of this longer side is searched part by part: each twice the one before.

    The last shows a face of `min_size` as large as the detector needs it; none where the whole photo does.
    """
    whole, finest = min(1.0, detector.view / side), min(1.0, detector.smallest / min_size)
    count = max(0, math.ceil(math.log2(finest / whole) - 1e-6))
    return [finest / 2**step for step in reversed(range(count))]


def _inside_any(face: Face, others: Sequence[Face]) -> bool:
    """Whether a face lies in the box of another: textures inside a large face look like small ones."""
    x, y = face.landmarks.mean(axis=0)
    return any(o.box[0] <= x <= o.box[2] and o.box[1] <= y <= o.box[3] for o in others)


def _search(
    image: np.ndarray,
    part: Box,
    scale: float,
    detector: NamedDetector,
    min_size: float,
    turn: int,
    max_size: float = math.inf,
) -> list[Face]:
    """Faces of a part of the photo, found in a copy of `scale` with a reflected border at the photo's frame."""
    left, top, right, bottom = part
    height, width = image.shape[:2]
    working = image[top:bottom, left:right]
    if scale < 1:
        target = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
        working = cv2.resize(working, target, interpolation=cv2.INTER_AREA)
    gain, lift = _strengthen(working)
    if gain != 1:
        working = cv2.LUT(working, np.clip(np.rint(np.arange(256) * gain + lift), 0, 255).astype(np.uint8))
    ratio = np.array([(right - left) / working.shape[1], (bottom - top) / working.shape[0]])
    border = min(MAX_BORDER, math.ceil(BORDER_FRACTION * min(working.shape[:2])))
    at_frame = (top == 0, bottom == height, left == 0, right == width)
    above, below, before, behind = (border * at for at in at_frame)
    working = cv2.copyMakeBorder(working, above, below, before, behind, cv2.BORDER_REFLECT)
    shift = np.array([before, above])

    size = working.shape[1], working.shape[0]
    working = np.ascontiguousarray(np.rot90(working, -turn // 90))

    def to_photo(points: np.ndarray) -> np.ndarray:
        return (_turn_back(points, turn, *size) - shift + 0.5) * ratio - 0.5 + [left, top]

    def sample(matrix: np.ndarray, side: int) -> np.ndarray:
        """A square of the photo's own pixels, for detectors that look twice."""
        return np.clip(resample(image, matrix, side, side) * gain + lift, 0, 255)

    found = []
    for candidate in detector.find(working, min_size * scale, max_size * scale):
        corners = np.sort(to_photo(candidate.box.reshape(2, 2)), axis=0)
        candidate = Candidate(corners.reshape(4), candidate.score, to_photo(candidate.landmarks))
        centre = candidate.landmarks.mean(axis=0)
        # The border shows mirror images of faces near the frame.
        if not (-0.5 <= centre[0] <= width - 0.5 and -0.5 <= centre[1] <= height - 0.5):
            continue
        if detector.refine is not None:
            candidate = detector.refine(candidate, sample)
        limits = np.array([width, height, width, height])
        x0, y0, x1, y1 = (float(value) for value in np.clip(candidate.box, 0, limits))
        found.append(Face(0, (x0, y0, x1, y1), float(candidate.score), candidate.landmarks, turn))
    return found


def _strengthen(picture: np.ndarray) -> tuple[float, float]:
    """Factor and summand that give the gray levels of a dark or faded picture the contrast that networks are used to.

    (1, 0) where it has contrast of its own.
    """
    dark, light = np.percentile(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[::4, ::4], (1, 99))
    if light - dark >= FAINT_CONTRAST:
        return 1.0, 0.0
    gain = STRONG_CONTRAST / max(light - dark, MIN_CONTRAST)
    return float(gain), float(127.5 - gain * (dark + light) / 2)


def _turn_back(points: np.ndarray, turn: int, width: int, height: int) -> np.ndarray:
    """Points [N, 2] of a picture turned clockwise by `turn` degrees, in the picture [height, width] itself."""
    x, y = points[:, 0], points[:, 1]
    places = {
        0: (x, y),
        90: (y, height - 1 - x),
        180: (width - 1 - x, height - 1 - y),
        270: (width - 1 - y, x),
    }
    return np.stack(places[turn], axis=1)


def _turn_face_back(face: Face, turn: int, width: int, height: int) -> Face:
    """A face that was found in a copy of the photo [height, width] turned clockwise."""
    corners = _turn_back(np.array(face.box).reshape(2, 2), turn, width, height)
    x0, y0, x1, y1 = (float(value) for value in np.sort(corners, axis=0).reshape(4))
    landmarks = _turn_back(np.asarray(face.landmarks, dtype=np.float64), turn, width, height)
    return replace(face, box=(x0, y0, x1, y1), landmarks=landmarks, turn=turn)
