"""`SMART` and `MultiDilationConv` with folded kernels, in bands of rows, and with two linear maps as one."""

import torch
import torch.nn.functional as F

from facekit.models.fast.bands import allocate_map, runs_in_bands, split_into_bands, take_rows
from facekit.models.fast.linear import leaky_relu_, leaky_relu_into, widen
from facekit.models.fast.modulated import FOLD_FROM_PIXELS, Bands, activate_bands, scale_kernel
from facekit.models.fast.view import Forms, View
from facekit.models.fast.winograd import convolve_wide, prepare_convolution
from facekit.models.layers.linear import ACTIVATION_GAIN
from facekit.models.layers.modulated import split_scale
from facekit.models.layers.noise import Generators
from facekit.models.layers.smart import (
    DILATIONS,
    DOUBLE_GAIN,
    SMART,
    MultiDilationConv,
    convolve_dilated,
    multiply_pixels,
)


def convolve_dilated_rows(x: torch.Tensor, weight: torch.Tensor) -> Bands:
    """Compute `convolve_dilated` of one image [1, in, H, W] by a 3x3 kernel, a band of rows at a time.

    Yields:
        First row of the band, the row behind its last, and the band with one row more above and below,
        [1, out, stop - start + 2, W]; rows outside the map are zero.
    """
    channels, (height, width) = weight.shape[0], x.shape[2:]
    parts = [part.contiguous(memory_format=torch.channels_last) for part in weight.chunk(len(DILATIONS))]
    share = channels // len(DILATIONS)
    previous = None
    for start, stop in split_into_bands(height, channels * width * x.element_size()):
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


class FastSMART(View, SMART):
    """`SMART`; demodulation takes over the fusion's scale and both gains, so the fusion's kernel needs no scaling."""

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        noise: torch.Tensor | None = None,
        generator: Generators = None,
    ) -> torch.Tensor:
        scale = self.modulation(style)
        gain = self.modulation.demodulate(scale, self.weight) * (self.fusion.scale * DOUBLE_GAIN)
        if runs_in_bands(x, self.weight.shape[0], *x.shape[2:]):
            return self._in_bands(x, scale, gain, noise, generator)
        if x.shape[0] == 1 and x.shape[2] * x.shape[3] >= FOLD_FROM_PIXELS:
            y = convolve_dilated(x, scale_kernel(self.weight, scale, gain, x.dtype))
        else:
            map_scale, left = split_scale(scale, x.dtype)
            y = convolve_dilated(x * map_scale, self.weight.to(x.dtype))
            y.mul_((gain * left).to(y.dtype)[:, :, None, None])
        y = convolve_wide(y, self.fusion.weight, self.fusion_activate.scale_bias(DOUBLE_GAIN))
        dtype, y = y.dtype, leaky_relu_(widen(y))
        y.add_(self.noise.scale_noise(y, noise, generator, ACTIVATION_GAIN))
        return leaky_relu_(y.add_(self.activate.scale_bias().view(1, -1, 1, 1))).to(dtype)

    def _in_bands(
        self,
        x: torch.Tensor,
        scale: torch.Tensor,
        gain: torch.Tensor,
        noise: torch.Tensor | None,
        generator: Generators,
    ) -> torch.Tensor:
        out = allocate_map(x, self.weight.shape[0], *x.shape[2:])
        noise = self.noise.scale_noise(out, noise, generator, ACTIVATION_GAIN)
        fusion = self.fusion.weight.contiguous(memory_format=torch.channels_last)
        fuse = prepare_convolution(out, fusion, self.fusion_activate.scale_bias(DOUBLE_GAIN))
        second_bias = self.activate.scale_bias().view(1, -1, 1, 1)

        def compute(one: slice) -> Bands:
            kernel = scale_kernel(self.weight, scale[one], gain[one], x.dtype)
            for start, stop, y in convolve_dilated_rows(x[one], kernel):
                yield start, stop, leaky_relu_(widen(fuse(y, 0)))

        return activate_bands(out, noise, compute, second_bias)


class FastMultiDilationConv(View, MultiDilationConv):
    """`MultiDilationConv`, with 1x1 kernels in bands where the map is large."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.shape[-1] == 1:
            return self._pointwise(x)
        y = convolve_dilated(x, self.weight * self.scale)
        y = leaky_relu_(self.fusion(y, DOUBLE_GAIN, self.fusion_activate.scale_bias(DOUBLE_GAIN)))
        return leaky_relu_(y.add_(self.activate.scale_bias().view(1, -1, 1, 1)))

    def _pointwise(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.join_kernels()
        first_bias, second_bias = self.fusion_activate.scale_bias(DOUBLE_GAIN), self.activate.scale_bias()

        def compute(rows: torch.Tensor) -> torch.Tensor:
            y = leaky_relu_(multiply_pixels(rows, weight, first_bias))
            return y.add_(second_bias.view(1, -1, 1, 1))

        channels, (height, width) = weight.shape[0], x.shape[2:]
        if not runs_in_bands(x, channels, height, width):
            return leaky_relu_(compute(x))
        out = allocate_map(x, channels, height, width)
        for index in range(x.shape[0]):
            one = slice(index, index + 1)
            for start, stop in split_into_bands(height, channels * width * x.element_size()):
                leaky_relu_into(compute(x[one, :, start:stop]), out[one, :, start:stop])
        return out


FORMS: Forms = {SMART: FastSMART, MultiDilationConv: FastMultiDilationConv}
