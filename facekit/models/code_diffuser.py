"""Code diffuser of VSPBFR (thesis section 3.2.2): denoises W+ codes under the codes of a damaged face."""

import torch
from diffusers.configuration_utils import register_to_config

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.code_blocks import TACCBlock
from facekit.models.layers.containers import ModuleList


class CodeDiffuser(VerifiedModelMixin):
    """Four TACC blocks; the time step enters as one more feature, t / T, of every condition code.

    What the output means (clean codes or noise) is the scheduler's `prediction_type`.
    The published size has 10,510,336 parameters. They stay in float32 when a pipeline is loaded in half
    precision: the steps amplify rounding (bfloat16 moves the codes by a tenth), and cost next to nothing.
    """

    _keep_in_fp32_modules = ["blocks"]

    @register_to_config
    def __init__(
        self,
        num_styles: int = 18,
        style_dim: int = 512,
        num_blocks: int = 4,
        num_train_timesteps: int = 4,
    ) -> None:
        super().__init__()
        self.blocks = ModuleList(TACCBlock(style_dim) for _ in range(num_blocks))

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor | int, condition: torch.Tensor
    ) -> torch.Tensor:
        """Noisy codes, time steps [B] or one in 0..T-1, codes of the damaged face -> [B, N, D].

        Computes, and returns, in the dtype of its parameters.
        Raises ValueError when the two sets of codes differ in shape or are not [B, num_styles, style_dim].
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
        time = (time / self.config.num_train_timesteps).expand(sample.shape[0], sample.shape[1], 1)
        condition = torch.cat([condition, time], -1)
        for block in self.blocks:
            sample = block(sample, condition)
        return sample
