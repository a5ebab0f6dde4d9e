"""Options of the prior's training."""

from dataclasses import dataclass, field
from typing import Any

from train.engine.options import Average, Critic, CriticAugment, PathLength
from train.engine.stage import StageConfig


@dataclass(kw_only=True)
class PriorConfig(StageConfig):
    """Options of the prior's training; defaults are StyleGAN2's.

    Attributes:
        prior, discriminator: options of the two networks, which have one `sample_size`.
        init_from: folder or Hub id with `prior` and `discriminator` to start from.
        learning_rate, betas: of Adam, for both.
        style_mixing: probability that a sample's styles come from two z.
        adversarial, path, critic_augment, average: groups, see `train.engine.options`.
        latent_samples: z over which the mean style `latent_avg` is measured at the end.
    """

    prior: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.0, 0.99)
    style_mixing: float = 0.9
    latent_samples: int = 10_000

    adversarial: Critic = field(default_factory=Critic)
    path: PathLength = field(default_factory=PathLength)
    critic_augment: CriticAugment = field(
        default_factory=lambda: CriticAugment(policy="color,translation,cutout")
    )
    average: Average = field(default_factory=lambda: Average(decay=0.998, min_decay=0.998))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adversarial.critic == "projected" and self.critic_augment.kind == "ada":
            raise ValueError(
                "critic_augment.kind ada follows the StyleGAN2 discriminator: with projected critics say diffaugment"
            )
