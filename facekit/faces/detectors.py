"""The detectors that can be chosen by name."""

import importlib.util
import math
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.notes import Argument, MissingFile, MissingPackage

from .cascade import SMALLEST_FACE, find_faces, run_network
from .geometry import transform_points


class Candidate(NamedTuple):
    """A face before selection: box [4] (x0, y0, x1, y1), score 0 to 1, landmarks [5, 2]."""

    box: np.ndarray
    score: float
    landmarks: np.ndarray


Sampler = Callable[[np.ndarray, int], np.ndarray]

# Faces are sought in copies of this many pixels on the longer side, so that time and memory have a bound.
WORKING_SIDE = 1600
# Sides of the squares in which the second pass looks, in units of the face's own measure (see `_face_frame`),
# and how far above the landmarks' mean they are centred: chosen from a small grid on the training faces named
# below.
REFINE_SIDES, REFINE_LIFT = (1.9, 2.2, 2.5), 0.05
# Centres of the eye contours, nose tip and mouth corners of a 468-point face mesh, relative to what the
# network says, in the face's frame: eyes a little higher, nose lower, mouth corners higher and closer
# together. Mean over 398 faces drawn from the training part of synthetic-faces-256, each set into a reflected
# border, turned by up to 15 degrees and scaled by 0.6 to 1.3, averaged with its mirror image.
LANDMARK_OFFSETS = np.array(
    [[-0.0053, -0.0235], [0.0053, -0.0235], [0.0, 0.0341], [0.0129, -0.0722], [-0.0129, -0.0722]]
)
MIRRORED = [1, 0, 2, 4, 3]

# OpenCV networks keep their inputs and outputs inside, so two threads must not use one at a time.
_LOCK = threading.Lock()


def find_mtcnn(image: np.ndarray, min_size: float, max_size: float = math.inf) -> list[Candidate]:
    """Three-stage cascade on `image` [H, W, 3] uint8 RGB, for faces of about `min_size` to `max_size` pixels."""
    with _LOCK:
        found = find_faces(image, min_size, max_size)
    return [Candidate(*face) for face in zip(*found, strict=True)]


def refine_mtcnn(candidate: Candidate, sample: Sampler) -> Candidate:
    """Second pass: the last network looks at upright squares of three sizes and their mirror images.

    The landmarks are the mean of the six answers plus `LANDMARK_OFFSETS`; the score is the lower of the
    cascade's and the mean of the six.
    """
    centre, axes, measure = _face_frame(candidate.landmarks)
    crops, maps = [], []
    for side in REFINE_SIDES:
        for mirror in (1.0, -1.0):
            # Columns: one crop width along the eyes, one crop height down the face.
            linear = np.stack([axes[0] * mirror, axes[1]], axis=1) * side * measure
            middle = centre - axes[1] * REFINE_LIFT * measure
            unit_to_photo = np.concatenate([linear, (middle - linear.sum(axis=1) / 2)[:, None]], axis=1)
            pixel_to_photo = np.concatenate(
                [linear / 48, transform_points(unit_to_photo, np.full((1, 2), 0.5 / 48)).T], axis=1
            )
            crops.append(sample(pixel_to_photo, 48))
            maps.append((unit_to_photo, mirror))
    with _LOCK:
        _, probability, points = run_network("onet", np.stack(crops))
    answers = []
    for (unit_to_photo, mirror), row in zip(maps, points, strict=True):
        found = np.stack([row[:5], row[5:]], axis=1).astype(np.float64)
        answers.append(transform_points(unit_to_photo, found if mirror > 0 else found[MIRRORED]))
    landmarks = np.mean(answers, axis=0)
    _, axes, measure = _face_frame(landmarks)
    score = min(candidate.score, float(probability[:, 1].mean()))
    return Candidate(candidate.box, score, landmarks + measure * LANDMARK_OFFSETS @ axes)


def _face_frame(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean point [2], unit axes [2, 2] (rows: along the eyes, down the face) and measure, in pixels.

    Axis and measure are those of the FFHQ crop, whose half side is twice the measure.
    """
    eyes = landmarks[1] - landmarks[0]
    down = landmarks[3:5].mean(axis=0) - landmarks[:2].mean(axis=0)
    along = eyes + np.array([down[1], -down[0]])
    along = along / max(float(np.hypot(*along)), 1e-6)
    measure = max(float(np.hypot(*eyes)), 0.9 * float(np.hypot(*down)), 1.0)
    return landmarks.mean(axis=0), np.stack([along, [-along[1], along[0]]]), measure


UNIFACE_MODELS = {
    "retinaface": ("RetinaFace", "RetinaFaceWeights", "MNET_V2"),
    "scrfd": ("SCRFD", "SCRFDWeights", "SCRFD_10G_KPS"),
}


@lru_cache(maxsize=2)
def _uniface(name: str) -> Any:
    """A detector of the package uniface, built only when its weights already lie in that package's cache."""
    class_name, weights_class, weights_name = UNIFACE_MODELS[name]
    missing = [package for package in ("uniface", "onnxruntime") if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingPackage(
            "detector-missing",
            "detector {name!r} needs the package {package}; install it with `pip install 'facekit[faces]'`, or use "
            "{other}, which needs nothing more",
            name=name,
            package=missing[0],
            other=Argument("detector", "mtcnn"),
        )
    import uniface.detection
    from uniface import constants, model_store

    weights = getattr(getattr(constants, weights_class), weights_name)
    path = Path(model_store.get_cache_dir()) / f"{weights.value}.onnx"
    fetch = f"python -c 'from uniface.detection import {class_name}; {class_name}()'"
    if not path.is_file():
        raise MissingFile(
            "detector-missing",
            "detector {name!r} needs the weights {path}, which are not downloaded by themselves; fetch them once with "
            "`{fetch}`, or use {other}",
            name=name,
            path=path,
            fetch=fetch,
            other=Argument("detector", "mtcnn"),
        )
    # uniface would fetch a damaged file anew without asking.
    if not model_store.verify_file_hash(str(path), constants.MODEL_REGISTRY[weights].sha256):
        raise OSError(
            f"the weights {path} of detector {name!r} are damaged; delete the file and run `{fetch}`"
        )
    return getattr(uniface.detection, class_name)(model_name=weights)


def _find_uniface(name: str) -> Callable[[np.ndarray, float, float], list[Candidate]]:
    def find(image: np.ndarray, min_size: float, max_size: float) -> list[Candidate]:
        with _LOCK:
            found = _uniface(name).detect(np.ascontiguousarray(image[:, :, ::-1]))
        return [
            Candidate(
                np.asarray(face.bbox, dtype=np.float64),
                float(face.confidence),
                np.asarray(face.landmarks, dtype=np.float64),
            )
            for face in found
        ]

    return find


class NamedDetector(NamedTuple):
    """A detector that can be chosen by name.

    Attributes:
        find: (picture [H, W, 3] uint8 RGB, smallest and largest face in its pixels) -> candidates. The sizes save
            time; what it finds beyond them is no fault.
        refine: looks twice at a candidate of the photo; None where once is enough.
        view: longest side in pixels at which its networks see a picture; larger ones are reduced to it.
        smallest: shorter side in pixels of the smallest face that they find in there.
    """

    find: Callable[[np.ndarray, float, float], list[Candidate]]
    refine: Callable[[Candidate, Sampler], Candidate] | None
    view: int
    smallest: float


DETECTORS: dict[str, NamedDetector] = {
    "mtcnn": NamedDetector(find_mtcnn, refine_mtcnn, WORKING_SIDE, SMALLEST_FACE),
    "retinaface": NamedDetector(_find_uniface("retinaface"), None, 640, 16),
    "scrfd": NamedDetector(_find_uniface("scrfd"), None, 640, 16),
}
