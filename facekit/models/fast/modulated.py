"""Modulated convolutions and the style layers made of them, chosen by batch and map size.

* folded: style, demodulation and activation gain are multiplied into the kernel; for one image and large
  maps, where every extra pass over the map costs more than a pass over the kernel;
* scaled, as in the definition: the style scales the input map and the demodulation the output map;
* in bands of rows: the folded form on a CPU where a map is larger than the processor's cache;
* up-sampling by a 3x3 kernel on a CPU: four ordinary convolutions instead of a transposed one;
* wide layers by tiles (`winograd.py`).
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from facekit.models.fast.bands import allocate_map, runs_in_bands, split_into_bands, take_rows
from facekit.models.fast.linear import leaky_relu_, leaky_relu_into, widen
from facekit.models.fast.view import Forms, View
from facekit.models.fast.winograd import convolve_wide, prepare_convolution
from facekit.models.layers.linear import ACTIVATION_GAIN
from facekit.models.layers.modulated import ModulatedConv2d, StyledConv, ToRGB, split_scale
from facekit.models.layers.noise import Generators
from facekit.models.layers.resample import FIRFilter

# From this many pixels on, one image is computed with the folded form.
FOLD_FROM_PIXELS = 64 * 64


def scale_kernel(
    weight: torch.Tensor, scale: torch.Tensor, gain: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """W [out, in, k, k] times s [1, in] along inputs and `gain` [1, out], if given, along outputs, in `dtype`."""
    factor = scale if gain is None else gain.view(-1, 1) * scale
    return (weight * factor[:, :, None, None]).to(dtype)


def blur(
    fir: FIRFilter,
    x: torch.Tensor,
    padding: int | tuple[int, int],
    gain: float = 1.0,
    channel_gain: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """`fir.blur` times `channel_gain` [C], plus `bias` [C]; both cost nothing, since they are part of its convolution.

    `padding` is the number of pixels for rows and columns alike, or one number for each.
    """
    kernel = fir.kernel.to(x.dtype) * gain
    if channel_gain is None:
        kernel = kernel.expand(x.shape[1], 1, 4, 4)
    else:
        kernel = (kernel * channel_gain.view(-1, 1, 1, 1)).to(x.dtype)
    return F.conv2d(x, kernel, bias, padding=padding, groups=x.shape[1])


def convolve_transposed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Transposed convolution of stride 2: [B, in, H, W], W [out, in, k, k] -> [B, out, 2H + k - 2, 2W + k - 2].

    On a CPU with k = 3 it is four ordinary convolutions, one for each parity of row and column, since every second
    output needs only every second tap (1.2 to 5 times as fast as oneDNN's own form).
    """
    if weight.shape[2] != 3 or x.device.type != "cpu":
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return convolve_phases(x, split_into_phases(weight))


def split_into_phases(weight: torch.Tensor) -> list[torch.Tensor]:
    """Split W [out, in, 3, 3] into the four kernels of `convolve_phases`, for even and odd rows and columns."""
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


def convolve_phases(x: torch.Tensor, kernels: list[torch.Tensor], halo: bool = False) -> torch.Tensor:
    """Transposed convolution of stride 2 by the kernels of its four phases: [B, in, H, W] -> [B, out, 2H + 1, 2W + 1].

    With `halo` the first and last row of `x` are there only as neighbours of the others, and the first and last row
    of the result, which would need more neighbours, are left out: [B, out, 2H - 1, 2W + 1].
    """
    batch, _, height, width = x.shape
    size = (batch, kernels[0].shape[0], 2 * height + (-1 if halo else 1), 2 * width + 1)
    y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for index, kernel in enumerate(kernels):
        row, column = divmod(index, 2)
        padding = (0 if halo else 1 - row, 1 - column)
        y[:, :, row ^ halo :: 2, column::2] = F.conv2d(x, kernel, padding=padding)
    return y


# The bands of one image: (start, stop, [1, C, stop - start, W]).
Bands = Iterator[tuple[int, int, torch.Tensor]]


def activate_bands(
    out: torch.Tensor,
    noise: torch.Tensor,
    compute: Callable[[slice], Bands],
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Fill `out` [B, C, H, W] with leaky ReLU of bands + noise + bias, one image after the other.

    `noise` is [B or 1, 1, H, W]; `compute` gives the bands of one image, told by its place in the batch.
    """
    for index in range(out.shape[0]):
        one = slice(index, index + 1)
        own = noise[one] if noise.shape[0] > 1 else noise
        for start, stop, rows in compute(one):
            rows = widen(rows).add_(own[:, :, start:stop])
            leaky_relu_into(rows if bias is None else rows.add_(bias), out[one, :, start:stop])
    return out


class FastModulatedConv2d(View, ModulatedConv2d):
    """`ModulatedConv2d`, folded for one image and large maps, scaled otherwise; `compute_rows` gives it in bands."""

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        gain: float = 1.0,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        scale = self.modulation(style)
        output_gain = self.compute_output_gain(scale, gain).expand(x.shape[0], -1)
        bias = None if bias is None else bias.to(x.dtype)
        if x.shape[0] > 1:
            return self._scaled(x, scale, output_gain, bias)
        if self.resample == "up":
            return self._up_one(x, scale, output_gain, bias)
        if x.shape[2] * x.shape[3] >= FOLD_FROM_PIXELS:
            return self.convolve(x, scale_kernel(self.weight, scale, output_gain, x.dtype), bias)
        return self._scaled(x, scale, output_gain, bias)

    def convolve(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        if self.resample == "up":
            return blur(self.fir, convolve_transposed(x, weight), 1, 4.0, bias=bias)
        if self.resample == "down":
            return F.conv2d(self.fir.blur(x, 2), weight, bias, stride=2)
        if weight.shape[-1] == 3:
            return convolve_wide(x, weight, bias, self.dilation)
        padding = (weight.shape[-1] - 1) * self.dilation // 2
        return F.conv2d(x, weight, bias, padding=padding, dilation=self.dilation)

    def _scaled(
        self, x: torch.Tensor, scale: torch.Tensor, output_gain: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        map_scale, left = split_scale(scale, x.dtype)
        y = self.convolve(x * map_scale, self.weight.to(x.dtype))
        gain = (output_gain * left).to(y.dtype)[:, :, None, None]
        return y.mul_(gain) if bias is None else torch.addcmul(bias.to(y.dtype).view(1, -1, 1, 1), y, gain)

    def _up_one(
        self, x: torch.Tensor, scale: torch.Tensor, output_gain: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Up-sample one image: style into the smaller of map and kernel, demodulation and bias into the FIR filter."""
        weight: torch.Tensor = self.weight
        if x.numel() < weight.numel():
            map_scale, left = split_scale(scale, x.dtype)
            x, output_gain = x * map_scale, output_gain * left
            weight = weight.to(x.dtype)
        else:
            weight = scale_kernel(weight, scale, None, x.dtype)
        return blur(self.fir, convolve_transposed(x, weight), 1, 4.0, output_gain.view(-1), bias)

    def find_output_size(self, x: torch.Tensor) -> tuple[int, int, int]:
        """Channels, height and width of the layer's output for the map `x` [B, in, H, W]."""
        height, width = x.shape[2:]
        if self.resample == "up":
            height, width = 2 * height, 2 * width
        elif self.resample == "down":
            height, width = height // 2, width // 2
        return self.weight.shape[0], height, width

    def compute_rows(self, x: torch.Tensor, style: torch.Tensor, gain: float, bias: torch.Tensor) -> Bands:
        """Compute `forward` of one image with a 3x3 kernel in the folded form, a band of rows at a time.

        Args:
            x: [1, in, H, W].
            style: [1, style_dim].
            gain: factor of the result, bias not included.
            bias: [out].

        Yields:
            First row of the band, the row behind its last, and the band [1, out, stop - start, W'].
        """
        scale = self.modulation(style)
        output_gain = self.compute_output_gain(scale, gain)
        channels, height, width = self.find_output_size(x)
        bias = bias.to(x.dtype)
        if self.resample == "up":
            weight = scale_kernel(self.weight, scale, None, x.dtype)
            yield from self._up_rows(x, weight, output_gain.view(-1), bias)
            return
        weight = scale_kernel(self.weight, scale, output_gain, x.dtype)
        weight = weight.contiguous(memory_format=torch.channels_last)
        bands = split_into_bands(height, channels * width * x.element_size())
        if self.resample == "down":
            for start, stop in bands:
                blurred = blur(self.fir, take_rows(x, 2 * start - 2, 2 * stop + 2), (0, 2))
                yield start, stop, F.conv2d(blurred, weight, bias, stride=2)
            return
        convolve = prepare_convolution(x, weight, bias, self.dilation)
        for start, stop in bands:
            yield start, stop, convolve(take_rows(x, start - self.dilation, stop + self.dilation), 0)

    def _up_rows(
        self, x: torch.Tensor, weight: torch.Tensor, channel_gain: torch.Tensor, bias: torch.Tensor
    ) -> Bands:
        """`compute_rows` of an up-sampling layer; its FIR filter reads one row more on both sides of a band."""
        kernels = split_into_phases(weight)
        row_bytes = 4 * weight.shape[0] * x.shape[3] * x.element_size()
        for start, stop in split_into_bands(x.shape[2], row_bytes):
            near = take_rows(x, start - 1, stop + 1)
            y = convolve_phases(near, kernels, halo=True)
            yield 2 * start, 2 * stop, blur(self.fir, y, (0, 1), 4.0, channel_gain, bias)


class FastStyledConv(View, StyledConv):
    """`StyledConv`, in bands where the map is large."""

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        noise: torch.Tensor | None = None,
        generator: Generators = None,
    ) -> torch.Tensor:
        conv = FastModulatedConv2d(self.conv)
        if conv.weight.shape[-1] == 3 and runs_in_bands(x, *conv.find_output_size(x)):
            return self._in_bands(conv, x, style, noise, generator)
        y = conv(x, style, ACTIVATION_GAIN, self.activate.scale_bias())
        dtype, y = y.dtype, widen(y)
        y = y.add_(self.noise.scale_noise(y, noise, generator, ACTIVATION_GAIN))
        return leaky_relu_(y).to(dtype)

    def _in_bands(
        self,
        conv: FastModulatedConv2d,
        x: torch.Tensor,
        style: torch.Tensor,
        noise: torch.Tensor | None,
        generator: Generators,
    ) -> torch.Tensor:
        out = allocate_map(x, *conv.find_output_size(x))
        noise = self.noise.scale_noise(out, noise, generator, ACTIVATION_GAIN)
        bias = self.activate.scale_bias()
        style = style.expand(x.shape[0], -1)

        def compute(one: slice) -> Bands:
            return conv.compute_rows(x[one], style[one], ACTIVATION_GAIN, bias)

        return activate_bands(out, noise, compute)


class FastToRGB(View, ToRGB):
    """`ToRGB`; one image by a convolution whose kernel has the style."""

    def forward(self, x: torch.Tensor, style: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        if x.shape[0] == 1:
            kernel = scale_kernel(self.weight, self.modulation(style), None, x.dtype)
            y = F.conv2d(x, kernel, self.bias)
        else:
            y = super().forward(x, style)
        return y if skip is None else y.add_(self.fir.upsample(skip))


FORMS: Forms = {ModulatedConv2d: FastModulatedConv2d, StyledConv: FastStyledConv, ToRGB: FastToRGB}
