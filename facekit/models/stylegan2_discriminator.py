"""StyleGAN2's residual discriminator (Karras et al. 2020, Figure 7c), which gives one number for each image."""

import math
from itertools import pairwise

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.linear import (
    ConvLayer,
    EqualizedLinear,
    append_minibatch_stddev,
    channels_at,
    count_styles,
)


class ResidualDownBlock(nn.Module):
    """Two 3x3 convolutions plus a 1x1 shortcut, over sqrt(2): [B, in, H, W] -> [B, out, H/2, W/2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channels, in_channels, 3)
        self.conv2 = ConvLayer(in_channels, out_channels, 3, downsample=True)
        self.skip = ConvLayer(in_channels, out_channels, 1, downsample=True, activate=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = 1 / math.sqrt(2)
        return self.conv2(self.conv1(x), half) + self.skip(x, half)


class StyleGAN2Discriminator(VerifiedModelMixin):
    """Image [B, in_channels, S, S] in [-1, 1] -> logits [B, 1], larger for more real. Defaults: the 512 model.

    Args:
        sample_size: S, side of the pictures in pixels, a power of two from 8 on.
        channel_base, max_channels: channels at resolution r are min(channel_base / r, max_channels).
        in_channels: channels of the pictures.
        stddev_group: samples in a group of the minibatch deviation; B must be below it or a multiple of it.

    Raises:
        ValueError: `sample_size` is no power of two from 8 on.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 512,
        channel_base: int = 32768,
        max_channels: int = 512,
        in_channels: int = 3,
        stddev_group: int = 4,
    ) -> None:
        super().__init__()
        num_levels = count_styles(sample_size) // 2 - 1
        channels = [
            channels_at(4 * 2**k, channel_base, max_channels) for k in reversed(range(num_levels + 1))
        ]
        self.stem = ConvLayer(in_channels, channels[0], 1)
        self.blocks = ModuleList(ResidualDownBlock(wide, narrow) for wide, narrow in pairwise(channels))
        self.final_conv = ConvLayer(channels[-1] + 1, channels[-1], 3)
        self.final_linear = EqualizedLinear(channels[-1] * 16, channels[-1], activation=True)
        self.logit = EqualizedLinear(channels[-1], 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Image [B, in_channels, S, S] in [-1, 1] -> logits [B, 1].

        Raises:
            ValueError: the image has another shape, or the batch cannot be split into groups.
        """
        expected = (self.config.in_channels, self.config.sample_size, self.config.sample_size)
        if image.ndim != 4 or tuple(image.shape[1:]) != expected:
            raise ValueError(
                f"image must have the shape [B, {', '.join(map(str, expected))}], not {list(image.shape)}"
            )
        return self.decide(self.features(image)[-1])

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Image [B, in_channels, S, S] -> the map after every block, largest first, the last one [B, C, 4, 4]."""
        x = self.stem(image.contiguous(memory_format=torch.channels_last))
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def decide(self, x: torch.Tensor) -> torch.Tensor:
        """The last map [B, C, 4, 4] -> logits [B, 1]."""
        x = self.final_conv(append_minibatch_stddev(x, self.config.stddev_group))
        return self.logit(self.final_linear(x.flatten(1)))
