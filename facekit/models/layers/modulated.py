"""Modulated convolutions of StyleGAN2 (Karras et al. 2020, section 2.2) and the layers made of them.

Instead of scaling the kernel by each sample's style, the style scales the input map and the demodulation the output
map: the same sums, with one kernel for the whole batch.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.layers.linear import ACTIVATION_GAIN, EqualizedLinear, FusedLeakyReLU, leaky_relu
from facekit.models.layers.noise import Generators, NoiseInjection
from facekit.models.layers.resample import FIRFilter


class Modulation(nn.Module):
    """Style vector -> input scale s and output scale d of a modulated convolution, both in float32.

    s = affine(style) / sqrt(in k k);  d = 1 / sqrt(sum over in, k, k of (W s)^2 + 1e-8).
    With the squared sums of W at hand d is a matrix product: 1 / sqrt(s^2 (sum_k W^2)^T + 1e-8).
    """

    def __init__(self, style_dim: int, in_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.affine = EqualizedLinear(style_dim, in_channels, bias_init=1.0)
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)

    def forward(self, style: torch.Tensor) -> torch.Tensor:
        """Style [B, style_dim] -> s [B, in]."""
        return self.affine(style).float() * self.scale

    def demodulate(self, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """s [B, in] and W [out, in, k, k] -> d [B, out]."""
        # Computed anew each time: it costs two or three hundredths of the network, and no change of W can be missed.
        squares = weight.float().square().sum((2, 3))
        with torch.autocast(scale.device.type, enabled=False):
            return torch.rsqrt(F.linear(scale.square(), squares) + 1e-8)


def split_scale(scale: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """s [B, in] -> map scale [B, in, 1, 1] in `dtype`, at most 1 in size, and the factor left for the output, [B, 1].

    So half precision bears large styles: the scaled map never exceeds the map itself.
    """
    peak = scale.detach().abs().amax(1, keepdim=True).clamp_min(1e-8)
    return (scale / peak).to(dtype)[:, :, None, None], peak


class ModulatedConv2d(nn.Module):
    """Convolution whose kernel is scaled by a style, per sample: [B, in, H, W] -> [B, out, H', W'].

    Args:
        resample: None (stride 1, the size stays, `dilation` possible), "up" (transposed convolution of stride 2, then
            the FIR filter of sum 4; twice the size) or "down" (FIR filter, then stride 2; half the size).
        demodulate: scale the output by d of `Modulation`.

    Raises:
        ValueError: `resample` is none of these.
    """

    fir: FIRFilter  # where there is something to resample

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        style_dim: int,
        resample: str | None = None,
        dilation: int = 1,
        demodulate: bool = True,
    ) -> None:
        super().__init__()
        if resample not in (None, "up", "down"):
            raise ValueError(f"resample must be None, 'up' or 'down', not {resample!r}")
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.modulation = Modulation(style_dim, in_channels, kernel_size)
        self.resample = resample
        self.dilation = dilation
        self.demodulate = demodulate
        if resample:
            self.fir = FIRFilter()

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        gain: float = 1.0,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """gain * d * convolution(s * x) + bias, with s and d of `style` [B, style_dim] and `bias` [out]."""
        scale = self.modulation(style)
        map_scale, left = split_scale(scale, x.dtype)
        y = self.convolve(x * map_scale, self.weight.to(x.dtype))
        factor = (self.compute_output_gain(scale, gain) * left).to(y.dtype)[:, :, None, None]
        return y * factor if bias is None else torch.addcmul(bias.to(y.dtype).view(1, -1, 1, 1), y, factor)

    def compute_output_gain(self, scale: torch.Tensor, gain: float) -> torch.Tensor:
        """s [B, in] -> factors of the output channels, d times `gain`: [B, out], or [1, out] without demodulation."""
        if self.demodulate:
            return self.modulation.demodulate(scale, self.weight) * gain
        return scale.new_full((1, self.weight.shape[0]), gain)

    def convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Convolve and resample, without style and bias: [B, in, H, W], W [out, in, k, k] -> [B, out, H', W']."""
        if self.resample == "up":
            return self.fir.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, gain=4.0)
        if self.resample == "down":
            return F.conv2d(self.fir.blur(x, 2), weight, stride=2)
        padding = (weight.shape[-1] - 1) * self.dilation // 2
        return F.conv2d(x, weight, padding=padding, dilation=self.dilation)


class StyledConv(nn.Module):
    """Style layer SC: modulated convolution, noise, bias and leaky ReLU, [B, in, H, W] -> [B, out, H', W'].

    Leaky ReLU is positively homogeneous, so its gain sqrt(2) is multiplied into convolution, noise and bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        resample: str | None = None,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, kernel_size, style_dim, resample)
        self.noise = NoiseInjection()
        self.activate = FusedLeakyReLU(out_channels)

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        noise: torch.Tensor | None = None,
        generator: Generators = None,
    ) -> torch.Tensor:
        """`style` is [B, style_dim]; `noise` [B or 1, 1, H', W'], or None: drawn, from `generator` if there is one."""
        y = self.conv(x, style, ACTIVATION_GAIN, self.activate.scale_bias())
        return leaky_relu(y + self.noise.scale_noise(y, noise, generator, ACTIVATION_GAIN))


class ToRGB(nn.Module):
    """RGB head: modulated 1x1 convolution without demodulation, plus bias, plus the picture of half the size.

    [B, in, H, W] -> [B, channels, H, W].
    """

    def __init__(self, in_channels: int, style_dim: int, channels: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.modulation = Modulation(style_dim, in_channels, 1)
        self.fir = FIRFilter()

    def forward(self, x: torch.Tensor, style: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """`style` is [B, style_dim]; `skip` [B, channels, H/2, W/2] the smaller picture, if there is one."""
        # A matrix product per sample: the styles meet the small kernels, never the large map.
        kernels = (self.weight[:, :, 0, 0].t() * self.modulation(style)[:, :, None]).to(x.dtype)
        batch, _, height, width = x.shape
        y = x.permute(0, 2, 3, 1).reshape(batch, height * width, -1) @ kernels + self.bias
        y = y.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return y if skip is None else y + self.fir.upsample(skip)
