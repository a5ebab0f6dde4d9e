"""StyleGAN2 (Karras et al. 2020): mapping network and generator, the prior behind restoration and editing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.fast.fold import fold_without_gradients
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.linear import EqualizedLinear, channels_at, count_styles, pixel_norm
from facekit.models.layers.modulated import StyledConv, ToRGB
from facekit.models.layers.noise import Generators, Noise, choose_noise_maps, store_noise

# Which layers' maps are a generator's features, see `StyleGAN2Generator.forward`.
FeatureLayer = Literal["up", "conv", "every"]


class MappingNetwork(VerifiedModelMixin):
    """Mapping network, z [B, style_dim] from N(0, I) -> w [B, style_dim]: pixel norm, then linear layers."""

    @register_to_config
    def __init__(self, style_dim: int = 512, num_layers: int = 8, lr_mul: float = 0.01) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[
                EqualizedLinear(style_dim, style_dim, lr_mul=lr_mul, activation=True)
                for _ in range(num_layers)
            ]
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """z [B, style_dim] -> w [B, style_dim], in the dtype of the parameters.

        Raises:
            ValueError: z has another shape.
        """
        style_dim = self.config.style_dim
        if z.ndim != 2 or z.shape[1] != style_dim:
            raise ValueError(f"z must have the shape [B, {style_dim}], not {list(z.shape)}")
        dtype = cast(EqualizedLinear, self.layers[0]).weight.dtype
        return self.layers(pixel_norm(z.to(dtype)))


def mixed_styles(
    mapping: MappingNetwork,
    z: torch.Tensor | Sequence[torch.Tensor],
    num_styles: int,
    crossover: int | None = None,
) -> torch.Tensor:
    """One z [B, D], or a sequence of two with `crossover`, -> style vectors [B, num_styles, D].

    With two, the first `crossover` vectors come from the first z and the rest from the second (style mixing).

    Raises:
        ValueError: there is another number of z, or, of two, `crossover` is not from 1 to num_styles - 1.
    """
    zs = [z] if isinstance(z, torch.Tensor) else list(z)
    if len(zs) not in (1, 2):
        raise ValueError(f"one or two z are mixed, not {len(zs)}")
    first = mapping(zs[0])[:, None].expand(-1, num_styles, -1)
    if len(zs) == 1:
        return first
    if crossover is None or not 1 <= crossover < num_styles:
        raise ValueError(f"two z need a crossover from 1 to {num_styles - 1}, not {crossover}")
    second = mapping(zs[1])[:, None].expand(-1, num_styles - crossover, -1)
    return torch.cat([first[:, :crossover], second], 1)


@dataclass
class StyleGAN2Output(BaseOutput):
    """Result of `StyleGAN2Generator`.

    Attributes:
        image: [B, 3, S, S], about [-1, 1], not clamped; None with `stop_at` or `codes_only`.
        features: index 0 is the 4x4 map, index k the output of the up-sampling convolution of level k,
            [B, C, 4 * 2^k, 4 * 2^k], or of the convolution after it with `feature_layer="conv"`; with "every" index
            i - 1 is the map of style layer i; empty with `codes_only`.
        w_plus: [B, n, style_dim], the style vectors that were used.
    """

    image: torch.Tensor | None
    features: list[torch.Tensor]
    w_plus: torch.Tensor


class SynthesisLevel(nn.Module):
    """One resolution: up-sampling styled convolution, styled convolution, RGB head."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int) -> None:
        super().__init__()
        self.up = StyledConv(in_channels, out_channels, style_dim, "up")
        self.conv = StyledConv(out_channels, out_channels, style_dim)
        self.to_rgb = ToRGB(out_channels, style_dim)


class StyleGAN2Generator(VerifiedModelMixin):
    """StyleGAN2 generator with its mapping network. Defaults: the published 1024 model.

    There are n = 2 log2(sample_size) - 2 style vectors. Channels at resolution r: min(channel_base / r,
    max_channels). The buffer `latent_avg` [n, style_dim] is the centre of truncation.

    Args:
        sample_size: S, side of the pictures in pixels, a power of two from 8 on.
        style_dim: length of z and of the style vectors.
        channel_base, max_channels: channel table, as above.
        num_mapping_layers: layers of the mapping network.

    Raises:
        ValueError: `sample_size` is no power of two from 8 on.
    """

    _no_split_modules = ["StyledConv", "ToRGB"]
    latent_avg: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 1024,
        style_dim: int = 512,
        channel_base: int = 32768,
        max_channels: int = 512,
        num_mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        self.num_styles = count_styles(sample_size)
        self.num_levels = self.num_styles // 2 - 1
        channels = [channels_at(4 * 2**k, channel_base, max_channels) for k in range(self.num_levels + 1)]
        self.mapping = MappingNetwork(style_dim, num_mapping_layers)
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.conv = StyledConv(channels[0], channels[0], style_dim)
        self.to_rgb = ToRGB(channels[0], style_dim)
        self.levels = ModuleList(
            SynthesisLevel(narrow, wide, style_dim) for narrow, wide in pairwise(channels)
        )
        self.register_buffer("latent_avg", torch.zeros(self.num_styles, style_dim))
        self.noise_sizes = [4 * 2 ** ((index + 1) // 2) for index in range(2 * self.num_levels + 1)]
        store_noise(self, self.noise_sizes)

    @torch.no_grad()
    def mean_style(self, num_samples: int = 4096, generator: torch.Generator | None = None) -> torch.Tensor:
        """Mean w [style_dim], in float32, of `num_samples` random z; rows of `latent_avg` are meant to hold it."""
        device = generator.device if generator is not None else self.constant.device
        z = torch.randn(num_samples, self.config.style_dim, generator=generator, device=device)
        return self.mapping(z.to(self.constant.device)).float().mean(0)

    def styles(
        self,
        z: torch.Tensor | Sequence[torch.Tensor] | None,
        w_plus: torch.Tensor | None,
        crossover: int | None,
        truncation_psi: float,
    ) -> torch.Tensor:
        """Style vectors [B, n, style_dim] for these arguments of `forward`, in the dtype of the parameters.

        Raises:
            ValueError: both or none of z and w_plus are given, or one of them has a shape that does not fit.
        """
        if z is not None and w_plus is None:
            w_plus = mixed_styles(self.mapping, z, self.num_styles, crossover)
        elif z is not None or w_plus is None:
            raise ValueError("give either z or w_plus")
        style_dim = self.config.style_dim
        if w_plus.ndim == 2:
            w_plus = w_plus[:, None].expand(-1, self.num_styles, -1)
        if w_plus.ndim != 3 or w_plus.shape[1] < self.num_styles or w_plus.shape[2] != style_dim:
            raise ValueError(
                f"w_plus must have the shape [B, {self.num_styles}, {style_dim}], not {list(w_plus.shape)}"
            )
        w_plus = w_plus[:, : self.num_styles].to(self.constant.dtype)
        if truncation_psi != 1:
            w_plus = torch.lerp(self.latent_avg.to(w_plus.dtype).expand_as(w_plus), w_plus, truncation_psi)
        return w_plus

    @fold_without_gradients
    def forward(
        self,
        z: torch.Tensor | Sequence[torch.Tensor] | None = None,
        w_plus: torch.Tensor | None = None,
        crossover: int | None = None,
        truncation_psi: float = 1.0,
        noise: Noise = "random",
        generator: Generators = None,
        stop_at: int | None = None,
        feature_layer: FeatureLayer = "up",
        codes_only: bool = False,
        return_dict: bool = True,
    ) -> StyleGAN2Output | tuple:
        """Style vectors -> image and features.

        Args:
            z: [B, style_dim], or two of them with `crossover` (see `mixed_styles`).
            w_plus: [B, n or more, style_dim] or [B, style_dim], instead of z; the first n are used.
            crossover: index of the first style vector that comes from the second z.
            truncation_psi: style vectors become avg + psi (w - avg).
            noise: "random" (drawn from `generator`), "fixed" (the stored maps), "none" or a list of [B, 1, H, W].
            generator: source of the noise maps.
            stop_at: level k after whose feature the computation ends; no image then.
            feature_layer: the convolution of a level whose output is its feature: "up", the first (published VSPBFR),
                "conv", the second (FACEMUG's facial feature bank, thesis 6.2.5), or "every", both: the bank of thesis
                3.2.1, F_1 to F_(n-1). (Its F_n would be the map of the last code's layer, the last RGB head: the
                picture itself. No layer of the restorer reads it.)
            codes_only: stop after the style vectors; no image and no features then.
            return_dict: give a `StyleGAN2Output`, not a tuple of the same.

        Raises:
            ValueError: both or none of z and w_plus are given, a shape does not fit, there is no level `stop_at`, or
                `feature_layer` is unknown.
        """
        if feature_layer not in ("up", "conv", "every"):
            raise ValueError(f"feature_layer must be 'up', 'conv' or 'every', not {feature_layer!r}")
        if stop_at is not None and not 0 <= stop_at <= self.num_levels:
            raise ValueError(f"stop_at must be a level from 0 to {self.num_levels}, not {stop_at}")
        maps = choose_noise_maps(self, noise, self.noise_sizes)
        w_plus = self.styles(z, w_plus, crossover, truncation_psi)
        if codes_only:
            return (
                StyleGAN2Output(image=None, features=[], w_plus=w_plus) if return_dict else (None, [], w_plus)
            )
        wants_image = stop_at is None

        x = self.constant.expand(w_plus.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv(x, w_plus[:, 0], maps[0], generator)
        features = [x]
        rgb = self.to_rgb(x, w_plus[:, 1]) if wants_image else None
        for index, level in enumerate(self.levels[:stop_at], start=1):
            latent = 2 * index - 1
            x = level.up(x, w_plus[:, latent], maps[latent], generator)
            if feature_layer != "conv":
                features.append(x)
                if index == stop_at and feature_layer == "up":
                    break
            x = level.conv(x, w_plus[:, latent + 1], maps[latent + 1], generator)
            if feature_layer != "up":
                features.append(x)
            if wants_image:
                rgb = level.to_rgb(x, w_plus[:, latent + 2], rgb)
        if not return_dict:
            return rgb, features, w_plus
        return StyleGAN2Output(image=rgb, features=features, w_plus=w_plus)
