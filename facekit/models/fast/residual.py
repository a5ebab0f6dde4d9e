"""GRIG's blocks with their spectral and batch norms folded into plain channels_last convolutions.

Unlike views these forms have weights of their own, a snapshot: folding takes too long to be done at every call.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekit.models.fast.view import Forms
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.residual import (
    LEAK,
    AOTBlock,
    ConvGLU,
    ConvNorm,
    DownBlock,
    SkipExcitation,
    standardize,
)
from facekit.models.layers.spectral import SpectralConv2d


class PlainConv(nn.Module):
    """Convolution with a fixed kernel and bias; stride, padding, dilation, groups and dtype are those of `conv`."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        dtype = conv.weight.dtype
        self.register_buffer("weight", weight.to(dtype, memory_format=torch.channels_last))
        self.register_buffer("bias", None if bias is None else bias.to(dtype))
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        self.groups = conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` -> `[B, out_channels, H', W']`."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def fold_norms(conv: SpectralConv2d, norm: nn.BatchNorm2d, gain: float = 1.0) -> tuple[PlainConv, Tensor]:
    """Fold `gain` times norm(conv(x)) into one convolution; also give its factor of every output channel, [out]."""
    mean, variance = norm.get_buffer("running_mean").float(), norm.get_buffer("running_var").float()
    scale = gain * norm.weight.float() * torch.rsqrt(variance + norm.eps)
    bias = gain * norm.bias.float() - scale * mean
    weight = normalize_kernel(conv) * scale[:, None, None, None]
    return PlainConv(conv, weight, bias), scale


def normalize_kernel(conv: SpectralConv2d) -> Tensor:
    """Kernel divided by its spectral norm in float32, [out, in / groups, k, k], with `u` and `v` as they are."""
    matrix = conv.weight.flatten(1).float()
    return conv.weight.float() / torch.dot(conv.u.float(), torch.mv(matrix, conv.v.float()))


def fold_convolution(conv: SpectralConv2d) -> PlainConv:
    """Turn a spectrally normalised convolution into a plain one."""
    return PlainConv(conv, normalize_kernel(conv), conv.bias)


class FoldedDown(nn.Module):
    """`DownBlock`; leaky ReLU is positively homogeneous, so the mean's 1/2 is multiplied into the kernels."""

    def __init__(self, block: DownBlock) -> None:
        super().__init__()
        self.conv1, _ = fold_norms(block.conv1.conv, block.conv1.norm)
        self.conv2, _ = fold_norms(block.conv2.conv, block.conv2.norm, gain=0.5)
        self.direct, _ = fold_norms(block.direct.conv, block.direct.norm, gain=0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` -> `[B, out_channels, H/2, W/2]`."""
        main = F.leaky_relu_(self.conv2(F.leaky_relu_(self.conv1(x), LEAK)), LEAK)
        return main.add_(F.leaky_relu_(self.direct(F.avg_pool2d(x, 2)), LEAK))


class FoldedAOT(nn.Module):
    """`AOTBlock`; the gate and the branch of rate 1 see the same window and are one convolution."""

    def __init__(self, block: AOTBlock) -> None:
        super().__init__()
        gate, (first, *others) = block.gate, block.branches
        self.branches = ModuleList(fold_convolution(branch) for branch in others)
        self.rates = block.rates[1:]
        self.split = [gate.out_channels, first.out_channels]
        weight = torch.cat([normalize_kernel(gate), normalize_kernel(first)])
        bias = torch.cat([gate.get_parameter("bias"), first.get_parameter("bias")])
        self.gate_and_first = PlainConv(gate, weight, bias)
        self.fuse = fold_convolution(block.fuse)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` -> the same shape."""
        gate, first = self.gate_and_first(F.pad(x, (1,) * 4, mode="reflect")).split(self.split, dim=1)
        branches = [
            branch(F.pad(x, (rate,) * 4, mode="reflect"))
            for rate, branch in zip(self.rates, self.branches, strict=True)
        ]
        fused = self.fuse(F.pad(torch.cat([first, *branches], 1).relu_(), (1,) * 4, mode="reflect"))
        return torch.lerp(x, fused, standardize(gate).sigmoid_().to(x.dtype))


class FoldedConvGLU(nn.Module):
    """`ConvGLU`; the norm's factor is multiplied into the kernel and into the strength of the noise."""

    noise_strength: Tensor | None

    def __init__(self, block: ConvGLU) -> None:
        super().__init__()
        self.conv, scale = fold_norms(block.conv, block.norm)
        strength = block.noise_strength
        # A strength of zero, the initial one, needs no pass over the map.
        if strength is None or not bool(strength != 0):
            self.register_buffer("noise_strength", None)
        else:
            scaled = (scale * strength.float())[:, None, None]
            self.register_buffer("noise_strength", scaled.to(block.conv.weight.dtype))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """`[B, in_channels, H, W]`, noise `[B, 1, H, W]` or None -> `[B, out_channels, H, W]`."""
        x = self.conv(x)
        if self.noise_strength is not None and noise is not None:
            x.addcmul_(self.noise_strength, noise.to(x.dtype))
        return F.glu(x, dim=1)


class FoldedExcitation(nn.Module):
    """`SkipExcitation` with matrix products, since each of its convolutions has a single output position."""

    weight1: Tensor
    weight2: Tensor

    def __init__(self, block: SkipExcitation) -> None:
        super().__init__()
        dtype = block.conv1.weight.dtype
        self.register_buffer("weight1", normalize_kernel(block.conv1).flatten(1).to(dtype))
        self.register_buffer("weight2", normalize_kernel(block.conv2).flatten(1).to(dtype))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """`[B, source_channels, H, W]`, `[B, target_channels, H', W']` -> the target, each channel times its gate."""
        pooled = F.adaptive_avg_pool2d(source, 4).flatten(1)
        gate = F.linear(F.silu(F.linear(pooled, self.weight1)), self.weight2).sigmoid_()
        return target * gate[:, :, None, None]


def fold_plain(conv: nn.Conv2d) -> nn.Module:
    """Give a convolution with its kernel in channels_last; the same convolution where the layout does not matter."""
    return conv if conv.groups > 1 or conv.kernel_size == (1, 1) else PlainConv(conv, conv.weight, conv.bias)


FORMS: Forms = {
    DownBlock: FoldedDown,
    AOTBlock: FoldedAOT,
    ConvGLU: FoldedConvGLU,
    ConvNorm: lambda block: fold_norms(block.conv, block.norm)[0],
    SkipExcitation: FoldedExcitation,
    SpectralConv2d: fold_convolution,
    nn.Conv2d: fold_plain,
}
