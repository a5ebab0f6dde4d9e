"""VSPBFR's restoration auto-encoder (thesis Section 3.2.3): damaged face, style prompts -> clean face."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.fast.fold import fold_without_gradients
from facekit.models.form import Form, check_form
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.linear import EqualizedConv2d, EqualizedLinear, Sum, channels_at, count_styles
from facekit.models.layers.modulated import StyledConv, ToRGB
from facekit.models.layers.noise import Generators
from facekit.models.layers.resample import FIRFilter
from facekit.models.layers.smart import SMART, MultiDilationConv, ThesisSMART
from facekit.models.stylegan2 import FeatureLayer, MappingNetwork, mixed_styles

# The style layers that the auto-encoder is made of.
StyleLayer = type[SMART] | type[ThesisSMART] | type[StyledConv]


def next_map(noise: Iterator[torch.Tensor] | None) -> torch.Tensor | None:
    """The next noise map; None where there are no maps: the layer draws its own."""
    return None if noise is None else next(noise)


def take_map(noise: Iterator[torch.Tensor] | None, layer: nn.Module) -> torch.Tensor | None:
    """The next noise map, unless the layer is one that adds none."""
    return None if isinstance(layer, ThesisSMART) else next_map(noise)


@dataclass
class RestoreAutoEncoderOutput(BaseOutput):
    """Result of `RestoreAutoEncoder`.

    Attributes:
        image: [B, 3, S, S], the restored face, about [-1, 1], not clamped.
    """

    image: torch.Tensor


class EncoderLevel(nn.Module):
    """Two layers at one resolution: a style layer, whose map the decoder gets too, then a styled convolution.

    The latter halves the size in the published form, and in the thesis's is the SC of Down(SC(...)).
    """

    def __init__(
        self, layer: StyleLayer, in_channels: int, out_channels: int, style_dim: int, form: Form
    ) -> None:
        super().__init__()
        self.smart = layer(in_channels, in_channels, style_dim)
        self.down = StyledConv(in_channels, out_channels, style_dim, "down" if form == "published" else None)


class DecoderLevel(nn.Module):
    """Two layers at one resolution: a styled convolution, then, when skips are added, a style layer.

    The former doubles the size in the published form, which also has an RGB head here, and in the thesis's is the SC of
    SC(UP(...)).
    """

    to_rgb: ToRGB

    def __init__(
        self, layer: StyleLayer, in_channels: int, out_channels: int, style_dim: int, form: Form
    ) -> None:
        super().__init__()
        self.up = StyledConv(in_channels, out_channels, style_dim, "up" if form == "published" else None)
        self.smart = layer(out_channels, out_channels, style_dim)
        if form == "published":
            self.to_rgb = ToRGB(out_channels, style_dim)


class RestoreAutoEncoder(VerifiedModelMixin):
    """U-shaped auto-encoder of SMART layers, guided by codes, prior features, random style and a global code.

    There are n = 2 log2(sample_size) - 2 style vectors. Channels at resolution r: min(channel_base / r,
    max_channels), equal to those of the prior whose features are read. Defaults: the published 512 model.

    In the thesis's form, Eq. 3.5 to 3.7 to the letter, layer i of encoder and decoder takes the code w_i. The encoder
    ends with a map F_n of 2 pixels, of which the global code is FC(F_n), without activation and dropout, and with
    Conv(F_n) the decoder begins. It reads the prior's F_1, F_3, ..., and ends with one Conv. What Conv, Down and UP are
    is not said: here 3x3 convolutions with bias, and StyleGAN2's FIR filter. The published form has one code for both
    encoder layers of a size, the finest first; a bottleneck of 4 pixels, to which a linear layer of the global code is
    added; the prior's first map of every size; and RGB heads at all sizes.

    Args:
        sample_size: S, side of the pictures in pixels.
        style_dim: length of z and of the codes.
        channel_base, max_channels: channel table, as above.
        global_dim: size of the global code.
        num_mapping_layers: layers of the mapping network of z.
        dropout: share of the global code that is dropped in training; in the published form alone.
        use_smart: `False`: styled convolutions instead of SMART (thesis Table 3.3, b).
        use_style_codes: `False`: the codes modulate nothing (Table 3.3, c).
        use_prior_features: `False`: plain skip connections (Table 3.3, d).
        residual: for small models and short training: add the damaged face to the output. Such a network begins as
            the identity, its RGB heads at zero. The published one makes the whole picture.
        form: "published" or "thesis", see above. The prior must give what `feature_layer` says.

    Raises:
        ValueError: `sample_size` is no power of two from 8 on, in the published form a width is no multiple of four, or
            another `form`.
    """

    stem: MultiDilationConv | EqualizedConv2d
    conv: SMART | ThesisSMART | StyledConv | EqualizedConv2d
    to_rgb: ToRGB | EqualizedConv2d
    _no_split_modules = ["StyledConv", "SMART", "ThesisSMART", "MultiDilationConv", "ToRGB"]

    @register_to_config
    def __init__(
        self,
        sample_size: int = 512,
        style_dim: int = 512,
        channel_base: int = 32768,
        max_channels: int = 512,
        global_dim: int = 1024,
        num_mapping_layers: int = 8,
        dropout: float = 0.5,
        use_smart: bool = True,
        use_style_codes: bool = True,
        use_prior_features: bool = True,
        residual: bool = False,
        form: Form = "published",
    ) -> None:
        super().__init__()
        check_form(form)
        self.num_styles = count_styles(sample_size)
        self.num_levels = self.num_styles // 2 - 1
        channels = [channels_at(4 * 2**k, channel_base, max_channels) for k in range(self.num_levels + 1)]
        encoder_dim = (2 if use_style_codes else 1) * style_dim
        decoder_dim = encoder_dim + global_dim
        steps = list(pairwise(channels))
        styled: StyleLayer = SMART if form == "published" else ThesisSMART
        layer = styled if use_smart else StyledConv
        if form == "thesis":  # the decoder's first step is from 2 to 4 pixels, the encoder's last one back
            steps = [(channels_at(2, channel_base, max_channels), channels[0]), *steps]
        narrowest = steps[0][0]

        self.mapping = MappingNetwork(style_dim, num_mapping_layers)
        if form == "published":
            self.stem = MultiDilationConv(3, channels[-1], 1)
        else:
            self.stem = EqualizedConv2d(3, channels[-1], 3, bias=True)
        self.encoder = ModuleList(
            EncoderLevel(layer, wide, narrow, encoder_dim, form) for narrow, wide in reversed(steps)
        )
        if form == "published":
            self.bottleneck = MultiDilationConv(narrowest, narrowest, 3)
            self.to_global = EqualizedLinear(narrowest * 16, global_dim, activation=True)
            self.from_global = EqualizedLinear(global_dim, narrowest * 16, activation=True)
            self.conv = layer(narrowest, narrowest, decoder_dim)
            self.to_rgb = ToRGB(narrowest, decoder_dim)
        else:
            self.to_global = EqualizedLinear(narrowest * 4, global_dim)
            self.conv = EqualizedConv2d(narrowest, narrowest, 3, bias=True)
            self.to_rgb = EqualizedConv2d(channels[-1], 3, 3, bias=True)
            self.fir = FIRFilter()
        self.decoder = ModuleList(
            DecoderLevel(layer, narrow, wide, decoder_dim, form) for narrow, wide in steps
        )
        self.merge = Sum()
        if residual:
            self.silence_rgb()

    @property
    def feature_layer(self) -> FeatureLayer:
        """Which of the prior's features to give, as `StyleGAN2Generator` calls them."""
        return "every" if self.config.form == "thesis" else "up"

    @property
    def feature_shapes(self) -> list[tuple[int, int, int] | None]:
        """Shape [C, S, S] of every feature of the prior, by its index; None for those that are not read."""
        config = self.config
        sizes = [4 * 2**k for k in range(self.num_levels + 1)]
        shapes = [(channels_at(size, config.channel_base, config.max_channels), size, size) for size in sizes]
        if config.form == "thesis":  # F_1, F_2, ..., of which those with even numbers are not read
            return [shape for read in shapes for shape in (None, read)][1:]
        return [None, *shapes[1:]]

    @property
    def noise_sizes(self) -> list[int]:
        """Sides of the noise maps of a call, in the order in which they are drawn."""
        config = self.config
        thesis = config.form == "thesis"
        size, sizes = config.sample_size, []
        smart = 0 if thesis and config.use_smart else 1  # the thesis's SMART has no noise
        for _ in self.encoder:
            sizes += [size] * smart + [size if thesis else size // 2]
            size //= 2
        if not thesis:
            sizes.append(size)
        for _ in self.decoder:
            size *= 2
            sizes += [size] * (1 + smart)
        return sizes

    @torch.no_grad()
    def silence_rgb(self) -> None:
        """Set weights and biases of what makes the picture, RGB heads or the last convolution, to zero, in place."""
        published = self.config.form == "published"
        for head in (self.to_rgb, *(level.to_rgb for level in self.decoder if published)):
            head.weight.zero_()
            if head.bias is not None:
                head.bias.zero_()

    def random_styles(
        self,
        z: torch.Tensor | Sequence[torch.Tensor],
        crossover: int | None = None,
        truncation_psi: float = 1.0,
        truncation_latent: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One z [B, style_dim], or two with `crossover`, -> style vectors zhat [B, n, style_dim].

        Args:
            z: as `mixed_styles` takes it.
            crossover: index of the first style vector that comes from the second z.
            truncation_psi: style vectors become avg + psi (zhat - avg).
            truncation_latent: avg [style_dim].

        Raises:
            ValueError: `truncation_psi` is not 1 and `truncation_latent` is missing, or as in `mixed_styles`.
        """
        zhat = mixed_styles(self.mapping, z, self.num_styles, crossover)
        if truncation_psi == 1:
            return zhat
        if truncation_latent is None:
            raise ValueError("truncation_psi other than 1 needs truncation_latent, the centre [style_dim]")
        return torch.lerp(truncation_latent.to(zhat).expand_as(zhat), zhat, truncation_psi)

    def check_inputs(
        self, image: torch.Tensor, style_codes: torch.Tensor | None, features: Sequence[torch.Tensor] | None
    ) -> tuple[torch.Tensor | None, Sequence[torch.Tensor] | None]:
        """Check the arguments of `forward` and give those that guide: codes [B, n, style_dim] and prior features.

        None stands for what this network does not use (`use_style_codes`, `use_prior_features`).

        Raises:
            ValueError: image, codes or features are missing or have a shape that does not fit this network.
        """
        config, size = self.config, self.config.sample_size
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, size, size):
            raise ValueError(f"image must have the shape [B, 3, {size}, {size}], not {list(image.shape)}")
        if not config.use_style_codes:
            style_codes = None
        else:
            shape = [] if style_codes is None else list(style_codes.shape)
            expected = [image.shape[0], self.num_styles, config.style_dim]
            if (
                style_codes is None
                or len(shape) != 3
                or shape[1] < expected[1]
                or shape[::2] != expected[::2]
            ):
                raise ValueError(f"style_codes must have the shape {expected}, not {shape or None}")
            style_codes = style_codes[:, : self.num_styles]
        if not config.use_prior_features:
            return style_codes, None
        shapes = self.feature_shapes
        if features is None or len(features) < len(shapes):
            count = 0 if features is None else len(features)
            raise ValueError(
                f"{len(shapes)} prior features (4x4 first) are needed, not {count}; the prior gives them with "
                f'feature_layer="{self.feature_layer}"'
            )
        for index, wanted in enumerate(shapes):
            expected = [image.shape[0], *(wanted or ())]
            if wanted is not None and list(features[index].shape) != expected:
                raise ValueError(
                    f"prior feature {index} must have the shape {expected}, not {list(features[index].shape)}"
                )
        return style_codes, features

    @fold_without_gradients
    def forward(
        self,
        image: torch.Tensor,
        style_codes: torch.Tensor | None = None,
        features: Sequence[torch.Tensor] | None = None,
        z: torch.Tensor | Sequence[torch.Tensor] | None = None,
        crossover: int | None = None,
        truncation_psi: float = 1.0,
        truncation_latent: torch.Tensor | None = None,
        generator: Generators = None,
        return_dict: bool = True,
        noise: Sequence[torch.Tensor] | None = None,
    ) -> RestoreAutoEncoderOutput | tuple[torch.Tensor]:
        """Damaged face -> restored face.

        Args:
            image: [B, 3, S, S] in [-1, 1].
            style_codes: [B, n or more, style_dim], the denoised codes w0.
            features: the prior's features: index k [B, C, 4 * 2^k, 4 * 2^k] (index 0 is not used); in the thesis's form
                index i - 1 is F_i (those of even i are not used). See `feature_shapes`.
            z: [B, style_dim] or two of them with `crossover` (style mixing); drawn when None.
            crossover, truncation_psi, truncation_latent: see `random_styles`.
            generator: source of z and then of the noise maps, the encoder's first, each in the order of its layers.
            return_dict: give a `RestoreAutoEncoderOutput`, not a tuple of the same.
            noise: the noise maps, one for each of `noise_sizes`, instead of drawn ones.

        Raises:
            ValueError: something is missing or has a shape that does not fit.
        """
        style_codes, features = self.check_inputs(image, style_codes, features)
        if noise is not None and len(noise) != len(self.noise_sizes):
            raise ValueError(f"{len(self.noise_sizes)} noise maps are needed, {len(noise)} were given")
        maps = None if noise is None else iter(noise)
        dtype = self.to_global.weight.dtype
        if z is None:
            shape = (image.shape[0], self.config.style_dim)
            z = randn_tensor(shape, generator=generator, device=image.device, dtype=torch.float32)
        styles = self.random_styles(z, crossover, truncation_psi, truncation_latent)
        if style_codes is not None:
            styles = torch.cat([style_codes.to(dtype), styles], 2)

        x, skips = self.encode(image.to(dtype), styles, generator, maps)
        code = self.to_global(x.flatten(1))
        if self.config.form == "published":
            code = F.dropout(code, self.config.dropout, self.training)
            x = self.merge(x, self.from_global(code).view_as(x))
        styles = torch.cat([styles, code[:, None].expand(-1, self.num_styles, -1)], 2)
        output = self.decode(x, styles, skips, features, generator, maps)
        if self.config.residual:
            output = output + image.to(output.dtype)
        return RestoreAutoEncoderOutput(image=output) if return_dict else (output,)

    def encode(
        self,
        image: torch.Tensor,
        styles: torch.Tensor,
        generator: Generators = None,
        noise: Iterator[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Image [B, 3, S, S] -> F_n [B, C, 4, 4] and the maps that the decoder gets too, largest first (Eq. 3.5).

        In the thesis's form F_n has 2 pixels a side and every layer its own of `styles` [B, n, style_dim or twice
        that]; in the published one both layers of a level take the same. `noise` gives the noise map of every style
        layer, in their order, or None where it is to be drawn.
        """
        thesis = self.config.form == "thesis"
        x = self.stem(image.contiguous(memory_format=torch.channels_last))
        skips = []
        for index, level in enumerate(self.encoder):
            first = second = self.num_styles - 1 - 2 * index
            if thesis:
                first, second = 2 * index, 2 * index + 1
            x = level.smart(x, styles[:, first], take_map(noise, level.smart), generator)  # i odd
            skips.append(x)
            x = level.down(x, styles[:, second], next_map(noise), generator)  # i even
            if thesis:
                x = self.fir.blur(x, 1, stride=2)  # Down
        return (x if thesis else self.bottleneck(x)), skips

    def decode(
        self,
        x: torch.Tensor,
        styles: torch.Tensor,
        skips: list[torch.Tensor],
        features: Sequence[torch.Tensor] | None = None,
        generator: Generators = None,
        noise: Iterator[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Map F_n, styles [B, n, D'], maps of the encoder and prior features -> image [B, 3, S, S] (Eq. 3.6).

        D' is the length of the encoder's styles and the global code together. `skips` is emptied on the way;
        `features` is None where the prior adds nothing. `noise` gives the maps that are left, see `encode`.
        """
        if self.config.form == "thesis":
            return self._decode_by_thesis(x, styles, skips, features, generator, noise)
        x = self.conv(x, styles[:, 0], next_map(noise), generator)
        rgb = self.to_rgb(x, styles[:, 1])
        for index, level in enumerate(self.decoder, start=1):
            latent = 2 * index - 1
            x = level.up(x, styles[:, latent], next_map(noise), generator)  # i odd
            # f(F^de, F^en, F^s): the sum of what decoder, encoder and prior have at this size.
            prior = None if features is None else features[index].to(x.dtype)
            x = self.merge(x, skips.pop(), prior)
            x = level.smart(x, styles[:, latent + 1], next_map(noise), generator)  # i even
            rgb = level.to_rgb(x, styles[:, latent + 2], rgb)
        return rgb

    def _decode_by_thesis(
        self,
        x: torch.Tensor,
        styles: torch.Tensor,
        skips: list[torch.Tensor],
        features: Sequence[torch.Tensor] | None,
        generator: Generators,
        noise: Iterator[torch.Tensor] | None,
    ) -> torch.Tensor:
        x = self.conv(x)  # F_0 = Conv(F_n^en)
        for index, level in enumerate(self.decoder):
            first, second = 2 * index, 2 * index + 1  # of layers i and i + 1, i odd, counted from 0
            x = level.up(self.fir.upsample(x), styles[:, first], next_map(noise), generator)
            # f(F_i^de, F_(n-i)^en, F_i^s): the sum of what decoder, encoder and prior have at this size.
            prior = None if features is None else features[first].to(x.dtype)
            x = self.merge(x, skips.pop(), prior)
            x = level.smart(x, styles[:, second], take_map(noise, level.smart), generator)
        return self.to_rgb(x)
