"""Layers that look at several distances at once: SMART (thesis Section 3.2.3), and the same without style."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.layers.linear import ACTIVATION_GAIN, EqualizedConv2d, FusedLeakyReLU, leaky_relu
from facekit.models.layers.modulated import Modulation, split_scale
from facekit.models.layers.noise import Generators, NoiseInjection

DILATIONS = (1, 2, 4, 8)

# The two activations of an aggregation layer follow each other; the gains of both ride on its convolution.
DOUBLE_GAIN = ACTIVATION_GAIN**2


def convolve_dilated(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[B, in, H, W], W [out, in, k, k], k 1 or 3 -> [B, out, H, W]; each quarter of the outputs has its dilation."""
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


def multiply_pixels(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """[B, in, H, W], W [out, in] and bias [out] -> [B, out, H, W]: a 1x1 convolution as a matrix product."""
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def check_quarters(channels: int) -> None:
    """Raise ValueError unless the four dilations can share the output channels equally."""
    if channels % len(DILATIONS):
        raise ValueError(f"{channels} output channels cannot be shared by {len(DILATIONS)} dilations")


class SMART(nn.Module):
    """Style-modulated aggregation transformation (Eq. 3.7) as published: [B, in, H, W] -> [B, out, H, W].

    Four modulated and demodulated 3x3 convolutions with one style and dilations 1, 2, 4 and 8 make a quarter of the
    outputs each, in this order. They are concatenated; a 3x3 fusion with leaky ReLU, noise and a second leaky ReLU
    follow. The equation to the letter is `ThesisSMART`.

    Raises:
        ValueError: `out_channels` is not a multiple of four.
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
        """`style` is [B, style_dim]; `noise` [B or 1, 1, H, W], or None: drawn, from `generator` if there is one."""
        # s = FC(w), and k' = Demod(Mod(k, s)): s scales the input of k, the demodulation its output.
        scale = self.modulation(style)
        map_scale, left = split_scale(scale, x.dtype)
        gain = self.modulation.demodulate(scale, self.weight) * left
        # [F^1, F^2, F^4, F^8] = Conv_d(x) with k', d = 1, 2, 4, 8.
        y = convolve_dilated(x * map_scale, self.weight.to(x.dtype))
        y = y * gain.to(y.dtype)[:, :, None, None]
        # Aggregation. The published network has no phi on the F^d themselves; it has it here, twice, around noise.
        y = leaky_relu(self.fusion(y, DOUBLE_GAIN, self.fusion_activate.scale_bias(DOUBLE_GAIN)))
        y = y + self.noise.scale_noise(y, noise, generator, ACTIVATION_GAIN)
        return leaky_relu(y + self.activate.scale_bias().view(1, -1, 1, 1))


class ThesisSMART(nn.Module):
    """Style-modulated aggregation transformation, Eq. 3.7 to the letter: [B, in, H, W] -> [B, out, H, W].

    One modulated and demodulated 3x3 kernel k' serves all four convolutions, of dilations 1, 2, 4 and 8; each gives
    `out` channels and has a leaky ReLU, without gain, behind it. A 3x3 convolution aggregates the four; no noise and no
    activation follow. s has a number for every input of k: 512 in the thesis's example, whose k has 512 inputs.
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.modulation = Modulation(style_dim, in_channels, 3)
        self.aggregation = EqualizedConv2d(len(DILATIONS) * out_channels, out_channels, 3, bias=True)

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        noise: torch.Tensor | None = None,
        generator: Generators = None,
    ) -> torch.Tensor:
        """`style` is [B, style_dim]; noise and its generator, which other style layers take, have no effect."""
        # s = FC(w), k' = Demod(Mod(k, s)).
        scale = self.modulation(style)
        map_scale, left = split_scale(scale, x.dtype)
        gain = (self.modulation.demodulate(scale, self.weight) * left).repeat(1, len(DILATIONS))
        # F^d = phi(Conv_d(x) with k'), d = 1, 2, 4, 8.
        y = convolve_dilated(x * map_scale, self.weight.to(x.dtype).repeat(len(DILATIONS), 1, 1, 1))
        y = leaky_relu(y * gain.to(y.dtype)[:, :, None, None])
        # Aggregation([F^1, F^2, F^4, F^8]).
        return self.aggregation(y)


class MultiDilationConv(nn.Module):
    """SMART without style and noise, fused by a 1x1 convolution: [B, in, H, W] -> [B, out, H, W].

    `kernel_size` is 1 or 3; with 1 the dilations have no effect. Two leaky ReLUs follow the fusion.

    Raises:
        ValueError: `out_channels` is not a multiple of four.
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
        bias = self.fusion_activate.scale_bias(DOUBLE_GAIN)
        if self.weight.shape[-1] == 1:
            y = leaky_relu(multiply_pixels(x, self.join_kernels(), bias))
        else:
            y = leaky_relu(self.fusion(convolve_dilated(x, self.weight * self.scale), DOUBLE_GAIN, bias))
        return leaky_relu(y + self.activate.scale_bias().view(1, -1, 1, 1))

    def join_kernels(self) -> torch.Tensor:
        """Join kernel and fusion to one matrix [out, in]: between 1x1 kernels and the fusion nothing happens."""
        fusion = self.fusion.weight[:, :, 0, 0] * (self.fusion.scale * self.scale * DOUBLE_GAIN)
        return fusion @ self.weight[:, :, 0, 0]
