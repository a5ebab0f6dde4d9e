"""What trainers compare and judge pictures with: perceptual, identity, parser and projected adversarial loss."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from facekit.convert.arcface import load_arcface
from facekit.losses.identity import IdentityLoss
from facekit.losses.imagenet import multi_hinge_discriminator_loss, multi_hinge_generator_loss
from facekit.losses.perceptual import LPIPSLoss, ParserLoss, feature_matching_loss
from facekit.models.face_parser import FaceParser
from facekit.models.identity_encoder import FaceIdentity
from facekit.models.identity_networks import load_face_identity
from facekit.models.imagenet_features import FeatureCritic, ImageNetFeatures, feature_distance
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.weights.imagenet import load_efficientnet_lite
from train.engine.close_ups import CLOSE, JUDGED_CLOSE, WHOLE, cut_close_ups
from train.engine.options import Adversarial, FacePictures
from train.engine.stage import Learner, Stage, load_component


class PictureLosses:
    """Perceptual, identity, parser and projected adversarial loss of a run.

    Args:
        options: which losses there are, and their weights.
        critic: the discriminator that feature matching reads; None where the run has none.
        device: of the networks that compare.
        say: tells the person at the terminal what stands in for LPIPS.
        judge: options of the projected critics; None where there are none.

    Attributes:
        feature_critic: the critics on ImageNet features, to be updated (`update_critic`) after each update of the
            network that makes the pictures; None where the run has none.

    Raises:
        OSError: LPIPS, the identity network or ImageNet features are asked for and their weights are not available
            (and, for LPIPS, no substitute is named).
        ValueError: feature matching is asked for without a discriminator.
    """

    def __init__(
        self,
        options: FacePictures,
        critic: StyleGAN2Discriminator | None,
        device: torch.device,
        say: Callable[[str], None],
        judge: Adversarial | None = None,
    ) -> None:
        self.options, self.judge_options, self.critic = options, judge, critic
        self.kind = options.perceptual if options.perceptual_weight > 0 else "none"
        self.lpips: LPIPSLoss | None = None
        if self.kind == "lpips":
            try:
                self.lpips = LPIPSLoss(options.lpips_net).to(device)
            except OSError as error:
                if options.substitute == "none":
                    raise
                say(f"LPIPS is not available ({error}). This run uses {options.substitute} instead.")
                self.kind = options.substitute
        if self.kind == "feature_matching" and critic is None:
            raise ValueError(
                "feature_matching compares discriminator features, and this run has no discriminator"
            )
        self.identity: IdentityLoss | None = None
        if options.identifies:
            self.identity = IdentityLoss(load_identity(str(options.identity_encoder))).to(device)
        self.parser: ParserLoss | None = None
        if options.parser_weight > 0:
            self.parser = ParserLoss(load_component(FaceParser, options.parser, "face_parser")).to(device)
        self.natural: ImageNetFeatures | None = None
        self.feature_critic: nn.Module | None = None
        self._critics: dict[str, FeatureCritic] = {}
        if self.kind == "efficientnet" or judge is not None:
            self.natural = ImageNetFeatures(load_efficientnet_lite(0)).to(device)
        if judge is not None:
            self.feature_critic = FeatureCritic(channels=judge.channels).to(device)
            self._critics = {WHOLE: self.feature_critic}
            if options.close_up_weight > 0:
                near = FeatureCritic(judged=JUDGED_CLOSE, channels=judge.channels).to(device)
                self._critics[CLOSE] = near
                # Without close-ups the critic stands alone, as in the checkpoints of earlier versions.
                self.feature_critic = nn.ModuleList(self._critics.values())
        self._shown: list[tuple[str, list[Tensor], list[Tensor]]] = []

    def learn_critic(self, stage: Stage) -> Learner | None:
        """Let a stage train the critics on ImageNet features; None where the run has none."""
        if self.feature_critic is None:
            return None
        return stage.learn(self.feature_critic, self.judge_options.projected_learning_rate, (0.0, 0.99))

    def update_critic(self, stage: Stage, learner: Learner | None) -> None:
        """One step of the critics on ImageNet features, on the pictures that they judged since the last one."""
        if learner is None:
            return
        losses = self.take_critic_losses()
        for view, loss in losses:
            stage.accelerator.backward(loss / len(losses))
            stage.run.curves.record(**{f"loss_feature_critic{view}": loss})
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
        """The loss of made pictures against their truth. Call it where discriminator and critics collect no gradients.

        Args:
            image, target: [B, 3, H, W] in [-1, 1].
            features: the discriminator's maps of `image`, where they have been computed before.
            others: further made pictures, see `judge`.
            adversarial: whether the projected critics judge.

        Returns:
            The weighted loss, [], and its unweighted terms by name.
        """
        compares = self.kind == "efficientnet"
        total, terms = self.judge(image, target, compare=compares, others=others, adversarial=adversarial)
        if self.kind == "feature_matching":
            with torch.no_grad():
                wanted = self.critic.features(target)
            distance = feature_matching_loss(features or self.critic.features(image), wanted)
            terms["feature_matching"] = distance * (len(image) if self.options.reduction == "sum" else 1)
        elif self.lpips is not None:
            distances = self.lpips(image, target).float()
            summed = self.options.reduction == "sum"
            terms["lpips"] = distances.sum() if summed else distances.mean()
        for name in ("feature_matching", "lpips"):
            if name in terms:
                total = total + self.options.perceptual_weight * terms[name]
        if self.identity is not None:
            terms["identity"] = self.identity(image, target).mean()
            total = total + self.options.identity_weight * terms["identity"]
        if self.parser is not None:
            terms["parser"] = self.parser(image, target)
            total = total + self.options.parser_weight * terms["parser"]
        return total, terms

    def judge(
        self,
        image: Tensor,
        target: Tensor,
        compare: bool = False,
        others: Tensor | None = None,
        adversarial: bool = True,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses on ImageNet features alone: the projected critics' and, with `compare`, the pictures' distance.

        One pass of each picture, and of its close-ups, serves both, and the critics' own step (`take_critic_losses`).

        Args:
            image, target: [B, 3, H, W] in [-1, 1].
            others: [M, 3, H, W], further made pictures, which have no truth; only the critics see them.
            adversarial: whether the critics judge.

        Returns:
            The weighted loss, [], and its unweighted terms by name.
        """
        total, terms = image.new_zeros((), dtype=torch.float32), {}
        adversarial = adversarial and self.feature_critic is not None
        if self.natural is None or not (compare or adversarial):
            return total, terms
        made = [image] if others is None else [image, others]
        views = [(WHOLE, 1.0, torch.cat(made), target)]
        if self.options.close_up_weight > 0:
            parts = torch.cat([cut_close_ups(pictures) for pictures in made])
            views.append((CLOSE, self.options.close_up_weight, parts, cut_close_ups(target)))
        for view, weight, shown, truth in views:
            with torch.no_grad():
                wanted = self.natural(truth)
            seen = self.natural(shown)
            if compare:
                distance = feature_distance([x[: len(truth)] for x in seen], wanted).mean()
                if self.options.reduction == "sum":
                    distance = distance * len(image)  # a picture counts once, of however many parts
                terms[f"imagenet{view}"] = distance
                total = total + weight * self.options.perceptual_weight * distance
            if adversarial:
                loss = multi_hinge_generator_loss(self._critics[view](seen))
                terms[f"adversarial{view}"] = loss
                total = total + weight * self.judge_options.weight * loss
                self._shown.append((view, wanted, [x.detach() for x in seen]))
        return total, terms

    def take_critic_losses(self) -> list[tuple[str, Tensor]]:
        """The critics' losses on the pairs of pictures judged since the last call, which are then forgotten.

        Returns:
            For each pair `WHOLE` or `CLOSE`, and the loss, [].
        """
        shown, self._shown = self._shown, []
        critics = self._critics
        return [
            (view, multi_hinge_discriminator_loss(critics[view](real), critics[view](fake)))
            for view, real, fake in shown
        ]


def load_identity(source: str) -> FaceIdentity:
    """The network of an identity loss, in float32.

    Args:
        source: folder or Hub id of an `IdentityEncoder` (VSPBFR, EXE-GAN) or an `ArcFaceEncoder`, or the file
            `model_ir_se50.pth` with which e4e trains.

    Raises:
        OSError: there is no such network, or it cannot be read; with the way to go on without it.
    """
    try:
        return load_arcface(source) if Path(source).is_file() else load_face_identity(source)
    except (OSError, ValueError) as error:
        raise OSError(
            f"pictures.identity_encoder {source}: {error} --without identity trains without the identity loss"
        ) from error
