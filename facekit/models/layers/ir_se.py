"""IR-SE backbone (improved residual units with squeeze-and-excitation); pSp uses the one with 50 layers."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn


class SqueezeExcite(nn.Module):
    """Channel gate from global means: [B, C, H, W] -> [B, C, 1, 1] in (0, 1)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return gate[..., None, None]


class IRSEBlock(nn.Module):
    """One residual unit, [B, in, H, W] -> [B, out, H / stride, W / stride]; its second convolution has the stride.

    The shortcut takes every `stride`-th pixel where in = out, and is a normalised 1x1 convolution where they differ.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, reduction: int = 16) -> None:
        super().__init__()
        self.stride = stride
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.activation = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.gate = SqueezeExcite(out_channels, reduction)
        self.shortcut: nn.Sequential | None = None
        if in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.shortcut is not None:
            shortcut = self.shortcut(x)
        else:
            shortcut = x[:, :, :: self.stride, :: self.stride]
        y = self.convolve(x)
        return torch.addcmul(shortcut, y, self.gate(y))

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        """The path beside the shortcut, before the gate: [B, in, H, W] -> [B, out, H / stride, W / stride]."""
        y = self.activation(self.conv1(self.norm1(x)))
        return self.norm2(self.conv2(y))


class Stem(nn.Sequential):
    """3x3 convolution, batch normalisation, activation: [B, in, S, S] -> [B, out, S, S]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.PReLU(out_channels),
        )

    @property
    def layers(self) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.PReLU]:
        """Convolution, normalisation and activation, in the order in which they are called."""
        return cast(tuple[nn.Conv2d, nn.BatchNorm2d, nn.PReLU], tuple(self))


class IRSEBackbone(nn.Module):
    """Stem and four stages, each of which halves the size: [B, in, S, S] -> maps at S/4, S/8 and S/16.

    With the published widths and depths this is IR-SE50, whose maps have 128, 256 and 512 channels.
    """

    def __init__(
        self,
        in_channels: int,
        stem_channels: int,
        channels: tuple[int, ...],
        num_blocks: tuple[int, ...],
        reduction: int,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, stem_channels)
        self.stages = nn.ModuleList()
        width = stem_channels
        for stage_channels, depth in zip(channels, num_blocks, strict=True):
            blocks = nn.Sequential()
            for index in range(depth):
                blocks.append(IRSEBlock(width, stage_channels, 1 if index else 2, reduction))
                width = stage_channels
            self.stages.append(blocks)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[2], maps[3], maps[4]
