"""A small face parser: which of 19 classes each pixel of an aligned face belongs to."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.normed import Residual, build_convolution


class FaceParser(VerifiedModelMixin):
    """U-shaped network that reads, at a fixed size, a picture and the positions of its pixels.

    In aligned faces the position is a strong hint at the class, and separates left from right. A block of 2x2 pixels
    enters as channels and its logits leave as channels, so that no layer works at the full size. A linear layer of the
    deepest map's mean over the picture is added to every position of that map.

    Args:
        sample_size: S, side in pixels at which the network works; a multiple of 2^levels. Pictures are scaled to it
            and logits back.
        channels: width of each level, that of half the size first.
        num_classes: classes; the shipped parser has those of `facekit.conditions.semantics.CLASS_NAMES`.

    Raises:
        ValueError: there is no level, or `sample_size` is no multiple of 2^levels.
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
            nn.PixelUnshuffle(2), build_convolution(4 * 5, channels[0]), Residual(channels[0])
        )
        pairs = list(pairwise(channels))
        self.down = ModuleList(nn.Sequential(build_convolution(a, b, 2), Residual(b)) for a, b in pairs)
        self.context = nn.Linear(channels[-1], channels[-1])
        self.narrow = ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up = ModuleList(build_convolution(a, a) for a, _ in pairs)
        self.head = nn.Sequential(nn.Conv2d(channels[0], 4 * num_classes, 1), nn.PixelShuffle(2))

    def forward(self, image: Tensor) -> Tensor:
        """Picture `[B, 3, H, W]` in [-1, 1], of any size -> logits `[B, num_classes, H, W]`."""
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
        """`[B, 3, S, S]` in [-1, 1] -> the map of every level, half the size first: `[B, C_i, S / 2^(i+1), ...]`."""
        side = torch.linspace(-1, 1, image.shape[-1], device=image.device, dtype=image.dtype)
        grid = torch.stack(torch.meshgrid(side, side, indexing="ij")).expand(len(image), -1, -1, -1)
        levels = [self.stem(torch.cat((image, grid), 1).contiguous(memory_format=torch.channels_last))]
        for down in self.down:
            levels.append(down(levels[-1]))
        return levels
