"""Image -> W+ style codes: pSp ("Encoding in Style"), e4e ("Designing an Encoder for StyleGAN Image
Manipulation") and the 26-channel multimodal encoder of FACEMUG, which share one network.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.fast.fold import fold_without_gradients
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.ir_se import IRSEBackbone

# Up to this many output positions a float32 convolution of stride 2 spends much of its time on rearranging weights;
# a matrix product over gathered patches reads them once (1.3 to 10 times as fast). Half precision gains less.
PATCH_PRODUCT_LIMIT = 1024
HALF_PATCH_PRODUCT_LIMIT = 64


def match_dtype(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`x` in the dtype of `weight`, except under autocast, which chooses for itself."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)


class StyleHeads(nn.Module):
    """Heads that make a style code each of one map, [B, C, S, S] -> [B, count, D], S a power of two.

    A head halves the map with strided 3x3 convolutions and leaky ReLU of slope 0.01 until one position is left, then
    applies an equalised linear layer. The weights of all heads are stacked.
    """

    def __init__(self, count: int, size: int, channels: int, style_dim: int) -> None:
        super().__init__()
        depth = int(math.log2(size))
        shape = (count, channels, channels, 3, 3)
        self.weights = nn.ParameterList([nn.Parameter(torch.empty(shape)) for _ in range(depth)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(count, channels)) for _ in range(depth)])
        self.linear_weight = nn.Parameter(torch.randn(count, style_dim, channels))
        self.linear_bias = nn.Parameter(torch.zeros(count, style_dim))
        for weight in self.weights:
            nn.init.normal_(weight, std=math.sqrt(2.0 / (9 * channels)))

    def forward(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Codes of the heads `start` to `stop - 1`: [B, C, S, S] -> [B, stop - start, D]."""
        weight, bias = self.weights[0][start:stop].flatten(0, 1), self.biases[0][start:stop].flatten()
        maps = F.leaky_relu(convolve_strided(match_dtype(x, weight), weight, bias))
        codes = []
        for index, head in zip(range(start, stop), maps.chunk(stop - start, 1), strict=True):
            for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
                head = F.leaky_relu(convolve_strided(head, weight[index], bias[index]))
            codes.append(head.flatten(1))
        scale = 1.0 / math.sqrt(self.linear_weight.shape[-1])
        stacked = match_dtype(torch.stack(codes), self.linear_weight)
        weight = self.linear_weight[start:stop].transpose(1, 2) * scale
        return torch.baddbmm(self.linear_bias[start:stop, None], stacked, weight).transpose(0, 1)


def convolve_strided(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """3x3 convolution of stride 2, [B, C, S, S] -> [B, O, S/2, S/2], as a matrix product where that is faster."""
    if torch.compiler.is_exporting():  # of any batch: nothing is to be chosen by its size
        return F.conv2d(x, weight, bias, 2, 1)
    batch, _, height, width = x.shape
    height, width = (height + 1) // 2, (width + 1) // 2
    limit = PATCH_PRODUCT_LIMIT if x.dtype == torch.float32 else HALF_PATCH_PRODUCT_LIMIT
    if x.device.type != "cpu" or batch * height * width > limit:
        return F.conv2d(x, weight, bias, 2, 1)
    patches = F.unfold(x, 3, padding=1, stride=2).transpose(1, 2)
    product = F.linear(patches, weight.reshape(weight.shape[0], -1), bias)
    return product.transpose(1, 2).unflatten(2, (height, width))


class StyleEncoder(VerifiedModelMixin):
    """IR-SE50 with a feature pyramid and one head for each style code.

    The published size has 267,136,704 parameters. They stay in float32 when a pipeline is loaded in half precision:
    the code diffuser amplifies rounding of the codes.

    Args:
        sample_size: S, side in pixels to which pictures are resized; a power of two from 32 on.
        in_channels: 3 for RGB, 26 for RGB, sketch, 19 semantic classes and colour (FACEMUG).
        num_styles: codes of the generator that they are for (18, 16 or 14 for 1024, 512 or 256 pixels).
        first_style: index of the first code that has a head ("psp" only; EXE-GAN needs the codes from 4 on).
        reading: "e4e" adds every later code to the first (code_i = head_0 + head_i); "psp" takes each as it is.
        stem_channels, channels, num_blocks, se_reduction: widths, depths and gates of the backbone.
        style_dim: D, length of a code.
        coarse_styles, middle_styles: codes below the first number read the map at 1/16 of the size, those below the
            second the map at 1/8, all others the map at 1/4.

    Raises:
        ValueError: `sample_size`, `first_style` or `reading` is none of these.
    """

    _keep_in_fp32_modules = ["backbone", "lateral1", "lateral2", "heads", "latent_avg"]
    _no_split_modules = ["IRSEBackbone", "StyleHeads"]
    latent_avg: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 256,
        in_channels: int = 3,
        num_styles: int = 18,
        first_style: int = 0,
        reading: str = "e4e",
        stem_channels: int = 64,
        channels: tuple[int, ...] = (64, 128, 256, 512),
        num_blocks: tuple[int, ...] = (3, 4, 14, 3),
        se_reduction: int = 16,
        style_dim: int = 512,
        coarse_styles: int = 3,
        middle_styles: int = 7,
    ) -> None:
        super().__init__()
        if reading not in ("e4e", "psp"):
            raise ValueError(f'reading must be "e4e" or "psp", got {reading!r}')
        if sample_size < 32 or sample_size & (sample_size - 1):
            raise ValueError(f"sample_size must be a power of two of at least 32, got {sample_size}")
        if not 0 <= first_style < num_styles or (first_style and reading == "e4e"):
            raise ValueError(
                f'first_style must lie in 0..{num_styles - 1}, and be 0 for reading="e4e" (all its codes '
                f"build on the first), got {first_style}"
            )
        width = channels[-1]
        self.backbone = IRSEBackbone(in_channels, stem_channels, channels, num_blocks, se_reduction)
        self.lateral1 = nn.Conv2d(channels[-2], width, 1)
        self.lateral2 = nn.Conv2d(channels[-3], width, 1)
        bounds = (0, min(coarse_styles, num_styles), min(middle_styles, num_styles), num_styles)
        self.ranges = [(max(low, first_style), max(high, first_style)) for low, high in pairwise(bounds)]
        sizes = (sample_size // 16, sample_size // 8, sample_size // 4)
        self.heads = ModuleList(
            StyleHeads(high - low, size, width, style_dim) if high > low else nn.Identity()
            for (low, high), size in zip(self.ranges, sizes, strict=True)
        )
        self.register_buffer("latent_avg", torch.zeros(num_styles, style_dim))

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, S, S], bilinear, as in the published encoders (pSp aligns the corners)."""
        size = (self.config.sample_size, self.config.sample_size)
        if image.shape[-2:] == size:
            return image
        return F.interpolate(image, size, mode="bilinear", align_corners=self.config.reading == "psp")

    def extract_features(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B, C, H, W] in [-1, 1], of any size -> backbone maps at 1/4, 1/8 and 1/16 of the sample size.

        Raises:
            ValueError: the picture has another shape.
        """
        if image.ndim != 4 or image.shape[1] != self.config.in_channels:
            raise ValueError(
                f"this encoder reads [B, {self.config.in_channels}, H, W], got {list(image.shape)}"
            )
        image = match_dtype(self.resize(image), self.backbone.stem.layers[0].weight)
        return self.backbone(image.contiguous(memory_format=torch.channels_last))

    @fold_without_gradients
    def forward(
        self,
        image: torch.Tensor,
        styles: tuple[int, int] | None = None,
        stage: int | None = None,
        add_average: bool = True,
    ) -> torch.Tensor:
        """Picture -> style codes [B, stop - start, D].

        Args:
            image: [B, C, H, W] in [-1, 1], of any size.
            styles: (start, stop), the codes that are wanted; other heads are not computed. None: all codes.
            stage: for progressive training of e4e: codes after this index equal the first code.
            add_average: add the rows of `latent_avg` that belong to the codes.

        Raises:
            ValueError: the picture has another shape, or there are no such codes.
        """
        first, last = self.config.first_style, self.config.num_styles
        start, stop = styles if styles is not None else (first, last)
        if not first <= start < stop <= last:
            raise ValueError(f"styles must lie within ({first}, {last}), got ({start}, {stop})")
        c1, c2, c3 = self.extract_features(image)
        computed = stop if stage is None else max(min(stop, stage + 1), 1)
        codes = self._run_heads((c3, c2, c1), start, computed)
        if self.config.reading == "e4e":
            base = codes[:, :1] if start == 0 else self.heads[0](c3, 0, 1)
            deltas = codes[:, 1:] if start == 0 else codes
            codes = torch.cat([base, base + deltas], 1) if start == 0 else base + deltas
            codes = torch.cat([codes, base.expand(-1, stop - start - codes.shape[1], -1)], 1)
        if add_average:
            codes = codes + self.latent_avg[start:stop].to(codes.dtype)
        return codes

    def _run_heads(self, maps: tuple[torch.Tensor, ...], start: int, stop: int) -> torch.Tensor:
        c3, c2, c1 = maps
        source, codes = c3, []
        for level, ((low, high), heads) in enumerate(zip(self.ranges, self.heads, strict=True)):
            if stop <= low and level:
                break
            if level:
                lateral, feature = (self.lateral1, c2) if level == 1 else (self.lateral2, c1)
                size = feature.shape[-2:]
                raised = F.interpolate(source, size, mode="bilinear", align_corners=True)
                source = raised + lateral(feature)
            a, b = max(start, low), min(stop, high)
            if a < b:
                codes.append(heads(source, a - low, b - low))
        if not codes:
            return c3.new_zeros(c3.shape[0], 0, self.config.style_dim)
        return torch.cat(codes, 1)
