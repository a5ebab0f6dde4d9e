"""Activations and sums that write where they read, as is possible where no gradient is recorded."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from facekit.models.fast.view import Forms, View
from facekit.models.layers.linear import ACTIVATION_GAIN, LEAKY_SLOPE, ConvLayer, Sum, WeightedSum


def leaky_relu_(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of slope 0.2, in place."""
    return F.leaky_relu_(x, LEAKY_SLOPE)


def leaky_relu_into(x: torch.Tensor, out: torch.Tensor) -> None:
    """Write leaky ReLU of slope 0.2 of `x` to `out`, of the same shape; `x` may change."""
    if x.dtype == out.dtype:
        torch.ops.aten.leaky_relu.out(x, LEAKY_SLOPE, out=out)
    else:
        out.copy_(leaky_relu_(x))


def widen(x: torch.Tensor) -> torch.Tensor:
    """A convolution's half-precision result in float32, for the passes that follow it, on a CPU.

    They are no slower there, and the map is rounded once instead of after every pass.
    """
    return x.float() if x.device.type == "cpu" else x


class FastConvLayer(View, ConvLayer):
    """`ConvLayer` that activates in place."""

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        if self.fir is not None:
            x = self.fir.blur(x, **self.blur)
        if self.activate is None:
            return self.conv(x, gain)
        gain = gain * ACTIVATION_GAIN
        return leaky_relu_(self.conv(x, gain, self.activate.scale_bias(gain)))


class FastSum(View, Sum):
    """`Sum` into the first map."""

    def forward(self, x: torch.Tensor, *terms: torch.Tensor | None) -> torch.Tensor:
        for term in terms:
            if term is not None:
                x.add_(term)
        return x


class FastWeightedSum(View, WeightedSum):
    """`WeightedSum` with one map of memory."""

    def forward(self, maps: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> torch.Tensor:
        total = maps[0] * weights[0]
        for one, weight in zip(maps[1:], weights[1:], strict=True):
            total.addcmul_(one, weight)
        return total


FORMS: Forms = {ConvLayer: FastConvLayer, Sum: FastSum, WeightedSum: FastWeightedSum}
