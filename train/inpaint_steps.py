"""The losses of GRIG training (thesis 4.2.2) around its two discriminators, and one reasoning step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facekit.losses.adversarial import (
    forged_patch_discriminator_loss,
    forged_patch_generator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    soft_patch_labels,
)
from facekit.losses.perceptual import LPIPSLoss, ParserLoss, feature_matching_loss
from facekit.models.patch_discriminator import ForgedPatchDiscriminator
from facekit.models.projected_discriminator import ProjectedDiscriminator


def fill_step(composite: Tensor, residual: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    """Eq. 4.1: (c + residual) inside the mask, the known picture outside."""
    return (composite + residual) * mask + image * (1 - mask)


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

    def forward(self, real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
        return hinge_discriminator_loss(self.discriminator(real).float(), self.discriminator(fake).float())


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

    def forward(self, real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
        on_real, on_fake = self.discriminator(real).float(), self.discriminator(fake).float()
        return forged_patch_discriminator_loss(on_real, on_fake, self.label_map(mask))


class InpaintLosses:
    """Everything that judges a completed picture.

    Raises:
        OSError: when LPIPS is asked for, its weights cannot be had and no substitute is named.
        ValueError: when feature matching is asked for without any discriminator.
    """

    def __init__(
        self,
        projected: ProjectedDiscriminator | None,
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
        self.projected = ProjectedLoss(projected) if projected is not None else None
        self.patch = PatchLoss(patch, labels) if patch is not None else None
        self.critics: list[nn.Module] = [loss for loss in (self.projected, self.patch) if loss is not None]
        self.networks = [loss.discriminator for loss in self.critics]
        self._trained = [p for network in self.networks for p in network.parameters() if p.requires_grad]
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
        if perceptual == "feature_matching" and not self.networks:
            raise ValueError(
                "feature_matching compares discriminator features, and this run has no discriminator"
            )

    def to(self, device: torch.device) -> None:
        for frozen in (self.lpips, self.parser):
            if frozen is not None:
                frozen.to(device)

    def train_networks(self, on: bool) -> None:
        """Let the discriminators collect gradients, or spare the generator's step that work."""
        for parameter in self._trained:
            parameter.requires_grad_(on)

    def generator_loss(self, image: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4.6.

        Args:
            image: completed pictures [B, 3, H, W], with gradient.
            target: ground truth.
            mask: [B, 1, H, W].

        Returns:
            The loss, and its unweighted terms by name.
        """
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
            per_picture = self.lpips(image, target).float()
            terms["lpips"] = per_picture.sum() if self.reduction == "sum" else per_picture.mean()
        for name in ("feature_matching", "lpips"):
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
