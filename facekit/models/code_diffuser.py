"""Code diffuser of VSPBFR (thesis Section 3.2.2): denoises W+ codes, guided by the codes of a damaged face."""

import torch
from diffusers.configuration_utils import register_to_config

from facekit.models.base import VerifiedModelMixin
from facekit.models.form import Form, check_form
from facekit.models.layers.code_blocks import TACCBlock, ThesisTACCBlock
from facekit.models.layers.containers import ModuleList


class CodeDiffuser(VerifiedModelMixin):
    """A row of TACC blocks (Eq. 3.4); the time step is one more feature of every condition code.

    Whether the output is clean codes or noise is the scheduler's `prediction_type`. The published size has 10,510,336
    parameters. They stay in float32 when a pipeline is loaded in half precision: the steps amplify rounding (bfloat16
    moves the codes by a tenth), and float32 costs next to nothing here.

    Args:
        num_styles: N, codes of the prior (18, 16 or 14 for 1024, 512 or 256 pixels).
        style_dim: D.
        num_blocks: TACC blocks.
        num_train_timesteps: T.
        form: "published": `TACCBlock`, and the share t / T of the steps, from 0, as the feature; "thesis": Eq. 3.4 to
            the letter, `ThesisTACCBlock`, and the step itself, t = 1 to T.

    Raises:
        ValueError: another `form`.
    """

    _keep_in_fp32_modules = ["blocks"]

    @register_to_config
    def __init__(
        self,
        num_styles: int = 18,
        style_dim: int = 512,
        num_blocks: int = 4,
        num_train_timesteps: int = 4,
        form: Form = "published",
    ) -> None:
        super().__init__()
        check_form(form)
        block = TACCBlock if form == "published" else ThesisTACCBlock
        self.blocks = ModuleList(block(style_dim) for _ in range(num_blocks))

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor | int, condition: torch.Tensor
    ) -> torch.Tensor:
        """Noisy codes -> clean codes or noise, [B, N, D], in the dtype of the parameters.

        Args:
            sample: noisy codes [B, N, D].
            timestep: 0 to T - 1, one number or one for each row, [B].
            condition: codes of the damaged face [B, N, D].

        Raises:
            ValueError: one of the two sets of codes is not [B, N, D], or they differ in B.
        """
        expected = (self.config.num_styles, self.config.style_dim)
        if sample.shape != condition.shape or sample.ndim != 3 or tuple(sample.shape[1:]) != expected:
            raise ValueError(
                f"codes and condition must both be [B, {expected[0]}, {expected[1]}], "
                f"got {list(sample.shape)} and {list(condition.shape)}"
            )
        dtype = self.blocks[0].position_key.weight.dtype
        sample, condition = sample.to(dtype), condition.to(dtype)
        time = torch.as_tensor(timestep, device=sample.device).to(sample.dtype).reshape(-1, 1, 1)
        # Steps are counted from 0 here, from 1 in the thesis.
        time = time / self.config.num_train_timesteps if self.config.form == "published" else time + 1
        condition = torch.cat([condition, time.expand(sample.shape[0], sample.shape[1], 1)], -1)
        for block in self.blocks:
            sample = block(sample, condition)
        return sample
