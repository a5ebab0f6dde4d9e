"""The astronaut portrait (public domain, 512 x 512, comes with scikit-image) and her landmarks."""

from collections.abc import Callable

import numpy as np
import pytest
from skimage import data

from facekit.faces.align import CROP_SCALE


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    photo = data.astronaut()
    photo.setflags(write=False)
    return photo


@pytest.fixture(scope="session")
def landmarks() -> np.ndarray:
    """Set by eye on an enlarged picture."""
    return np.array([[203.0, 101.0], [246.0, 103.0], [224.0, 130.0], [202.0, 139.0], [244.0, 140.0]])


@pytest.fixture(scope="session")
def upright() -> Callable[[tuple[float, float], float], np.ndarray]:
    """Makes landmarks of an upright face whose crop is a square of `side` pixels round `centre`."""

    def make(centre: tuple[float, float], side: float) -> np.ndarray:
        unit = np.array([[-0.5, 0], [0.5, 0], [0, 0.5], [-0.4, 0.9], [0.4, 0.9]])
        return (unit - [0, 0.09]) * side / 4 / CROP_SCALE + centre

    return make
