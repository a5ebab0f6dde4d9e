"""What the edit pipeline remembers from call to call is of the networks as they are."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from skimage.data import astronaut
from torch import nn

from facekit.pipelines.edit.cache import EditCache
from tests.tiny.networks import tiny_text_guide
from tests.tiny.pipelines import tiny_edit_pipeline

FACE = np.ascontiguousarray(astronaut()[0:256, 100:356])
HOLE = np.zeros((256, 256), np.uint8)
HOLE[90:140, 90:170] = 255


def edited(pipe: Any, cache: EditCache | None, **guidance: Any) -> np.ndarray:
    source = torch.Generator().manual_seed(0)
    given = {"exemplar": FACE[:, ::-1], "aligned": True, "output_type": "np", "generator": source, **guidance}
    return pipe(FACE, HOLE, cache=cache, **given).images[0]


def by_average(network: nn.Module) -> None:
    """As diffusers shows an average: through `.data`, which PyTorch does not count."""
    torch.manual_seed(1)
    moved = [nn.Parameter(p + 0.3 * torch.randn_like(p)) for p in network.parameters()]
    EMAModel(moved, decay=0.9).copy_to(network.parameters())


@torch.no_grad()
def in_place(network: nn.Module) -> None:
    """A single number of a weight, which only PyTorch's count of changes can tell."""
    weight = next(p for p in network.parameters() if p.numel() > 64)
    weight[(1, *[0] * (weight.ndim - 1))] += 20.0


@pytest.mark.parametrize("change", [by_average, in_place])
@pytest.mark.parametrize("name", ["style_encoder", "aggregation", "refiner"])
def test_changed_networks_encode_anew(name: str, change: Any) -> None:
    pipe, cache = tiny_edit_pipeline(), EditCache()
    before = edited(pipe, cache)
    change(getattr(pipe, name))
    expected = edited(pipe, None)
    assert np.abs(expected - before).max() > 1e-4
    np.testing.assert_array_equal(edited(pipe, cache), expected)


def test_a_changed_prior_or_text_model_is_followed_anew() -> None:
    pipe, cache, guide = tiny_edit_pipeline(), EditCache(), tiny_text_guide()
    given = {"exemplar": None, "prompt": "smile", "text_guide": guide, "num_inference_steps": 2}
    for network in (pipe.prior, guide.model):
        before = edited(pipe, cache, **given)
        by_average(network)
        expected = edited(pipe, None, **given)
        assert np.abs(expected - before).max() > 1e-4
        np.testing.assert_array_equal(edited(pipe, cache, **given), expected)


def test_another_number_type_encodes_anew_and_the_same_weights_do_not() -> None:
    pipe, cache, calls = tiny_edit_pipeline(), EditCache(), []
    edited(pipe, cache)
    pipe.style_encoder.register_forward_hook(lambda *_: calls.append(1))
    expected = edited(pipe, cache)
    np.testing.assert_array_equal(edited(pipe.to("cpu"), cache), expected)
    assert not calls
    halved = edited(pipe.to(torch.bfloat16), cache)
    np.testing.assert_array_equal(halved, edited(pipe, None))


def test_black_paint_in_another_place_encodes_anew() -> None:
    pipe, cache = tiny_edit_pipeline(), EditCache()
    upper, lower = np.zeros((2, 256, 256, 4), np.uint8)
    upper[95:110, 95:165, 3] = lower[120:135, 95:165, 3] = 255
    before = edited(pipe, cache, color=upper)
    expected = edited(pipe, None, color=lower)
    assert np.abs(expected - before).max() > 1e-4
    np.testing.assert_array_equal(edited(pipe, cache, color=lower), expected)
