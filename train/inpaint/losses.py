"""The losses of GRIG training (thesis 4.2.2) around its two discriminators, and one reasoning step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from facekit.losses.adversarial import (
    forged_patch_discriminator_loss,
    forged_patch_generator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    soft_patch_labels,
)
from facekit.losses.imagenet import (
    ImageNetDistance,
    multi_hinge_discriminator_loss,
    multi_hinge_generator_loss,
)
from facekit.losses.perceptual import LPIPSLoss, ParserLoss, feature_matching_loss
from facekit.models.imagenet_features import FeatureCritic, feature_distance
from facekit.models.patch_discriminator import ForgedPatchDiscriminator
from facekit.models.projected_discriminator import ProjectedDiscriminator


def fill_step(composite: Tensor, residual: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    """Eq. 4.1: (c + residual) inside the mask, the known picture outside."""
    return (composite + residual) * mask + image * (1 - mask)


@dataclass(frozen=True)
class Shown:
    """What the losses look at: completed pictures, the truth, and the ImageNet maps of both.

    Attributes:
        image, target: [B, 3, H, W] in [-1, 1]; gradients reach the generator through `image`.
        mask: [B, 1, H, W].
        features, wanted: maps of `image` and of `target`, see `ImageNetFeatures`; empty where no loss reads them.
    """

    image: Tensor
    target: Tensor
    mask: Tensor
    features: list[Tensor]
    wanted: list[Tensor]

    def detach(self) -> "Shown":
        """The same, cut off from the generator: what a discriminator learns from."""
        return replace(self, image=self.image.detach(), features=[x.detach() for x in self.features])


@dataclass(frozen=True)
class LossWeights:
    """Weights of Eq. 4.6, and of two terms that only the starter uses: L1, and a face parser's maps."""

    perceptual: float = 1.5
    projected: float = 1.0
    patch: float = 1.0
    pixel: float = 0.0
    parser: float = 0.0


class ProjectedLoss(nn.Module):
    """The projected discriminator with its own loss; real and completed pictures are separate batches."""

    name = "loss_projected"

    def __init__(self, discriminator: ProjectedDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    @staticmethod
    def pick_inputs(shown: Shown) -> tuple[Tensor, Tensor]:
        """What `forward` takes. Tensors alone: the wrapper that averages gradients moves them to its device."""
        return shown.target, shown.image

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        return hinge_discriminator_loss(self.discriminator(real).float(), self.discriminator(fake).float())


class FeatureLoss(nn.Module):
    """Critics on ImageNet maps with their own loss, in place of the projected discriminator."""

    name = "loss_projected"

    def __init__(self, discriminator: FeatureCritic) -> None:
        super().__init__()
        self.discriminator = discriminator

    @staticmethod
    def pick_inputs(shown: Shown) -> tuple[list[Tensor], list[Tensor]]:
        """What `forward` takes: maps that the generator's step has made already."""
        return shown.wanted, shown.features

    def forward(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        return multi_hinge_discriminator_loss(self.discriminator(real), self.discriminator(fake))


class PatchLoss(nn.Module):
    """The patch discriminator with its own loss.

    Args:
        labels: which cells of a completed picture count as forged: "forged" (any filled pixel in the receptive
            field, Eq. 4.4), "patchgan" (all) or "sm-patchgan" (the shrunk, blurred mask).
    """

    name = "loss_patch"

    def __init__(self, discriminator: ForgedPatchDiscriminator, labels: str = "forged") -> None:
        super().__init__()
        self.discriminator, self.labels = discriminator, labels

    def label_map(self, mask: Tensor) -> Tensor:
        """[B, 1, H, W] -> [B, 1, h, w], 1 = forged."""
        forged = self.discriminator.label_map(mask)
        if self.labels == "patchgan":
            return torch.ones_like(forged)
        if self.labels == "sm-patchgan":
            return soft_patch_labels(mask, forged.shape[-2:])
        return forged

    @staticmethod
    def pick_inputs(shown: Shown) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` takes."""
        return shown.target, shown.image, shown.mask

    def forward(self, real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
        on_real, on_fake = self.discriminator(real).float(), self.discriminator(fake).float()
        return forged_patch_discriminator_loss(on_real, on_fake, self.label_map(mask))


class InpaintLosses:
    """Everything that judges a completed picture.

    Args:
        projected: judges whole pictures: GRIG's discriminator, or critics on ImageNet maps.

    Raises:
        OSError: when LPIPS or ImageNet maps are asked for and their weights cannot be had (and, for LPIPS, no
            substitute is named).
        ValueError: when feature matching is asked for without any of GRIG's discriminators.
    """

    def __init__(
        self,
        projected: ProjectedDiscriminator | FeatureCritic | None,
        patch: ForgedPatchDiscriminator | None,
        *,
        labels: str = "forged",
        weights: LossWeights | None = None,
        mask_patch_loss: bool = True,
        perceptual: str = "lpips",
        substitute: str = "none",
        reduction: str = "mean",
        lpips_net: str = "vgg",
        parser: ParserLoss | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.weights = weights or LossWeights()
        self.mask_patch_loss, self.reduction = mask_patch_loss, reduction
        self.projected: ProjectedLoss | FeatureLoss | None = None
        if projected is not None:
            on_maps = isinstance(projected, FeatureCritic)
            self.projected = FeatureLoss(projected) if on_maps else ProjectedLoss(projected)
        self.patch = PatchLoss(patch, labels) if patch is not None else None
        self.critics: list[nn.Module] = [loss for loss in (self.projected, self.patch) if loss is not None]
        self.networks = [loss.discriminator for loss in self.critics]
        self.parser = parser
        self.lpips: LPIPSLoss | None = None
        if perceptual == "lpips":
            try:
                self.lpips = LPIPSLoss(lpips_net)
            except OSError as error:
                if substitute == "none":
                    raise
                say(f"LPIPS is not available ({error}). This run uses {substitute} in its place.")
                perceptual = substitute
        self.perceptual = perceptual
        self.imagenet: ImageNetDistance | None = None
        if perceptual == "efficientnet" or isinstance(self.projected, FeatureLoss):
            self.imagenet = ImageNetDistance()
        own = [loss for loss in self.critics if not isinstance(loss, FeatureLoss)]
        if perceptual == "feature_matching" and not own:
            raise ValueError(
                "feature_matching compares discriminator features, and this run has no discriminator"
            )

    def to(self, device: torch.device) -> None:
        for frozen in (self.lpips, self.imagenet, self.parser):
            if frozen is not None:
                frozen.to(device)

    def read_maps(self, image: Tensor) -> list[Tensor]:
        """ImageNet maps of pictures [B, 3, H, W], with gradient if they have one; empty where no loss reads them."""
        return [] if self.imagenet is None else self.imagenet.features(image)

    def generator_loss(self, shown: Shown) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4.6: the loss, and its unweighted terms by name."""
        image, target, mask = shown.image, shown.target, shown.mask
        matching = self.perceptual == "feature_matching"
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=image.device)
        distances = []
        for name, critic, weight in (
            ("adversarial", self.projected, self.weights.projected),
            ("patch", self.patch, self.weights.patch),
        ):
            if critic is None:
                continue
            if isinstance(critic, FeatureLoss):
                terms[name] = multi_hinge_generator_loss(critic.discriminator(shown.features))
                total = total + weight * terms[name]
                continue
            scores, features = critic.discriminator(image, return_features=True)
            if matching:
                with torch.no_grad():
                    wanted = critic.discriminator(target, return_features=True)[1]
                distances.append(feature_matching_loss(features, wanted))
            if isinstance(critic, PatchLoss):
                labels = critic.label_map(mask) if self.mask_patch_loss else None
                terms[name] = forged_patch_generator_loss(scores.float(), labels)
            else:
                terms[name] = hinge_generator_loss(scores.float())
            total = total + weight * terms[name]
        if matching:
            terms["feature_matching"] = torch.stack(distances).mean()
        elif self.lpips is not None:
            terms["lpips"] = self._reduce(self.lpips(image, target).float())
        elif self.perceptual == "efficientnet":
            terms["imagenet"] = self._reduce(feature_distance(shown.features, shown.wanted))
        for name in ("feature_matching", "lpips", "imagenet"):
            if name in terms:
                total = total + self.weights.perceptual * terms[name]
        if self.parser is not None:
            terms["parser"] = self.parser(image, target)
            total = total + self.weights.parser * terms["parser"]
        if self.weights.pixel > 0:
            inside = ((image - target).abs() * mask).sum(dim=(1, 2, 3))
            terms["pixel"] = (inside / (3 * mask.sum(dim=(1, 2, 3))).clamp(min=1)).mean()
            total = total + self.weights.pixel * terms["pixel"]
        return total, {f"generator_{name}": value for name, value in terms.items()}

    def _reduce(self, distances: Tensor) -> Tensor:
        """Distances of a batch, [B] -> one number."""
        return distances.sum() if self.reduction == "sum" else distances.mean()
