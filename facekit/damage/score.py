"""How well a mask of damage agrees with the truth, where being a pixel or two off does not count."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass
class Agreement:
    """Counts of pixels, which add up over photos.

    Attributes:
        found, found_right: marked pixels, and those of them with truth near.
        true, true_found: pixels of the truth, and those of them with a mark near.
    """

    found: int = 0
    found_right: int = 0
    true: int = 0
    true_found: int = 0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.found + other.found,
            self.found_right + other.found_right,
            self.true + other.true,
            self.true_found + other.true_found,
        )

    @property
    def precision(self) -> float:
        """Share of the marked pixels with truth near, 0 where nothing is marked."""
        return self.found_right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the truth with a mark near, 0 where there is none."""
        return self.true_found / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def compare(
    found: np.ndarray, truth: np.ndarray, tolerance: int = 2, ignored: np.ndarray | None = None
) -> Agreement:
    """Compare masks bool `[H, W]`; what lies at most `tolerance` pixels apart (Euclidean) agrees.

    Marks on `ignored` pixels, bool `[H, W]`, that are not true are neither right nor wrong themselves; what is true
    near them is found.

    Raises:
        ValueError: the masks have different sizes.
    """
    if found.shape != truth.shape:
        raise ValueError(f"the masks must have one size, got {list(found.shape)} and {list(truth.shape)}")
    near_truth, near_found = grow(truth, tolerance), grow(found, tolerance)
    if ignored is not None:
        found = found & ~(ignored & ~truth)
    return Agreement(
        int(found.sum()), int((found & near_truth).sum()), int(truth.sum()), int((truth & near_found).sum())
    )


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask bool `[H, W]` and all that is at most so many pixels (Euclidean) away from it."""
    steps = np.arange(-pixels, pixels + 1)
    disc = (steps[:, None] ** 2 + steps[None] ** 2 <= pixels**2).astype(np.uint8)
    return cv2.dilate(mask.astype(np.uint8), disc) > 0
