"""Finds damage without a network: lines and specks that are much lighter or darker than what is around them."""

import cv2
import numpy as np

WORKING_SIDE = 512  # pixels of the shorter side at which is looked; smaller photos stay as they are
# Shares of the shorter side.
THICKEST = 0.02  # of a line
SHORTEST_LINE, LARGEST_SPECK = 0.08, 0.025
CONTRAST = 40  # gray levels
# How many times more than its neighbourhood usually has: in hair and leaves a line must stand out more.
RESTLESS = 2.5


def find_damage_classically(photo: np.ndarray) -> np.ndarray:
    """Mark scratches, creases and dust by morphology; the baseline that a network has to beat.

    A top-hat and a black-hat keep what is thinner than a small disc. Of that, long thin parts and small compact ones
    stay. Stains and torn edges are not thin, and are not found.

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
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    if factor < 1:
        gray = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    found = _choose_parts(_find_thin(gray))
    if factor < 1:
        found = cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return found


def _find_thin(gray: np.ndarray) -> np.ndarray:
    """What is thin and stands out, bool [H, W] of uint8 [H, W]."""
    reach = max(3, round(THICKEST * min(gray.shape)) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    hats = [cv2.morphologyEx(gray, way, disc) for way in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    hat = np.maximum(*hats).astype(np.float32)
    usual = cv2.blur(hat, (4 * reach + 1,) * 2)
    return (hat > CONTRAST) & (hat > RESTLESS * usual)


def _choose_parts(mask: np.ndarray) -> np.ndarray:
    """Of a mask's connected parts, bool [H, W], those that are lines or specks."""
    side = min(mask.shape)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA]
    across, down = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    length = np.maximum(across, down)
    is_line = (length > SHORTEST_LINE * side) & (area < 0.15 * length**2)
    is_speck = (length < LARGEST_SPECK * side) & (area >= 3) & (area > 0.4 * across * down)
    chosen = is_line | is_speck
    chosen[0] = False  # the background
    return chosen[labels]
