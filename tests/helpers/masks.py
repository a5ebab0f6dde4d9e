"""Masks for tests."""

import numpy as np


def box_mask(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> np.ndarray:
    """bool `[H, W]`, True inside the box (left, top, right, bottom)."""
    mask = np.zeros(shape[:2], dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask
