"""Layers that look at several distances at once: SMART (thesis Section 3.2.3) and its plain sibling."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.fast.bands import band_limits, empty_map, runs_in_bands, take_rows
from facekit.models.layers.linear import (
    ACTIVATION_GAIN,
    EqualizedConv2d,
    FusedLeakyReLU,
    Generators,
    NoiseInjection,
    leaky_relu,
    leaky_relu_into,
    widened,
)
from facekit.models.layers.modulated import FOLD_FROM_PIXELS, Modulation, add_, fold, split_scale

DILATIONS = (1, 2, 4, 8)

# The two activations of an aggregation layer follow each other; both gains ride on the kernels before them.
DOUBLE_GAIN = ACTIVATION_GAIN**2


def dilated_convolution(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[B, in, H, W], W [out, in, k, k] -> [B, out, H, W]; each quarter of the outputs has its dilation."""
    size = weight.shape[-1]
    if size == 1:
        return F.conv2d(x, weight)
    parts = []
    for part, dilation in zip(weight.chunk(len(DILATIONS)), DILATIONS, strict=True):
        if dilation >= max(x.shape[2:]):
            # Every other tap falls outside the map.
            part, dilation = part[:, :, size // 2, size // 2, None, None], 0
        parts.append(F.conv2d(x, part, padding=dilation * (size // 2), dilation=max(dilation, 1)))
    return torch.cat(parts, 1)


def dilated_rows(x: torch.Tensor, weight: torch.Tensor) -> Iterator[tuple[int, int, torch.Tensor]]:
    """`dilated_convolution` of one image by a 3x3 kernel, as bands with a row more above and below.

    Yields (start, stop, [1, out, stop - start + 2, W]); rows outside the map are zero.
    """
    channels, (height, width) = weight.shape[0], x.shape[2:]
    parts = [part.contiguous(memory_format=torch.channels_last) for part in weight.chunk(len(DILATIONS))]
    share = channels // len(DILATIONS)
    previous = None
    for start, stop in band_limits(height, channels * width * x.element_size()):
        rows = x.new_empty(1, stop - start + 2, width, channels).permute(0, 3, 1, 2)
        # The first two rows are the last two of the band before.
        known = 1 if previous is None else 2
        rows[:, :, :known] = 0 if previous is None else previous
        first, last = start - 1 + known, min(stop + 1, height)
        fresh = rows[:, :, known : known + last - first]
        for index, (part, reach) in enumerate(zip(parts, DILATIONS, strict=True)):
            near = take_rows(x, first - reach, last + reach)
            fresh[:, index * share : (index + 1) * share] = F.conv2d(
                near, part, padding=(0, reach), dilation=reach
            )
        if last <= stop:
            rows[:, :, -1] = 0
        previous = rows[:, :, -2:]
        yield start, stop, rows


def check_quarters(channels: int) -> None:
    """ValueError unless the outputs can be shared by the four dilations."""
    if channels % len(DILATIONS):
        raise ValueError(f"{channels} output channels cannot be shared by {len(DILATIONS)} dilations")


class SMART(nn.Module):
    """Style-modulated aggregation transformation (Eq. 3.7): [B, in, H, W] -> [B, out, H, W].

    Four demodulated 3x3 modulated convolutions, dilation 1, 2, 4, 8, a quarter of the outputs each, all
    with one style; concatenated; 3x3 fusion with leaky ReLU; noise; a second leaky ReLU.
    The kernel's rows are in the order of the dilations.
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        check_quarters(out_channels)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.modulation = Modulation(style_dim, in_channels, 3)
        self.fusion = EqualizedConv2d(out_channels, out_channels, 3)
        self.fusion_activate = FusedLeakyReLU(out_channels)
        self.noise = NoiseInjection()
        self.activate = FusedLeakyReLU(out_channels)

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        noise: torch.Tensor | None = None,
        generator: Generators = None,
    ) -> torch.Tensor:
        """`noise` [B or 1, 1, H, W], drawn (from `generator`) when None."""
        scale = self.modulation(style)
        # The fusion's own scale and both gains join the demodulation, so that its kernel is used as it is.
        gain = self.modulation.demodulate(scale, self.weight) * (self.fusion.scale * DOUBLE_GAIN)
        if runs_in_bands(x, self.weight.shape[0], *x.shape[2:]):
            return self._in_bands(x, scale, gain, noise, generator)
        if x.shape[0] == 1 and x.shape[2] * x.shape[3] >= FOLD_FROM_PIXELS:
            y = dilated_convolution(x, fold(self.weight, scale, gain, x.dtype))
        else:
            map_scale, left = split_scale(scale, x.dtype)
            y = dilated_convolution(x * map_scale, self.weight.to(x.dtype))
            gain = (gain * left).to(y.dtype)[:, :, None, None]
            y = y * gain if torch.is_grad_enabled() else y.mul_(gain)
        y = F.conv2d(y, self.fusion.weight, self.fusion_activate.scaled_bias(DOUBLE_GAIN), padding=1)
        dtype, y = y.dtype, leaky_relu(widened(y))
        noise = self.noise.scaled_noise(y, noise, generator, ACTIVATION_GAIN)
        return leaky_relu(add_(y, noise, self.activate.scaled_bias().view(1, -1, 1, 1))).to(dtype)

    def _in_bands(
        self,
        x: torch.Tensor,
        scale: torch.Tensor,
        gain: torch.Tensor,
        noise: torch.Tensor | None,
        generator: Generators,
    ) -> torch.Tensor:
        out = empty_map(x, self.weight.shape[0], *x.shape[2:])
        noise = self.noise.scaled_noise(out, noise, generator, ACTIVATION_GAIN)
        fusion = self.fusion.weight.contiguous(memory_format=torch.channels_last)
        first_bias = self.fusion_activate.scaled_bias(DOUBLE_GAIN)
        second_bias = self.activate.scaled_bias().view(1, -1, 1, 1)
        for index in range(x.shape[0]):
            one = slice(index, index + 1)
            own = noise[one] if noise.shape[0] > 1 else noise
            for start, stop, y in dilated_rows(x[one], fold(self.weight, scale[one], gain[one], x.dtype)):
                y = leaky_relu(widened(F.conv2d(y, fusion, first_bias, padding=(0, 1))))
                y = add_(y, own[:, :, start:stop], second_bias)
                leaky_relu_into(y, out[one, :, start:stop])
        return out


class MultiDilationConv(nn.Module):
    """SMART without style and noise, fused by a 1x1 convolution: [B, in, H, W] -> [B, out, H, W].

    `kernel_size` 1 or 3; with 1 the dilations have no effect. Two leaky ReLUs follow the fusion.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        check_quarters(out_channels)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.fusion = EqualizedConv2d(out_channels, out_channels, 1)
        self.fusion_activate = FusedLeakyReLU(out_channels)
        self.activate = FusedLeakyReLU(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.shape[-1] == 1:
            return self._pointwise(x)
        y = dilated_convolution(x, self.weight * self.scale)
        y = leaky_relu(self.fusion(y, DOUBLE_GAIN, self.fusion_activate.scaled_bias(DOUBLE_GAIN)))
        return leaky_relu(add_(y, self.activate.scaled_bias().view(1, -1, 1, 1)))

    def _pointwise(self, x: torch.Tensor) -> torch.Tensor:
        """With 1x1 kernels nothing stands between the two linear maps: they are one."""
        fusion = self.fusion.weight[:, :, 0, 0] * (self.fusion.scale * self.scale * DOUBLE_GAIN)
        weight = fusion @ self.weight[:, :, 0, 0]
        first_bias, second_bias = self.fusion_activate.scaled_bias(DOUBLE_GAIN), self.activate.scaled_bias()

        def compute(rows: torch.Tensor) -> torch.Tensor:
            y = F.linear(rows.permute(0, 2, 3, 1), weight, first_bias).permute(0, 3, 1, 2)
            return add_(leaky_relu(y), second_bias.view(1, -1, 1, 1))

        channels, (height, width) = weight.shape[0], x.shape[2:]
        if not runs_in_bands(x, channels, height, width):
            return leaky_relu(compute(x))
        out = empty_map(x, channels, height, width)
        for index in range(x.shape[0]):
            one = slice(index, index + 1)
            for start, stop in band_limits(height, channels * width * x.element_size()):
                leaky_relu_into(compute(x[one, :, start:stop]), out[one, :, start:stop])
        return out
