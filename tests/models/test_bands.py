"""Large maps computed in bands of rows: the same numbers as in one go, whatever the limits of the bands."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from facekit.models.fast import bands, modulated
from facekit.models.fast.fold import fold, to_channels_last
from facekit.models.layers.modulated import StyledConv
from facekit.models.layers.smart import SMART, MultiDilationConv
from facekit.models.stylegan2 import StyleGAN2Generator

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: StyledConv(8, 16, 5),
    "up": lambda: StyledConv(8, 16, 5, "up"),
    "down": lambda: StyledConv(8, 16, 5, "down"),
    "smart": lambda: SMART(8, 16, 5),
    "stem": lambda: MultiDilationConv(8, 16, 1),
}


def layer_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    for name, parameter in layer.named_parameters():
        if name.endswith("bias") or name.endswith("strength"):
            parameter.data += 0.3 * torch.randn_like(parameter)
    return layer.eval()


def run(layer: nn.Module, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, MultiDilationConv):
        return layer(x)
    return layer(x, style, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every map is large, and a band has few rows; maps of some kilobytes come in huge pages."""
    monkeypatch.setattr(bands, "BANDS_FROM_BYTES", 0)
    monkeypatch.setattr(bands, "BAND_BYTES", 5000)
    monkeypatch.setattr(bands, "HUGE_PAGES_FROM_BYTES", 10000)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 24, 24), (2, 23, 18), (1, 3, 40)])
@torch.inference_mode()
def test_bands_change_nothing(
    request: pytest.FixtureRequest, kind: str, batch: int, height: int, width: int
) -> None:
    layer = fold(layer_of(kind))
    x, style = torch.randn(batch, 8, height, width), torch.randn(batch, 5)
    x = x.contiguous(memory_format=torch.channels_last)
    expected, kept = run(layer, x, style), x.clone()
    request.getfixturevalue("small_bands")
    assert bands.runs_in_bands(x, 16, height, width)
    actual = run(layer, x, style)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, kept), "the input was overwritten"
    half = run(layer.bfloat16(), x.bfloat16(), style.bfloat16())
    error = (half.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert half.dtype == torch.bfloat16 and error < 0.02


def test_gradients_are_never_computed_in_bands(small_bands: None, monkeypatch: pytest.MonkeyPatch) -> None:
    network = StyleGAN2Generator(16, 8, channel_base=128, max_channels=8, num_mapping_layers=1)
    w, taken = torch.randn(1, 8, requires_grad=True), []
    monkeypatch.setattr(modulated, "take_rows", lambda *given: taken.append(given) or bands.take_rows(*given))
    network(w_plus=w, noise="fixed").image.square().sum().backward()
    assert not taken and w.grad.abs().sum() > 0 and network.conv.conv.weight.grad.abs().sum() > 0
    with torch.no_grad():
        network(w_plus=w, noise="fixed")
    assert taken


def test_limits_cover_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND_BYTES", 700)
    for rows, row_bytes in ((1, 100), (17, 100), (5, 10_000), (100, 1)):
        limits = list(bands.split_into_bands(rows, row_bytes))
        assert [row for start, stop in limits for row in range(start, stop)] == list(range(rows))
    x = torch.arange(6.0).view(1, 1, 3, 2)
    assert bands.take_rows(x, 1, 3).data_ptr() == x[:, :, 1:].data_ptr()
    outside = bands.take_rows(x, -2, 5)
    assert torch.equal(outside[:, :, 2:5], x) and outside.abs().sum() == x.sum()


def test_kernels_in_channels_last_keep_their_values_and_are_saved(tmp_path) -> None:
    network = StyleGAN2Generator(16, 8, channel_base=128, max_channels=8, num_mapping_layers=1).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    w = torch.randn(1, 8)
    with torch.inference_mode():
        expected = network(w_plus=w, noise="fixed").image
        to_channels_last(network)
        torch.testing.assert_close(network(w_plus=w, noise="fixed").image, expected, rtol=1e-4, atol=1e-5)
    assert network.conv.conv.weight.is_contiguous(memory_format=torch.channels_last)
    network.save_pretrained(tmp_path)
    for name, value in StyleGAN2Generator.from_pretrained(tmp_path).state_dict().items():
        assert torch.equal(value, before[name]), name
