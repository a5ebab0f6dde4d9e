"""FACEMUG's style fusion block (thesis Section 6.2.5)."""

import torch
from torch import nn

from facekit.models.layers.linear import leaky_relu
from facekit.models.layers.modulated import ModulatedConv2d


class GateConv(nn.Module):
    """Style layer without noise and activation: modulated 3x3 convolution and bias, [B, C, H, W] -> same shape."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(channels, channels, 3, style_dim)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """`style` is [B, style_dim]."""
        return self.conv(x, style, bias=self.bias)


class StyleFusion(nn.Module):
    """Style fusion block, Eq. 6.7 and 6.8: maps of decoder, encoder and prior, each [B, C, H, W] -> [B, C, H, W].

    The decoder's map gates and shifts the encoder's. A gate made of the prior's map then decides, pixel by pixel,
    between the result and the prior's map.
    """

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.gate = GateConv(channels, style_dim)
        self.shift = GateConv(channels, style_dim)
        self.prior_gate = GateConv(channels, style_dim)

    def forward(
        self, decoded: torch.Tensor, encoded: torch.Tensor, prior: torch.Tensor, style: torch.Tensor
    ) -> torch.Tensor:
        """`style` [B, style_dim] is w_(i+1); `encoded` has B rows or one for all. The maps are not changed."""
        # Eq. 6.7: what the decoder makes of the encoder's map.
        gate, shift = torch.sigmoid(self.gate(decoded, style)) + 1, leaky_relu(self.shift(decoded, style))
        fused = gate * encoded + shift
        # Eq. 6.8: F^g = F^m F^s + (1 - F^m) fused.
        choice = torch.sigmoid(self.prior_gate(prior, style))
        return torch.lerp(fused, prior, choice)
