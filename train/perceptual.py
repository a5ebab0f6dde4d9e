"""What the trainers of style encoder, code diffuser and restorer compare pictures with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from facekit.losses.identity import IdentityLoss
from facekit.losses.perceptual import LPIPSLoss, ParserLoss, feature_matching_loss
from facekit.models.face_parser import FaceParser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from train.stage import StageConfig, load_component


@dataclass(kw_only=True)
class PictureLossConfig(StageConfig):
    """Options of the losses on pictures.

    Attributes:
        perceptual: "lpips", "feature_matching" (of the discriminator that the stage trains, or of the prior's), or
            "none".
        perceptual_substitute: "feature_matching" where LPIPS weights cannot be had; "none" makes that an error.
        perceptual_reduction: "mean" over the batch (thesis) or "sum" (published code of the restorer).
        lpips_net: backbone of LPIPS.
        perceptual_weight, identity_weight: weights of the two losses.
        identity_encoder: folder or Hub id of the identity network; without it there is no identity loss.
        parser_weight: of the distance of a face parser's maps, beside or in place of the perceptual loss; not in the
            thesis (0), the starters use it where LPIPS weights cannot be had.
        parser: folder or Hub id of that parser.
    """

    perceptual: str = "lpips"
    perceptual_substitute: str = "none"
    perceptual_reduction: str = "mean"
    lpips_net: str = "vgg"
    perceptual_weight: float = 1.0
    identity_weight: float = 0.0
    identity_encoder: str | None = None
    parser_weight: float = 0.0
    parser: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(
            perceptual=("lpips", "feature_matching", "none"),
            perceptual_substitute=("feature_matching", "none"),
            perceptual_reduction=("mean", "sum"),
        )
        if self.parser_weight > 0 and self.parser is None:
            raise ValueError("parser_weight needs a network: name its folder or Hub id as parser")

    @property
    def compares_features(self) -> bool:
        """Whether the perceptual loss may look at a discriminator's features."""
        if self.perceptual_weight <= 0 or self.perceptual == "none":
            return False
        return "feature_matching" in (self.perceptual, self.perceptual_substitute)


class PictureLosses:
    """Perceptual and identity loss of a run.

    Args:
        critic: the discriminator that feature matching reads; `None` where the run has none.

    Raises:
        OSError: when LPIPS is asked for, its weights cannot be had and no substitute is named.
        ValueError: when feature matching is asked for without a discriminator.
    """

    def __init__(
        self,
        config: PictureLossConfig,
        critic: StyleGAN2Discriminator | None,
        device: torch.device,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.critic = config, critic
        self.kind = config.perceptual if config.perceptual_weight > 0 else "none"
        self.lpips: LPIPSLoss | None = None
        if self.kind == "lpips":
            try:
                self.lpips = LPIPSLoss(config.lpips_net).to(device)
            except OSError as error:
                if config.perceptual_substitute == "none":
                    raise
                say(
                    f"LPIPS is not available ({error}). This run uses {config.perceptual_substitute} instead."
                )
                self.kind = config.perceptual_substitute
        if self.kind == "feature_matching" and critic is None:
            raise ValueError(
                "feature_matching compares discriminator features, and this run has no discriminator"
            )
        self.identity: IdentityLoss | None = None
        if config.identity_encoder is not None and config.identity_weight > 0:
            encoder = load_component(IdentityEncoder, config.identity_encoder, "identity_encoder")
            self.identity = IdentityLoss(encoder).to(device)
        self.parser: ParserLoss | None = None
        if config.parser_weight > 0:
            self.parser = ParserLoss(load_component(FaceParser, config.parser, "face_parser")).to(device)

    @property
    def active(self) -> bool:
        """Whether there is anything to compare."""
        return self.kind != "none" or self.identity is not None or self.parser is not None

    def __call__(
        self, image: Tensor, target: Tensor, features: list[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, 3, H, W] in [-1, 1], twice -> the weighted loss, and its unweighted terms by name.

        `features`: the discriminator's maps of `image`, where they are at hand. Call it where the discriminator
        collects no gradients.
        """
        total, terms = image.new_zeros(()), {}
        if self.kind == "feature_matching":
            with torch.no_grad():
                wanted = self.critic.features(target)
            distance = feature_matching_loss(features or self.critic.features(image), wanted)
            terms["feature_matching"] = distance * (
                len(image) if self.config.perceptual_reduction == "sum" else 1
            )
        elif self.lpips is not None:
            distances = self.lpips(image, target).float()
            summed = self.config.perceptual_reduction == "sum"
            terms["lpips"] = distances.sum() if summed else distances.mean()
        for value in terms.values():
            total = total + self.config.perceptual_weight * value
        if self.identity is not None:
            terms["identity"] = self.identity(image, target).mean()
            total = total + self.config.identity_weight * terms["identity"]
        if self.parser is not None:
            terms["parser"] = self.parser(image, target)
            total = total + self.config.parser_weight * terms["parser"]
        return total, terms
