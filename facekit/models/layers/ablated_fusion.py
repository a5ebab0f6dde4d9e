"""What stands in place of FACEMUG's style fusion block in the ablations of thesis Table 6.6 (section 6.3.5)."""

import torch
from torch import nn

from facekit.models.layers.linear import ConvLayer, leaky_relu
from facekit.models.layers.style_fusion import GateConv


class AdditionFusion(nn.Module):
    """(B): the sum of the three maps, [B, C, H, W] each; style codes have no effect."""

    def forward(
        self, decoded: torch.Tensor, encoded: torch.Tensor, prior: torch.Tensor, style: torch.Tensor
    ) -> torch.Tensor:
        """Arguments are those of `StyleFusion.forward`, here and below."""
        return decoded + encoded + prior


class GatedFusion(nn.Module):
    """(C): a gated convolution (Yu et al. 2019) of the three maps, [B, C, H, W] each; style codes have no effect."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.feature = ConvLayer(3 * channels, channels, 3)
        self.gate = ConvLayer(3 * channels, channels, 3, activate=False)

    def forward(
        self, decoded: torch.Tensor, encoded: torch.Tensor, prior: torch.Tensor, style: torch.Tensor
    ) -> torch.Tensor:
        joined = torch.cat([decoded, encoded.expand_as(decoded), prior], 1)
        return self.feature(joined) * torch.sigmoid(self.gate(joined))


class BanklessFusion(nn.Module):
    """(E): Eq. 6.7 alone, without the prior's map; maps [B, C, H, W], style codes [B, D]."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.gate = GateConv(channels, style_dim)
        self.shift = GateConv(channels, style_dim)

    def forward(
        self, decoded: torch.Tensor, encoded: torch.Tensor, prior: torch.Tensor, style: torch.Tensor
    ) -> torch.Tensor:
        gate, shift = self.gate(decoded, style), self.shift(decoded, style)
        return (torch.sigmoid(gate) + 1) * encoded + leaky_relu(shift)
