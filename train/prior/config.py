"""Options of the prior's training."""

from dataclasses import dataclass, field
from typing import Any

from train.data.critic_augment import DiscriminatorAugment
from train.engine.stage import StageConfig


@dataclass(kw_only=True)
class PriorConfig(StageConfig):
    """Options of the prior's training; defaults are StyleGAN2's.

    Attributes:
        prior, discriminator: options of the two networks, which have one `sample_size`.
        init_from: folder or Hub id with `prior` and `discriminator` to start from.
        r1_weight, r1_every: gamma of R1, and how often its own update is done (0: never).
        path_weight, path_every, path_batch_shrink, path_decay: path-length regularisation: weight, how often (0:
            never), share of the batch it uses, and how fast the mean length follows.
        style_mixing: probability that a sample's styles come from two z.
        augment: "none", "ada" or "diffaugment", see `train.data.critic_augment`.
        augment_policy: parts of DiffAugment.
        augment_probability, augment_target, augment_length, augment_every: p at the start, the mean sign of D that
            it is steered to (0: p stays), pictures from 0 to 1, and steps between its moves.
        ema_decay, ema_min_decay: decay per step of the averaged generator, and its least value in early steps.
        latent_samples: z over which the mean style `latent_avg` is measured at the end.
        critic: "stylegan2", or "projected": critics on ImageNet features, see `train.engine.picture_losses`;
            they take neither R1 nor adaptive augmentation.
        critic_channels, critic_learning_rate: their width and learning rate.
    """

    prior: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.0, 0.99)
    r1_weight: float = 10.0
    r1_every: int = 16
    path_weight: float = 2.0
    path_every: int = 4
    path_batch_shrink: int = 2
    path_decay: float = 0.01
    style_mixing: float = 0.9
    augment: str = "none"
    augment_policy: str = "color,translation,cutout"
    augment_probability: float = 0.0
    augment_target: float = 0.6
    augment_length: int = 500_000
    augment_every: int = 4
    ema_decay: float = 0.998
    ema_min_decay: float = 0.998
    latent_samples: int = 10_000
    critic: str = "stylegan2"
    critic_channels: int = 64
    critic_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(critic=("stylegan2", "projected"))
        if self.critic == "projected" and self.augment == "ada":
            raise ValueError(
                "augment ada follows the StyleGAN2 discriminator: with projected critics say diffaugment"
            )
        self.make_augment()

    def make_augment(self) -> DiscriminatorAugment:
        return DiscriminatorAugment(
            self.augment,
            self.augment_policy,
            self.augment_probability,
            self.augment_target,
            self.augment_length,
        )
