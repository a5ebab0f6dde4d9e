"""Plain layers whose activations and sums overwrite their input, which is possible where no gradient is recorded."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from facekit.models.fast.view import Forms, View
from facekit.models.fast.winograd import convolve_wide
from facekit.models.layers.linear import (
    ACTIVATION_GAIN,
    LEAKY_SLOPE,
    ConvLayer,
    EqualizedConv2d,
    Sum,
    WeightedSum,
)


def leaky_relu_(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of slope 0.2, in place."""
    return F.leaky_relu_(x, LEAKY_SLOPE)


def leaky_relu_into(x: torch.Tensor, out: torch.Tensor) -> None:
    """Write leaky ReLU of slope 0.2 of `x` into `out`, which has its shape; `x` may be overwritten."""
    if x.dtype == out.dtype:
        torch.ops.aten.leaky_relu.out(x, LEAKY_SLOPE, out=out)
    else:
        out.copy_(leaky_relu_(x))


def widen(x: torch.Tensor) -> torch.Tensor:
    """Convert a convolution's half-precision result to float32 on a CPU, for the passes that follow.

    These are no slower in float32 there, and the map is rounded once instead of after every pass.
    """
    return x.float() if x.device.type == "cpu" else x


class FastEqualizedConv2d(View, EqualizedConv2d):
    """`EqualizedConv2d`, by tiles where it is wide."""

    def convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if weight.shape[-1] == 3 and self.stride == self.padding == self.dilation == 1:
            return convolve_wide(x, weight, bias)
        return super().convolve(x, weight, bias)


class FastConvLayer(View, ConvLayer):
    """`ConvLayer` that activates in place."""

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        if self.fir is not None:
            x = self.fir.blur(x, **self.blur)
        conv = FastEqualizedConv2d(self.conv)
        if self.activate is None:
            return conv(x, gain)
        gain = gain * ACTIVATION_GAIN
        return leaky_relu_(conv(x, gain, self.activate.scale_bias(gain)))


class FastSum(View, Sum):
    """`Sum` that adds to its first map in place."""

    def forward(self, x: torch.Tensor, *terms: torch.Tensor | None) -> torch.Tensor:
        for term in terms:
            if term is not None:
                x.add_(term)
        return x


class FastWeightedSum(View, WeightedSum):
    """`WeightedSum` that needs memory for one new map."""

    def forward(self, maps: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> torch.Tensor:
        total = maps[0] * weights[0]
        for one, weight in zip(maps[1:], weights[1:], strict=True):
            total.addcmul_(one, weight)
        return total


FORMS: Forms = {
    EqualizedConv2d: FastEqualizedConv2d,
    ConvLayer: FastConvLayer,
    Sum: FastSum,
    WeightedSum: FastWeightedSum,
}
