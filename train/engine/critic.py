"""What EXE-GAN's and FACEMUG's trainers do alike: their losses on pictures, and the discriminator's updates."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facekit.losses.logistic import logistic_discriminator_loss, r1_penalty
from train.data.critic_augment import DiscriminatorAugment
from train.engine.options import ExemplarLosses
from train.engine.picture_losses import PictureLosses
from train.engine.stage import Learner, Stage


class AdversarialStage(Stage):
    """A stage whose configuration has the options of `ExemplarLosses` and `PictureLossConfig`.

    Attributes:
        critic: the StyleGAN2 discriminator that learns, or None.
        feature_critic: the critics on ImageNet features that learn, or None.
        augment: what it is shown of a picture.
        perceptual, identity: the two losses.
    """

    config: ExemplarLosses
    critic: Learner | None
    feature_critic: Learner | None
    augment: DiscriminatorAugment
    perceptual: PictureLosses
    identity: PictureLosses

    def build_losses(self) -> None:
        """Perceptual and identity loss look at different pictures: each has its own.

        The critics on ImageNet features belong to the perceptual one, whose features they share.
        """
        config, critic = self.config, self.critic and self.critic.network
        perceptual, identity = copy.copy(config), copy.copy(config)
        perceptual.identity_weight, identity.perceptual, identity.parser_weight = 0.0, "none", 0.0
        identity.adversarial_weight = 0.0
        if not config.has_perceptual:
            perceptual.perceptual = "none"
        self.perceptual = PictureLosses(perceptual, critic, self.device, self.run.say)
        self.identity = PictureLosses(identity, None, self.device, self.run.say)
        self.feature_critic = self.learn_feature_critic(self.perceptual)
        if config.identity_weight > 0 and config.identity_encoder is None:
            self.run.say("no identity_encoder is named: this run has no identity loss")

    @property
    def judges(self) -> list[Any]:
        """The networks that only look on while pictures are learned."""
        return [learner.network for learner in (self.critic, self.feature_critic) if learner is not None]

    def compared(self, image: Tensor, view: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Perceptual and projected adversarial loss of pictures that have a truth.

        `view` are the same pictures with other gradients (`spatial_gradient`), which the distance alone looks at.
        """
        if view is image or self.feature_critic is None:
            return self.perceptual(view, target)
        distance, terms = self.perceptual(view, target, adversarial=False)
        judged, more = self.perceptual.judge(image, target)
        return distance + judged, terms | more

    def on_device(self, values: Any) -> Tensor:
        """Numbers drawn on the host as a tensor on the device; copying them does not wait for the device's work."""
        drawn = torch.as_tensor(np.asarray(values))
        if drawn.is_floating_point():
            drawn = drawn.float()
        if self.device.type == "cuda":  # only there can a copy be left to run by itself
            return drawn.pin_memory().to(self.device, non_blocking=True)
        return drawn.to(self.device)

    def seen(self, images: Tensor, positions: Tensor, stream: int) -> Tensor:
        """What the discriminator is shown of them."""
        return self.augment(images, self.rngs(positions, 30 + stream))

    def update_critic(self, batches: list[dict[str, Any]], fakes: list[Tensor]) -> None:
        """One step on the batches' `image` and on `fakes`, made of each; then R1 when it is due."""
        if self.critic is None:
            return
        config, critic, signs = self.config, self.critic.network, []
        for batch, fake in zip(batches, fakes, strict=True):
            image, position = batch["image"], batch["position"]
            with self.accelerator.autocast():
                on_real = critic(self.seen(image, position, 0)).float()
                on_fake = critic(self.seen(fake, position, 1)).float()
                loss = logistic_discriminator_loss(on_real, on_fake)
            self.accelerator.backward(loss / len(batches))
            signs.append(on_real.detach().sign().mean())
            self.run.curves.record(
                loss_discriminator=loss, score_real=on_real.mean(), score_fake=on_fake.mean()
            )
        self.update(self.critic)
        if config.r1_weight > 0 and self.is_due(config.r1_every):
            for batch in batches:
                # Taken at the augmented pictures: resampling has no second derivative.
                image = self.seen(batch["image"], batch["position"], 0).detach().requires_grad_(True)
                penalty = r1_penalty(critic(image), image)
                self.accelerator.backward(config.r1_weight / 2 * config.r1_every * penalty / len(batches))
                self.run.curves.record(r1=penalty)
            self.update(self.critic)
        if config.augment == "ada":
            sign = self.accelerator.reduce(torch.stack(signs).mean(), "mean")
            self.augment.observe(sign.item(), self.run.samples_per_step, config.augment_every)
            self.run.curves.record(augment_probability=self.augment.probability, mean_sign=sign)
