"""Attention between two sets of style codes: the blocks of the code diffuser and of the latent warper."""

import math

import torch
import torch.nn.functional as F
from torch import nn

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
        # Eq. 3.4: a^p and a^c, then xi and mu, then LayerNorm(a^c + a^p) (xi + 1) + mu.
        position = self.attend_positions(codes, condition, count)
        channel = F.layer_norm(self.attend_channels(codes, condition, dim), (dim,))
        gate = torch.sigmoid(self.scale(condition))
        shift = F.leaky_relu(self.shift(condition), 0.2) * math.sqrt(2)
        return F.layer_norm(position + channel, (dim,)) * (1 + gate) + shift

    def attend_positions(self, codes: torch.Tensor, condition: torch.Tensor, count: int) -> torch.Tensor:
        """a^p of Eq. 3.4, [B, N, D]: every new code is a mix of the N value codes."""
        score = self.position_key(codes) @ self.position_query(condition).transpose(1, 2)
        return (score / math.sqrt(count)).softmax(-1) @ self.position_value(codes)

    def attend_channels(self, codes: torch.Tensor, condition: torch.Tensor, dim: int) -> torch.Tensor:
        """a^c of Eq. 3.4, [B, N, D]: every new channel is a mix of the D value channels."""
        score = self.channel_key(condition).transpose(1, 2) @ self.channel_query(codes)
        return self.channel_value(codes) @ (score / math.sqrt(dim)).softmax(1)


class CodeModulationBlock(nn.Module):
    """Code-to-code modulation, Eq. 6.15: residual codes w^r and offsets, both [B, t, D] -> offsets [B, t, D].

    With D = 512 a block has 2,625,536 parameters. Unlike in `TACCBlock` (Eq. 3.4 as published), the queries of both
    attentions come from w^r, and only the sum is normalised.
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
        # Eq. 6.15: a^p and a^c, then xi and mu, then LayerNorm(a^p + a^c) (xi + 1) + mu.
        mixed = self.attend_positions(residual, offsets) + self.attend_channels(residual, offsets)
        gate = torch.sigmoid(self.scale(residual))
        shift = F.leaky_relu(self.shift(residual), 0.2)
        return F.layer_norm(mixed, (dim,)) * (gate + 1) + shift

    def attend_channels(self, residual: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """a^c of Eq. 6.15, [B, t, D]: every new code is a mix of the t value codes."""
        score = self.channel_query(residual) @ self.channel_key(offsets).transpose(1, 2)
        return (score / math.sqrt(offsets.shape[1])).softmax(2) @ self.channel_value(offsets)

    def attend_positions(self, residual: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """a^p of Eq. 6.15, [B, t, D]: every new channel is a mix of the D value channels."""
        score = self.position_query(residual).transpose(1, 2) @ self.position_key(offsets)
        # The rows are what the product with the values sums over.
        return self.position_value(offsets) @ (score / math.sqrt(offsets.shape[2])).softmax(1)
