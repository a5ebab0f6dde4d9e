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
