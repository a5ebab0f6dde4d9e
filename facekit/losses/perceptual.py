"""Perceptual losses: LPIPS, and what stands in for it where its weights cannot be had."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekit.models.face_parser import FaceParser


class LPIPSLoss(nn.Module):
    """LPIPS v0.1 (thesis Eq. 4.2; Eq. 3.9, 5.6, 6.12 and 6.19 name it too) through the `lpips` package, frozen.

    Args:
        net: "vgg" (thesis), "alex" or "squeeze".

    Raises:
        OSError: when the backbone's ImageNet weights are neither cached nor downloadable.
    """

    def __init__(self, net: str = "vgg") -> None:
        super().__init__()
        try:
            import lpips
        except ImportError as error:
            raise OSError("LPIPS needs the package lpips: pip install lpips") from error
        try:
            self.metric = lpips.LPIPS(net=net, verbose=False)
        except Exception as error:  # urllib, ssl and torch.hub each raise their own
            raise OSError(
                f"the ImageNet weights of LPIPS ({net}) are neither in the torch hub cache nor downloadable ({error}); "
                "put them there on a machine with network, or choose another perceptual loss"
            ) from error
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "LPIPSLoss":
        return super().train(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1], twice -> distance per picture, [B]."""
        return self.metric(image, target).flatten()


def feature_matching_loss(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's features, relative to the target's mean magnitude.

    Magnitudes are taken per picture and level, so that a picture counts the same in any batch.

    Args:
        features: maps [B, C, h, w] of the completed picture, with gradient.
        targets: the same of the ground truth.
    """
    total = torch.zeros((), device=features[0].device)
    for feature, target in zip(features, targets, strict=True):
        target = target.detach().float()
        distance = (feature.float() - target).abs().mean(dim=(1, 2, 3))
        total = total + (distance / (target.abs().mean(dim=(1, 2, 3)) + 1e-6)).mean()
    return total / len(features)


class ParserLoss(nn.Module):
    """Distance of the maps that a frozen face parser sees: whether eyes, brows and lips have their shape and place.

    No part of the published methods; something like it stands in where LPIPS weights cannot be had.

    Args:
        parser: works at its own size, to which pictures are scaled.
    """

    def __init__(self, parser: FaceParser) -> None:
        super().__init__()
        self.parser = parser.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "ParserLoss":
        return super().train(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1], twice -> mean distance, relative as in `feature_matching_loss`."""
        with torch.no_grad():
            wanted = self._features(target)
        return feature_matching_loss(self._features(image), wanted)

    def _features(self, image: Tensor) -> list[Tensor]:
        size = (self.parser.config.sample_size,) * 2
        if image.shape[-2:] != size:
            image = F.interpolate(image.float(), size, mode="bilinear", antialias=True)
        return self.parser.features(image)
