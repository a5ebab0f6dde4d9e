"""3x3 convolutions by tiles: the numbers of the plain convolution, to rounding, and where each is taken."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from facekit.models.fast import winograd
from facekit.models.fast.winograd import convolve_wide, pays, prepare_convolution


def operands(
    batch: int, height: int, width: int, channels: int = 6, outputs: int = 5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, height, width, generator=generator)
    weight = torch.randn(outputs, channels, 3, 3, generator=generator) / (3 * channels**0.5)
    return x, weight, torch.randn(outputs, generator=generator)


@pytest.fixture
def by_tiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every layer is wide, every map large, strips and parts of kernels are small; a call by tiles adds its rows."""
    monkeypatch.setattr(winograd, "FROM_CHANNELS", 1)
    monkeypatch.setattr(winograd, "FROM_PIXELS", 1)
    monkeypatch.setattr(winograd, "TILES", 10)
    monkeypatch.setattr(winograd, "PART_BYTES", 1000)
    calls, convolve = [], winograd.convolve_by_tiles

    def note(x: torch.Tensor, rows: int, *others: Any) -> torch.Tensor:
        result = convolve(x, rows, *others)
        calls.append(result.shape[2])
        return result

    monkeypatch.setattr(winograd, "convolve_by_tiles", note)
    return calls


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 4, 4), (1, 12, 20), (3, 28, 16), (1, 4, 64)])
@torch.inference_mode()
def test_tiles_give_the_plain_convolution(
    by_tiles: list[int], batch: int, height: int, width: int, with_bias: bool
) -> None:
    x, weight, bias = operands(batch, height, width)
    given = bias if with_bias else None
    exact = F.conv2d(x.double(), weight.double(), bias.double() if with_bias else None, padding=1)
    for layout in (torch.contiguous_format, torch.channels_last):
        y = convolve_wide(x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout), given)
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y.double(), exact, rtol=0, atol=2e-5)
    assert by_tiles == [height, height]


@pytest.mark.parametrize(("height", "width"), [(10, 12), (12, 10)])
@torch.inference_mode()
def test_maps_that_tiles_do_not_divide_are_convolved_directly(
    by_tiles: list[int], height: int, width: int
) -> None:
    x, weight, bias = operands(1, height, width)
    assert convolve_wide(x, weight, bias).equal(F.conv2d(x, weight, bias, padding=1))
    assert not by_tiles


@torch.inference_mode()
def test_a_kernel_that_no_band_uses_is_not_transformed(
    by_tiles: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "transform_kernel", lambda _: pytest.fail("it was transformed"))
    x, weight, bias = operands(1, 12, 12)
    assert prepare_convolution(x, weight, bias)(x[:, :, :7], 0).shape[2] == 5 and not by_tiles


@torch.inference_mode()
def test_bands_of_rows_share_a_prepared_kernel(by_tiles: list[int]) -> None:
    x, weight, bias = operands(1, 24, 16)
    whole = F.conv2d(x, weight, bias, padding=(0, 1))
    convolve = prepare_convolution(x, weight, bias)
    parts = [convolve(x[:, :, start : start + rows + 2], 0) for start, rows in ((0, 8), (8, 12), (20, 2))]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=0, atol=2e-5)
    assert by_tiles == [8, 12]


@torch.inference_mode()
def test_taps_apart_are_convolved_directly(by_tiles: list[int]) -> None:
    x, weight, bias = operands(1, 16, 16)
    assert prepare_convolution(x, weight, bias, 2)(x, 2).equal(
        F.conv2d(x, weight, bias, padding=2, dilation=2)
    )
    assert not by_tiles


def test_only_wide_layers_on_large_float32_maps_without_gradients_pay() -> None:
    x, weight = torch.empty(1, 256, 64, 64), torch.empty(256, 256, 3, 3)
    with torch.inference_mode():
        assert pays(x, weight)
        assert (
            not pays(x[:, :, :32], weight)
            and not pays(x, weight[:128])
            and not pays(x[:, :128], weight[:, :128])
        )
        assert not pays(x.bfloat16(), weight.bfloat16()) and not pays(x.to("meta"), weight)
        with torch.autocast("cpu"):
            assert not pays(x, weight)
        kept = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            assert not pays(x, weight)
        finally:
            torch.set_float32_matmul_precision(kept)
        assert pays(x, weight)
    assert not pays(x, weight)


def test_a_precision_set_for_one_backend_is_no_error() -> None:
    settings = torch.backends.cuda.matmul
    if not hasattr(settings, "fp32_precision"):
        pytest.skip("this PyTorch has one precision for all")
    x, weight = torch.empty(1, 256, 64, 64), torch.empty(256, 256, 3, 3)
    kept = settings.fp32_precision
    settings.fp32_precision = "tf32"
    try:
        with torch.inference_mode():
            assert not pays(x, weight)
    finally:
        settings.fp32_precision = kept
    with torch.inference_mode():
        assert pays(x, weight)


def test_under_autocast_a_wide_layer_is_computed_in_half_precision() -> None:
    x, weight, bias = operands(1, 64, 64, 256, 256)
    with torch.no_grad(), torch.autocast("cpu"):
        assert convolve_wide(x, weight, bias).dtype == torch.bfloat16


@torch.inference_mode()
def test_a_wide_layer_of_a_usual_size_loses_little_to_rounding() -> None:
    x, weight, bias = operands(1, 64, 64, 256, 256)
    assert pays(x, weight)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    assert (convolve_wide(x, weight, bias) - exact).abs().max() < 1e-4
