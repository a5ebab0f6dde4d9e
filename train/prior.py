"""Train StyleGAN2, the facial prior behind restoration and editing (Karras et al. 2020).

    accelerate launch train/prior.py --config train/configs/prior-paper.yaml --data FOLDER --output_dir runs/prior

Ends with `OUTPUT_DIR/pipeline`: `prior/` (generator, mapping network and the measured mean style) with averaged
weights, and `discriminator/`. The same command goes on where a run stopped.
"""

# ruff: noqa: I001
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import facekit  # noqa: F401  first: it mends torchvision, which diffusers imports
import torch
from torch import Tensor

from facekit.weights.imagenet import load_efficientnet_lite
from facekit.losses.imagenet import multi_hinge_discriminator_loss, multi_hinge_generator_loss
from facekit.losses.logistic import logistic_discriminator_loss, logistic_generator_loss, r1_penalty
from facekit.losses.path_length import path_length_penalty, path_lengths
from facekit.models.imagenet_features import FeatureCritic, ImageNetFeatures
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from train.config import read_config
from train.discriminator_augment import DiscriminatorAugment
from train.precision import launch
from train.stage import Stage, StageConfig, lazy_options, load_component


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
        augment: "none", "ada" or "diffaugment", see `train.discriminator_augment`.
        augment_policy: parts of DiffAugment.
        augment_probability, augment_target, augment_length, augment_every: p at the start, the mean sign of D that
            it is steered to (0: p stays), pictures from 0 to 1, and steps between its moves.
        ema_decay, ema_min_decay: decay per step of the averaged generator, and its least value in early steps.
        latent_samples: z over which the mean style `latent_avg` is measured at the end.
        critic: "stylegan2", or "projected": critics on ImageNet features, see `train.perceptual`; they take neither R1
            nor adaptive augmentation.
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


class PriorTrainer(Stage):
    """Generator and discriminator of one run, and what happens in an iteration."""

    config: PriorConfig

    def build(self) -> None:
        config = self.config
        if config.init_from is not None:
            prior = load_component(StyleGAN2Generator, config.init_from, "prior")
        else:
            prior = StyleGAN2Generator(**config.prior)
        self.size = prior.config.sample_size
        rate = config.learning_rate, config.betas
        self.prior = self.learn(
            prior,
            **lazy_options(*rate, config.path_every),
            average=(config.ema_decay, config.ema_min_decay),
        )
        self.natural = None
        if config.critic == "projected":
            self.natural = ImageNetFeatures(load_efficientnet_lite(0)).to(self.device)
            critic = FeatureCritic(channels=config.critic_channels)
            self.critic = self.learn(critic, config.critic_learning_rate, (0.0, 0.99))
        else:
            self.critic = self.learn(self._build_critic(), **lazy_options(*rate, config.r1_every))
        self.augment = config.make_augment()
        self.mean_length = MeanLength().to(self.device)
        self.accelerator.register_for_checkpointing(self.augment, self.mean_length)

    def _build_critic(self) -> StyleGAN2Discriminator:
        config = self.config
        if config.init_from is None:
            critic = StyleGAN2Discriminator(**({"sample_size": self.size} | config.discriminator))
        else:
            critic = load_component(StyleGAN2Discriminator, config.init_from, "discriminator")
        if critic.config.sample_size != self.size:
            raise ValueError(
                f"the prior makes pictures of {self.size}, the discriminator reads {critic.config.sample_size}"
            )
        return critic

    # Samples

    def styles(self, positions: Tensor, stream: int) -> Tensor:
        """Style vectors [B, n, D] of numbered samples, some mixed of two z at a random layer."""
        prior = self.prior.network
        count, dim = prior.num_styles, prior.config.style_dim
        z = self.normal(self.generators(positions, stream), 2, dim)
        first, second = prior.mapping(z.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        mixes = [
            int(rng.integers(1, count)) if rng.random() < self.config.style_mixing else count
            for rng in self.rngs(positions, 10 + stream)
        ]
        crossover = torch.tensor(mixes, device=self.device)[:, None, None]
        layer = torch.arange(count, device=self.device)[None, :, None]
        return torch.where(layer < crossover, first[:, None], second[:, None])

    def sample(self, positions: Tensor, stream: int) -> Tensor:
        """Pictures [B, 3, S, S]."""
        w_plus = self.styles(positions, stream)
        noise = self.generators(positions, 20 + stream)
        return self.prior.network(w_plus=w_plus, generator=noise).image

    def seen(self, images: Tensor, positions: Tensor, stream: int) -> Tensor:
        """What the discriminator is shown of them."""
        return self.augment(images, self.rngs(positions, 30 + stream))

    def scores(self, images: Tensor, positions: Tensor, stream: int) -> list[Tensor]:
        """What the discriminator thinks of them: one [B, 1], or a map of each projected critic."""
        shown = self.seen(images, positions, stream)
        if self.natural is not None:
            return self.critic.network(self.natural(shown))
        return [self.critic.network(shown).float()]

    # One iteration: D, R1, G, path length

    def iteration(self, batches: list[dict[str, Any]]) -> None:
        self._update_critic(batches)
        if self.natural is None and self.config.r1_weight > 0 and self.is_due(self.config.r1_every):
            self._regularize_critic(batches)
        self._update_prior(batches)
        if self.config.path_weight > 0 and self.is_due(self.config.path_every):
            self._regularize_prior(batches[0])

    def _update_critic(self, batches: list[dict[str, Any]]) -> None:
        signs = []
        for batch in batches:
            image, position = batch["image"], batch["position"]
            with torch.no_grad(), self.accelerator.autocast():
                fake = self.sample(position, 0).float()
            with self.accelerator.autocast():
                on_real, on_fake = self.scores(image, position, 0), self.scores(fake, position, 1)
                if self.natural is None:
                    loss = logistic_discriminator_loss(*on_real, *on_fake)
                else:
                    loss = multi_hinge_discriminator_loss(on_real, on_fake)
            self.accelerator.backward(loss / len(batches))
            signs.append(on_real[0].detach().sign().mean())
            real, fake = (torch.stack([x.mean() for x in scores]).mean() for scores in (on_real, on_fake))
            self.run.record(loss_discriminator=loss, score_real=real, score_fake=fake)
        self.update(self.critic)
        if self.config.augment == "ada":
            self._adapt(torch.stack(signs).mean())

    def _regularize_critic(self, batches: list[dict[str, Any]]) -> None:
        config = self.config
        for batch in batches:
            # Taken at the augmented pictures: resampling has no second derivative.
            image = self.seen(batch["image"], batch["position"], 0).detach().requires_grad_(True)
            penalty = r1_penalty(self.critic.network(image), image)
            self.accelerator.backward(config.r1_weight / 2 * config.r1_every * penalty / len(batches))
            self.run.record(r1=penalty)
        self.update(self.critic)

    def _update_prior(self, batches: list[dict[str, Any]]) -> None:
        with self.frozen(self.critic.network):
            for batch in batches:
                position = batch["position"]
                with self.accelerator.autocast():
                    fake = self.sample(position, 2).float()
                    scores = self.scores(fake, position, 2)
                    if self.natural is None:
                        loss = logistic_generator_loss(*scores)
                    else:
                        loss = multi_hinge_generator_loss(scores)
                self.accelerator.backward(loss / len(batches))
                self.run.record(loss_generator=loss)
        self.update(self.prior)

    def _regularize_prior(self, batch: dict[str, Any]) -> None:
        config = self.config
        position = batch["position"][: max(len(batch["position"]) // config.path_batch_shrink, 1)]
        w_plus = self.styles(position, 3)
        noise = self.generators(position, 23)
        image = self.prior.network(w_plus=w_plus, generator=noise).image
        direction = self.normal(self.generators(position, 4), *image.shape[1:])
        lengths = path_lengths(image, w_plus, direction)
        mean = self.mean_length.follow(
            self.accelerator.reduce(lengths.detach().mean(), "mean"), config.path_decay
        )
        penalty = path_length_penalty(lengths, mean)
        self.accelerator.backward(config.path_weight * config.path_every * penalty)
        self.run.record(path_length=mean, path_penalty=penalty)
        self._update_without_average()

    def _update_without_average(self) -> None:
        average, self.prior.average = self.prior.average, None
        self.update(self.prior)
        self.prior.average = average

    def _adapt(self, sign: Tensor) -> None:
        sign = self.accelerator.reduce(sign, "mean")
        self.augment.observe(sign.item(), self.run.samples_per_step, self.config.augment_every)
        self.run.record(augment_probability=self.augment.probability, mean_sign=sign)

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Pictures of the averaged generator: as drawn, and truncated at 0.7."""
        prior = self.averaged(self.prior)
        positions = torch.arange(min(8, max(4, len(batch["image"]))))
        z = self.normal(self.generators(positions, 5), prior.config.style_dim)
        prior.latent_avg.copy_(self.mean_style(prior, 1000).expand_as(prior.latent_avg))
        return [prior(z=z, noise="fixed", truncation_psi=psi).image for psi in (1.0, 0.7)]

    def mean_style(self, prior: StyleGAN2Generator, count: int) -> Tensor:
        return prior.mean_style(count, torch.Generator().manual_seed(self.config.seed))

    def write_networks(self, folder: Path) -> None:
        prior = self.averaged(self.prior)
        prior.latent_avg.copy_(self.mean_style(prior, self.config.latent_samples).expand_as(prior.latent_avg))
        prior.cpu().save_pretrained(folder / "prior")
        name = "discriminator" if self.natural is None else "feature_critic"
        self.averaged(self.critic).cpu().save_pretrained(folder / name)


class MeanLength(torch.nn.Module):
    """The running mean of path lengths, 0 at the start as in StyleGAN2."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()))

    def follow(self, length: Tensor, decay: float) -> Tensor:
        """Move towards a new mean length and return where it stands."""
        self.value.lerp_(length, decay)
        return self.value.clone()


def main(argv: list[str] | None = None) -> None:
    launch(PriorTrainer, read_config(PriorConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
