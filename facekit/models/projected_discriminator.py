"""GRIG's projected discriminator, which judges a random mix of the features of a frozen image classifier."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.form import Form, check_form
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.residual import LEAK, upsample
from facekit.models.layers.spectral import SpectralConv2d

# Blocks of the classifier that make up the four stages, and the smallest picture it was made for.
STAGES = ((0, 2), (2, 3), (3, 5), (5, 7))
BACKBONE_SIZE = 224


class FeatureProjector(nn.Module):
    """Frozen classifier with random mixing of channels and scales.

    Sauer et al., Projected GANs converge faster, NeurIPS 2021, Section 4.

    Args:
        backbone: name of a timm network of the EfficientNet family with seven blocks.
        channels: widths of the mixed features of the four stages.
        classifier: such a network whose layers are taken over; None: a new one with random weights.
    """

    def __init__(self, backbone: str, channels: Sequence[int], classifier: nn.Module | None = None) -> None:
        super().__init__()
        import timm  # takes seconds to import, and only training needs it

        network = timm.create_model(backbone, pretrained=False) if classifier is None else classifier
        blocks = list(network.get_submodule("blocks").children())
        parts = [nn.Sequential(*blocks[first:last]) for first, last in STAGES]
        parts[0] = nn.Sequential(network.get_submodule("conv_stem"), network.get_submodule("bn1"), *parts[0])
        self.stages = ModuleList(parts)
        widths = [
            [m for m in part.modules() if isinstance(m, nn.BatchNorm2d)][-1].num_features for part in parts
        ]
        self.channel_mix = ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(widths, channels, strict=True))
        targets = (channels[0], *channels[:-1])
        self.scale_mix = ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(channels, targets, strict=True))
        self.requires_grad_(False)

    def extract_features(self, image: Tensor) -> list[Tensor]:
        """`[B, 3, H, W]` in [-1, 1] -> the classifier's features at 1/4, 1/8, 1/16 and 1/32 of the size."""
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features

    def forward(self, image: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [-1, 1] -> mixed features `[B, channels[0], H/2, W/2]`."""
        features = self.extract_features(image)
        *finer, mixed = (mix(feature) for mix, feature in zip(self.channel_mix, features, strict=True))
        coarsest, *others = reversed(self.scale_mix)
        # A 1x1 convolution commutes with the interpolation; before it there are four times fewer pixels.
        mixed = upsample(coarsest(mixed))
        for feature, scale_mix in zip(reversed(finer), others, strict=True):
            mixed = upsample(scale_mix(feature + mixed))
        return mixed


class StridedConv(nn.Module):
    """Spectrally normalised 4x4 convolution of stride 2, batch norm, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SpectralConv2d(in_channels, out_channels, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` -> `[B, out_channels, H/2, W/2]`."""
        return F.leaky_relu(self.norm(self.conv(x)), LEAK)


class ProjectedDiscriminator(VerifiedModelMixin):
    """Image-level discriminator E of GRIG (thesis Section 4.2.1). The defaults are the published size.

    Its projector (classifier and mixing layers) is frozen and stays in evaluation mode, yet passes gradients
    to the image. The classifier's weights are random until loaded.

    Args:
        backbone: name of a timm network of the EfficientNet family with seven blocks.
        projection_channels: widths of the mixing layers of the four stages.
        discriminator_channels: widths of the strided convolutions; one entry less doubles the logit map.
        input_size: side in pixels to which pictures are resized first; `None` enlarges those below 224 to 224
            and leaves the others.
        form: "published", which gives a logit for every region, or "thesis", whose E maps a picture to a scalar: the
            mean of those logits. No other layer is left for it: the thesis counts 2.829M learnable parameters (Section
            4.3.2), which are those of the published layers.

    Raises:
        ValueError: `projection_channels` does not have four numbers, or there is no such form.
    """

    @register_to_config
    def __init__(
        self,
        backbone: str = "tf_efficientnet_lite0",
        projection_channels: tuple[int, int, int, int] = (64, 128, 256, 512),
        discriminator_channels: tuple[int, ...] = (64, 128, 256, 512),
        input_size: int | None = None,
        form: Form = "published",
    ) -> None:
        super().__init__()
        check_form(form)
        if len(projection_channels) != len(STAGES):
            raise ValueError(f"projection_channels needs {len(STAGES)} numbers, got {projection_channels}")
        self.projector = FeatureProjector(backbone, projection_channels).eval()
        widths = (projection_channels[0], *discriminator_channels)
        self.blocks = ModuleList(StridedConv(i, o) for i, o in pairwise(widths))
        self.head = SpectralConv2d(widths[-1], 1, 4, bias=False)

    def train(self, mode: bool = True) -> "ProjectedDiscriminator":
        """Put the discriminator in training mode or, with `mode=False`, out of it; the projector never is in it."""
        super().train(mode)
        self.projector.eval()
        return self

    def forward(self, image: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Judge every region, or the picture: real, or generated?

        Args:
            image: `[B, 3, H, W]` in [-1, 1].
            return_features: also return the outputs of the strided convolutions, for feature matching.

        Returns:
            Logits `[B, N]`, higher = more real; N = 25 at 256x256 and the default widths, 1 in the thesis form. With
            `return_features` a tuple of the logits and a list of maps.
        """
        x = self.projector(self._resize(image))
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        logits = self.head(x).flatten(1)
        if self.config.form == "thesis":
            logits = logits.mean(1, keepdim=True)
        return (logits, features) if return_features else logits

    def _resize(self, image: Tensor) -> Tensor:
        side = self.config.input_size
        if side is None:
            if min(image.shape[-2:]) >= BACKBONE_SIZE:
                return image
            side = BACKBONE_SIZE
        if tuple(image.shape[-2:]) == (side, side):
            return image
        return F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)
