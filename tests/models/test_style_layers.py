"""Layers of the style-based networks, and their inference forms, against definitions written out plainly here."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.fast.fold import fold
from facekit.models.fast.modulated import blur
from facekit.models.layers.linear import (
    ConvLayer,
    EqualizedConv2d,
    EqualizedLinear,
    append_minibatch_stddev,
    channels_at,
    count_styles,
    pixel_norm,
)
from facekit.models.layers.modulated import ModulatedConv2d, StyledConv, ToRGB
from facekit.models.layers.noise import NoiseInjection
from facekit.models.layers.resample import FIRFilter, blur_by_sums
from facekit.models.layers.smart import SMART, MultiDilationConv

from .style_parity import textbook_modulated_conv, textbook_resample


def activation(x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    shifted = x if bias is None else x + bias.view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(shifted, 0.2) * math.sqrt(2)


def give_values(module: nn.Module) -> nn.Module:
    """Biases and noise strengths start at zero, where mistakes would not show."""
    torch.manual_seed(3)
    for name, parameter in module.named_parameters():
        if name.endswith("bias") or name.endswith("strength"):
            parameter.data += 0.3 * torch.randn_like(parameter)
    return module


def style_scale(layer: nn.Module, style: torch.Tensor) -> torch.Tensor:
    affine = layer.modulation.affine
    return style @ affine.weight.t() / math.sqrt(style.shape[1]) + affine.bias


def textbook_styled(
    layer: StyledConv, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    y = textbook_modulated_conv(
        x, layer.conv.weight, style_scale(layer.conv, style), resample=layer.conv.resample
    )
    return activation(y + layer.noise.strength * noise, layer.activate.bias)


def textbook_smart(layer: SMART, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    scale = style_scale(layer, style)
    parts = [
        textbook_modulated_conv(x, weight, scale, dilation=dilation)
        for weight, dilation in zip(layer.weight.chunk(4), (1, 2, 4, 8), strict=True)
    ]
    channels = layer.weight.shape[0]
    fused = F.conv2d(torch.cat(parts, 1), layer.fusion.weight / math.sqrt(channels * 9), padding=1)
    fused = activation(fused, layer.fusion_activate.bias)
    return activation(fused + layer.noise.strength * noise, layer.activate.bias)


@pytest.mark.parametrize("lr_mul", [1.0, 0.01])
def test_equalized_linear(lr_mul: float) -> None:
    layer = give_values(EqualizedLinear(12, 5, bias_init=1.0, lr_mul=lr_mul, activation=True))
    x = torch.randn(2, 3, 12)
    expected = F.linear(x, layer.weight * lr_mul / math.sqrt(12), layer.bias * lr_mul)
    torch.testing.assert_close(layer(x), F.leaky_relu(expected, 0.2) * math.sqrt(2))
    assert 0.5 < EqualizedLinear(256, 256, lr_mul=lr_mul)(torch.randn(64, 256)).std() < 1.5


@pytest.mark.parametrize("size", [2, 16])
def test_equalized_conv_scales_map_or_kernel(size: int) -> None:
    layer = give_values(EqualizedConv2d(6, 8, 3, stride=2, bias=True))
    x = torch.randn(1, 6, size, size)
    expected = F.conv2d(x, layer.weight / math.sqrt(54), layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_pixel_norm_of_half_precision_does_not_overflow() -> None:
    x = torch.full((1, 8), 1000.0, dtype=torch.float16)
    torch.testing.assert_close(pixel_norm(x), torch.ones(1, 8, dtype=torch.float16))


def test_minibatch_stddev_groups_every_other_sample() -> None:
    x = torch.randn(8, 3, 2, 2)
    y = append_minibatch_stddev(x, 4)
    for first in range(2):
        group = x[first::2]
        expected = torch.sqrt(group.var(0, unbiased=False) + 1e-8).mean()
        torch.testing.assert_close(y[first::2, 3], expected.expand(4, 2, 2))
    with pytest.raises(ValueError, match="batch of 6 cannot be split into groups of 4"):
        append_minibatch_stddev(x[:6], 4)


def test_fir_filter_against_zero_insertion() -> None:
    fir, x = FIRFilter(), torch.randn(2, 3, 8, 6)
    torch.testing.assert_close(fir.upsample(x), textbook_resample(x, gain=4, up=2, pad=(2, 1)))
    torch.testing.assert_close(fir.blur(x, 2), textbook_resample(x, pad=(2, 2)))
    torch.testing.assert_close(fir.blur(x, 1, stride=2), textbook_resample(x, down=2, pad=(1, 1)))
    gain, bias = torch.randn(3), torch.randn(3)
    expected = textbook_resample(x, gain=4, pad=(1, 1)) * gain.view(1, 3, 1, 1) + bias.view(1, 3, 1, 1)
    torch.testing.assert_close(blur(fir, x, 1, 4.0, gain, bias), expected)
    assert not FIRFilter().state_dict()


@pytest.mark.parametrize("padding, stride, side", [(1, 1, 9), (2, 1, 8), (1, 2, 8), (2, 2, 9), (0, 1, 7)])
def test_fir_filter_by_sums_of_shifted_maps(padding: int, stride: int, side: int) -> None:
    x = torch.randn(2, 3, side, side + 2)
    expected = textbook_resample(x, gain=4, down=stride, pad=(padding, padding))
    torch.testing.assert_close(blur_by_sums(x, 4.0, padding, stride), expected)


@pytest.mark.parametrize(
    "options", [{"padding": 2}, {"padding": 1, "stride": 2}, {"padding": 1, "gain": 4.0}]
)
def test_gradients_of_the_fir_filter_are_those_of_the_plain_convolution(options) -> None:
    fir, x = FIRFilter(), torch.randn(2, 3, 8, 6, requires_grad=True)
    plain = F.conv2d(
        x,
        (fir.kernel * options.get("gain", 1.0)).expand(3, 1, 4, 4),
        padding=options["padding"],
        stride=options.get("stride", 1),
        groups=3,
    )
    output = fir.blur(x, **options)
    torch.testing.assert_close(output, plain)
    weights = torch.randn_like(plain)
    first, second = (
        torch.autograd.grad((y.square() * weights).sum(), x, create_graph=True)[0] for y in (output, plain)
    )
    torch.testing.assert_close(first, second)
    doubles = [torch.autograd.grad(g.pow(3).sum(), x, retain_graph=True)[0] for g in (first, second)]
    torch.testing.assert_close(*doubles, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel_size", "pad"), [(3, 2), (1, 1)])
def test_down_sampling_conv_layer(kernel_size: int, pad: int) -> None:
    layer, x = give_values(ConvLayer(4, 6, kernel_size, downsample=True)), torch.randn(2, 4, 8, 8)
    weight = layer.conv.weight / math.sqrt(4 * kernel_size**2)
    expected = F.conv2d(textbook_resample(x, pad=(pad, pad)), weight, stride=2)
    torch.testing.assert_close(layer(x), activation(expected, layer.activate.bias))
    torch.testing.assert_close(layer(x, gain=0.5), 0.5 * activation(expected, layer.activate.bias))


def test_noise_is_reproducible_and_follows_its_strength() -> None:
    layer, x = NoiseInjection().eval(), torch.zeros(2, 3, 4, 4)
    with torch.no_grad():
        assert not layer(x).any()
        layer.strength.data.fill_(0.5)
        first = layer(x, generator=torch.Generator().manual_seed(5))
        assert torch.equal(first, layer(x, generator=torch.Generator().manual_seed(5)))
        assert torch.equal(first[:, 0], first[:, 2]) and not torch.equal(first[0], first[1])
        expected = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(5))
        torch.testing.assert_close(first, (0.5 * expected).expand(2, 3, 4, 4))
        with pytest.raises(ValueError, match=r"noise of shape \(1, 1, 8, 8\)"):
            layer(x, torch.zeros(1, 1, 8, 8))
    learning = NoiseInjection()
    learning(x, torch.ones(2, 1, 4, 4)).sum().backward()
    assert learning.strength.grad.item() == x.numel()


def test_channel_table_and_sizes() -> None:
    assert [channels_at(2**k) for k in range(2, 11)] == [512] * 5 + [256, 128, 64, 32]
    assert (count_styles(256), count_styles(512), count_styles(1024)) == (14, 16, 18)
    with pytest.raises(ValueError, match="power of two"):
        count_styles(96)


@pytest.mark.parametrize("resample", [None, "up", "down"])
@pytest.mark.parametrize(("batch", "size"), [(1, 4), (1, 8), (1, 64), (3, 8)])
def test_styled_conv_is_the_textbook_one(resample: str | None, batch: int, size: int) -> None:
    layer = give_values(StyledConv(6, 8, 5, resample))
    x, style = torch.randn(batch, 6, size, size), torch.randn(batch, 5)
    side = {None: size, "up": 2 * size, "down": size // 2}[resample]
    noise = torch.randn(batch, 1, side, side)
    expected = textbook_styled(layer, x, style, noise)
    torch.testing.assert_close(layer(x, style, noise), expected, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        kept = x.clone()
        for form in (layer, fold(layer)):
            for memory_format in (torch.contiguous_format, torch.channels_last):
                actual = form(x.contiguous(memory_format=memory_format), style, noise)
                torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(x, kept), "the input was overwritten"
    assert actual.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch", [1, 2])
def test_large_maps_are_up_sampled_in_four_phases(batch: int) -> None:
    layer = give_values(StyledConv(4, 4, 5, "up"))
    x, style, noise = torch.randn(batch, 4, 128, 136), torch.randn(batch, 5), torch.randn(batch, 1, 256, 272)
    expected = textbook_styled(layer, x, style, noise)
    with torch.inference_mode():
        torch.testing.assert_close(fold(layer)(x, style, noise), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(x, style, noise), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch", "size"), [(1, 4), (1, 64), (2, 12)])
def test_smart_is_the_textbook_one(batch: int, size: int) -> None:
    layer = give_values(SMART(6, 8, 5))
    x, style, noise = (
        torch.randn(batch, 6, size, size),
        torch.randn(batch, 5),
        torch.randn(batch, 1, size, size),
    )
    expected = textbook_smart(layer, x, style, noise)
    torch.testing.assert_close(layer(x, style, noise), expected, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(fold(layer)(x, style, noise), expected, rtol=1e-4, atol=1e-5)


def test_multi_dilation_conv() -> None:
    layer, x = give_values(MultiDilationConv(3, 8, 3)), torch.randn(2, 3, 10, 10)
    parts = [
        F.conv2d(x, weight / math.sqrt(27), padding=d, dilation=d)
        for weight, d in zip(layer.weight.chunk(4), (1, 2, 4, 8), strict=True)
    ]
    fused = F.conv2d(torch.cat(parts, 1), layer.fusion.weight / math.sqrt(8))
    expected = activation(activation(fused, layer.fusion_activate.bias), layer.activate.bias)
    torch.testing.assert_close(layer(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(fold(layer)(x), expected)
    with pytest.raises(ValueError, match="6 output channels"):
        MultiDilationConv(3, 6, 3)


@pytest.mark.parametrize("batch", [1, 3])
def test_to_rgb(batch: int) -> None:
    layer = give_values(ToRGB(6, 5))
    x, style, below = torch.randn(batch, 6, 8, 8), torch.randn(batch, 5), torch.randn(batch, 3, 4, 4)
    expected = textbook_modulated_conv(x, layer.weight, style_scale(layer, style), demodulate=False)
    expected = expected + layer.bias.view(1, 3, 1, 1) + textbook_resample(below, gain=4, up=2, pad=(2, 1))
    torch.testing.assert_close(layer(x, style, below), expected)
    with torch.inference_mode():
        torch.testing.assert_close(fold(layer)(x, style, below), expected)


@pytest.mark.parametrize("resample", [None, "up", "down"])
@pytest.mark.parametrize(("batch", "size"), [(1, 4), (1, 64), (2, 8)])
def test_first_and_second_derivatives(resample: str | None, batch: int, size: int) -> None:
    """The gradients of a path-length-like penalty, which differentiates twice, equal the textbook layer's."""
    layer = give_values(StyledConv(4, 4, 5, resample))
    x, style = torch.randn(batch, 4, size, size), torch.randn(batch, 5)
    side = {None: size, "up": 2 * size, "down": size // 2}[resample]
    noise = torch.randn(batch, 1, side, side)
    direction = torch.randn(batch, 4, side, side) / side

    def gradients(forward) -> list[torch.Tensor]:
        inputs = [x.clone().requires_grad_(), style.clone().requires_grad_()]
        first = torch.autograd.grad(
            (forward(layer, *inputs, noise) * direction).sum(), inputs, create_graph=True
        )
        penalty = sum(g.square().sum() for g in first)
        parameters = [layer.conv.weight, layer.conv.modulation.affine.weight]
        return [*first, *torch.autograd.grad(penalty, [*inputs, *parameters], allow_unused=True)]

    ours = gradients(lambda layer, *inputs: layer(*inputs))
    for actual, expected in zip(ours, gradients(textbook_styled), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_smart_gradients() -> None:
    layer = give_values(SMART(4, 8, 5))
    x, style, noise = torch.randn(2, 4, 6, 6), torch.randn(2, 5), torch.randn(2, 1, 6, 6)
    results = []
    for forward in (lambda *args: args[0](*args[1:]), textbook_smart):
        layer.zero_grad()
        forward(layer, x, style, noise).square().sum().backward()
        results.append({name: p.grad.clone() for name, p in layer.named_parameters()})
    for name, expected in results[1].items():
        torch.testing.assert_close(results[0][name], expected, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("batch", "size"), [(1, 8), (1, 64), (2, 8)])
@pytest.mark.parametrize("kind", ["plain", "up", "down", "smart"])
@torch.inference_mode()
def test_half_precision_stays_close(dtype: torch.dtype, batch: int, size: int, kind: str) -> None:
    layer = SMART(16, 16, 8) if kind == "smart" else StyledConv(16, 16, 8, None if kind == "plain" else kind)
    layer = give_values(layer).eval()
    side = {"up": 2 * size, "down": size // 2}.get(kind, size)
    x, noise = torch.randn(batch, 16, size, size), torch.randn(batch, 1, side, side)
    # Styles this large overflow float16 unless modulation and demodulation are computed with care.
    for strength in (1.0, 3000.0):
        style = strength * torch.randn(batch, 8)
        expected = layer(x, style, noise)
        layer.to(dtype)
        for form in (layer, fold(layer)):
            half = form(x.to(dtype), style.to(dtype), noise.to(dtype))
            assert half.dtype == dtype and half.isfinite().all()
            error = (half.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
            assert error < (0.02 if dtype == torch.bfloat16 else 0.004)
        layer.float()


def test_autocast_keeps_demodulation_in_float32() -> None:
    layer = give_values(StyledConv(16, 16, 8))
    x, style, noise = torch.randn(2, 16, 8, 8), torch.randn(2, 8), torch.randn(2, 1, 8, 8)
    expected = layer(x, style, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x, style, noise)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.conv.weight.grad.isfinite().all()
    assert (y.float() - expected).abs().max() < 0.15


def test_weights_changed_in_place_are_used_at_once() -> None:
    layer = give_values(StyledConv(4, 4, 3)).eval()
    fast = fold(layer)
    x, style, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 3), torch.randn(1, 1, 8, 8)
    with torch.inference_mode():
        before = fast(x, style, noise)
    with torch.no_grad():
        layer.conv.weight[0] *= 7
        layer.conv.weight[1, 0] *= 9
    with torch.inference_mode():
        after = fast(x, style, noise)
    torch.testing.assert_close(after, textbook_styled(layer, x, style, noise), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, after)


def test_unknown_resampling_is_refused() -> None:
    with pytest.raises(ValueError, match="resample must be None"):
        ModulatedConv2d(4, 4, 3, 3, resample="twice")
