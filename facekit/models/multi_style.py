"""EXE-GAN's multi-style generator (thesis Section 5.2.2): masked face and mixed style codes -> filled face."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

from facekit.models.base import VerifiedModelMixin
from facekit.models.fast.fold import fold_without_gradients
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.linear import ConvLayer, EqualizedLinear, Sum, channels_at, count_styles
from facekit.models.layers.modulated import StyledConv, ToRGB
from facekit.models.layers.noise import Generators, Noise, choose_noise_maps, store_noise
from facekit.models.layers.unet import EncodedFace, EncoderLevel
from facekit.models.stylegan2 import MappingNetwork, SynthesisLevel, mixed_styles


@dataclass
class MultiStyleOutput(BaseOutput):
    """Result of `MultiStyleGenerator`.

    Attributes:
        image: I_pred [B, 3, S, S], about [-1, 1], not clamped and not put into the photo; None with `encode_only`.
        encoded: what the encoder made of the masked faces, one row or B.
        w_plus: [B, n, style_dim], the mixed codes that were used; None with `encode_only`.
    """

    image: torch.Tensor | None
    encoded: EncodedFace
    w_plus: torch.Tensor | None


class MultiStyleGenerator(VerifiedModelMixin):
    """Generator G = {G_en, G_de} with its mapping network f; `sample_size` a power of two from 8 on.

    n = 2 log2(sample_size) - 2 style codes (14 at 256, 16 at 512). Style layer i is modulated by the vector
    [w_i, c] of mixed code and global code (Eq. 5.2; the published code's order). Channels at resolution r:
    min(channel_base / r, max_channels). Defaults: the published 256 model, 79,177,378 parameters. The 18 codes of
    Eq. 5.1 are those of 1024 pixels; at every size the first four are the stochastic ones.

    Of the published code, where the thesis says nothing: the encoder reads the mask as M - 0.5, drops a share of the
    global code out, and adds what a linear layer makes of it to the map that the decoder begins with; every size has an
    RGB head. The order [w_i, c] in place of Eq. 5.2's [c, w_i] only permutes the columns of A_i.

    Args:
        sample_size: S, side of the pictures in pixels.
        style_dim: D, length of z and of the codes.
        channel_base, max_channels: channel table, as above.
        global_dim: size of the global code.
        num_mapping_layers: layers of f.
        first_exemplar_style: phi of Eq. 5.1: codes from this index on come from the exemplar.
        dropout: share of the global code that is dropped in training.
        use_sketch: read a fifth channel, with strokes drawn into the hole (thesis Section 5.4.3).

    Raises:
        ValueError: `sample_size` is no power of two from 8 on, or `first_exemplar_style` no index of a code.
    """

    _no_split_modules = ["ConvLayer", "StyledConv", "ToRGB"]
    latent_avg: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 256,
        style_dim: int = 512,
        channel_base: int = 32768,
        max_channels: int = 512,
        global_dim: int = 1024,
        num_mapping_layers: int = 8,
        first_exemplar_style: int = 4,
        dropout: float = 0.5,
        use_sketch: bool = False,
    ) -> None:
        super().__init__()
        self.num_styles = count_styles(sample_size)
        if not 0 <= first_exemplar_style < self.num_styles:
            raise ValueError(
                f"first_exemplar_style must lie in 0..{self.num_styles - 1}, not {first_exemplar_style}"
            )
        num_levels = self.num_styles // 2 - 1
        channels = [channels_at(4 * 2**k, channel_base, max_channels) for k in range(num_levels + 1)]
        steps, width = list(pairwise(channels)), style_dim + global_dim

        self.mapping = MappingNetwork(style_dim, num_mapping_layers)
        self.stem = ConvLayer(5 if use_sketch else 4, channels[-1], 1)
        self.encoder = ModuleList(EncoderLevel(wide, narrow) for narrow, wide in reversed(steps))
        self.bottleneck = ConvLayer(channels[0], channels[0], 3)
        self.to_global = EqualizedLinear(channels[0] * 16, global_dim, activation=True)
        self.from_global = EqualizedLinear(global_dim, channels[0] * 16, activation=True)
        self.conv = StyledConv(channels[0], channels[0], width)
        self.to_rgb = ToRGB(channels[0], width)
        self.levels = ModuleList(SynthesisLevel(narrow, wide, width) for narrow, wide in steps)
        self.merge = Sum()
        self.register_buffer("latent_avg", torch.zeros(style_dim))
        self.noise_sizes = [4 * 2 ** ((index + 1) // 2) for index in range(2 * num_levels + 1)]
        store_noise(self, self.noise_sizes)

    @torch.no_grad()
    def mean_style(self, num_samples: int = 4096, generator: torch.Generator | None = None) -> torch.Tensor:
        """Mean w [style_dim], in float32, of `num_samples` random z; `latent_avg` is meant to hold it."""
        shape, weight = (num_samples, self.config.style_dim), self.to_global.weight
        z = randn_tensor(shape, generator=generator, device=weight.device, dtype=torch.float32)
        return self.mapping(z).float().mean(0)

    def sketch_variant(self) -> "MultiStyleGenerator":
        """Copy of the network with the sketch channel; until it is trained, sketches change nothing."""
        config = {key: value for key, value in self.config.items() if not key.startswith("_")}
        state, weight = self.state_dict(), self.stem.conv.weight
        if not config["use_sketch"]:
            # Equalised kernels are divided by the root of their number of inputs at run time.
            extra = weight.new_zeros(weight.shape[0], 1, 1, 1)
            state["stem.conv.weight"] = torch.cat([weight.detach() * (5 / 4) ** 0.5, extra], 1)
        variant = MultiStyleGenerator(**config | {"use_sketch": True}).to(weight.device, weight.dtype)
        variant.load_state_dict(state)
        return variant.train(self.training)

    def check_inputs(self, image: torch.Tensor, mask: torch.Tensor, sketch: torch.Tensor | None) -> None:
        """Raise ValueError when image, mask or sketch have a shape that does not fit, or sketches are not read."""
        size = self.config.sample_size
        for name, tensor, channels in (("image", image, 3), ("mask", mask, 1), ("sketch", sketch, 1)):
            expected = (image.shape[0], channels, size, size)
            if tensor is not None and tuple(tensor.shape) != expected:
                raise ValueError(f"{name} must have the shape {list(expected)}, not {list(tensor.shape)}")
        if sketch is not None and not self.config.use_sketch:
            raise ValueError("this network takes no sketch; use one made with use_sketch=True")

    def mixed_codes(
        self,
        stochastic: torch.Tensor,
        style_codes: torch.Tensor | None,
        exemplar_layers: Sequence[int] | None = None,
        exemplar_strength: float = 1.0,
    ) -> torch.Tensor:
        """Stochastic codes [B, n, D] with codes of the exemplar in some places -> mixed codes [B, n, D], Eq. 5.1.

        Args:
            stochastic: [B, n, D].
            style_codes: [B, m, D], the exemplar's last m codes (indices n - m to n - 1); None: no exemplar.
            exemplar_layers: indices of the codes that come from the exemplar; None: `first_exemplar_style` to n - 1.
            exemplar_strength: share of the exemplar in these codes; the rest is the stochastic code.

        Raises:
            ValueError: `style_codes` has another shape, or lacks a code of `exemplar_layers`.
        """
        if exemplar_layers is None:
            exemplar_layers = range(self.config.first_exemplar_style, self.num_styles)
        layers = list(exemplar_layers)
        if style_codes is None or not layers:
            return stochastic
        batch, start = stochastic.shape[0], self.num_styles - style_codes.shape[1]
        if (
            style_codes.ndim != 3
            or style_codes.shape[0] != batch
            or style_codes.shape[2:] != stochastic.shape[2:]
        ):
            raise ValueError(
                f"style_codes must have the shape [{batch}, m, {stochastic.shape[2]}], "
                f"not {list(style_codes.shape)}"
            )
        if not 0 <= start <= min(layers) or max(layers) >= self.num_styles:
            raise ValueError(
                f"codes {min(layers)} to {max(layers)} were asked from the exemplar, which has "
                f"{start} to {self.num_styles - 1}"
            )
        given = style_codes.to(stochastic.dtype)[:, [layer - start for layer in layers]]
        mixed = stochastic.clone()
        if exemplar_strength != 1:
            given = torch.lerp(stochastic[:, layers], given, exemplar_strength)
        mixed[:, layers] = given
        return mixed

    @fold_without_gradients
    def forward(
        self,
        image: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        style_codes: torch.Tensor | None = None,
        z: torch.Tensor | Sequence[torch.Tensor] | None = None,
        crossover: int | None = None,
        truncation_psi: float = 1.0,
        truncation_latent: torch.Tensor | None = None,
        exemplar_layers: Sequence[int] | None = None,
        exemplar_strength: float = 1.0,
        w_plus: torch.Tensor | None = None,
        sketch: torch.Tensor | None = None,
        noise: Noise = "random",
        generator: Generators = None,
        encoded: EncodedFace | None = None,
        encode_only: bool = False,
        return_dict: bool = True,
    ) -> MultiStyleOutput | tuple:
        """Masked face and style codes -> I_pred.

        Args:
            image: [B, 3, S, S] in [-1, 1]; pixels under the mask have no effect.
            mask: [B, 1, S, S], 1 = missing.
            style_codes: [B, m, D], the exemplar's last m codes, see `mixed_codes`.
            z: [B, D], or two of them with `crossover` (see `mixed_styles`); drawn when None.
            crossover: index of the first code that comes from the second z.
            truncation_psi: stochastic codes become avg + psi (w - avg), before those of the exemplar are put in.
            truncation_latent: avg [D]; the buffer `latent_avg` when None.
            exemplar_layers, exemplar_strength: see `mixed_codes`.
            w_plus: [B, n, D], finished codes; `style_codes` and all arguments after it up to here are not used then.
            sketch: [B, 1, S, S], 1 = stroke; strokes outside the hole do not count (networks with `use_sketch`).
            noise: "random" (drawn from `generator`), "fixed" (the stored maps), "none" or a list of maps.
            generator: source of z and then of the noise maps.
            encoded: `encoded` of an earlier result, with one row or B, instead of image, mask and sketch.
            encode_only: stop after the encoder.
            return_dict: give a `MultiStyleOutput`, not a tuple of the same.

        Raises:
            ValueError: something is missing or has a shape that does not fit.
        """
        if encoded is None:
            if image is None or mask is None:
                raise ValueError("give image and mask, or what the encoder made of them as encoded")
            self.check_inputs(image, mask, sketch)
            encoded = self._encode(image, mask, sketch)
        if encode_only:
            output = MultiStyleOutput(image=None, encoded=encoded, w_plus=None)
            return output if return_dict else (None, encoded, None)
        maps = choose_noise_maps(self, noise, self.noise_sizes)
        if w_plus is None:
            if z is None:
                rows = len(encoded.bottom) if style_codes is None else len(style_codes)
                shape = (rows, self.config.style_dim)
                z = randn_tensor(
                    shape, generator=generator, device=encoded.bottom.device, dtype=torch.float32
                )
            stochastic = mixed_styles(self.mapping, z, self.num_styles, crossover)
            if truncation_psi != 1:
                centre = self.latent_avg if truncation_latent is None else truncation_latent
                stochastic = torch.lerp(
                    centre.to(stochastic).expand_as(stochastic), stochastic, truncation_psi
                )
            w_plus = self.mixed_codes(stochastic, style_codes, exemplar_layers, exemplar_strength)
        expected = (self.num_styles, self.config.style_dim)
        if w_plus.ndim != 3 or tuple(w_plus.shape[1:]) != expected:
            raise ValueError(
                f"w_plus must have the shape [B, {expected[0]}, {expected[1]}], not {list(w_plus.shape)}"
            )
        if encoded.bottom.shape[0] not in (1, w_plus.shape[0]):
            raise ValueError(f"{len(encoded.bottom)} encoded faces do not fit {len(w_plus)} style codes")
        picture = self._decode(encoded, w_plus.to(encoded.bottom.dtype), maps, generator)
        output = MultiStyleOutput(image=picture, encoded=encoded, w_plus=w_plus)
        return output if return_dict else (picture, encoded, w_plus)

    def _encode(self, image: torch.Tensor, mask: torch.Tensor, sketch: torch.Tensor | None) -> EncodedFace:
        dtype = self.to_global.weight.dtype
        image, mask = image.to(dtype), mask.to(dtype)
        inputs = [image * (1 - mask), mask - 0.5]
        if self.config.use_sketch:
            inputs.append(torch.zeros_like(mask) if sketch is None else sketch.to(dtype) * mask)
        x = self.stem(torch.cat(inputs, 1).contiguous(memory_format=torch.channels_last))
        skips = []
        for level in self.encoder:
            x = level.conv(x)
            skips.append(x)
            x = level.down(x)
        x = self.bottleneck(x)
        code = self.to_global(x.flatten(1))
        code = F.dropout(code, self.config.dropout, self.training)
        x = self.merge(x, self.from_global(code).view_as(x))
        return EncodedFace(code, x, skips[::-1])

    def _decode(
        self,
        encoded: EncodedFace,
        w_plus: torch.Tensor,
        maps: list[torch.Tensor | None],
        generator: Generators,
    ) -> torch.Tensor:
        batch, count, _ = w_plus.shape
        # Eq. 5.2: [w_i, c], of which the affine map A_i in style layer i makes v_i (`Modulation`).
        styles = torch.cat([w_plus, encoded.global_code[:, None].expand(batch, count, -1)], 2)
        x = encoded.bottom.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv(x, styles[:, 0], maps[0], generator)
        rgb = self.to_rgb(x, styles[:, 1])
        for index, (level, skip) in enumerate(zip(self.levels, encoded.skips, strict=True)):
            latent = 2 * index + 1
            x = self.merge(level.up(x, styles[:, latent], maps[latent], generator), skip)
            x = level.conv(x, styles[:, latent + 1], maps[latent + 1], generator)
            rgb = level.to_rgb(x, styles[:, latent + 2], rgb)
        return rgb
