"""Discriminators that learn beside a generator: their step, R1, and what they are shown.

`AdversarialStage` has what the trainers of EXE-GAN and FACEMUG share around them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekit.losses.imagenet import multi_hinge_discriminator_loss, multi_hinge_generator_loss
from facekit.losses.logistic import logistic_discriminator_loss, logistic_generator_loss, r1_penalty
from facekit.models.imagenet_features import ImageNetFeatures
from train.data.critic_augment import DiscriminatorAugment
from train.engine.picture_losses import PictureLosses
from train.engine.stage import Learner, Stage, scale_rates
from train.engine.streams import CriticView


def collect_r1(
    stage: Stage, critic: nn.Module, real: Tensor, weight: float, every: int, batches: int = 1
) -> Tensor:
    """Backpropagate R1 into a discriminator (Mescheder et al. 2018; last term of thesis Eq. 3.12); takes no step.

    The loss is gamma / 2 times the penalty, times the number of steps from one such update to the next (StyleGAN2's
    lazy regularisation).

    Args:
        real: samples as the discriminator reads them, [B, ...]; D's gradient is taken with respect to them.
        weight: gamma.
        every: steps from one update with R1 to the next.
        batches: number of batches whose gradients are averaged into the update.

    Returns:
        The penalty without a factor: the mean over the batch of the squared norm of that gradient, [].
    """
    real = real.detach().requires_grad_(True)
    penalty = r1_penalty(critic(real), real)
    stage.accelerator.backward(weight / 2 * every * penalty / batches)
    return penalty


class Critic:
    """A discriminator of pictures that learns.

    Args:
        stage: the training that it is part of.
        learner: of a StyleGAN2 discriminator, or of critics on ImageNet features (with `natural`), which have no R1.
        augment: changes the pictures that it is shown; None leaves them as they are.
        natural: the network that gives the ImageNet features; None for a StyleGAN2 discriminator.
    """

    def __init__(
        self,
        stage: Stage,
        learner: Learner,
        augment: DiscriminatorAugment | None = None,
        natural: ImageNetFeatures | None = None,
    ) -> None:
        self.stage, self.learner, self.augment, self.natural = stage, learner, augment, natural

    @property
    def network(self) -> Any:
        """The discriminator, or the critics on features."""
        return self.learner.network

    def show(self, images: Tensor, positions: Tensor, view: CriticView) -> Tensor:
        """Pictures [B, 3, S, S] in [-1, 1] as the discriminator sees them, of the same shape.

        Args:
            positions: [B], the numbers of the samples, which seed the augmentation.
            view: which use within a step it is.
        """
        if self.augment is None:
            return images
        return self.augment(images, self.stage.seed_rngs(positions, view))

    def score(self, images: Tensor, positions: Tensor, view: CriticView) -> list[Tensor]:
        """Scores of pictures [B, 3, S, S], high for real ones: one [B, 1], or a map for each critic on features."""
        shown = self.show(images, positions, view)
        if self.natural is not None:
            return self.network(self.natural(shown))
        return [self.network(shown).float()]

    def generator_loss(self, images: Tensor, positions: Tensor) -> Tensor:
        """The adversarial loss of the generator that made the pictures [B, 3, S, S], [].

        Non-saturating logistic (Eq. 3.12), or hinge where critics on features judge.
        """
        scores = self.score(images, positions, CriticView.JUDGED)
        return (
            logistic_generator_loss(*scores) if self.natural is None else multi_hinge_generator_loss(scores)
        )

    def update(self, batches: Sequence[dict[str, Any]], fakes: Sequence[Sequence[Tensor]]) -> None:
        """One step of the discriminator, and one with R1 when that is due.

        Args:
            batches: with `image` [B, 3, S, S] in [-1, 1], the real pictures, and `position` [B].
            fakes: for each batch the made pictures, [B, 3, S, S] each, without gradients: one kind or several, over
                which the loss is averaged.
        """
        stage, options, signs = self.stage, self.stage.config.adversarial, []
        for batch, made in zip(batches, fakes, strict=True):
            image, position = batch["image"], batch["position"]
            with stage.accelerator.autocast():
                on_real = self.score(image, position, CriticView.REAL)
                on_fakes = [self.score(fake, position, CriticView.FAKE) for fake in made]
                loss = torch.stack([self._loss(on_real, on_fake) for on_fake in on_fakes]).mean()
            stage.accelerator.backward(loss / len(batches))
            signs.append(on_real[0].detach().sign().mean())
            every = [score for on_fake in on_fakes for score in on_fake]
            stage.run.curves.record(
                loss_discriminator=loss, score_real=_mean(on_real), score_fake=_mean(every)
            )
        stage.update(self.learner)
        if self.natural is None and options.r1_weight > 0 and stage.is_due(options.r1_every):
            for batch in batches:
                # Taken at the augmented pictures: resampling has no second derivative.
                image = self.show(batch["image"], batch["position"], CriticView.REAL)
                penalty = collect_r1(
                    stage, self.network, image, options.r1_weight, options.r1_every, len(batches)
                )
                stage.run.curves.record(r1=penalty)
            stage.update(self.learner)
        if self.augment is not None and self.augment.kind == "ada":
            sign = stage.accelerator.reduce(torch.stack(signs).mean(), "mean")
            self.augment.observe(sign.item(), stage.run.samples_per_step, stage.config.critic_augment.every)
            stage.run.curves.record(augment_probability=self.augment.probability, mean_sign=sign)

    def _loss(self, on_real: list[Tensor], on_fake: list[Tensor]) -> Tensor:
        if self.natural is None:
            return logistic_discriminator_loss(*on_real, *on_fake)
        return multi_hinge_discriminator_loss(on_real, on_fake)


def _mean(scores: list[Tensor]) -> Tensor:
    return torch.stack([score.mean() for score in scores]).mean()


class AdversarialStage(Stage):
    """A stage whose configuration has the options of `GuidedLosses`.

    A subclass fills pictures (`fill`), says what its attribute loss compares (`attribute_distance`), and may weigh
    the gradients of the perceptual loss (`weigh_perceptual`).

    Attributes:
        critic: the StyleGAN2 discriminator that learns, or None.
        feature_critic: the critics on ImageNet features that learn, or None.
        perceptual, identity: the two losses.
    """

    config: Any  # a StageConfig with `GuidedLosses`
    critic: Critic | None
    feature_critic: Learner | None
    perceptual: PictureLosses
    identity: PictureLosses

    def learn_critic(self, network: nn.Module, augment: DiscriminatorAugment) -> Critic:
        """Let a StyleGAN2 discriminator learn, as the options of `adversarial` say."""
        config, options = self.config, self.config.adversarial
        every = options.r1_every if config.lazy_rates and options.r1_weight > 0 else 0
        learner = self.learn(network, **scale_rates(*options.choose_rates(config), every))
        return Critic(self, learner, augment)

    def build_losses(self) -> None:
        """Build two losses: the perceptual one compares with the truth, the identity loss with the exemplar.

        The critics on ImageNet features belong to the perceptual loss, whose features they share.
        """
        config, critic = self.config, self.critic and self.critic.network
        pictures = config.pictures
        perceptual = replace(pictures, identity_weight=0.0)
        if not config.has_perceptual:
            perceptual = replace(perceptual, perceptual="none")
        judge = config.adversarial if config.adversarial.is_projected else None
        self.perceptual = PictureLosses(perceptual, critic, self.device, self.run.say, judge)
        identity = replace(pictures, perceptual="none", parser_weight=0.0)
        self.identity = PictureLosses(identity, None, self.device, self.run.say)
        self.feature_critic = self.perceptual.learn_critic(self)

    @property
    def judges(self) -> list[Any]:
        """The discriminator and critics: they judge, but do not learn, while the generator takes its step."""
        return [judge.network for judge in (self.critic, self.feature_critic) if judge is not None]

    def compare(self, image: Tensor, view: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Perceptual and projected adversarial loss of pictures that have a truth.

        Args:
            image, target: made and true pictures, [B, 3, S, S] in [-1, 1].
            view: the pictures of `image` with other gradients (`spatial_gradient`): what the perceptual distance reads.

        Returns:
            The weighted loss, [], and its unweighted terms by name.
        """
        if view is image or self.feature_critic is None:
            return self.perceptual(view, target)
        distance, terms = self.perceptual(view, target, adversarial=False)
        judged, more = self.perceptual.judge(image, target)
        return distance + judged, terms | more

    def fill(self, batch: dict[str, Any], stream: int) -> Tensor:
        """The filled pictures [B, 3, S, S] of a batch, with randomness of `stream`."""
        raise NotImplementedError

    def weigh_perceptual(self, batch: dict[str, Any], image: Tensor) -> Tensor:
        """The pictures [B, 3, S, S] as the perceptual loss sees them; a subclass may weigh their gradients."""
        return image

    def attribute_distance(self, batch: dict[str, Any], image: Tensor) -> Tensor | None:
        """Distance of the pictures' codes from those that they were made with, []; None where none are compared."""
        raise NotImplementedError

    def update_generator(
        self, batches: Sequence[dict[str, Any]], stream: int, same: bool, *learners: Learner
    ) -> list[Tensor]:
        """One update of the networks that fill -> the pictures that it was made on, without gradients.

        Args:
            batches: what `fill` and `generator_loss` read.
            stream: randomness of `fill`.
            same: see `generator_loss`.
            learners: the networks.
        """
        fakes = []
        with self.freeze(*self.judges):
            for batch in batches:
                with self.accelerator.autocast():
                    fake = self.fill(batch, stream)
                    loss, terms = self.generator_loss(batch, fake, same)
                if loss.requires_grad:
                    self.accelerator.backward(loss / len(batches))
                fakes.append(fake.detach())
                named = {f"generator_{name}": value for name, value in terms.items()}
                self.run.curves.record(loss_generator=loss, **named)
        self.update(*learners, clip=self.config.gradient_clip)
        self.perceptual.update_critic(self, self.feature_critic)
        return fakes

    def generator_loss(
        self, batch: dict[str, Any], image: Tensor, same: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 5.8, 6.14 and 6.23: the loss of filled pictures.

        Perceptual losses count only where the exemplar is the picture itself (Eq. 5.6, 6.19).

        Args:
            batch: with `image`, `exemplar`, `mask` and `position`.
            image: the filled pictures, [B, 3, S, S] in [-1, 1].
            same: whether the exemplars are the pictures themselves, so that the fill has a truth.

        Returns:
            The weighted loss, [], and its unweighted terms by name.
        """
        config = self.config
        total, terms = image.new_zeros(()), {}
        if self.identity.active:
            exemplar = F.adaptive_avg_pool2d(batch["exemplar"], image.shape[-1])
            total, terms = self.identity(image, exemplar)
        if same and config.has_perceptual:
            loss, named = self.compare(image, self.weigh_perceptual(batch, image), batch["image"])
        else:
            loss, named = self.perceptual.judge(image, batch["image"])
        total, terms = total + loss, terms | named
        distance = self.attribute_distance(batch, image) if config.attribute.weight > 0 else None
        if distance is not None:
            terms["attribute"] = distance
            total = total + config.attribute.weight * distance
        if config.adversarial.is_whole:
            terms["adversarial"] = self.critic.generator_loss(image, batch["position"])
            total = total + config.adversarial.weight * terms["adversarial"]
        if same and config.l1_weight > 0:
            area = batch["mask"].sum((1, 2, 3)).clamp_min(1) * image.shape[1]
            # Outside the hole both are the same.
            terms["l1"] = ((image - batch["image"]).abs().sum((1, 2, 3)) / area).mean()
            total = total + config.l1_weight * terms["l1"]
        return total, terms
