"""A small face parser: which of the 19 classes each pixel of an aligned face belongs to."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.containers import ModuleList


def _build_convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = _build_convolution(channels, channels)
        self.outer = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.outer(self.inner(x)), inplace=True)


class FaceParser(VerifiedModelMixin):
    """U-shaped network that works at a fixed size on the picture and its pixels' positions.

    Faces are aligned, so that a position says much about a class, and which side is left. Blocks of 2x2 pixels go
    in as channels and their logits come out so, which leaves no layer at the full size. The deepest map is
    completed by its mean over the picture.

    Args:
        sample_size: size the network works at; pictures are scaled to it, logits back. A multiple of 2^levels.
        channels: width of each level, half the size first.
        num_classes: classes, `facekit.conditions.semantics.CLASS_NAMES` in the shipped parser.

    Raises:
        ValueError: sizes that do not fit.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 128,
        channels: tuple[int, ...] = (32, 64, 112, 160),
        num_classes: int = 19,
    ) -> None:
        super().__init__()
        if len(channels) < 1 or sample_size < 2 or sample_size % 2 ** len(channels):
            raise ValueError(
                f"{len(channels)} levels need a sample_size that 2^{len(channels)} divides, got {sample_size}; "
                "there must be one level or more"
            )
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2), _build_convolution(4 * 5, channels[0]), Residual(channels[0])
        )
        pairs = list(pairwise(channels))
        self.down = ModuleList(nn.Sequential(_build_convolution(a, b, 2), Residual(b)) for a, b in pairs)
        self.context = nn.Linear(channels[-1], channels[-1])
        self.narrow = ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up = ModuleList(_build_convolution(a, a) for a, _ in pairs)
        self.head = nn.Sequential(nn.Conv2d(channels[0], 4 * num_classes, 1), nn.PixelShuffle(2))

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each pixel's class.

        Args:
            image: `[B, 3, H, W]` in [-1, 1].

        Returns:
            `[B, num_classes, H, W]`.
        """
        full, size = image.shape[-2:], (self.config.sample_size,) * 2
        if full != size:
            # On a CPU the antialiasing filter knows no bfloat16.
            scaled = F.interpolate(image.float(), size, mode="bilinear", antialias=True)
            image = scaled.to(image.dtype)
        logits = self.working_logits(image)
        if full != size:
            logits = F.interpolate(logits, full, mode="bilinear")
        return logits

    def working_logits(self, image: Tensor) -> Tensor:
        """Logits at the network's own size: `[B, 3, S, S]` in [-1, 1] -> `[B, num_classes, S, S]`."""
        *levels, x = self.features(image)
        x = x + self.context(x.mean((2, 3)))[:, :, None, None]
        for skip, narrow, up in zip(reversed(levels), reversed(self.narrow), reversed(self.up), strict=True):
            x = up(F.interpolate(narrow(x), scale_factor=2, mode="nearest") + skip)
        return self.head(x)

    def features(self, image: Tensor) -> list[Tensor]:
        """What each level sees, half the size first: `[B, 3, S, S]` in [-1, 1] -> maps `[B, C_i, S / 2^(i+1), ...]`."""
        side = torch.linspace(-1, 1, image.shape[-1], device=image.device, dtype=image.dtype)
        grid = torch.stack(torch.meshgrid(side, side, indexing="ij")).expand(len(image), -1, -1, -1)
        levels = [self.stem(torch.cat((image, grid), 1).contiguous(memory_format=torch.channels_last))]
        for down in self.down:
            levels.append(down(levels[-1]))
        return levels
