"""FIR resampling of StyleGAN2: the [1, 3, 3, 1] filter before down-sampling and after up-sampling.

Maps that come in channels_last stay so: the filter is a depthwise convolution, or a sum of shifted maps.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def blur_by_sums(x: torch.Tensor, gain: float, padding: int, stride: int) -> torch.Tensor:
    """The filter of `FIRFilter.blur` as sums of shifted maps, rows and columns one after the other.

    cuDNN's depthwise convolutions in half precision take twice as long as these passes over the memory.
    """
    x = F.pad(x, (padding,) * 4)
    for dim in (2, 3):
        count = (x.shape[dim] - 4) // stride + 1
        taps = [
            x.narrow(dim, tap, (count - 1) * stride + 1)[(slice(None),) * dim + (slice(None, None, stride),)]
            for tap in range(4)
        ]
        x = (taps[0] + taps[3]).add_(taps[1] + taps[2], alpha=3)
    return x.mul_(gain / 64)


class _Blur(torch.autograd.Function):
    """Depthwise convolution whose gradient is computed as a forward one of stride 1: the kernel is symmetric.

    oneDNN's own backward of a depthwise convolution takes ten to twenty times as long as its forward in bfloat16.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, kernel: torch.Tensor, gain: float, padding: int, stride: int
    ) -> torch.Tensor:
        ctx.save_for_backward(kernel)
        ctx.gain, ctx.padding, ctx.stride, ctx.size = gain, padding, stride, x.shape
        if x.device.type != "cpu":
            return blur_by_sums(x, gain, padding, stride)
        return F.conv2d(x, kernel, padding=padding, stride=stride, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (kernel,) = ctx.saved_tensors
        reach = 3
        if ctx.stride > 1:
            height, width = (side + 2 * ctx.padding - reach for side in ctx.size[2:])
            shape = (*ctx.size[:2], height, width)
            spread = torch.empty(
                shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last
            )
            spread.zero_()[:, :, :: ctx.stride, :: ctx.stride] = grad
            grad = spread
        if grad.device.type == "cpu":
            grad = grad.contiguous(memory_format=torch.channels_last)
        blurred = _Blur.apply(grad, kernel.to(grad.dtype), ctx.gain, reach - ctx.padding, 1)
        return blurred, None, None, None, None


class FIRFilter(nn.Module):
    """The 4x4 filter [1, 3, 3, 1] x [1, 3, 3, 1] of sum 1. It has no entry in the state dict."""

    kernel: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", torch.outer(taps, taps), persistent=False)

    def blur(self, x: torch.Tensor, padding: int, gain: float = 1.0, stride: int = 1) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, H + 2p - 3, W + 2p - 3]: zero padding by p = `padding` pixels, filter, times `gain`.

        With `stride` 2 only every second row and column of that is computed.
        """
        kernel = (self.kernel.to(x.dtype) * gain).expand(x.shape[1], 1, 4, 4)
        if x.requires_grad:
            return _Blur.apply(x, kernel, gain, padding, stride)
        return F.conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])

    def upsample(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, 2H, 2W]: a zero after every pixel, then the filter with sum 4."""
        kernel = (self.kernel.to(x.dtype) * 4).expand(x.shape[1], 1, 4, 4)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`upsample`."""
        return self.upsample(x)
