"""FACEMUG's latent warping network H (thesis 6.2.2, 6.4.1): the pose of one face for the codes of another."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.code_diffuser import ModulationMLP


class CodeModulationBlock(nn.Module):
    """Code-to-code modulation, Eq. 6.15: residual codes w^r and offsets, both [B, t, D] -> offsets [B, t, D].

    With D = 512 a block has 2,625,536 parameters. It differs from `TACCBlock` (Eq. 3.4 as published): queries
    come from w^r in both attentions, and nothing is normalised but the sum.
    """

    def __init__(self, style_dim: int) -> None:
        super().__init__()
        self.channel_query = nn.Linear(style_dim, style_dim, bias=False)
        self.channel_key = nn.Linear(style_dim, style_dim, bias=False)
        self.channel_value = nn.Linear(style_dim, style_dim, bias=False)
        self.position_query = nn.Linear(style_dim, style_dim, bias=False)
        self.position_key = nn.Linear(style_dim, style_dim, bias=False)
        self.position_value = nn.Linear(style_dim, style_dim, bias=False)
        self.scale = ModulationMLP(style_dim, style_dim)
        self.shift = ModulationMLP(style_dim, style_dim)

    def forward(self, residual: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        dim = offsets.shape[2]
        mixed = self.attend_positions(residual, offsets) + self.attend_channels(residual, offsets)
        shift = F.leaky_relu(self.shift(residual), 0.2)
        return F.layer_norm(mixed, (dim,)) * (torch.sigmoid(self.scale(residual)) + 1) + shift

    def attend_channels(self, residual: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """a^c: every new code is a mix of the t value codes, [B, t, D]."""
        score = self.channel_query(residual) @ self.channel_key(offsets).transpose(1, 2)
        return (score / math.sqrt(offsets.shape[1])).softmax(2) @ self.channel_value(offsets)

    def attend_positions(self, residual: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """a^p: every new channel is a mix of the D value channels, [B, t, D]."""
        score = self.position_query(residual).transpose(1, 2) @ self.position_key(offsets)
        # The rows are what the product with the values sums over.
        return self.position_value(offsets) @ (score / math.sqrt(offsets.shape[2])).softmax(1)


class LatentWarper(VerifiedModelMixin, ConfigMixin):
    """Target and source codes -> the source's face in the target's pose, Eq. 6.2.

    H is `num_blocks` code-to-code blocks whose offsets begin as the source codes. The parameters stay in float32
    when a pipeline is loaded in half precision: they cost next to nothing, and codes are sensitive to rounding.

    Args:
        num_styles: t, codes of the generator (18, 16 or 14 for 1024, 512 or 256 pixels).
        style_dim: D.
        num_blocks: blocks of H.
    """

    _keep_in_fp32_modules: ClassVar[list[str]] = ["blocks"]

    @register_to_config
    def __init__(self, num_styles: int = 18, style_dim: int = 512, num_blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CodeModulationBlock(style_dim) for _ in range(num_blocks))

    def offsets(self, residual: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """H(w^r, w^so), both [B, t, D] -> [B, t, D]."""
        offsets = source
        for block in self.blocks:
            offsets = block(residual, offsets)
        return offsets

    def forward(self, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """w^ta and w^so, both [B, t, D] -> w^wa [B, t, D] = H(w^ta - w^so, w^so) + w^so.

        Computes, and returns, in the dtype of its parameters.
        Raises ValueError when the two differ in shape or are not [B, num_styles, style_dim].
        """
        expected = (self.config.num_styles, self.config.style_dim)
        if target.shape != source.shape or source.ndim != 3 or tuple(source.shape[1:]) != expected:
            raise ValueError(
                f"target and source codes must both be [B, {expected[0]}, {expected[1]}], "
                f"got {list(target.shape)} and {list(source.shape)}"
            )
        dtype = self.blocks[0].channel_query.weight.dtype
        target, source = target.to(dtype), source.to(dtype)
        return self.offsets(target - source, source) + source
