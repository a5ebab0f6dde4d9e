"""The losses of GRIG's training (thesis section 4.2.2) with its two discriminators, and one reasoning step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from facekit.losses.adversarial import (
    forged_patch_discriminator_loss,
    forged_patch_generator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    soft_patch_discriminator_loss,
    soft_patch_generator_loss,
    soften_mask,
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
from train.engine.close_ups import CLOSE, JUDGED_CLOSE, WHOLE, cut_close_ups

Maps = dict[str, list[Tensor]]  # ImageNet maps of pictures, of `WHOLE` ones and of their `CLOSE` parts


def fill_step(composite: Tensor, residual: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    """Eq. 4.1: composite + residual where the mask is 1, the known picture elsewhere.

    Args:
        composite, residual, image: [B, 3, H, W]; pictures are in [-1, 1].
        mask: [B, 1, H, W], 1 = hole.
    """
    return (composite + residual) * mask + image * (1 - mask)


def diversity_loss(image: Tensor, other: Tensor, mask: Tensor, margin: float) -> Tensor:
    """mean max(0, margin - mean |image - other| in the hole): fills of two codes are to differ by the margin.

    Diverse fills are future work in the thesis (section 7.2), which names the mapping network and no loss; this form is
    ours. Without such a term the code is ignored, since the other losses have one best fill. The bound keeps the term
    from growing into noise: fills that differ enough are left to the discriminators.

    Args:
        image, other: [B, 3, H, W] in [-1, 1]; gradients reach both that have one.
        mask: [B, 1, H, W], 1 = hole.
        margin: mean absolute difference of colours in [-1, 1].
    """
    inside = ((image - other).abs() * mask).sum(dim=(1, 2, 3)) / (3 * mask.sum(dim=(1, 2, 3))).clamp(min=1)
    return (margin - inside).clamp(min=0).mean()


@dataclass(frozen=True)
class Shown:
    """What the losses look at: completed pictures, the truth, and the ImageNet maps of both.

    Attributes:
        image, target: [B, 3, H, W] in [-1, 1]; gradients reach the generator through `image`.
        mask: [B, 1, H, W], 1 = hole.
        features, wanted: maps of `image` and of `target`, see `ImageNetFeatures`; of those alone that a loss reads.
        other: the same picture completed under another code, without gradients; None where no loss reads it.
    """

    image: Tensor
    target: Tensor
    mask: Tensor
    features: Maps
    wanted: Maps
    other: Tensor | None = None

    def detach(self) -> "Shown":
        """The same without gradients to the generator, for a discriminator to learn from."""
        features = {view: [x.detach() for x in maps] for view, maps in self.features.items()}
        return replace(self, image=self.image.detach(), features=features)


@dataclass(frozen=True)
class LossWeights:
    """Weights of Eq. 4.6, of terms that only the starter uses (L1, a face parser's maps), and of diversity.

    `close_up` is what eyes and mouths enlarged weigh beside whole pictures.
    """

    perceptual: float = 1.5
    projected: float = 1.0
    patch: float = 1.0
    pixel: float = 0.0
    parser: float = 0.0
    diversity: float = 0.0
    close_up: float = 0.0


class ProjectedLoss(nn.Module):
    """The projected discriminator with its own loss (Eq. 4.3); real and completed pictures are separate batches."""

    name = "loss_projected"

    def __init__(self, discriminator: ProjectedDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    @staticmethod
    def pick_inputs(shown: Shown) -> tuple[Tensor, Tensor]:
        """Pick what `forward` takes: the true and the completed pictures."""
        return shown.target, shown.image

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        return hinge_discriminator_loss(self.discriminator(real).float(), self.discriminator(fake).float())


class FeatureLoss(nn.Module):
    """Critics on ImageNet maps with their own loss, in place of the projected discriminator.

    Args:
        view: `WHOLE` or `CLOSE`, what the maps are of.
    """

    def __init__(self, discriminator: FeatureCritic, view: str = WHOLE) -> None:
        super().__init__()
        self.discriminator, self.view = discriminator, view
        self.name = f"loss_projected{view}"

    def pick_inputs(self, shown: Shown) -> tuple[list[Tensor], list[Tensor]]:
        """Pick what `forward` takes: the ImageNet maps of both, which the generator's step has computed before."""
        return shown.wanted[self.view], shown.features[self.view]

    def forward(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        return multi_hinge_discriminator_loss(self.discriminator(real), self.discriminator(fake))


class PatchLoss(nn.Module):
    """The patch discriminator with both sides of its loss (Eq. 4.5).

    Args:
        labels: which cells of a completed picture count as forged: "forged" (any filled pixel in the receptive
            field, Eq. 4.4), "patchgan" (all) or "sm-patchgan" (the blurred mask, with AOT-GAN's squared losses).
    """

    name = "loss_patch"

    def __init__(self, discriminator: ForgedPatchDiscriminator, labels: str = "forged") -> None:
        super().__init__()
        self.discriminator, self.labels = discriminator, labels

    def label_map(self, mask: Tensor) -> Tensor:
        """[B, 1, H, W] -> [B, 1, h, w], 1 = forged."""
        forged = self.discriminator.label_map(mask)
        return torch.ones_like(forged) if self.labels == "patchgan" else forged

    def generator_loss(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """What the generator gets for scores [B, 1, h, w] of its pictures; without their masks all cells count."""
        if self.labels == "sm-patchgan":
            return soft_patch_generator_loss(scores, mask)
        return forged_patch_generator_loss(scores, None if mask is None else self.label_map(mask))

    @staticmethod
    def pick_inputs(shown: Shown) -> tuple[Tensor, Tensor, Tensor]:
        """Pick what `forward` takes: the true and the completed pictures, and their masks."""
        return shown.target, shown.image, shown.mask

    def forward(self, real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
        on_real, on_fake = self.discriminator(real).float(), self.discriminator(fake).float()
        if self.labels == "sm-patchgan":
            return soft_patch_discriminator_loss(on_real, on_fake, soften_mask(mask, on_fake.shape[-2:]))
        return forged_patch_discriminator_loss(on_real, on_fake, self.label_map(mask))


class InpaintLosses:
    """All losses on a completed picture.

    Args:
        projected: judges whole pictures: GRIG's discriminator, critics on ImageNet maps, or None.
        patch: judges patches, or None.
        labels: see `PatchLoss`.
        weights: None: those of Eq. 4.6.
        mask_patch_loss: see `train.inpaint.config.InpaintAdversarial`.
        perceptual, substitute, reduction, lpips_net: see `train.engine.options.Pictures`.
        parser: compares the maps of a face parser.
        diversity_margin: see `diversity_loss`.
        say: tells the person at the terminal what stands in for LPIPS.

    Attributes:
        critics: the discriminators with their own losses, which learn.
        networks: the discriminators alone.

    Raises:
        OSError: LPIPS or ImageNet maps are asked for and their weights are not available (and, for LPIPS, no substitute
            is named).
        ValueError: feature matching is asked for without any of GRIG's discriminators.
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
        diversity_margin: float = 0.1,
        say: Callable[[str], None] = print,
    ) -> None:
        self.weights = weights or LossWeights()
        self.mask_patch_loss, self.reduction = mask_patch_loss, reduction
        self.projected: ProjectedLoss | FeatureLoss | None = None
        if projected is not None:
            on_maps = isinstance(projected, FeatureCritic)
            self.projected = FeatureLoss(projected) if on_maps else ProjectedLoss(projected)
        self.patch = PatchLoss(patch, labels) if patch is not None else None
        self.near: FeatureLoss | None = None
        if isinstance(self.projected, FeatureLoss) and self.weights.close_up > 0:
            self.near = FeatureLoss(FeatureCritic(judged=JUDGED_CLOSE), CLOSE)
        found = (self.projected, self.patch, self.near)
        self.critics: list[nn.Module] = [loss for loss in found if loss is not None]
        self.networks = [loss.discriminator for loss in self.critics]
        self.parser, self.diversity_margin = parser, diversity_margin
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
        """Move the networks that do not learn to a device."""
        for frozen in (self.lpips, self.imagenet, self.parser):
            if frozen is not None:
                frozen.to(device)

    def read_maps(self, image: Tensor) -> Maps:
        """ImageNet maps of pictures [B, 3, H, W], with gradient if they have one; of those alone that a loss reads."""
        if self.imagenet is None:
            return {}
        maps = {WHOLE: self.imagenet.features(image)}
        if self.weights.close_up > 0:
            maps[CLOSE] = self.imagenet.features(cut_close_ups(image))
        return maps

    def generator_loss(self, shown: Shown) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 4.6, with the starter's terms: the weighted loss, [], and its unweighted terms by name."""
        image, target, mask = shown.image, shown.target, shown.mask
        matching = self.perceptual == "feature_matching"
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=image.device)
        distances = []
        for name, critic, weight in (
            ("adversarial", self.projected, self.weights.projected),
            ("patch", self.patch, self.weights.patch),
            (f"adversarial{CLOSE}", self.near, self.weights.projected * self.weights.close_up),
        ):
            if critic is None:
                continue
            if isinstance(critic, FeatureLoss):
                terms[name] = multi_hinge_generator_loss(critic.discriminator(shown.features[critic.view]))
                total = total + weight * terms[name]
                continue
            scores, features = critic.discriminator(image, return_features=True)
            if matching:
                with torch.no_grad():
                    wanted = critic.discriminator(target, return_features=True)[1]
                distances.append(feature_matching_loss(features, wanted))
            if isinstance(critic, PatchLoss):
                terms[name] = critic.generator_loss(scores.float(), mask if self.mask_patch_loss else None)
            else:
                terms[name] = hinge_generator_loss(scores.float())
            total = total + weight * terms[name]
        if matching:
            terms["feature_matching"] = torch.stack(distances).mean()
        elif self.lpips is not None:
            terms["lpips"] = self._reduce(self.lpips(image, target).float())
        elif self.perceptual == "efficientnet":
            for view, maps in shown.features.items():
                apart = feature_distance(maps, shown.wanted[view])
                parts = apart.unflatten(0, (-1, len(image)))  # a picture counts once, of however many parts
                terms[f"imagenet{view}"] = self._reduce(parts.mean(0))
        shares = {
            "feature_matching": 1.0,
            "lpips": 1.0,
            "imagenet": 1.0,
            f"imagenet{CLOSE}": self.weights.close_up,
        }
        for name, share in shares.items():
            if name in terms:
                total = total + self.weights.perceptual * share * terms[name]
        if self.parser is not None:
            terms["parser"] = self.parser(image, target)
            total = total + self.weights.parser * terms["parser"]
        if shown.other is not None:
            terms["diversity"] = diversity_loss(image, shown.other, mask, self.diversity_margin)
            total = total + self.weights.diversity * terms["diversity"]
        if self.weights.pixel > 0:
            inside = ((image - target).abs() * mask).sum(dim=(1, 2, 3))
            terms["pixel"] = (inside / (3 * mask.sum(dim=(1, 2, 3))).clamp(min=1)).mean()
            total = total + self.weights.pixel * terms["pixel"]
        return total, {f"generator_{name}": value for name, value in terms.items()}

    def _reduce(self, distances: Tensor) -> Tensor:
        """Distances of a batch, [B] -> one number."""
        return distances.sum() if self.reduction == "sum" else distances.mean()
