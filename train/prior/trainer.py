"""StyleGAN2's training (Karras et al. 2020)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.models.imagenet_features import FeatureCritic, ImageNetFeatures
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.weights.imagenet import load_efficientnet_lite
from train.engine.critic import Critic
from train.engine.path_length import MeanLength, regularize_path
from train.engine.stage import Stage, load_component, scale_rates
from train.engine.streams import Prior as Stream
from train.prior.config import PriorConfig


class PriorTrainer(Stage):
    """Trains the generator, its mapping network and a discriminator."""

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
            **scale_rates(*rate, config.path.every),
            average=config.average,
        )
        natural = None
        if config.adversarial.critic == "projected":
            natural = ImageNetFeatures(load_efficientnet_lite(0)).to(self.device)
            critic = FeatureCritic(channels=config.adversarial.channels)
            learner = self.learn(critic, config.adversarial.projected_learning_rate, (0.0, 0.99))
        else:
            learner = self.learn(self._build_critic(), **scale_rates(*rate, config.adversarial.r1_every))
        augment = config.critic_augment.make()
        self.critic = Critic(self, learner, augment, natural)
        self.mean_length = MeanLength().to(self.device)
        self.accelerator.register_for_checkpointing(augment, self.mean_length)

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

    def draw_styles(self, positions: Tensor, stream: int) -> Tensor:
        """Draw style vectors [B, n, D] of samples by their numbers [B]; some are mixed from two z at a random layer."""
        prior = self.prior.network
        count, dim = prior.num_styles, prior.config.style_dim
        z = self.draw_normal(self.seed_generators(positions, stream), 2, dim)
        first, second = prior.mapping(z.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        mixes = [
            int(rng.integers(1, count)) if rng.random() < self.config.style_mixing else count
            for rng in self.seed_rngs(positions, Stream.MIXING + stream)
        ]
        crossover = torch.tensor(mixes, device=self.device)[:, None, None]
        layer = torch.arange(count, device=self.device)[None, :, None]
        return torch.where(layer < crossover, first[:, None], second[:, None])

    def sample(self, positions: Tensor, stream: int) -> Tensor:
        """Paint pictures [B, 3, S, S] of drawn styles, in [-1, 1] but not clipped."""
        w_plus = self.draw_styles(positions, stream)
        noise = self.seed_generators(positions, Stream.NOISE + stream)
        return self.prior.network(w_plus=w_plus, generator=noise).image

    # One step: D, R1, G, path length

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        with torch.no_grad(), self.accelerator.autocast():
            fakes = [[self.sample(batch["position"], Stream.FAKE).float()] for batch in batches]
        self.critic.update(batches, fakes)
        self._update_prior(batches)
        if self.config.path.weight > 0 and self.is_due(self.config.path.every):
            self._regularize_prior(batches[0])

    def _update_prior(self, batches: list[dict[str, Any]]) -> None:
        with self.freeze(self.critic.network):
            for batch in batches:
                position = batch["position"]
                with self.accelerator.autocast():
                    fake = self.sample(position, Stream.JUDGED).float()
                    loss = self.critic.generator_loss(fake, position)
                self.accelerator.backward(loss / len(batches))
                self.run.curves.record(loss_generator=loss)
        self.update(self.prior)

    def _regularize_prior(self, batch: dict[str, Any]) -> None:
        position = batch["position"][: max(len(batch["position"]) // self.config.path.batch_shrink, 1)]
        w_plus = self.draw_styles(position, Stream.PATH)
        noise = self.seed_generators(position, Stream.NOISE + Stream.PATH)
        image = self.prior.network(w_plus=w_plus, generator=noise).image
        direction = self.draw_normal(self.seed_generators(position, Stream.DIRECTION), *image.shape[1:])
        regularize_path(self, self.mean_length, image, w_plus, direction)
        self.update(replace(self.prior, average=None))

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Pictures of the averaged generator: as drawn, and truncated at 0.7."""
        prior = self.copy_average(self.prior)
        positions = torch.arange(min(8, max(4, len(batch["image"]))))
        z = self.draw_normal(self.seed_generators(positions, Stream.SAMPLE_GRID), prior.config.style_dim)
        prior.latent_avg.copy_(self.measure_mean_style(prior, 1000).expand_as(prior.latent_avg))
        return [prior(z=z, noise="fixed", truncation_psi=psi).image for psi in (1.0, 0.7)]

    def measure_mean_style(self, prior: StyleGAN2Generator, count: int) -> Tensor:
        """The mean style of `count` random z, the same for a seed."""
        return prior.mean_style(count, torch.Generator().manual_seed(self.config.seed))

    def write_networks(self, folder: Path) -> None:
        prior = self.copy_average(self.prior)
        prior.latent_avg.copy_(
            self.measure_mean_style(prior, self.config.latent_samples).expand_as(prior.latent_avg)
        )
        prior.cpu().save_pretrained(folder / "prior")
        name = "discriminator" if self.critic.natural is None else "feature_critic"
        self.copy_average(self.critic.learner).cpu().save_pretrained(folder / name)
