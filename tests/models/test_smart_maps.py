"""The maps that SMART layers hand out: those of Eq. 3.7, and nothing changes for having been watched."""

import math

import pytest
import torch

from facekit.models.layers.smart import DILATIONS, SMART, ThesisSMART
from facekit.models.layers.smart_maps import collect_smart_maps
from facekit.models.restorer import RestoreAutoEncoder
from tests.tiny.networks import tiny_prior, tiny_restorer

Smart = SMART | ThesisSMART


def dilated_by_loops(layer: Smart, x: torch.Tensor, style: torch.Tensor, dilation: int) -> torch.Tensor:
    """Conv_{d = dilation}^{k'} of Eq. 3.7 for one picture [C, H, W], tap by tap.

    The published form has a quarter of the kernels for each dilation and no phi here, the thesis's all, and phi.
    """
    count = len(layer.weight) // (len(DILATIONS) if isinstance(layer, SMART) else 1)
    first = DILATIONS.index(dilation) * count if isinstance(layer, SMART) else 0
    kernels = layer.weight[first : first + count] * layer.modulation(style[None])[0][None, :, None, None]
    _, height, width = x.shape
    result = torch.zeros(count, height, width)
    for out, kernel in enumerate(kernels):
        kernel = kernel / math.sqrt(float(kernel.square().sum()) + 1e-8)
        for i in range(height):
            for j in range(width):
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        y0, x0 = i + dy * dilation, j + dx * dilation
                        if 0 <= y0 < height and 0 <= x0 < width:
                            result[out, i, j] += kernel[:, dy + 1, dx + 1] @ x[:, y0, x0]
    return result if isinstance(layer, SMART) else torch.where(result < 0, 0.2 * result, result)


@pytest.mark.parametrize("kind", [SMART, ThesisSMART])
@torch.no_grad()
def test_maps_are_those_of_the_equation(kind: type[Smart]) -> None:
    torch.manual_seed(0)
    layer = torch.nn.ModuleDict({"smart": kind(3, 8, 5)}).eval()
    x, style = torch.randn(1, 3, 10, 10), torch.randn(1, 5)
    with collect_smart_maps(layer) as maps:
        output = layer["smart"](x, style, noise=torch.zeros(1, 1, 10, 10))
    assert list(maps) == ["smart"] and list(maps["smart"].dilated) == [1, 2, 4, 8]
    assert torch.equal(maps["smart"].aggregated, output)
    for dilation, found in maps["smart"].dilated.items():
        expected = dilated_by_loops(layer["smart"], x[0], style[0], dilation)
        torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


def restore(network: RestoreAutoEncoder, size: int = 64) -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, size, size, generator=source) * 2 - 1
    codes = torch.randn(2, network.num_styles, 16, generator=source)
    features = tiny_features(codes)
    z = torch.randn(2, 16, generator=source)
    return network(image, codes, features, z=z, generator=source).image


def tiny_features(codes: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(3)
    return tiny_prior(64)(w_plus=codes, noise="none").features


@torch.inference_mode()
def test_a_network_is_as_before_when_its_maps_were_collected() -> None:
    torch.manual_seed(0)
    network = tiny_restorer().eval()
    before = restore(network)
    with collect_smart_maps(network) as maps:
        watched = restore(network)
    assert torch.equal(restore(network), before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    torch.testing.assert_close(watched, before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))
    # In the order of the walk: down the encoder, the innermost layer, up the decoder.
    sizes = [found.aggregated.shape[-1] for found in maps.values()]
    assert sizes == [64, 32, 16, 8, 4, 8, 16, 32, 64]
    assert next(iter(maps)) == "encoder.0.smart" and list(maps)[-1] == "decoder.3.smart"
    for found in maps.values():
        channels = found.aggregated.shape[1]
        assert all(part.shape[1] == channels // 4 for part in found.dilated.values())


def test_a_network_without_such_layers_gives_none() -> None:
    with collect_smart_maps(tiny_restorer(use_smart=False)) as maps:
        assert maps == {}
