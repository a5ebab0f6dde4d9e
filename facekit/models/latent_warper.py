"""FACEMUG's latent warping network H (thesis 6.2.2, 6.4.1): the pose of one face for the codes of another."""

import torch
from diffusers.configuration_utils import register_to_config

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.code_blocks import CodeModulationBlock
from facekit.models.layers.containers import ModuleList


class LatentWarper(VerifiedModelMixin):
    """Target and source codes -> the source's face in the target's pose, Eq. 6.2.

    H is `num_blocks` code-to-code blocks whose offsets begin as the source codes. The parameters stay in float32
    when a pipeline is loaded in half precision: they cost next to nothing, and codes are sensitive to rounding.

    Args:
        num_styles: t, codes of the generator (18, 16 or 14 for 1024, 512 or 256 pixels).
        style_dim: D.
        num_blocks: blocks of H.
    """

    _keep_in_fp32_modules = ["blocks"]

    @register_to_config
    def __init__(self, num_styles: int = 18, style_dim: int = 512, num_blocks: int = 4) -> None:
        super().__init__()
        self.blocks = ModuleList(CodeModulationBlock(style_dim) for _ in range(num_blocks))

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
        # Eq. 6.2: w^wa = H(w^r, w^so) + w^so with w^r = w^ta - w^so.
        return self.offsets(target - source, source) + source
