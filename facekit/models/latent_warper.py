"""FACEMUG's latent warping network H (thesis Sections 6.2.2, 6.4.1): gives the codes of a face another's pose."""

import torch
from diffusers.configuration_utils import register_to_config

from facekit.models.base import VerifiedModelMixin
from facekit.models.form import Form, check_form
from facekit.models.layers.code_blocks import CodeModulationBlock
from facekit.models.layers.containers import ModuleList


class LatentWarper(VerifiedModelMixin):
    """Codes of a target and a source -> codes of the source's face in the target's pose, Eq. 6.2.

    H is a row of code-to-code blocks (Eq. 6.15), which begin with the source codes as offsets. The parameters stay in
    float32 when a pipeline is loaded in half precision: codes are sensitive to rounding, and float32 costs next to
    nothing here.

    Args:
        num_styles: t, codes of the generator (18, 16 or 14 for 1024, 512 or 256 pixels).
        style_dim: D.
        num_blocks: blocks of H.
        form: "thesis": the blocks' MLPs are two linear layers, as Eq. 6.15 says; "published": with LayerNorm and gain
            between them, as VSPBFR's published code has them (FACEMUG's is not public).

    Raises:
        ValueError: another `form`.
    """

    _keep_in_fp32_modules = ["blocks"]

    @register_to_config
    def __init__(
        self, num_styles: int = 18, style_dim: int = 512, num_blocks: int = 4, form: Form = "published"
    ) -> None:
        super().__init__()
        check_form(form)
        self.blocks = ModuleList(CodeModulationBlock(style_dim, form) for _ in range(num_blocks))

    def offsets(self, residual: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """H(w^r, w^so) of Eq. 6.2: residual codes and source codes, both [B, t, D] -> offsets [B, t, D]."""
        offsets = source
        for block in self.blocks:
            offsets = block(residual, offsets)
        return offsets

    def forward(self, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """w^ta and w^so, both [B, t, D] -> w^wa = H(w^ta - w^so, w^so) + w^so, [B, t, D], in the parameters' dtype.

        Raises:
            ValueError: one of the two is not [B, t, D], or they differ in B.
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
