"""Variants of the refinement auto-encoder for the ablations of thesis Table 6.6."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facekit.models.form import Form
from facekit.models.layers.linear import ConvLayer, leaky_relu
from facekit.models.layers.style_fusion import GateConv
from facekit.models.refiner import RefinementAutoEncoder


class AdditionFusion(nn.Module):
    """(B): the sum of the three maps, [B, C, H, W] each; style codes have no effect."""

    def forward(self, decoded: Tensor, encoded: Tensor, prior: Tensor, style: Tensor) -> Tensor:
        return decoded + encoded + prior


class GatedFusion(nn.Module):
    """(C): a gated convolution (Yu et al. 2019) of the three maps, [B, C, H, W] each; style codes have no effect."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.feature = ConvLayer(3 * channels, channels, 3)
        self.gate = ConvLayer(3 * channels, channels, 3, activate=False)

    def forward(self, decoded: Tensor, encoded: Tensor, prior: Tensor, style: Tensor) -> Tensor:
        joined = torch.cat([decoded, encoded.expand_as(decoded), prior], 1)
        return self.feature(joined) * torch.sigmoid(self.gate(joined))


class BanklessFusion(nn.Module):
    """(E): Eq. 6.7 alone, without the prior's map; maps [B, C, H, W], style codes [B, D]."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.gate = GateConv(channels, style_dim)
        self.shift = GateConv(channels, style_dim)

    def forward(self, decoded: Tensor, encoded: Tensor, prior: Tensor, style: Tensor) -> Tensor:
        gate, shift = self.gate(decoded, style), self.shift(decoded, style)
        return (torch.sigmoid(gate) + 1) * encoded + leaky_relu(shift)


class AblatedRefiner(RefinementAutoEncoder):
    """`RefinementAutoEncoder` with `fusion` "add", "gated" or "no_bank" in place of its style fusion blocks.

    Raises:
        ValueError: another `fusion`.
    """

    @register_to_config
    def __init__(
        self,
        fusion: str,
        sample_size: int = 256,
        style_dim: int = 512,
        channel_base: int = 32768,
        max_channels: int = 512,
        in_channels: int = 64,
        global_dim: int = 1024,
        dropout: float = 0.5,
        skips: bool = False,
        form: Form = "published",
    ) -> None:
        # By name: values given by position would be taken for defaults of the stored configuration.
        super().__init__(
            sample_size=sample_size,
            style_dim=style_dim,
            channel_base=channel_base,
            max_channels=max_channels,
            in_channels=in_channels,
            global_dim=global_dim,
            dropout=dropout,
            skips=skips,
            form=form,
        )
        for level, channels in zip(self.decoder, self.channels, strict=True):
            if fusion == "add":
                level.fusion = AdditionFusion()
            elif fusion == "gated":
                level.fusion = GatedFusion(channels)
            elif fusion == "no_bank":
                level.fusion = BanklessFusion(channels, style_dim)
            else:
                raise ValueError(f"fusion must be add, gated or no_bank, got {fusion!r}")
