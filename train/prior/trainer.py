"""StyleGAN2's training: generator and discriminator of one run, and what happens in an iteration."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.losses.imagenet import multi_hinge_discriminator_loss, multi_hinge_generator_loss
from facekit.losses.logistic import logistic_discriminator_loss, logistic_generator_loss, r1_penalty
from facekit.losses.path_length import path_length_penalty, path_lengths
from facekit.models.imagenet_features import FeatureCritic, ImageNetFeatures
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.weights.imagenet import load_efficientnet_lite
from train.engine.path_length import MeanLength
from train.engine.stage import Stage, lazy_options, load_component
from train.prior.config import PriorConfig


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
            self.run.curves.record(loss_discriminator=loss, score_real=real, score_fake=fake)
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
            self.run.curves.record(r1=penalty)
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
                self.run.curves.record(loss_generator=loss)
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
        self.run.curves.record(path_length=mean, path_penalty=penalty)
        self._update_without_average()

    def _update_without_average(self) -> None:
        average, self.prior.average = self.prior.average, None
        self.update(self.prior)
        self.prior.average = average

    def _adapt(self, sign: Tensor) -> None:
        sign = self.accelerator.reduce(sign, "mean")
        self.augment.observe(sign.item(), self.run.samples_per_step, self.config.augment_every)
        self.run.curves.record(augment_probability=self.augment.probability, mean_sign=sign)

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
