"""Convolutions with batch norm, of which the small U-shaped networks are made (face parser, damage finder)."""

import torch.nn.functional as F
from torch import Tensor, nn


def build_convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, batch norm and ReLU, `[B, in, H, W]` -> `[B, out, H / stride, W / stride]`."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = build_convolution(channels, channels)
        self.outer = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.outer(self.inner(x)), inplace=True)
