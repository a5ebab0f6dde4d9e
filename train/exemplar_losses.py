"""What the options of EXE-GAN's and FACEMUG's training say of their losses alike."""

from train.discriminator_augment import DiscriminatorAugment


class ExemplarLosses:
    """For configurations with the losses of Eq. 5.8 and 6.24, over `train.perceptual.PictureLossConfig`."""

    def _check_losses(self) -> None:
        if self.critic == "projected" and self.augment != "none" and not self.needs_critic:
            raise ValueError(
                f"augment {self.augment} changes what the StyleGAN2 discriminator is shown, which this run with "
                "projected critics does not have: say augment none"
            )
        if self.same_image_probability == 0 and self.l1_weight > 0:
            raise ValueError(
                "l1_weight counts where the exemplar is the picture itself: same_image_probability must be above 0"
            )
        weights = (self.adversarial_weight, self.attribute_weight, self.l1_weight)
        identity = self.identity_weight > 0 and self.identity_encoder is not None
        if not (any(weight > 0 for weight in weights) or self.has_perceptual or identity):
            raise ValueError("no loss is left: give one of them a weight above 0")

    @property
    def has_perceptual(self) -> bool:
        """Whether a perceptual loss can ever act."""
        compares = (self.perceptual != "none" and self.perceptual_weight > 0) or self.parser_weight > 0
        return compares and self.same_image_probability > 0

    def make_augment(self) -> DiscriminatorAugment:
        return DiscriminatorAugment(
            self.augment,
            self.augment_policy,
            self.augment_probability,
            self.augment_target,
            self.augment_length,
        )
