"""Landmark scores of thesis section 3.4.1: detection success rate and normalised mean error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LandmarkScores:
    """`success_rate` (DSR) in [0, 1]; `error` (NME), a share of the eye distance, over the found faces (NaN: none)."""

    success_rate: float
    error: float


def score_landmarks(
    found: Sequence[np.ndarray | None], truth: Sequence[np.ndarray], eyes: tuple[int, int] = (0, 1)
) -> LandmarkScores:
    """DSR and NME of landmarks against those found in the undamaged pictures.

    Args:
        found: [P, 2] per picture, or None where no face was found.
        truth: [P, 2] per picture.
        eyes: indices of the two points whose distance is the unit; (36, 45) are the outer corners of the 68.

    Raises:
        ValueError: no pictures, numbers or shapes that differ, or eyes at the same place.
    """
    if not truth or len(found) != len(truth):
        raise ValueError(f"{len(found)} results do not fit {len(truth)} pictures")
    errors = []
    for points, target in zip(found, truth, strict=True):
        if points is None:
            continue
        points, target = np.asarray(points, np.float64), np.asarray(target, np.float64)
        if points.shape != target.shape:
            raise ValueError(f"landmarks {list(points.shape)} do not fit {list(target.shape)}")
        unit = np.linalg.norm(target[eyes[1]] - target[eyes[0]])
        if unit == 0:
            raise ValueError("the eyes of a face lie at the same place")
        errors.append(np.linalg.norm(points - target, axis=1).mean() / unit)
    return LandmarkScores(len(errors) / len(truth), float(np.mean(errors)) if errors else float("nan"))
