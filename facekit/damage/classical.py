"""Finds damage without a network: what is much lighter or darker than its surroundings, and thin or at the edge."""

import cv2
import numpy as np

WORKING_SIDE = 512  # pixels of the shorter side at which is looked


def find_damage_classically(photo: np.ndarray) -> np.ndarray:
    """Mark scratches, specks and torn edges by morphology; the baseline that a network has to beat.

    A top-hat finds what is thinner than a small disc and lighter or darker than what is around it. Of these, long and
    thin parts and small round ones stay. Flat near-white or near-black regions at the photo's edge are torn off.

    Args:
        photo: uint8 [H, W, 3].

    Returns:
        bool [H, W].

    Raises:
        ValueError: the photo has another type or shape.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"the photo must be uint8 [H, W, 3], got {photo.dtype} {list(photo.shape)}")
    height, width = photo.shape[:2]
    factor = min(1.0, WORKING_SIDE / min(height, width))
    small = (
        cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else photo
    )
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    found = _find_thin(gray) | _find_torn(gray)
    if factor < 1:
        found = cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return found


def _find_thin(gray: np.ndarray) -> np.ndarray:
    """Lines and specks bool [H, W] of uint8 [H, W]."""
    side = min(gray.shape)
    reach = max(3, round(0.02 * side) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    hats = [cv2.morphologyEx(gray, way, disc) for way in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    hat = np.maximum(*hats).astype(np.float32)
    # Where all is restless, as in hair, a line must stand out more.
    usual = cv2.blur(hat, (4 * reach + 1,) * 2)
    strong = (hat > 24) & (hat > 2.5 * usual)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(strong.astype(np.uint8), connectivity=8)
    area, across, down = (
        stats[:, column] for column in (cv2.CC_STAT_AREA, cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT)
    )
    long = np.maximum(across, down)
    keep = (long > 0.08 * side) & (area < 0.25 * across * down) | (long > 0.08 * side) & (
        np.minimum(across, down) < 0.02 * side
    )
    keep |= (long < 0.025 * side) & (area >= 2) & (area > 0.4 * across * down)
    keep[0] = False
    return keep[labels]


def _find_torn(gray: np.ndarray) -> np.ndarray:
    """Flat regions bool [H, W] of bare paper or black along the edge of uint8 [H, W]."""
    flat = cv2.blur(cv2.absdiff(gray, cv2.medianBlur(gray, 5)).astype(np.float32), (5, 5)) < 4
    found = np.zeros(gray.shape, bool)
    for extreme in ((gray > 225) & flat, (gray < 30) & flat):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(extreme.astype(np.uint8), connectivity=4)
        edge = np.unique(np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1])))
        share = stats[:, cv2.CC_STAT_AREA] / gray.size
        keep = np.zeros(count, bool)
        keep[edge] = (share[edge] > 0.001) & (share[edge] < 0.15)
        keep[0] = False
        found |= keep[labels]
    return found
