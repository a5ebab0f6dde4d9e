"""Transformer blocks with attention across channels: Zamir et al., Restormer, CVPR 2022.

`convolution` is what their convolutions are: Restormer's are plain, those of the thesis spectrally normalised.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 2.66


class ChannelLayerNorm(nn.Module):
    """Layer normalisation over the channels of each position, with statistics in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` -> the same shape."""
        # PyTorch's kernels take the statistics in float32 whatever the input's type.
        y = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, 1e-5)
        return y.permute(0, 3, 1, 2)


class TransposedAttention(nn.Module):
    """Multi-Dconv head transposed attention: channels attend to channels, at a cost linear in the map's size.

    Raises:
        ValueError: `channels` is not a multiple of `num_heads`.
    """

    def __init__(self, channels: int, num_heads: int, convolution: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels cannot be split over {num_heads} attention heads")
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.to_qkv = convolution(channels, 3 * channels, 1, bias=False)
        self.qkv_depthwise = convolution(
            3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False
        )
        self.to_out = convolution(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` -> the same shape."""
        b, c, h, w = x.shape
        qkv = self.qkv_depthwise(self.to_qkv(x))
        # Positions first: a view of a channels_last map.
        qkv = qkv.permute(0, 2, 3, 1).reshape(b, h * w, 3 * c)
        v = self._heads(qkv[..., 2 * c :])
        with torch.autocast(x.device.type, enabled=False):
            qk = qkv[..., : 2 * c].float()
            # The L2 norms over the positions divide the small product rather than the maps.
            norms = qk.square().sum(1).clamp_min(1e-24).sqrt().view(b, 2, self.num_heads, -1)
            scale = self.temperature.float() / (norms[:, 0, :, :, None] * norms[:, 1, :, None, :])
            q, k = self._heads(qk[..., :c]), self._heads(qk[..., c:])
            attention = (q.transpose(-2, -1) @ k * scale).softmax(dim=-1)
            out = v @ attention.to(v.dtype).transpose(-2, -1)
        out = out.transpose(1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2)
        return self.to_out(out)

    def _heads(self, x: Tensor) -> Tensor:
        """`[B, N, channels]` -> `[B, num_heads, N, channels / num_heads]`."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network: the GELU of one half of the hidden channels gates the other half."""

    def __init__(self, channels: int, convolution: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        hidden = int(channels * EXPANSION)
        self.to_hidden = convolution(channels, 2 * hidden, 1, bias=False)
        self.depthwise = convolution(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.to_out = convolution(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` -> the same shape."""
        gate, value = self.depthwise(self.to_hidden(x)).chunk(2, dim=1)
        return self.to_out(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """Attention, then feed-forward; each reads the normalised map, and what it makes is added to the map."""

    def __init__(self, channels: int, num_heads: int, convolution: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.norm1 = ChannelLayerNorm(channels)
        self.attention = TransposedAttention(channels, num_heads, convolution)
        self.norm2 = ChannelLayerNorm(channels)
        self.feed_forward = GatedFeedForward(channels, convolution)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` -> the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


def build_transformer_stage(
    channels: int, num_heads: int, num_blocks: int, convolution: type[nn.Conv2d] = nn.Conv2d
) -> nn.Sequential:
    """Build `num_blocks` transformer blocks in a row: `[B, channels, H, W]` -> the same shape."""
    return nn.Sequential(*(TransformerBlock(channels, num_heads, convolution) for _ in range(num_blocks)))


class ShuffleDown(nn.Sequential):
    """`[B, C, H, W]` -> `[B, 2C, H/2, W/2]` by a convolution and pixel-unshuffle."""

    def __init__(self, channels: int, convolution: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__(convolution(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


class ShuffleUp(nn.Sequential):
    """`[B, C, H, W]` -> `[B, C/2, 2H, 2W]` by a convolution and pixel-shuffle."""

    def __init__(self, channels: int, convolution: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__(convolution(channels, channels * 2, 3, padding=1, bias=False), nn.PixelShuffle(2))
