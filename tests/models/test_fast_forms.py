"""Layers and networks as they are defined, and their inference forms: the same functions, of the same weights."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor, nn

from facekit.models.fast import bands, winograd
from facekit.models.fast.fold import FORMS, fold
from facekit.models.fast.view import View
from facekit.models.layers.ir_se import IRSEBlock, Stem
from facekit.models.layers.linear import ConvLayer, EqualizedConv2d, Sum, WeightedSum
from facekit.models.layers.modulated import ModulatedConv2d, StyledConv, ToRGB
from facekit.models.layers.residual import AOTBlock, ConvGLU, ConvNorm, DownBlock, SkipExcitation
from facekit.models.layers.smart import SMART, MultiDilationConv
from facekit.models.layers.spectral import SpectralConv2d
from facekit.models.layers.style_fusion import StyleFusion
from tests.models.every_network import NETWORKS

Layer = tuple[Callable[[], nn.Module], Callable[[int, int], tuple[Any, ...]]]


def maps(batch: int, side: int, channels: int = 8) -> Tensor:
    return torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)


def styled(resample: str | None) -> Layer:
    """A style layer with fixed noise: layer and inputs for a batch and a side."""

    def inputs(batch: int, side: int) -> tuple[Tensor, ...]:
        out = {None: side, "up": 2 * side, "down": side // 2}[resample]
        return maps(batch, side), torch.randn(batch, 5), torch.randn(batch, 1, out, out)

    return lambda: StyledConv(8, 12, 5, resample), inputs


def modulated(**options: Any) -> Layer:
    return lambda: ModulatedConv2d(8, 12, 3, 5, **options), lambda b, s: (
        maps(b, s),
        torch.randn(b, 5),
        1.5,
        torch.randn(12),
    )


def of_map(make: Callable[[], nn.Module]) -> Layer:
    """A layer that reads one map of 8 channels."""
    return make, lambda b, s: (maps(b, s),)


LAYERS: dict[str, Layer] = {
    "sum": (Sum, lambda b, s: (maps(b, s), maps(1, s), None, maps(b, s))),
    "weighted sum": (WeightedSum, lambda b, s: ([maps(1, s), maps(b, s)], [maps(b, s, 1), maps(b, s, 1)])),
    "equalized": of_map(lambda: EqualizedConv2d(8, 12, 3, bias=True)),
    "conv": of_map(lambda: ConvLayer(8, 12, 3)),
    "conv down": of_map(lambda: ConvLayer(8, 12, 3, downsample=True)),
    "modulated": modulated(),
    "modulated dilated": modulated(dilation=2),
    "modulated dilated 5x5": (lambda: ModulatedConv2d(8, 12, 5, 5, dilation=2), modulated()[1]),
    "modulated up": modulated(resample="up"),
    "modulated down": modulated(resample="down", demodulate=False),
    "styled": styled(None),
    "styled up": styled("up"),
    "styled down": styled("down"),
    "rgb": (lambda: ToRGB(8, 5), lambda b, s: (maps(b, s), torch.randn(b, 5), maps(b, s // 2, 3))),
    "smart": (lambda: SMART(8, 12, 5), lambda b, s: (maps(b, s), torch.randn(b, 5), maps(b, s, 1))),
    "multi dilation": of_map(lambda: MultiDilationConv(8, 12, 3)),
    "multi dilation 1x1": of_map(lambda: MultiDilationConv(8, 12, 1)),
    "style fusion": (
        lambda: StyleFusion(8, 5),
        lambda b, s: (maps(b, s), maps(1, s), maps(b, s), torch.randn(b, 5)),
    ),
    "ir-se": of_map(lambda: IRSEBlock(8, 12, 2, 4)),
    "ir-se identity": of_map(lambda: IRSEBlock(8, 8, 1, 4)),
    "stem": of_map(lambda: Stem(8, 12)),
    "grig down": of_map(lambda: DownBlock(8, 12)),
    "aot": of_map(lambda: AOTBlock(8)),
    "gated": (lambda: ConvGLU(8, 12, 3, noise=True), lambda b, s: (maps(b, s), maps(b, s, 1))),
    "normalised": of_map(lambda: ConvNorm(8, 12, 3)),
    "excitation": (lambda: SkipExcitation(8, 12), lambda b, s: (maps(b, s), maps(b, 4, 12))),
    "spectral": of_map(lambda: SpectralConv2d(8, 12, 3, padding=1)),
    "plain": of_map(lambda: nn.Conv2d(8, 12, 3, padding=1)),
}


def made(kind: str) -> nn.Module:
    """A layer whose biases, strengths and statistics are not those that it begins with, which hide mistakes."""
    torch.manual_seed(0)
    layer = LAYERS[kind][0]()
    with torch.no_grad():
        for name, value in (*layer.named_parameters(), *layer.named_buffers()):
            if name.endswith(("bias", "strength", "running_mean")):
                value.add_(0.3 * torch.randn_like(value))
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
    return layer.eval()


def test_every_form_is_compared() -> None:
    assert {type(made(kind)) for kind in LAYERS} == set(FORMS)


@pytest.mark.parametrize("by_tiles", [False, True], ids=["directly", "by tiles"])
@pytest.mark.parametrize("large", [False, True], ids=["whole", "in bands"])
@pytest.mark.parametrize(("batch", "side"), [(1, 10), (1, 66), (1, 64), (2, 16)])
@pytest.mark.parametrize("kind", LAYERS)
@torch.inference_mode()
def test_the_inference_form_is_the_same_function(
    kind: str, batch: int, side: int, large: bool, by_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(bands, "BANDS_FROM_BYTES", 0)
        monkeypatch.setattr(bands, "BAND_BYTES", 5000)
    if by_tiles:
        monkeypatch.setattr(winograd, "FROM_CHANNELS", 1)
        monkeypatch.setattr(winograd, "FROM_PIXELS", 1)
        monkeypatch.setattr(bands, "BAND_BYTES", 50000)
    layer, given = made(kind), LAYERS[kind][1](batch, side)
    expected, kept = layer(*given), copy.deepcopy(given)
    form = fold(layer)
    assert form is not layer
    actual = form(*given)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 if by_tiles else 1e-5)
    if kind != "sum":  # its first map is its own
        torch.testing.assert_close(given, kept, rtol=0, atol=0, msg="an input was overwritten")


@pytest.mark.parametrize("kind", ["modulated", "styled", "smart", "equalized", "conv"])
@torch.inference_mode()
def test_wide_layers_go_by_tiles(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "FROM_CHANNELS", 8)
    calls = []
    convolve = winograd.convolve_by_tiles
    monkeypatch.setattr(winograd, "convolve_by_tiles", lambda *given: calls.append(given) or convolve(*given))
    for bytes_ in (bands.BANDS_FROM_BYTES, 0):  # whole, then in bands
        monkeypatch.setattr(bands, "BANDS_FROM_BYTES", bytes_)
        monkeypatch.setattr(bands, "BAND_BYTES", 50000)
        fold(made(kind))(*LAYERS[kind][1](1, 64))
        assert calls
        calls.clear()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "folded_inpainter"])
def test_a_network_is_the_same_function_with_and_without_gradients(name: str) -> None:
    network, call = NETWORKS[name]()
    defined = call(network)
    with torch.no_grad():
        torch.testing.assert_close(call(network), defined.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(call(network.fold()), defined.detach(), rtol=1e-4, atol=1e-5)


def views(network: nn.Module) -> int:
    return sum(isinstance(module, View) for module in network.modules())


def test_folding_leaves_the_network_as_it_is() -> None:
    network, _ = NETWORKS["restorer"]()
    before = list(network.modules())
    folded = network.fold()
    assert type(folded) is type(network) and views(folded) > 5 and not views(network)
    assert all(a is b for a, b in zip(network.modules(), before, strict=True))
    assert {id(p) for p in folded.parameters()} == {id(p) for p in network.parameters()}
    assert folded.fold() is folded and folded.config == network.config and folded.dtype == network.dtype


def test_a_network_that_was_folded_long_ago_has_the_weights_of_today() -> None:
    network, call = NETWORKS["prior"]()
    folded = network.fold()
    states = [{name: value + step for name, value in network.state_dict().items()} for step in (0.1, 0.2)]
    for change in (
        lambda: network.load_state_dict(states[0]),
        lambda: network.load_state_dict(states[1], assign=True),
        lambda: network.bfloat16().float(),
    ):
        with torch.inference_mode():
            before = call(network)
            change()
            after = call(folded)
            assert not torch.equal(before, after)
            torch.testing.assert_close(after, call(network), rtol=0, atol=0)


def test_what_was_put_into_a_network_is_called() -> None:
    network, call = NETWORKS["prior"]()
    called = []
    network.levels[0].conv.register_forward_hook(lambda *_: called.append("hook"))
    network.levels[1].conv.conv.register_forward_hook(lambda *_: called.append("inner"))
    with torch.inference_mode():
        call(network)
    assert called == ["hook", "inner"]
    place = AlignDevicesHook(execution_device=torch.device("cpu"), offload=True, place_submodules=True)
    with torch.inference_mode():
        expected = call(network)
        add_hook_to_module(network, place)
        torch.testing.assert_close(call(network), expected, rtol=0, atol=0)
    assert all(parameter.is_meta for parameter in network.parameters())


def test_copies_of_an_inference_form_have_weights_of_their_own() -> None:
    network, call = NETWORKS["refiner"]()
    folded = network.fold()
    with torch.inference_mode():
        expected = call(folded)
    copied = copy.deepcopy(folded)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    with torch.inference_mode():
        torch.testing.assert_close(call(copied), expected, rtol=0, atol=0)
