"""FACEMUG's refinement auto-encoder G (thesis Section 6.2.5): aggregated features, codes, prior features -> face."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.fast.fold import fold_without_gradients
from facekit.models.form import Form, check_form
from facekit.models.layers.ablated_fusion import AdditionFusion, BanklessFusion, GatedFusion
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.linear import (
    ConvLayer,
    EqualizedConv2d,
    EqualizedLinear,
    Sum,
    channels_at,
    count_styles,
)
from facekit.models.layers.modulated import StyledConv, ToRGB
from facekit.models.layers.noise import Generators, Noise, choose_noise_maps, store_noise
from facekit.models.layers.resample import FIRFilter
from facekit.models.layers.style_fusion import StyleFusion
from facekit.models.layers.unet import EncodedFace, EncoderLevel

# What joins the maps of decoder, encoder and prior: the thesis's block, and those of its ablations.
Fusion = Literal["style", "add", "gated", "no_bank"]


def make_fusion(fusion: Fusion, channels: int, style_dim: int) -> nn.Module:
    """A block that joins three maps [B, C, H, W] under codes [B, D].

    Args:
        fusion: see `RefinementAutoEncoder`.

    Raises:
        ValueError: another `fusion`.
    """
    if fusion == "style":
        return StyleFusion(channels, style_dim)
    if fusion == "add":
        return AdditionFusion()
    if fusion == "gated":
        return GatedFusion(channels)
    if fusion == "no_bank":
        return BanklessFusion(channels, style_dim)
    raise ValueError(f"fusion is {fusion!r}; choose one of {', '.join(get_args(Fusion))}")


class DecoderLevel(nn.Module):
    """One resolution: style layer, which up-samples if `resample` is "up", style fusion block, style layer."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        width: int,
        resample: str | None,
        fusion: Fusion,
    ) -> None:
        super().__init__()
        self.up = StyledConv(in_channels, out_channels, width, resample)
        self.fusion = make_fusion(fusion, out_channels, style_dim)
        self.conv = StyledConv(out_channels, out_channels, width)


class RefinementAutoEncoder(VerifiedModelMixin):
    """U-shaped generator G = {G^en, G^de} of Eq. 6.6; `sample_size` a power of two from 8 on.

    There are n = 2 log2(sample_size) - 2 codes (14 at 256). Style layer i is modulated by [w_i, c], code and global
    code; the fusion after an odd layer i by w_(i+1). Channels at resolution r: min(channel_base / r, max_channels),
    like those of the prior.

    Eq. 6.6 up-samples in every odd layer, in the first too. In the thesis's form the encoder's last map F_n therefore
    has 2 pixels a side, and UP(SC(...)) is a style layer and then StyleGAN2's FIR filter. In the published one F_n has
    4, layer 1 does not up-sample, and the others do within their convolution, as StyleGAN2's. The thesis describes
    neither the encoder nor how c is made of F_n: both are as in EXE-GAN's published code, drop-out included.

    Args:
        sample_size: S, side of the pictures in pixels.
        style_dim: D, length of the codes.
        channel_base, max_channels: channel table, as above.
        in_channels: c_a of the aggregation.
        global_dim: size of c.
        dropout: share of c that is dropped in training.
        skips: for small models that are grown from smaller pictures: every size also reads the features, scaled down
            to it, and makes an RGB picture to which the larger sizes add. The thesis has one convolution at each end.
        form: "published" or "thesis", see above (FACEMUG's own code is not public: the former is made of blocks of the
            authors' published networks).
        fusion: "style" is the thesis's style fusion block (Eq. 6.7, 6.8). The others are the ablations of Table 6.6:
            "add" (B) adds the three maps, "gated" (C) joins them by a gated convolution, "no_bank" (E) leaves the
            prior's map out.

    Raises:
        ValueError: `sample_size` is no power of two from 8 on, another `form` or `fusion`, or `skips` in the thesis's
            form.
    """

    _no_split_modules = ["ConvLayer", "StyledConv", "StyleFusion", "GateConv", "ToRGB"]

    @register_to_config
    def __init__(
        self,
        sample_size: int = 256,
        style_dim: int = 512,
        channel_base: int = 32768,
        max_channels: int = 512,
        in_channels: int = 64,
        global_dim: int = 1024,
        dropout: float = 0.5,
        skips: bool = False,
        form: Form = "published",
        fusion: Fusion = "style",
    ) -> None:
        super().__init__()
        check_form(form)
        thesis = form == "thesis"
        if skips and thesis:
            raise ValueError(
                "the thesis's form has one convolution at each end: leave out skips, or the form"
            )
        self.num_styles = count_styles(sample_size)
        channels = [channels_at(4 * 2**k, channel_base, max_channels) for k in range(self.num_styles // 2)]
        steps, width = list(pairwise(channels)), style_dim + global_dim
        self.channels = channels
        # Of F_n and of the decoder's input.
        bottom, bottom_size = channels[0], 4
        if thesis:
            bottom, bottom_size = channels_at(2, channel_base, max_channels), 2

        entries = list(reversed(channels)) if skips else [channels[-1]]
        self.stems = ModuleList(ConvLayer(in_channels, entry, 1) for entry in entries)
        self.encoder = ModuleList(EncoderLevel(wide, narrow) for narrow, wide in reversed(steps))
        self.kept = ConvLayer(channels[0], channels[0], 3)
        self.bottleneck = ConvLayer(channels[0], bottom, 3, downsample=thesis)
        self.to_global = EqualizedLinear(bottom * bottom_size**2, global_dim, activation=True)

        self.conv = ConvLayer(bottom, bottom, 3)
        self.decoder = ModuleList(
            DecoderLevel(narrow, wide, style_dim, width, None if thesis or index == 0 else "up", fusion)
            for index, (narrow, wide) in enumerate([(bottom, channels[0]), *steps])
        )
        if thesis or skips:
            self.fir = FIRFilter()
        self.to_rgb: EqualizedConv2d | ModuleList[ToRGB]
        if skips:
            self.to_rgb = ModuleList(ToRGB(exit_, width) for exit_ in channels)
            self.merge = Sum()
        else:
            self.to_rgb = EqualizedConv2d(channels[-1], 3, 1, bias=True)
        store_noise(self, self.noise_sizes)

    @property
    def noise_sizes(self) -> list[int]:
        """Side of the noise map of every style layer."""
        sizes = [4 * 2 ** (index // 2) for index in range(self.num_styles)]
        if self.config.form == "thesis":  # odd layers have theirs before UP
            sizes[::2] = [size // 2 for size in sizes[::2]]
        return sizes

    def check_features(self, features: torch.Tensor) -> None:
        """Raise ValueError unless the aggregated features are [B, in_channels, S, S]."""
        size = self.config.sample_size
        expected = (self.config.in_channels, size, size)
        if features.ndim != 4 or tuple(features.shape[1:]) != expected:
            raise ValueError(
                f"features must have the shape [B, {', '.join(map(str, expected))}], not {list(features.shape)}"
            )

    def check_guides(self, rows: int, w_plus: torch.Tensor, bank: Sequence[torch.Tensor]) -> None:
        """Raise ValueError when codes or prior features do not fit this network or the number of encoded faces."""
        count, dim = self.num_styles, self.config.style_dim
        if w_plus.ndim != 3 or w_plus.shape[1] < count or w_plus.shape[2] != dim:
            raise ValueError(
                f"w_plus must have the shape [B, {count} or more, {dim}], not {list(w_plus.shape)}"
            )
        if rows not in (1, w_plus.shape[0]):
            raise ValueError(f"{rows} encoded faces do not fit {w_plus.shape[0]} style codes")
        if len(bank) < len(self.channels):
            raise ValueError(
                f"{len(self.channels)} prior features (4x4 first) are needed, not {len(bank)}; "
                'the prior gives them with feature_layer="conv"'
            )
        for k, channels in enumerate(self.channels):
            expected = [w_plus.shape[0], channels, 4 * 2**k, 4 * 2**k]
            if list(bank[k].shape) != expected:
                raise ValueError(
                    f"prior feature {k} must have the shape {expected}, not {list(bank[k].shape)}"
                )

    @fold_without_gradients
    def forward(
        self,
        features: torch.Tensor | None,
        w_plus: torch.Tensor | None,
        bank: Sequence[torch.Tensor] | None,
        noise: Noise = "random",
        generator: Generators = None,
        encoded: EncodedFace | None = None,
        encode_only: bool = False,
    ) -> torch.Tensor | EncodedFace:
        """Aggregated features, codes and prior features -> I_pred [B, 3, S, S], about [-1, 1], not clamped.

        The edited picture of Eq. 6.1 is I_pred inside the mask and the photo outside; that is the caller's part.

        Args:
            features: F^a [B, in_channels, S, S] of `MultimodalAggregation`, or one row for all codes.
            w_plus: [B, n or more, D], the edited codes w*; the first n are used.
            bank: the prior's maps after the second convolution of every size, 4 pixels first (F_1, F_3, ...):
                `features` of `StyleGAN2Generator` with `feature_layer="conv"`. Maps larger than S are not used.
            noise: "random" (drawn from `generator`), "fixed" (the stored maps), "none" or a list of maps.
            generator: source of the noise maps.
            encoded: result of `encode`, instead of features.
            encode_only: give what `encode` gives; codes and prior features may be None. Pipelines call `encode` in
                this way because hooks that bring a network to its device run at the call of `forward` alone.

        Raises:
            ValueError: something is missing or has a shape that does not fit.
        """
        if encode_only:
            if features is None:
                raise ValueError("encode_only needs features")
            return self.encode(features)
        if w_plus is None or bank is None:
            raise ValueError("give w_plus and bank; they may be None with encode_only alone")
        maps = choose_noise_maps(self, noise, self.noise_sizes)
        if features is not None and encoded is None:
            self.check_features(features)
            self.check_guides(features.shape[0], w_plus, bank)
            encoded = self.encode(features)
        elif encoded is not None and features is None:
            self.check_guides(encoded.bottom.shape[0], w_plus, bank)
        else:
            raise ValueError("give either features or what encode made of them as encoded")
        return self._decode(encoded, w_plus[:, : self.num_styles], bank, maps, generator)

    def encode(self, features: torch.Tensor) -> EncodedFace:
        """F^a [B, in_channels, S, S] -> global code, the decoder's input, and the maps that the decoder gets too.

        Raises:
            ValueError: the features have another shape.
        """
        self.check_features(features)
        dtype = self.to_global.weight.dtype
        features = features.to(dtype).contiguous(memory_format=torch.channels_last)
        x = self.stems[0](features)
        skips = []
        for index, level in enumerate(self.encoder, start=1):
            x = level.conv(x)
            skips.append(x)
            x = level.down(x)
            if self.config.skips:
                features = self.fir.blur(features, 1, stride=2)
                x = self.merge(x, self.stems[index](features))
        x = self.kept(x)
        skips.append(x)
        x = self.bottleneck(x)
        code = self.to_global(x.flatten(1))
        code = F.dropout(code, self.config.dropout, self.training)
        return EncodedFace(code, self.conv(x), skips[::-1])

    def _decode(
        self,
        encoded: EncodedFace,
        w_plus: torch.Tensor,
        bank: Sequence[torch.Tensor],
        maps: list[torch.Tensor | None],
        generator: Generators,
    ) -> torch.Tensor:
        batch, count, _ = w_plus.shape
        w_plus = w_plus.to(encoded.global_code.dtype)
        styles = torch.cat([w_plus, encoded.global_code[:, None].expand(batch, count, -1)], 2)
        x = encoded.bottom.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        heads = self.to_rgb if isinstance(self.to_rgb, ModuleList) else None
        rgb: torch.Tensor | None = None
        for index, (level, skip) in enumerate(zip(self.decoder, encoded.skips, strict=True)):
            first, second = 2 * index, 2 * index + 1
            prior = bank[index].to(x.dtype).contiguous(memory_format=torch.channels_last)
            x = level.up(x, styles[:, first], maps[first], generator)
            if self.config.form == "thesis":
                x = self.fir.upsample(x)
            x = level.fusion(x, skip, prior, w_plus[:, second])
            x = level.conv(x, styles[:, second], maps[second], generator)
            if heads is not None:
                rgb = heads[index](x, styles[:, second], rgb)
        return self.to_rgb(x) if rgb is None else rgb
