"""Layers of all style-based networks: linear and convolution with equalised learning rate, activation, sums.

Karras et al., "Progressive Growing of GANs" (equalised learning rate, pixel norm, minibatch deviation) and
"Analyzing and Improving the Image Quality of StyleGAN" (StyleGAN2: activation with gain).
Modulated convolutions are in `modulated.py`, noise in `noise.py`, FIR resampling in `resample.py`.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.layers.resample import FIRFilter

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2)


def leaky_relu(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of slope 0.2."""
    return F.leaky_relu(x, LEAKY_SLOPE)


def pixel_norm(x: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """x / sqrt(mean(x^2 over `dim`) + 1e-8), with the mean taken in float32; shape and dtype as given."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(dim, keepdim=True) + 1e-8)).to(x.dtype)


def append_minibatch_stddev(x: torch.Tensor, group_size: int = 4) -> torch.Tensor:
    """[B, C, H, W] -> [B, C + 1, H, W]: add a channel with the mean standard deviation within each group of samples.

    A group is made of the samples i, i + B/g, i + 2B/g, ... with g = min(B, group_size).

    Raises:
        ValueError: B is not a multiple of g.
    """
    batch, channels, height, width = x.shape
    group = min(batch, group_size)
    if batch % group:
        raise ValueError(
            f"a batch of {batch} cannot be split into groups of {group}; use a multiple of {group}"
        )
    grouped = x.float().reshape(group, batch // group, channels, height, width)
    deviation = torch.sqrt(grouped.var(0, unbiased=False) + 1e-8).mean((1, 2, 3))
    statistic = deviation.to(x.dtype).repeat(group).view(batch, 1, 1, 1).expand(-1, 1, height, width)
    return torch.cat([x, statistic], 1)


class EqualizedLinear(nn.Module):
    """Linear layer with equalised learning rate: y = x (W m / sqrt(in))^T + b m, m = `lr_mul`.

    W is stored as N(0, 1) / m. With `activation=True` the result goes through leaky ReLU (0.2) times sqrt(2).
    [..., in_features] -> [..., out_features].
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        bias_init: float = 0.0,
        lr_mul: float = 1.0,
        activation: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_mul)) if bias else None
        self.scale = lr_mul / math.sqrt(in_features)
        self.lr_mul = lr_mul
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gain = ACTIVATION_GAIN if self.activation else 1.0
        bias: torch.Tensor | None = self.bias
        bias_gain = self.lr_mul * gain
        if bias is not None and bias_gain != 1:
            bias = bias * bias_gain
        y = F.linear(x * (self.scale * gain), self.weight, bias)
        return leaky_relu(y) if self.activation else y


class EqualizedConv2d(nn.Module):
    """Convolution with equalised learning rate: W is stored as N(0, 1), used as W / sqrt(in k k).

    [B, in, H, W] -> [B, out, H', W']; zero padding of `padding` pixels (default: at stride 1 the size stays).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = (kernel_size - 1) * dilation // 2 if padding is None else padding
        self.dilation = dilation

    def forward(self, x: torch.Tensor, gain: float = 1.0, bias: torch.Tensor | None = None) -> torch.Tensor:
        """`gain` times the convolution, plus `bias` [out]; None stands for the layer's own, if it has one."""
        weight: torch.Tensor = self.weight
        scale = self.scale * gain
        # The scale goes to whichever is the smaller tensor: deep maps have fewer values than their kernels. An exported
        # graph, whose batch is free, has it on the kernel.
        if not torch.compiler.is_exporting() and x.numel() < weight.numel():
            x = x * scale
        else:
            weight = weight * scale
        return self.convolve(x, weight, self.bias if bias is None else bias)

    def convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """The convolution by a kernel that is scaled already."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)


class FusedLeakyReLU(nn.Module):
    """leaky_relu(x + b, 0.2) * sqrt(2) over the channels of [B, C, ...] (StyleGAN2's activation).

    Right after a convolution it is not called: leaky ReLU is positively homogeneous, so the gain can be multiplied
    into the convolution and its bias, `scale_bias`, which saves passes over the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def scale_bias(self, gain: float = ACTIVATION_GAIN) -> torch.Tensor:
        """The bias [C] times `gain`."""
        return self.bias * gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = self.bias.view(1, -1, *[1] * (x.ndim - 2))
        return leaky_relu(x * ACTIVATION_GAIN + bias * ACTIVATION_GAIN)


class ConvLayer(nn.Module):
    """Plain StyleGAN2 convolution layer: (FIR filter,) convolution, bias and leaky ReLU with gain.

    [B, in, H, W] -> [B, out, H, W], or [B, out, H/2, W/2] with `downsample=True`. `activate=False` leaves
    bias and activation out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        downsample: bool = False,
        activate: bool = True,
    ) -> None:
        super().__init__()
        strided = downsample and kernel_size > 1
        self.conv = EqualizedConv2d(
            in_channels, out_channels, kernel_size, stride=2 if strided else 1, padding=0 if strided else None
        )
        self.activate = FusedLeakyReLU(out_channels) if activate else None
        self.fir = FIRFilter() if downsample else None
        # A 1x1 kernel sees only the pixels the stride leaves, so the filter itself can take the stride.
        self.blur = {"padding": 2} if strided else {"padding": 1, "stride": 2}

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """`gain` times the layer's output; the factor costs nothing."""
        if self.fir is not None:
            x = self.fir.blur(x, **self.blur)
        if self.activate is None:
            return self.conv(x, gain)
        gain = gain * ACTIVATION_GAIN
        return leaky_relu(self.conv(x, gain, self.activate.scale_bias(gain)))


class Sum(nn.Module):
    """Map [B, C, H, W] plus other maps, of that shape or with one row for the whole batch; None is skipped.

    It is a layer because its inference form adds in place, to the first map, which nobody else may need any more.
    """

    def forward(self, x: torch.Tensor, *terms: torch.Tensor | None) -> torch.Tensor:
        for term in terms:
            if term is not None:
                x = x + term
        return x


class WeightedSum(nn.Module):
    """Weighted sum of maps [B or 1, C, H, W], with weights [B, 1, H, W] for each -> [B, C, H, W]."""

    def forward(self, maps: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> torch.Tensor:
        total = maps[0] * weights[0]
        for one, weight in zip(maps[1:], weights[1:], strict=True):
            total = torch.addcmul(total, one, weight)
        return total


def channels_at(resolution: int, channel_base: int = 32768, max_channels: int = 512) -> int:
    """Width of StyleGAN2's maps of that side in pixels: min(channel_base / resolution, max_channels)."""
    return min(channel_base // resolution, max_channels)


def count_styles(sample_size: int) -> int:
    """Count the style vectors of a network for pictures of this side: 2 log2(sample_size) - 2.

    Raises:
        ValueError: `sample_size` is not a power of two from 8 on.
    """
    if sample_size < 8 or sample_size & (sample_size - 1):
        raise ValueError(f"sample_size must be a power of two from 8 on, not {sample_size}")
    return 2 * sample_size.bit_length() - 4
