"""Options of the style encoder's training."""

from dataclasses import dataclass, field
from typing import Any

import torch

from train.engine.options import ModalityConfig

OPTIMIZERS = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}


@dataclass(kw_only=True)
class StyleEncoderConfig(ModalityConfig):
    """Options of the style encoder's training; defaults are the published trainer's.

    Attributes:
        prior: folder or Hub id of the frozen generator (and its discriminator, where feature matching needs it);
            with `joint`, options of the generator that is trained.
        joint: train generator and encoder from scratch, by reconstruction and an adversarial loss in pictures.
        encoder, discriminator: options of the networks; the number of codes follows from the generator.
        modalities: the encoder reads 26 channels, parts of which are hidden: see `ModalityConfig`.
        teacher, teacher_weight: folder or Hub id of a finished RGB encoder, and the weight of the mean square of the
            differences from its codes of the whole picture.
        init_from: folder or Hub id of an encoder (with `joint`, of all three networks) to start from. With `joint`
            the generator's and discriminator's pictures may be smaller than `prior: {sample_size}`: they grow. With
            `modalities` an RGB encoder gets the other channels, without effect at first.
        size: side of the pictures the losses see; larger pictures of the prior are averaged down to it. Default:
            the smaller of encoder and generator; with `joint` always the generator's.
        optimizer: "radam" (e4e's Ranger without its look-ahead) or "adam"; `joint` uses Adam.
        l2_weight, l1_weight: pixel losses.
        latent_weight, latent_learning_rate, latent_r1_weight, latent_r1_every, latent_pool: the discriminator of
            codes: its loss in the encoder, and its own learning rate, R1 and number of kept codes. 0: none.
        delta_weight: norm of the codes' offsets from the first.
        progressive_start, progressive_every: step from which one more code gets an offset each so many steps; 0
            gives all of them theirs from the start.
        adversarial_weight, r1_weight, r1_every: the picture discriminator of `joint`.
        mixing_weight: adversarial loss in `joint` on pictures of mixed codes of two faces, so that sampling by
            mixing and interpolation works; with projected critics 0 or `adversarial_weight`.
        ema_decay, ema_min_decay: averaged encoder (and generator); decay 0 keeps none.
        statistics_batches: batches over which an averaged encoder's batch statistics are measured.
        latent_samples: `joint`: faces whose mean codes become the generator's `latent_avg`.
        latent_kept: `joint`: faces whose codes go with the generator, for `facekit.sample_faces` to mix.
        validation_data, validation_split, validation_images: held-out pictures whose reconstructions are scored; the
            networks of the least ImageNet distance are kept in `best/`.
    """

    prior: Any
    joint: bool = False
    encoder: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    modalities: bool = False
    teacher: str | None = None
    teacher_weight: float = 1.0
    init_from: str | None = None
    size: int | None = None
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    optimizer: str = "radam"
    l2_weight: float = 1.0
    l1_weight: float = 0.0
    perceptual_weight: float = 0.8
    identity_weight: float = 0.5
    latent_weight: float = 0.1
    latent_learning_rate: float = 2e-5
    latent_r1_weight: float = 10.0
    latent_r1_every: int = 16
    latent_pool: int = 50
    delta_weight: float = 2e-4
    progressive_start: int = 20_000
    progressive_every: int = 2_000
    adversarial_weight: float = 0.1
    discriminator_learning_rate: float | None = None
    r1_weight: float = 10.0
    r1_every: int = 16
    mixing_weight: float = 0.0
    ema_decay: float = 0.0
    ema_min_decay: float = 0.0
    statistics_batches: int = 16
    latent_samples: int = 1000
    latent_kept: int = 256
    validation_data: str | None = None
    validation_split: str = "validation"
    validation_images: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(optimizer=tuple(OPTIMIZERS))
        if self.joint != isinstance(self.prior, dict):
            raise ValueError(
                "with joint, prior holds the generator's options; without it, a folder or Hub id of a trained one"
            )
        if self.critic == "projected" and self.mixing_weight not in (0, self.adversarial_weight):
            raise ValueError(
                "projected critics judge both kinds of pictures alike: mixing_weight must be adversarial_weight"
            )
        if self.joint and self.latent_weight > 0:
            raise ValueError(
                "joint training has no codes of a trained mapping network to compare with: latent_weight must be 0"
            )

        if self.modalities and (self.joint or self.damage != "none"):
            raise ValueError(
                "modalities are read of whole pictures on a finished prior: joint false, damage none"
            )

    @property
    def compares_pictures(self) -> bool:
        """Whether any loss looks at the generator's picture."""
        perceptual = self.perceptual != "none" and self.perceptual_weight > 0
        identity = self.identity_encoder is not None and self.identity_weight > 0
        return perceptual or identity or self.joint or max(self.l2_weight, self.l1_weight) > 0

    @property
    def needs_critic(self) -> bool:
        """Whether any loss of `joint` training looks at the picture discriminator, which learns only then."""
        judged = self.critic == "stylegan2" and max(self.adversarial_weight, self.mixing_weight) > 0
        return judged or self.compares_features

    @property
    def has_projected_critic(self) -> bool:
        """Whether critics on ImageNet features judge the pictures of `joint` training."""
        return self.joint and self.critic == "projected" and self.adversarial_weight > 0
