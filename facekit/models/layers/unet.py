"""The encoder that the generators of EXE-GAN and FACEMUG share: its levels, and what it makes of a face."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from facekit.models.layers.linear import ConvLayer


class EncoderLevel(nn.Module):
    """3x3 convolution at one resolution, whose map the decoder gets too, then one that halves the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvLayer(in_channels, in_channels, 3)
        self.down = ConvLayer(in_channels, out_channels, 3, downsample=True)


class EncodedFace(NamedTuple):
    """What an encoder makes of faces with a hole. If it has one row, any number of style codes can be decoded with it.

    Attributes:
        global_code: c [B, global_dim] (thesis: the global style of the input image).
        bottom: [B, C, 4, 4], the decoder's input.
        skips: the encoder's maps of every size [B, C_k, S_k, S_k], the smallest first.
    """

    global_code: torch.Tensor
    bottom: torch.Tensor
    skips: list[torch.Tensor]

    def rows(self, index: Sequence[int]) -> "EncodedFace":
        """The faces of the batch with these indices, in that order; one row if all indices are the same."""
        index = list(index)
        if len(set(index)) == 1:
            index = index[:1]
        if index == list(range(len(self.bottom))):
            return self
        return EncodedFace(self.global_code[index], self.bottom[index], [skip[index] for skip in self.skips])

    @classmethod
    def join(cls, parts: Sequence["EncodedFace"]) -> "EncodedFace":
        """Join several batches to one, in their order."""
        if len(parts) == 1:
            return parts[0]
        codes, bottoms, skips = zip(*parts, strict=True)
        return cls(
            torch.cat(codes), torch.cat(bottoms), [torch.cat(maps) for maps in zip(*skips, strict=True)]
        )
