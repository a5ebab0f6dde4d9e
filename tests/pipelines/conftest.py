"""A pipeline around a tiny real network, and a photo with one face."""

import numpy as np
import pytest
from skimage.data import astronaut

from facekit import FaceInpaintPipeline
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_inpaint_pipeline


@pytest.fixture(scope="session")
def pipe() -> FaceInpaintPipeline:
    return tiny_inpaint_pipeline()


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """uint8 `[256, 256, 3]` with one face."""
    return np.ascontiguousarray(astronaut()[0:256, 100:356])


@pytest.fixture(scope="session")
def eyes(portrait: np.ndarray) -> np.ndarray:
    return box_mask(portrait.shape, (90, 85, 155, 115))


@pytest.fixture(scope="session")
def couple(portrait: np.ndarray) -> np.ndarray:
    """uint8 `[256, 512, 3]` with two faces: the one and its mirror image."""
    return np.concatenate([portrait, portrait[:, ::-1]], axis=1)


@pytest.fixture(scope="session")
def example(portrait: np.ndarray) -> np.ndarray:
    """Another face, uint8 `[256, 256, 3]`."""
    return np.ascontiguousarray(portrait[:, ::-1, ::-1])
