"""Pipelines travel between processes: pickled before or after their first call they give the same pictures."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from tests.tiny.pipelines import tiny_edit_pipeline, tiny_exemplar_pipeline, tiny_restore_pipeline

FACE = np.ascontiguousarray(astronaut()[0:256, 100:356])
HOLE = np.zeros((256, 256), np.uint8)
HOLE[90:140, 90:170] = 255

CALLS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "restore": (tiny_restore_pipeline, (FACE,)),
    "exemplar": (tiny_exemplar_pipeline, (FACE, HOLE, FACE[:, ::-1])),
    "edit": (tiny_edit_pipeline, (FACE, HOLE)),
}


@pytest.mark.parametrize("name", [*CALLS])
@pytest.mark.parametrize("travel", [lambda pipe: pickle.loads(pickle.dumps(pipe)), copy.deepcopy])
def test_pipelines_can_be_pickled_and_copied(name: str, travel: Callable[[Any], Any]) -> None:
    make, arguments = CALLS[name]
    pipe = make()
    pipe.set_progress_bar_config(disable=True)

    def picture(pipe: Any) -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return np.asarray(pipe(*arguments, aligned=True, generator=generator).images[0])

    fresh = travel(pipe)
    expected = picture(pipe)
    np.testing.assert_array_equal(picture(fresh), expected)
    used = travel(pipe)  # with what it remembers of its weights
    with torch.no_grad():
        for parameter in next(iter(used.components.values())).parameters():
            parameter.mul_(1.0)  # counted as a change: nothing remembered may be stale
    np.testing.assert_array_equal(picture(used), expected)
