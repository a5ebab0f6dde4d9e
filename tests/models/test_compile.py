"""Networks under `torch.compile`: one graph each, the same results; pipelines run what was compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from facekit.models.fast.fold import fold
from tests.helpers.masks import box_mask
from tests.models.every_network import NETWORKS
from tests.tiny.pipelines import tiny_inpaint_pipeline


class Counter:
    """A backend of `torch.compile` that runs graphs as they are and counts them and their runs."""

    def __init__(self) -> None:
        self.graphs = self.runs = 0

    def __call__(self, graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*inputs: torch.Tensor) -> Any:
            self.runs += 1
            return graph.forward(*inputs)

        return run


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "folded_inpainter"])
def test_a_network_is_one_graph(name: str) -> None:
    network, call = NETWORKS[name]()
    counter = Counter()
    compiled = torch.compile(network.requires_grad_(False), backend=counter, fullgraph=True)
    with torch.inference_mode():
        expected = call(network)
        torch.testing.assert_close(call(compiled), expected, rtol=1e-4, atol=1e-5)
        call(compiled)
    assert (counter.graphs, counter.runs) == (1, 2)


def test_large_maps_are_one_graph_too() -> None:
    """Where nobody compiles they are computed in bands, in memory that comes straight from the system."""
    network, _ = NETWORKS["prior"]()
    layer = network.levels[0].conv
    x, style, noise = torch.randn(1, 16, 600, 600), torch.randn(1, 16), torch.randn(1, 1, 600, 600)
    with torch.inference_mode():
        expected = fold(layer)(x, style, noise)
        for form in (layer, fold(layer)):
            actual = torch.compile(form, backend=Counter(), fullgraph=True)(x, style, noise)
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def by_replacing(pipe: Any, counter: Counter) -> None:
    pipe.residual_inpainter = torch.compile(pipe.residual_inpainter, backend=counter)


def in_place(pipe: Any, counter: Counter) -> None:
    pipe.residual_inpainter.compile(backend=counter)


def in_part(pipe: Any, counter: Counter) -> None:
    pipe.residual_inpainter.encoder.compile(backend=counter)


@pytest.mark.slow
@pytest.mark.parametrize("compile_network", [by_replacing, in_place, in_part])
def test_the_inpainting_pipeline_runs_the_compiled_network(
    compile_network: Callable[[Any, Counter], None],
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = box_mask(photo.shape, (16, 16, 40, 40))

    def filled() -> np.ndarray:
        source = torch.Generator().manual_seed(0)
        return np.asarray(pipe(photo, mask, aligned=True, generator=source, num_inference_steps=2).images[0])

    pipe, counter = tiny_inpaint_pipeline(), Counter()
    expected = filled().astype(int)
    compile_network(pipe, counter)
    assert np.abs(filled() - expected).max() <= 1
    assert (counter.graphs, counter.runs) == (1, 2)


class Adapter(nn.Module):
    """What low-rank adapters do to a convolution: they stand in its place, and add to what it gives."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base = base
        self.extra = nn.Conv2d(base.in_channels, base.out_channels, 3, base.stride, 1, bias=False)
        self.weight = base.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.extra(x)


def adapted(network: nn.Module) -> None:
    network.encoder.down2.conv2.conv = Adapter(network.encoder.down2.conv2.conv).eval()
    network.context.embed = Adapter(network.context.embed).eval()


def hooked(network: nn.Module) -> None:
    for layer in (network.encoder.stem, network.encoder.aot[0].fuse, network.decoder.up1.conv.norm):
        layer.register_forward_hook(lambda layer, given, output: output + 0.1)


def parametrized(network: nn.Module) -> None:
    class Stronger(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight * 1.5

    torch.nn.utils.parametrize.register_parametrization(network.decoder.up1.conv.norm, "weight", Stronger())


@pytest.mark.parametrize("change", [adapted, hooked, parametrized])
def test_what_was_put_into_a_network_works_in_its_inference_form(change: Callable[[nn.Module], None]) -> None:
    network, call = NETWORKS["inpainter"]()
    with torch.inference_mode():
        before = call(network)
    change(network)
    with torch.inference_mode():
        expected, actual = call(network), call(network.fold())
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
