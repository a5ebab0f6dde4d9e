"""Convolution blocks of GRIG's generator (thesis Section 4.2.1): down, up, AOT and skip-layer excitation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekit.models.layers.containers import ModuleList
from facekit.models.layers.spectral import SpectralConv2d

LEAK = 0.2


class ConvNorm(nn.Module):
    """Spectrally normalised convolution without bias, then batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = SpectralConv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` -> `[B, out_channels, H', W']`."""
        return self.norm(self.conv(x))


class DownBlock(nn.Module):
    """Halves the size: the mean of a path of two convolutions and a path of pooling and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, out_channels, 4, stride=2, padding=1)
        self.conv2 = ConvNorm(out_channels, out_channels, 3, padding=1)
        self.direct = ConvNorm(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` -> `[B, out_channels, H/2, W/2]`."""
        main = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), LEAK)), LEAK)
        direct = F.leaky_relu(self.direct(F.avg_pool2d(x, 2)), LEAK)
        return (main + direct) / 2


class AOTBlock(nn.Module):
    """Aggregated contextual transformation: a gate decides, pixel by pixel, between the map and dilated branches.

    Zeng et al., Aggregated contextual transformations for high-resolution image inpainting, TVCG 2022.

    Args:
        channels: width of the map; every branch makes an equal share of it.
        rates: dilation of each branch.

    Raises:
        ValueError: `channels` cannot be shared equally.
    """

    def __init__(self, channels: int, rates: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        if channels % len(rates):
            raise ValueError(f"an AOT block needs channels divisible by {len(rates)}, got {channels}")
        self.rates = rates
        self.branches = ModuleList(
            SpectralConv2d(channels, channels // len(rates), 3, dilation=rate) for rate in rates
        )
        self.fuse = SpectralConv2d(channels, channels, 3)
        self.gate = SpectralConv2d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` -> the same shape.

        Raises:
            ValueError: H or W does not exceed the largest rate, by which the map is reflected at its border.
        """
        if min(x.shape[-2:]) <= max(self.rates):
            raise ValueError(
                f"AOT block: {x.shape[-2]}x{x.shape[-1]} map is too small for dilation {max(self.rates)}"
            )
        branches = [
            branch(F.pad(x, (rate,) * 4, mode="reflect"))
            for rate, branch in zip(self.rates, self.branches, strict=True)
        ]
        fused = self.fuse(F.pad(F.relu(torch.cat(branches, 1)), (1,) * 4, mode="reflect"))
        gate = self.gate(F.pad(x, (1,) * 4, mode="reflect"))
        gate = standardize(gate).sigmoid().to(x.dtype)
        return torch.lerp(x, fused.to(x.dtype), gate)


def standardize(x: Tensor) -> Tensor:
    """`[B, C, H, W]` -> `10 z - 5` in float32, z the standard score within the map of each sample and channel."""
    x = x.float()
    centred = x - x.mean(dim=(2, 3), keepdim=True)
    # A norm of the centred map is three times as fast as the standard deviation in channels_last.
    norm = torch.linalg.vector_norm(centred, dim=(2, 3), keepdim=True)
    std = norm * (x.shape[2] * x.shape[3] - 1) ** -0.5
    return centred * (10.0 / (std + 1e-9)) - 5.0


class SkipExcitation(nn.Module):
    """Skip-layer excitation: a source map gates the channels of a target map.

    Liu et al., Towards faster and stabilized GAN training for few-shot image synthesis, ICLR 2021.
    """

    def __init__(self, source_channels: int, target_channels: int) -> None:
        super().__init__()
        self.conv1 = SpectralConv2d(source_channels, target_channels, 4, bias=False)
        self.conv2 = SpectralConv2d(target_channels, target_channels, 1, bias=False)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """`[B, source_channels, H, W]`, `[B, target_channels, H', W']` -> the target, each channel times its gate."""
        gate = self.conv2(F.silu(self.conv1(F.adaptive_avg_pool2d(source, 4)))).sigmoid()
        return target * gate


class ConvGLU(nn.Module):
    """`ConvNorm` to twice the channels, then a gated linear unit; with `noise` a noise layer before the norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, noise: bool = False) -> None:
        super().__init__()
        self.conv = SpectralConv2d(
            in_channels, 2 * out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.noise_strength = nn.Parameter(torch.zeros(1)) if noise else None
        self.norm = nn.BatchNorm2d(2 * out_channels)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """`[B, in_channels, H, W]`, noise `[B, 1, H, W]` or None -> `[B, out_channels, H, W]`."""
        x = self.conv(x)
        if self.noise_strength is not None and noise is not None:
            x = x + self.noise_strength.to(x.dtype) * noise.to(x.dtype)
        return F.glu(self.norm(x), dim=1)


class UpBlock(nn.Module):
    """Doubles the size, then one gated convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvGLU(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` -> `[B, out_channels, 2H, 2W]`."""
        return self.conv(upsample(x))


class NoiseUpBlock(nn.Module):
    """Doubles the size, then two gated convolutions, each with its own noise."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvGLU(in_channels, out_channels, 3, noise=True)
        self.conv2 = ConvGLU(out_channels, out_channels, 3, noise=True)

    def forward(self, x: Tensor, noise: list[Tensor] | tuple[Tensor, Tensor]) -> Tensor:
        """`[B, in_channels, H, W]`, two noise maps `[B, 1, 2H, 2W]` -> `[B, out_channels, 2H, 2W]`."""
        return self.conv2(self.conv1(upsample(x), noise[0]), noise[1])


class CodeModulation(nn.Module):
    """Scales and shifts the channels of a map by a style code: x (1 + s) + t, with s and t linear in the code."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """`[B, channels, H, W]`, code `[B, style_dim]` -> `[B, channels, H, W]`."""
        scale, shift = self.affine(code)[:, :, None, None].to(x.dtype).chunk(2, dim=1)
        return torch.addcmul(shift, x, 1 + scale)


def upsample(x: Tensor) -> Tensor:
    """`[B, C, H, W]` -> `[B, C, 2H, 2W]`, bilinear, with the corners of both maps aligned."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
