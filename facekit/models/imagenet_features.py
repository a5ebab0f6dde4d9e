"""Maps of a frozen ImageNet classifier, a distance of pictures by them, and small critics that judge them."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.spectral import SpectralConv2d

# Blocks of the classifier behind each map after the stem's: maps at 1/2, 1/2, 1/4, 1/8, 1/16 and 1/32 of the side.
PARTS = ((0, 1), (1, 2), (2, 3), (3, 5), (5, 7))
WIDTHS = (32, 16, 24, 40, 112, 320)
JUDGED = (0, 2, 3, 4, 5)  # the map after the first block adds cost and little else
LEAK = 0.2


class ImageNetFeatures(nn.Module):
    """Six maps of a frozen EfficientNet-Lite, always in float32 and evaluation mode.

    Args:
        classifier: timm's network with trained weights (`facekit.weights.imagenet.load_efficientnet_lite`), of which
            the layers are taken over, frozen.

    Raises:
        AttributeError: the classifier is no EfficientNet of timm.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(classifier.get_submodule("conv_stem"), classifier.get_submodule("bn1"))
        blocks = list(classifier.get_submodule("blocks").children())
        self.parts = ModuleList(nn.Sequential(*blocks[first:last]) for first, last in PARTS)
        self.requires_grad_(False).eval()
        # Depthwise convolutions are several times faster in this layout.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack this one

    def train(self, mode: bool = True) -> "ImageNetFeatures":
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> six maps [B, C, h, w] of widths `WIDTHS`; gradients reach the picture."""
        # Half precision makes the backward pass of depthwise convolutions slower, not faster.
        with torch.autocast(image.device.type, enabled=False):
            x = self.stem(image.float().contiguous(memory_format=torch.channels_last))
            maps = [x]
            for part in self.parts:
                x = part(x)
                maps.append(x)
        return maps


class FeatureCritic(VerifiedModelMixin):
    """Critic with one small convolutional head for each of several feature maps.

    After Sauer et al., Projected GANs converge faster, NeurIPS 2021, but without random mixing and with heads of three
    layers. In training batch norm takes the statistics of the batch: put real pictures into one call and generated
    ones into another.

    Args:
        widths: channels of all maps that are given.
        judged: indices of the maps that have a head.
        channels: width of the heads.
    """

    @register_to_config
    def __init__(
        self, widths: tuple[int, ...] = WIDTHS, judged: tuple[int, ...] = JUDGED, channels: int = 64
    ) -> None:
        super().__init__()
        self.heads = ModuleList(self._build_head(widths[index], channels) for index in judged)
        self.to(memory_format=torch.channels_last)

    @staticmethod
    def _build_head(width: int, channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm2d(width, affine=False),
            SpectralConv2d(width, channels, 1),
            nn.LeakyReLU(LEAK),
            SpectralConv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(LEAK),
            SpectralConv2d(channels, 1, 3, padding=1),
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps of `ImageNetFeatures` -> for each head a map of scores [B, 1, h, w], larger for more real."""
        with torch.autocast(features[0].device.type, enabled=False):
            return [head(features[index]) for head, index in zip(self.heads, self.config.judged, strict=True)]


def normalize_channels(features: Tensor) -> Tensor:
    """[B, C, h, w] -> the same shape, with channel vectors of about unit length."""
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-4)


def feature_distance(features: list[Tensor], targets: list[Tensor], mask: Tensor | None = None) -> Tensor:
    """Distance of pictures by their maps: LPIPS without its learned weights.

    The squared difference of channel vectors of unit length is averaged over every map and summed over the maps.

    Args:
        features: maps of `ImageNetFeatures` of the pictures; gradients reach them.
        targets: those of the pictures to compare with; no gradient reaches them.
        mask: [B, 1, H, W] in [0, 1], the weight of each pixel in the average; None: all alike.

    Returns:
        [B], 0 for equal maps.
    """
    total = features[0].new_zeros(len(features[0]))
    for made, wanted in zip(features, targets, strict=True):
        distance = (
            (normalize_channels(made) - normalize_channels(wanted.detach())).square().sum(1, keepdim=True)
        )
        if mask is None:
            total = total + distance.mean((1, 2, 3))
        else:
            weight = F.interpolate(mask.float(), distance.shape[-2:], mode="area")
            total = total + (distance * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)
    return total
