"""Pipelines in half precision, however they came to it: what normalises stays exact, what does not fit is refused."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torch import nn

from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

FACE = np.ascontiguousarray(astronaut()[0:256, 100:356])
HOLE = np.zeros((256, 256), np.uint8)
HOLE[90:140, 90:170] = 255

PIPELINES: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "restore": (tiny_restore_pipeline, (FACE,)),
    "inpaint": (tiny_inpaint_pipeline, (FACE, HOLE)),
    "exemplar": (lambda: tiny_exemplar_pipeline(identity=True), (FACE, HOLE, FACE[:, ::-1])),
    "edit": (lambda: tiny_edit_pipeline(parser=True), (FACE, HOLE)),
}


def networks(pipe: Any) -> list[nn.Module]:
    return [part for part in pipe.components.values() if isinstance(part, nn.Module)]


def with_large_variances(pipe: Any) -> Any:
    """The same pictures by features a thousand times as large, as trained encoders have them."""
    norms = [m for network in networks(pipe) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        norm.running_var.mul_(1e6)
        norm.weight.data.mul_(1e3)
    return pipe


def picture(pipe: Any, arguments: tuple[Any, ...]) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    source = torch.Generator().manual_seed(0)
    return pipe(*arguments, aligned=True, generator=source, output_type="np").images[0]


def whole(pipe: Any, dtype: torch.dtype) -> Any:
    return pipe.to(dtype)


def with_device(pipe: Any, dtype: torch.dtype) -> Any:
    return pipe.to("cpu", dtype)


def network_by_network(pipe: Any, dtype: torch.dtype) -> Any:
    for network in networks(pipe):
        network.half() if dtype == torch.float16 else network.bfloat16()
    return pipe


def through_another_module(pipe: Any, dtype: torch.dtype) -> Any:
    nn.ModuleList(networks(pipe)).to(dtype)
    return pipe


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*PIPELINES])
def test_every_way_to_half_precision_is_that_of_from_pretrained(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    make, arguments = PIPELINES[name]
    pipe = with_large_variances(make())
    pipe.save_pretrained(tmp_path)
    exact = picture(pipe, arguments)
    expected = picture(type(pipe).from_pretrained(tmp_path, dtype=dtype), arguments)
    assert -10 * np.log10(np.square(expected - exact).mean()) > 50
    for way in (whole, with_device, network_by_network, through_another_module):
        halved = way(copy.deepcopy(pipe), dtype)
        np.testing.assert_array_equal(picture(halved, arguments), expected)
        for network in networks(halved):
            assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    np.testing.assert_array_equal(picture(halved.to(torch.float32).to("cpu"), arguments).shape, exact.shape)


def test_weights_that_do_not_fit_are_refused_before_anything_changes(tmp_path: Path) -> None:
    pipe = tiny_edit_pipeline()
    pipe.refiner.to_global.weight.data[0, 0] = 1e6
    pipe.save_pretrained(tmp_path)
    message = (
        r"RefinementAutoEncoder does not fit torch.float16: to_global.weight hold numbers beyond 65504\. Use "
    )
    for refused in (
        lambda: pipe.to(torch.float16),
        lambda: pipe.to("cpu", torch.float16),
        lambda: pipe.refiner.to(dtype=torch.float16),
        lambda: pipe.refiner.half(),
        lambda: type(pipe).from_pretrained(tmp_path, dtype=torch.float16),
        lambda: type(pipe).from_pretrained(tmp_path, torch_dtype=torch.float16),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
    assert {p.dtype for network in networks(pipe) for p in network.parameters()} == {torch.float32}
    assert pipe.to(torch.bfloat16).refiner.dtype == torch.bfloat16


def test_networks_take_all_that_pytorch_takes() -> None:
    network = tiny_inpaint_pipeline().residual_inpainter
    norm = network.encoder.down2.conv1.norm
    network(torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).sum().backward()
    for change in (
        lambda: network.to("cpu", torch.float16),
        lambda: network.to(torch.zeros(1, dtype=torch.float16)),
        lambda: network.to(dtype=torch.float16, memory_format=torch.channels_last),
        lambda: network.to(None, torch.float16, non_blocking=True),
        lambda: network.to(torch.float16, True),
        lambda: network.to("cpu", torch.float16, True),
        lambda: network.to(torch.zeros(1, dtype=torch.float16), True),
        lambda: network.type(torch.float16),
    ):
        network.float()
        assert change() is network
        assert network.dtype == network.encoder.stem.weight.grad.dtype == torch.float16
        assert norm.weight.dtype == norm.weight.grad.dtype == norm.running_var.dtype == torch.float32
    assert network.to("meta").to(torch.bfloat16).dtype == torch.bfloat16
