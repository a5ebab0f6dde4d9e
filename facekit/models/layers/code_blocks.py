"""Attention between two sets of style codes: the blocks of the code diffuser and of the latent warper."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from facekit.models.form import Form
from facekit.models.layers.linear import leaky_relu, pixel_norm


class ModulationMLP(nn.Module):
    """Two linear layers: [B, N, C] -> [B, N, D].

    Between them are, as published, LayerNorm and a leaky ReLU times sqrt(2). The thesis has "a stack of two fully
    connected layers"; as it names no activation, its `form` has the leaky ReLU of its equations there, without gain.
    """

    def __init__(self, condition_dim: int, style_dim: int, form: Form = "published") -> None:
        super().__init__()
        self.linear1 = nn.Linear(condition_dim, style_dim)
        self.norm = nn.LayerNorm(style_dim) if form == "published" else None
        self.linear2 = nn.Linear(style_dim, style_dim)

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        hidden = self.linear1(condition)
        hidden = leaky_relu(hidden) if self.norm is None else leaky_relu(self.norm(hidden)) * math.sqrt(2)
        return self.linear2(hidden)


class TACCBlock(nn.Module):
    """Temporal-aware code-to-code block, Eq. 3.4 as published: codes [B, N, D], condition [B, N, D + 1] -> [B, N, D].

    Layers are named by what they mix: positions are codes (the thesis's a^c), channels their numbers (its a^p). What
    differs from the thesis (`ThesisTACCBlock`): codes pass a pixel norm first; a^p has the codes' channels as rows,
    not the condition's, and a LayerNorm of its own; the MLPs have one too; leaky ReLUs have the gain sqrt(2).
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
        # Eq. 3.4: a^c and a^p, then xi and mu, then LayerNorm(a^c + a^p) (xi + 1) + mu.
        position = self.attend_positions(codes, condition, count)
        channel = F.layer_norm(self.attend_channels(codes, condition, dim), (dim,))
        gate = torch.sigmoid(self.scale(condition))
        shift = F.leaky_relu(self.shift(condition), 0.2) * math.sqrt(2)
        return F.layer_norm(position + channel, (dim,)) * (1 + gate) + shift

    def attend_positions(self, codes: torch.Tensor, condition: torch.Tensor, count: int) -> torch.Tensor:
        """a^c of Eq. 3.4, [B, N, D]: every new code is a mix of the N value codes."""
        score = self.position_key(codes) @ self.position_query(condition).transpose(1, 2)
        return (score / math.sqrt(count)).softmax(-1) @ self.position_value(codes)

    def attend_channels(self, codes: torch.Tensor, condition: torch.Tensor, dim: int) -> torch.Tensor:
        """What is published for a^p of Eq. 3.4, [B, N, D]: every new channel is a mix of the D value channels."""
        score = self.channel_key(condition).transpose(1, 2) @ self.channel_query(codes)
        return self.channel_value(codes) @ (score / math.sqrt(dim)).softmax(1)


class ThesisTACCBlock(nn.Module):
    """Temporal-aware code-to-code block, Eq. 3.4 to the letter: codes [B, N, D], condition [B, N, D + 1] -> [B, N, D].

    The thesis writes codes as the columns of a matrix D x N (w in R^(512 x N)), so that w^qT w^k is N x N (tau_1 =
    sqrt(N)) and the other product D x D (tau_2 = sqrt(512), here sqrt(D)). Here they are rows, and every product is
    transposed. Softmax goes over what the product with the values sums over, so that each result is a weighted mean.
    The thesis says nothing of biases: the linear layers of the attentions have none, as published.
    """

    def __init__(self, style_dim: int) -> None:
        super().__init__()
        condition_dim = style_dim + 1
        self.channel_query = nn.Linear(condition_dim, style_dim, bias=False)
        self.channel_key = nn.Linear(style_dim, style_dim, bias=False)
        self.channel_value = nn.Linear(style_dim, style_dim, bias=False)
        self.position_query = nn.Linear(condition_dim, style_dim, bias=False)
        self.position_key = nn.Linear(style_dim, style_dim, bias=False)
        self.position_value = nn.Linear(style_dim, style_dim, bias=False)
        self.scale = ModulationMLP(condition_dim, style_dim, "thesis")
        self.shift = ModulationMLP(condition_dim, style_dim, "thesis")

    def forward(self, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        dim = codes.shape[2]
        # Eq. 3.4: a^c and a^p, then xi and mu, then LayerNorm(a^c + a^p) (xi + 1) + mu.
        mixed = self.attend_channels(codes, condition) + self.attend_positions(codes, condition)
        gate = torch.sigmoid(self.scale(condition))
        shift = leaky_relu(self.shift(condition))
        return F.layer_norm(mixed, (dim,)) * (gate + 1) + shift

    def attend_channels(self, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """a^c = w^v Softmax(w^qT w^k / sqrt(N)) of Eq. 3.4, [B, N, D]: every new code is a mix of the N value codes."""
        score = self.channel_query(condition) @ self.channel_key(codes).transpose(1, 2)
        shares = (score / math.sqrt(codes.shape[1])).softmax(1)
        return shares.transpose(1, 2) @ self.channel_value(codes)

    def attend_positions(self, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """a^p = Softmax(w^q w^kT / sqrt(D)) w^v of Eq. 3.4, [B, N, D]: new channels mix the D value channels."""
        score = self.position_query(condition).transpose(1, 2) @ self.position_key(codes)
        shares = (score / math.sqrt(codes.shape[2])).softmax(2)
        return self.position_value(codes) @ shares.transpose(1, 2)


class CodeModulationBlock(nn.Module):
    """Code-to-code modulation, Eq. 6.15: residual codes w^r and offsets, both [B, t, D] -> offsets [B, t, D].

    With D = 512 a block has 2,625,536 parameters. Unlike in `TACCBlock` (Eq. 3.4 as published), the queries of both
    attentions come from w^r, and only the sum is normalised. The MLPs are those of the published TACC block, with
    LayerNorm and gain; `form` "thesis" has them as Eq. 6.15 says, see `ModulationMLP`.
    """

    def __init__(self, style_dim: int, form: Form = "published") -> None:
        super().__init__()
        self.channel_query = nn.Linear(style_dim, style_dim, bias=False)
        self.channel_key = nn.Linear(style_dim, style_dim, bias=False)
        self.channel_value = nn.Linear(style_dim, style_dim, bias=False)
        self.position_query = nn.Linear(style_dim, style_dim, bias=False)
        self.position_key = nn.Linear(style_dim, style_dim, bias=False)
        self.position_value = nn.Linear(style_dim, style_dim, bias=False)
        self.scale = ModulationMLP(style_dim, style_dim, form)
        self.shift = ModulationMLP(style_dim, style_dim, form)

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
