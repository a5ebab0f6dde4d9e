"""Modulated convolutions of StyleGAN2 (Karras et al. 2020, section 2.2) and the layers made of them.

One mathematical definition, two forms of computing it, chosen by batch and map size:

* folded: style, demodulation and activation gain are multiplied into the kernel; for one image and large
  maps, where every extra pass over the map costs more than a pass over the kernel;
* scaled: the style scales the input map and the demodulation the output map, one kernel for the batch.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.fast.bands import band_limits, empty_map, runs_in_bands, take_rows
from facekit.models.layers.linear import (
    ACTIVATION_GAIN,
    EqualizedLinear,
    FusedLeakyReLU,
    Generators,
    NoiseInjection,
    leaky_relu,
    leaky_relu_into,
    widened,
)
from facekit.models.layers.resample import FIRFilter

# From this many pixels on, one image is computed with the folded form.
FOLD_FROM_PIXELS = 64 * 64


def squared_sums(weight: torch.Tensor) -> torch.Tensor:
    """[out, in, k, k] -> [out, in]: the sum of squares over the taps, in float32."""
    return weight.float().square().sum((2, 3))


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
        """[B, style_dim] -> s [B, in]."""
        return self.affine(style).float() * self.scale

    def demodulate(self, scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """s [B, in] and W [out, in, k, k] -> d [B, out]."""
        # Computed anew each time: it costs two or three hundredths of the network, and no change of W can be missed.
        squares = squared_sums(weight)
        with torch.autocast(scale.device.type, enabled=False):
            return torch.rsqrt(F.linear(scale.square(), squares) + 1e-8)


def fold(
    weight: torch.Tensor, scale: torch.Tensor, gain: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """W [out, in, k, k] times s [1, in] along inputs and `gain` [1, out] along outputs, in `dtype`."""
    factor = scale if gain is None else gain.view(-1, 1) * scale
    return (weight * factor[:, :, None, None]).to(dtype)


def split_scale(scale: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """s [B, in] -> (map scale [B, in, 1, 1] of at most 1 in `dtype`, what is left for the output [B, 1]).

    Half precision then holds large styles: the scaled map never exceeds the map itself.
    """
    peak = scale.detach().abs().amax(1, keepdim=True).clamp_min(1e-8)
    return (scale / peak).to(dtype)[:, :, None, None], peak


def stride2_transposed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[B, in, H, W] and W [out, in, k, k] -> [B, out, 2H + k - 2, ...]: transposed convolution of stride 2.

    On a CPU with k = 3 and without gradients it is four ordinary convolutions, one for each parity of row and
    column, since every second output needs only every second tap (1.2 to 5 times as fast as oneDNN's own form).
    """
    if weight.shape[2] != 3 or x.device.type != "cpu" or torch.is_grad_enabled():
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return interleaved_phases(x, phase_kernels(weight))


def phase_kernels(weight: torch.Tensor) -> list[torch.Tensor]:
    """W [out, in, 3, 3] -> the kernels for even and odd rows and columns of `interleaved_phases`."""
    taps = ([2, 0], [1])
    kernels = []
    for rows in taps:
        for columns in taps:
            shape = (weight.shape[0], len(rows), len(columns), weight.shape[1])
            kernel = weight.new_empty(shape).permute(0, 3, 1, 2)
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    kernel[:, :, i, j] = weight[:, :, row, column]
            kernels.append(kernel)
    return kernels


def interleaved_phases(x: torch.Tensor, kernels: list[torch.Tensor], halo: bool = False) -> torch.Tensor:
    """[B, in, H, W] -> [B, out, 2H + 1, 2W + 1]: transposed convolution of stride 2 by its four phases.

    With `halo` the first and the last row of x are neighbours of the rows meant, and only what those get right
    is returned: [B, out, 2H - 1, 2W + 1], without the first and the last row.
    """
    batch, _, height, width = x.shape
    size = (batch, kernels[0].shape[0], 2 * height + (-1 if halo else 1), 2 * width + 1)
    y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for index, kernel in enumerate(kernels):
        row, column = divmod(index, 2)
        padding = (0 if halo else 1 - row, 1 - column)
        y[:, :, row ^ halo :: 2, column::2] = F.conv2d(x, kernel, padding=padding)
    return y


class ModulatedConv2d(nn.Module):
    """Convolution whose kernel is scaled by a style, per sample: [B, in, H, W] -> [B, out, H', W'].

    `resample`: None (stride 1, size stays, `dilation` possible), "up" (stride-2 transposed convolution, then
    the FIR filter of sum 4; twice the size) or "down" (FIR filter, then stride 2; half the size).
    """

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
        self.fir = FIRFilter() if resample else None

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        gain: float = 1.0,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """gain * modulated convolution + bias [out]; `style` is [B, style_dim]."""
        scale = self.modulation(style)
        output_gain = self._output_gain(scale, gain).expand(x.shape[0], -1)
        bias = None if bias is None else bias.to(x.dtype)
        if x.shape[0] > 1:
            return self._scaled(x, scale, output_gain, bias)
        if self.resample == "up":
            return self._up_one(x, scale, output_gain, bias)
        if x.shape[2] * x.shape[3] >= FOLD_FROM_PIXELS:
            return self._convolve(x, fold(self.weight, scale, output_gain, x.dtype), bias)
        return self._scaled(x, scale, output_gain, bias)

    def _output_gain(self, scale: torch.Tensor, gain: float) -> torch.Tensor:
        """s [B, in] -> what the output channels are multiplied by, [B or 1, out]."""
        if self.demodulate:
            return self.modulation.demodulate(scale, self.weight) * gain
        return scale.new_full((1, self.weight.shape[0]), gain)

    def output_size(self, x: torch.Tensor) -> tuple[int, int, int]:
        """Channels, height and width of the layer's output for the map `x`."""
        height, width = x.shape[2:]
        if self.resample == "up":
            height, width = 2 * height, 2 * width
        elif self.resample == "down":
            height, width = height // 2, width // 2
        return self.weight.shape[0], height, width

    def rows(
        self, x: torch.Tensor, style: torch.Tensor, gain: float, bias: torch.Tensor
    ) -> Iterator[tuple[int, int, torch.Tensor]]:
        """`forward` of one image with a 3x3 kernel in the folded form, a band of rows at a time.

        Yields (start, stop, [1, out, stop - start, W']).
        """
        scale = self.modulation(style)
        output_gain = self._output_gain(scale, gain)
        channels, height, width = self.output_size(x)
        bias = bias.to(x.dtype)
        if self.resample == "up":
            yield from self._up_rows(x, fold(self.weight, scale, None, x.dtype), output_gain.view(-1), bias)
            return
        weight = fold(self.weight, scale, output_gain, x.dtype).contiguous(memory_format=torch.channels_last)
        reach = self.dilation
        for start, stop in band_limits(height, channels * width * x.element_size()):
            if self.resample == "down":
                blurred = self.fir.blur(take_rows(x, 2 * start - 2, 2 * stop + 2), (0, 2))
                y = F.conv2d(blurred, weight, bias, stride=2)
            else:
                near = take_rows(x, start - reach, stop + reach)
                y = F.conv2d(near, weight, bias, padding=(0, reach), dilation=reach)
            yield start, stop, y

    def _up_rows(
        self, x: torch.Tensor, weight: torch.Tensor, channel_gain: torch.Tensor, bias: torch.Tensor
    ) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Bands of an up-sampling layer; the FIR filter needs a row more than they have on both sides."""
        kernels = phase_kernels(weight)
        row_bytes = 4 * weight.shape[0] * x.shape[3] * x.element_size()
        for start, stop in band_limits(x.shape[2], row_bytes):
            near = take_rows(x, start - 1, stop + 1)
            y = interleaved_phases(near, kernels, halo=True)
            yield 2 * start, 2 * stop, self.fir.blur(y, (0, 1), 4.0, channel_gain, bias)

    def _up_one(
        self, x: torch.Tensor, scale: torch.Tensor, output_gain: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """One image: style into the smaller of map and kernel, demodulation and bias into the FIR filter."""
        weight = self.weight
        if x.numel() < weight.numel():
            map_scale, left = split_scale(scale, x.dtype)
            x, output_gain = x * map_scale, output_gain * left
            weight = weight.to(x.dtype)
        else:
            weight = fold(weight, scale, None, x.dtype)
        x = stride2_transposed(x, weight)
        return self.fir.blur(x, 1, gain=4.0, channel_gain=output_gain.view(-1), bias=bias)

    def _scaled(
        self, x: torch.Tensor, scale: torch.Tensor, output_gain: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        map_scale, left = split_scale(scale, x.dtype)
        y = self._convolve(x * map_scale, self.weight.to(x.dtype), None)
        gain = (output_gain * left).to(y.dtype)[:, :, None, None]
        if bias is None:
            return y * gain if torch.is_grad_enabled() else y.mul_(gain)
        return torch.addcmul(bias.to(y.dtype).view(1, -1, 1, 1), y, gain)

    def _convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self.resample == "up":
            y = stride2_transposed(x, weight)
            return self.fir.blur(y, 1, gain=4.0, bias=bias)
        if self.resample == "down":
            return F.conv2d(self.fir.blur(x, 2), weight, bias, stride=2)
        padding = (weight.shape[-1] - 1) * self.dilation // 2
        return F.conv2d(x, weight, bias, padding=padding, dilation=self.dilation)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution -> noise -> bias and leaky ReLU: [B, in, H, W] -> [B, out, H', W'].

    Leaky ReLU is positively homogeneous, so its gain sqrt(2) is multiplied into kernel, noise and bias.
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
        """`style` [B, style_dim]; `noise` [B or 1, 1, H', W'], drawn (from `generator`) when None."""
        if self.conv.weight.shape[-1] == 3 and runs_in_bands(x, *self.conv.output_size(x)):
            return self._in_bands(x, style, noise, generator)
        y = self.conv(x, style, ACTIVATION_GAIN, self.activate.scaled_bias())
        dtype, y = y.dtype, widened(y)
        return leaky_relu(add_(y, self.noise.scaled_noise(y, noise, generator, ACTIVATION_GAIN))).to(dtype)

    def _in_bands(
        self, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor | None, generator: Generators
    ) -> torch.Tensor:
        out = empty_map(x, *self.conv.output_size(x))
        noise = self.noise.scaled_noise(out, noise, generator, ACTIVATION_GAIN)
        bias = self.activate.scaled_bias()
        style = style.expand(x.shape[0], -1)
        for index in range(x.shape[0]):
            one = slice(index, index + 1)
            own = noise[one] if noise.shape[0] > 1 else noise
            for start, stop, rows in self.conv.rows(x[one], style[one], ACTIVATION_GAIN, bias):
                rows = add_(widened(rows), own[:, :, start:stop])
                leaky_relu_into(rows, out[one, :, start:stop])
        return out


def add_(x: torch.Tensor, *terms: torch.Tensor | None) -> torch.Tensor:
    """x plus every term that is not None, in place where no gradient is recorded."""
    for term in terms:
        if term is not None:
            x = x + term if torch.is_grad_enabled() else x.add_(term)
    return x


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB without demodulation, plus bias, plus the up-sampled RGB below.

    [B, in, H, W] (and [B, 3, H/2, W/2]) -> [B, 3, H, W].
    """

    def __init__(self, in_channels: int, style_dim: int, channels: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.modulation = Modulation(style_dim, in_channels, 1)
        self.fir = FIRFilter()

    def forward(self, x: torch.Tensor, style: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        scale = self.modulation(style)
        if x.shape[0] == 1:
            y = F.conv2d(x, fold(self.weight, scale, None, x.dtype), self.bias)
        else:
            # A matrix product per sample: the styles meet the small kernels, never the large map.
            kernels = (self.weight[:, :, 0, 0].t() * scale[:, :, None]).to(x.dtype)
            batch, _, height, width = x.shape
            y = x.permute(0, 2, 3, 1).reshape(batch, height * width, -1) @ kernels + self.bias
            y = y.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return y if skip is None else add_(y, self.fir.upsample(skip))
