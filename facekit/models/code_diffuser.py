"""Code diffuser of VSPBFR (thesis section 3.2.2): denoises W+ codes under the codes of a damaged face."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.linear import pixel_norm


class ModulationMLP(nn.Module):
    """Two linear layers with LayerNorm and scaled leaky ReLU between them: [B, N, C] -> [B, N, D]."""

    def __init__(self, condition_dim: int, style_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(condition_dim, style_dim)
        self.norm = nn.LayerNorm(style_dim)
        self.linear2 = nn.Linear(style_dim, style_dim)

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        hidden = F.leaky_relu(self.norm(self.linear1(condition)), 0.2) * math.sqrt(2)
        return self.linear2(hidden)


class TACCBlock(nn.Module):
    """Temporal-aware code-to-code block, Eq. 3.4: codes [B, N, D], condition [B, N, D + 1] -> [B, N, D].

    Follows the published network: position scores have the codes as rows and are normalised over the
    condition's codes; channel scores are normalised over the rows, their result once more before the sum.
    """

    def __init__(self, style_dim: int) -> None:
        super().__init__()
        condition_dim = style_dim + 1
        self.position_query = nn.Linear(condition_dim, style_dim, bias=False)
        self.position_key = nn.Linear(style_dim, style_dim, bias=False)
        self.position_value = nn.Linear(style_dim, style_dim, bias=False)
        self.channel_query = nn.Linear(style_dim, style_dim, bias=False)
        self.channel_key = nn.Linear(condition_dim, style_dim, bias=False)
        self.channel_value = nn.Linear(style_dim, style_dim, bias=False)
        self.scale = ModulationMLP(condition_dim, style_dim)
        self.shift = ModulationMLP(condition_dim, style_dim)

    def forward(self, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        count, dim = codes.shape[1:]
        codes = pixel_norm(codes, dim=1)
        position = self.attend_positions(codes, condition, count)
        channel = F.layer_norm(self.attend_channels(codes, condition, dim), (dim,))
        hidden = F.layer_norm(position + channel, (dim,))
        shift = F.leaky_relu(self.shift(condition), 0.2) * math.sqrt(2)
        return hidden * (1 + torch.sigmoid(self.scale(condition))) + shift

    def attend_positions(self, codes: torch.Tensor, condition: torch.Tensor, count: int) -> torch.Tensor:
        """a^p: every new code is a mix of the value codes, [B, N, D]."""
        score = self.position_key(codes) @ self.position_query(condition).transpose(1, 2)
        return (score / math.sqrt(count)).softmax(-1) @ self.position_value(codes)

    def attend_channels(self, codes: torch.Tensor, condition: torch.Tensor, dim: int) -> torch.Tensor:
        """a^c: every new channel is a mix of the value channels, [B, N, D]."""
        score = self.channel_key(condition).transpose(1, 2) @ self.channel_query(codes)
        return self.channel_value(codes) @ (score / math.sqrt(dim)).softmax(1)


class CodeDiffuser(VerifiedModelMixin, ConfigMixin):
    """Four TACC blocks; the time step enters as one more feature, t / T, of every condition code.

    What the output means (clean codes or noise) is the scheduler's `prediction_type`.
    The published size has 10,510,336 parameters. They stay in float32 when a pipeline is loaded in half
    precision: the steps amplify rounding (bfloat16 moves the codes by a tenth), and cost next to nothing.
    """

    _keep_in_fp32_modules: ClassVar[list[str]] = ["blocks"]

    @register_to_config
    def __init__(
        self,
        num_styles: int = 18,
        style_dim: int = 512,
        num_blocks: int = 4,
        num_train_timesteps: int = 4,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TACCBlock(style_dim) for _ in range(num_blocks))

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
