"""A perceptual distance on ImageNet features that needs no download, and hinge losses of critics on the same maps."""

import torch
from torch import Tensor, nn

from facekit.losses.adversarial import hinge_discriminator_loss, hinge_generator_loss
from facekit.models.imagenet_features import ImageNetFeatures, feature_distance
from facekit.weights.imagenet import load_efficientnet_lite


class ImageNetDistance(nn.Module):
    """Distance of two pictures in the features of EfficientNet-Lite0 ("ImageNet distance"), frozen.

    Raises:
        OSError: the package that carries the weights is not installed.
    """

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.features = ImageNetFeatures(load_efficientnet_lite(number))

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1], twice -> distance per picture, [B]."""
        with torch.no_grad():
            wanted = self.features(target)
        return feature_distance(self.features(image), wanted)


def multi_hinge_discriminator_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Mean over several critics of `hinge_discriminator_loss`, from their score maps."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([hinge_discriminator_loss(*scores) for scores in pairs]).mean()


def multi_hinge_generator_loss(fake: list[Tensor]) -> Tensor:
    """Mean over several critics of `hinge_generator_loss`."""
    return torch.stack([hinge_generator_loss(scores) for scores in fake]).mean()
