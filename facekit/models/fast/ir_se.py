"""IR-SE backbone whose normalisations are multiplied into the convolutions before them."""

import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.fast.view import Forms, View
from facekit.models.layers.ir_se import IRSEBlock, Stem


def convolve_and_normalize(x: torch.Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> torch.Tensor:
    """norm(conv(x)), [B, in, H, W] -> [B, out, H', W'], in evaluation mode as one convolution.

    Folding costs one pass over the weights and saves two over the map: it is done where the map is larger.
    """
    out_elements = x.numel() // conv.in_channels * conv.out_channels // conv.stride[0] ** 2
    mean, variance = norm.running_mean, norm.running_var
    if norm.training or mean is None or variance is None or out_elements < conv.weight.numel():
        return norm(conv(x))
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    bias = norm.bias - mean * scale
    return F.conv2d(x, conv.weight * scale[:, None, None, None], bias, conv.stride, conv.padding)


class FastIRSEBlock(View, IRSEBlock):
    """`IRSEBlock` with its second normalisation folded."""

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(self.conv1(self.norm1(x)))
        return convolve_and_normalize(y, self.conv2, self.norm2)


class FastStem(View, Stem):
    """`Stem` with its normalisation folded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv, norm, activation = self.layers
        return activation(convolve_and_normalize(x, conv, norm))


FORMS: Forms = {IRSEBlock: FastIRSEBlock, Stem: FastStem}
