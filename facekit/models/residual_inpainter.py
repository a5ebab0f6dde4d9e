"""GRIG's generator, which predicts what to add to the present fill (thesis Section 4.2.1, Eq. 4.1)."""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.fast.fold import is_compiled
from facekit.models.form import Form, check_form
from facekit.models.layers.residual import (
    LEAK,
    AOTBlock,
    CodeModulation,
    ConvGLU,
    DownBlock,
    NoiseUpBlock,
    SkipExcitation,
    UpBlock,
)
from facekit.models.layers.restormer import ShuffleDown, ShuffleUp, build_transformer_stage
from facekit.models.layers.spectral import SpectralConv2d
from facekit.models.stylegan2 import MappingNetwork

SIZE_FACTOR = 64


class EncoderFeatures(NamedTuple):
    """Convolutional features of the input at 1/1, 1/2, 1/4 and 1/8 of its size."""

    full: Tensor
    half: Tensor
    quarter: Tensor
    eighth: Tensor


class ContextFeatures(NamedTuple):
    """Output of the global part at 1/8, and the inputs of its levels at 1/16, 1/32 and 1/64."""

    output: Tensor
    level2: Tensor
    level3: Tensor
    latent: Tensor


class Encoder(nn.Module):
    """Shallow features: stem, down, down with two AOT blocks, down."""

    def __init__(self, stem_channels: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem = SpectralConv2d(4, stem_channels, 3, padding=1, bias=False)
        self.down2 = DownBlock(stem_channels, channels[0])
        self.down4 = DownBlock(channels[0], channels[1])
        self.aot = nn.Sequential(AOTBlock(channels[1]), AOTBlock(channels[1]))
        self.down8 = DownBlock(channels[1], channels[2])

    def forward(self, x: Tensor) -> EncoderFeatures:
        """Image and mask `[B, 4, H, W]` -> features at four sizes."""
        full = F.leaky_relu(self.stem(x), LEAK)
        half = self.down2(full)
        quarter = self.aot(self.down4(half))
        return EncoderFeatures(full, half, quarter, self.down8(quarter))


class ContextNetwork(nn.Module):
    """U-shaped global part between 1/8 and 1/64 of the size, excited by the encoder's larger maps.

    With `use_transformer=False` there are no transformer blocks, and plain down and up blocks change the size
    (model E of thesis Table 4.5). `convolution` is what its convolutions are, but for those of down, up and excitation
    blocks, which always are spectrally normalised.
    """

    def __init__(
        self,
        stem_channels: int,
        encoder_channels: tuple[int, int, int],
        dim: int,
        num_blocks: tuple[int, int, int, int],
        num_refinement_blocks: int,
        num_heads: tuple[int, int, int, int],
        use_transformer: bool,
        convolution: type[nn.Conv2d],
    ) -> None:
        super().__init__()

        def stage(channels: int, heads: int, blocks: int) -> nn.Module:
            if use_transformer:
                return build_transformer_stage(channels, heads, blocks, convolution)
            return nn.Identity()

        def down(channels: int) -> nn.Module:
            return (
                ShuffleDown(channels, convolution) if use_transformer else DownBlock(channels, 2 * channels)
            )

        def up(channels: int) -> nn.Module:
            return ShuffleUp(channels, convolution) if use_transformer else UpBlock(channels, channels // 2)

        self.embed = convolution(encoder_channels[2], dim, 3, padding=1, bias=False)
        self.encoder1 = stage(dim, num_heads[0], num_blocks[0])
        self.down1 = down(dim)
        self.encoder2 = stage(2 * dim, num_heads[1], num_blocks[1])
        self.excite2 = SkipExcitation(stem_channels, 2 * dim)
        self.down2 = down(2 * dim)
        self.encoder3 = stage(4 * dim, num_heads[2], num_blocks[2])
        self.excite3 = SkipExcitation(encoder_channels[0], 4 * dim)
        self.down3 = down(4 * dim)
        self.excite4 = SkipExcitation(encoder_channels[1], 8 * dim)
        self.latent = stage(8 * dim, num_heads[3], num_blocks[3])
        self.up3 = up(8 * dim)
        self.reduce3 = convolution(8 * dim, 4 * dim, 1, bias=False)
        self.decoder3 = stage(4 * dim, num_heads[2], num_blocks[2])
        self.up2 = up(4 * dim)
        self.reduce2 = convolution(4 * dim, 2 * dim, 1, bias=False)
        self.decoder2 = stage(2 * dim, num_heads[1], num_blocks[1])
        self.up1 = up(2 * dim)
        self.decoder1 = stage(2 * dim, num_heads[0], num_blocks[0])
        self.refinement = stage(2 * dim, num_heads[0], num_refinement_blocks)
        self.output = convolution(2 * dim, encoder_channels[2], 3, padding=1, bias=False)

    def forward(self, features: EncoderFeatures) -> ContextFeatures:
        """Encoder features -> context features."""
        skip1 = self.encoder1(self.embed(features.eighth))
        level2 = self.down1(skip1)
        skip2 = self.excite2(features.full, self.encoder2(level2))
        level3 = self.down2(skip2)
        skip3 = self.excite3(features.half, self.encoder3(level3))
        latent = self.excite4(features.quarter, self.down3(skip3))
        x = self.up3(self.latent(latent))
        x = self.decoder3(self.reduce3(torch.cat([x, skip3], 1)))
        x = self.decoder2(self.reduce2(torch.cat([self.up2(x), skip2], 1)))
        x = self.refinement(self.decoder1(torch.cat([self.up1(x), skip1], 1)))
        return ContextFeatures(self.output(x) + features.eighth, level2, level3, latent)


class Decoder(nn.Module):
    """Back to full size: up-sampling and merging with the encoder's maps; context levels excite the channels.

    With `style_dim` above 0 a style code modulates the map at each size.
    """

    def __init__(
        self, stem_channels: int, channels: tuple[int, int, int], dim: int, style_dim: int = 0
    ) -> None:
        super().__init__()
        self.modulate4 = CodeModulation(style_dim, channels[1]) if style_dim else None
        self.modulate2 = CodeModulation(style_dim, channels[0]) if style_dim else None
        self.modulate1 = CodeModulation(style_dim, stem_channels) if style_dim else None
        self.up4 = UpBlock(channels[2], channels[1])
        self.merge4 = ConvGLU(2 * channels[1], channels[1], 1)
        self.aot = nn.Sequential(AOTBlock(channels[1]), AOTBlock(channels[1]))
        self.excite4 = SkipExcitation(8 * dim, channels[1])
        self.up2 = NoiseUpBlock(channels[1], channels[0])
        self.excite2 = SkipExcitation(4 * dim, channels[0])
        self.merge2 = ConvGLU(2 * channels[0], channels[0], 1)
        self.up1 = UpBlock(channels[0], stem_channels)
        self.excite1 = SkipExcitation(2 * dim, stem_channels)
        self.to_rgb = SpectralConv2d(stem_channels, 3, 3, padding=1, bias=False)

    def forward(
        self,
        features: EncoderFeatures,
        context: ContextFeatures,
        noise: list[Tensor],
        code: Tensor | None = None,
    ) -> Tensor:
        """Features of encoder and context, two noise maps `[B, 1, H/2, W/2]`, code -> residual `[B, 3, H, W]`."""
        x = self.merge4(torch.cat([self.up4(context.output), features.quarter], 1))
        x = self.excite4(context.latent, self.aot(_modulate(self.modulate4, x, code)))
        x = self.excite2(context.level3, self.up2(x, noise))
        x = _modulate(self.modulate2, self.merge2(torch.cat([x, features.half], 1)), code)
        x = _modulate(self.modulate1, self.excite1(context.level2, self.up1(x)), code)
        return self.to_rgb(x)


def _modulate(layer: nn.Module | None, x: Tensor, code: Tensor | None) -> Tensor:
    """The map under a code; the map itself in a network without codes."""
    return x if layer is None else layer(x, code)


class ResidualInpainter(VerifiedModelMixin):
    """Generator of GRIG, Lu et al., Generative residual image inpainting, CVMJ 2025 (thesis Chapter 4).

    One reasoning step of Eq. 4.1 with known pixels y, mask M (1 = hole) and c_0 = y (1 - M) is
    `c = (c + G(c, M)) * M + y * (1 - M)`. The defaults are the published size, 31,764,198 parameters.

    Args:
        sample_size: side of the training images in pixels. The network takes any multiple of 64.
        stem_channels: width at full size.
        encoder_channels: widths at 1/2, 1/4 and 1/8 of the size; the second must be divisible by 4.
        dim: width of the transformer part at 1/8; it doubles per level. Even.
        num_blocks: transformer blocks of the four levels.
        num_refinement_blocks: transformer blocks after the last decoder level.
        num_heads: attention heads of the four levels.
        use_transformer: `False` replaces the transformer blocks by down and up blocks (thesis Table 4.5, E).
        style_dim: numbers of the random codes z; above 0 a mapping network (that of StyleGAN2) makes style codes of
            them, which modulate the decoder, so that fills are diverse. The thesis proposes it as future work (Section
            7.2) and gives no architecture: this one is ours. 0, the published network, has no codes.
        num_mapping_layers: layers of that mapping network.
        form: "published", whose global part has plain convolutions, or "thesis", which has spectral normalisation on
            all convolutions (Section 4.2.1). Both have the same parameters; the thesis form adds the buffers `u`, `v`.

    Raises:
        ValueError: a tuple has the wrong length, `dim` is odd, heads or branches cannot share their channels, or
            there is no such form.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 256,
        stem_channels: int = 32,
        encoder_channels: tuple[int, int, int] = (64, 128, 128),
        dim: int = 48,
        num_blocks: tuple[int, int, int, int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        num_heads: tuple[int, int, int, int] = (1, 2, 4, 8),
        use_transformer: bool = True,
        form: Form = "published",
        style_dim: int = 0,
        num_mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        check_form(form)
        for name, value, length in (
            ("encoder_channels", encoder_channels, 3),
            ("num_blocks", num_blocks, 4),
            ("num_heads", num_heads, 4),
        ):
            if len(value) != length:
                raise ValueError(f"{name} needs {length} numbers, got {len(value)}: {tuple(value)}")
        if dim % 2:
            raise ValueError(f"dim must be even, got {dim}")
        self.encoder = Encoder(stem_channels, encoder_channels)
        self.context = ContextNetwork(
            stem_channels,
            encoder_channels,
            dim,
            num_blocks,
            num_refinement_blocks,
            num_heads,
            use_transformer,
            SpectralConv2d if form == "thesis" else nn.Conv2d,
        )
        self.decoder = Decoder(stem_channels, encoder_channels, dim, style_dim)
        self.mapping = MappingNetwork(style_dim, num_mapping_layers) if style_dim else None

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        noise: list[Tensor] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        z: Tensor | None = None,
    ) -> Tensor:
        """Present fill and mask -> residual, which moves the fill towards a plausible one.

        Args:
            image: present fill `[B, 3, H, W]` in [-1, 1], H and W multiples of 64.
            mask: `[B, 1, H, W]`, 1 = hole.
            noise: two maps `[B, 1, H/2, W/2]` for the noise layers; drawn from N(0, 1) when `None`.
            generator: source of that noise, and of the codes.
            z: random codes `[B, style_dim]` of a network that has them, the same in all reasoning steps of a picture;
                drawn from N(0, 1) when `None`.

        Returns:
            Residual `[B, 3, H, W]`, linear and unbounded.

        Raises:
            ValueError: H or W is no multiple of 64, another shape does not fit, or codes are given to a network
                without.
        """
        self._check_shapes(image, mask, noise, z)
        if noise is None:
            shape = (image.shape[0], 1, image.shape[2] // 2, image.shape[3] // 2)
            noise = [
                randn_tensor(shape, generator=generator, device=image.device, dtype=image.dtype)
                for _ in range(2)
            ]
        code = None
        if self.mapping is not None:
            code = self.mapping(self.draw_codes(image.shape[0], generator, image.device) if z is None else z)
        x = torch.cat([image, mask.to(image.dtype)], 1)
        if not self.training:
            x = x.to(memory_format=torch.channels_last)
        features = self.encoder(x)
        return self.decoder(features, self.context(features), noise, code)

    def draw_codes(
        self,
        count: int,
        generator: torch.Generator | list[torch.Generator] | None = None,
        device: torch.device | None = None,
    ) -> Tensor | None:
        """Draw random codes z, float32 `[count, style_dim]`; None, and nothing drawn, in a network without codes."""
        if self.mapping is None:
            return None
        shape = (count, self.config.style_dim)
        return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)

    def fold(self) -> Self:
        """Give the network's inference form: the same function, for calls without gradients.

        Spectral and batch norms are folded into plain channels_last convolutions, in float32, which are then cast to
        the network's dtype. The form is a snapshot: later changes of this network do not reach it, and its weights are
        not those to save. Networks that do not fold are returned as they are: those in training mode, those that
        accelerate or diffusers moves to the device at every call, and compiled ones, whose graphs have the weights.
        """
        moved = any(p.is_meta for p in self.parameters()) or any(
            hasattr(part, hook) for part in self.modules() for hook in ("_hf_hook", "_diffusers_hook")
        )
        return self if self.training or moved or is_compiled(self) else super().fold()

    def _check_shapes(
        self, image: Tensor, mask: Tensor, noise: list[Tensor] | None, z: Tensor | None
    ) -> None:
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"image must be [B, 3, H, W], got {list(image.shape)}")
        batch, _, height, width = image.shape
        if height % SIZE_FACTOR or width % SIZE_FACTOR or min(height, width) < SIZE_FACTOR:
            raise ValueError(
                f"height and width must be multiples of {SIZE_FACTOR}, got {height}x{width}; "
                "pad or resize the image"
            )
        if list(mask.shape) != [batch, 1, height, width]:
            raise ValueError(f"mask must be {[batch, 1, height, width]}, got {list(mask.shape)}")
        if noise is not None:
            wanted = [batch, 1, height // 2, width // 2]
            shapes = [list(n.shape) for n in noise]
            if shapes != [wanted, wanted]:
                raise ValueError(f"noise must be two maps {wanted}, got {shapes}")
        if z is not None:
            if self.mapping is None:
                raise ValueError("z is for networks with codes, and this one has style_dim 0: leave it out")
            if list(z.shape) != [batch, self.config.style_dim]:
                raise ValueError(f"z must be {[batch, self.config.style_dim]}, got {list(z.shape)}")
