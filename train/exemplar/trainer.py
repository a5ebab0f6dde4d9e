"""EXE-GAN's training: networks of one run, and an iteration of Algorithm 2."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.damage.mixtures import MaskSampler
from facekit.losses.logistic import logistic_generator_loss
from facekit.losses.path_length import path_length_penalty, path_lengths
from facekit.losses.spatial_gradient import SpatialWeights, spatial_gradient
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import mixed_styles
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline
from train.engine.critic import AdversarialStage
from train.engine.path_length import MeanLength
from train.engine.stage import Learner, lazy_options, load_component
from train.exemplar.config import ExemplarConfig
from train.exemplar.data import check_source, exemplar_batches
from train.exemplar.networks import build_critic, build_generator, choose_layers
from train.exemplar.validation import ExemplarValidation, attribute_distance


class ExemplarTrainer(AdversarialStage):
    """Networks of one run, and what happens in an iteration."""

    config: ExemplarConfig

    def build(self) -> None:
        config = self.config
        check_source(config)
        self.style_encoder = self.use(load_component(StyleEncoder, config.style_encoder, "style_encoder"))
        generator = build_generator(config, self.style_encoder, self.run.say)
        self.size, self.count = generator.config.sample_size, generator.num_styles
        self.layers = choose_layers(config, self.style_encoder, generator)
        if self.layers != list(range(self.layers[0], self.count)):
            self.run.say(f"this model is to be called with exemplar_layers={self.layers}")
        self.masks = MaskSampler(size=self.size, **config.masks)
        self.weights = SpatialWeights(**config.spatial_weights)
        if config.weighs_attribute or config.weighs_perceptual:
            # Pictures that are too small for the kernel are refused here.
            self.weights.confidence(torch.zeros(1, 1, self.size, self.size))
        average = (config.ema_decay, config.ema_min_decay)
        path_every = config.path_every if config.path_weight > 0 else 0
        self.generator = self.learn(
            generator, **self._rates(config.learning_rate, config.betas, path_every), average=average
        )
        self.critic: Learner | None = None
        if config.needs_critic:
            rate = config.discriminator_learning_rate or config.learning_rate
            betas = config.discriminator_betas or config.betas
            r1_every = config.r1_every if config.r1_weight > 0 else 0
            self.critic = self.learn(
                build_critic(config, generator, self.run.say), **self._rates(rate, betas, r1_every)
            )
        self.build_losses()
        self.augment = config.make_augment()
        self.mean_length = MeanLength().to(self.device)
        self.accelerator.register_for_checkpointing(self.augment, self.mean_length)

    def _rates(self, rate: float, betas: tuple[float, float], every: int) -> dict[str, Any]:
        return lazy_options(rate, betas, every if self.config.lazy_rates else 0)

    # Data

    def batches(self, start: int | None = None) -> Iterator[dict[str, Any]]:
        """As `Stage.batches`, with `mask` [B, 1, S, S], and `exemplar` and `sketch` where there are any."""
        alone = start is not None
        return exemplar_batches(
            self.config,
            self.masks,
            self.size,
            start=start if alone else self.run.samples_seen,
            rank=0 if alone else self.accelerator.process_index,
            world=1 if alone else self.accelerator.num_processes,
        )

    @torch.no_grad()
    def prepared(self, batch: dict[str, Any], same: bool) -> dict[str, Any]:
        """A batch with its exemplars, their codes and the weight masks; `same`: they are the pictures themselves."""
        config, batch = self.config, dict(batch)
        if config.shared_mask:
            batch["mask"] = batch["mask"][:1].expand_as(batch["mask"])
        if same:
            batch["exemplar"] = self._relit(batch)
        batch.setdefault("exemplar", batch["image"].flip(0))
        batch["layers"] = self._chosen_layers()
        with self.accelerator.autocast():
            batch["codes"] = self.codes(batch["exemplar"])
        if config.weighs_attribute or (config.weighs_perceptual and same):
            batch["confidence"] = self.weights.confidence(batch["mask"])
            batch["reverse"] = self.weights.reverse(batch["mask"], batch["confidence"])
        return batch

    def _relit(self, batch: dict[str, Any]) -> Tensor:
        """The pictures themselves, in other light: colours then follow what is around the hole."""
        image, amount = batch["image"], self.config.exemplar_jitter
        if amount == 0:
            return image
        draws = [rng.uniform(-amount, amount, 3) for rng in self.rngs(batch["position"], 40)]
        brightness, contrast, saturation = self.on_device(draws).view(-1, 3, 1, 1, 1).unbind(1)
        grey = image.mean(1, keepdim=True)
        image = grey + (image - grey) * (1 + saturation)
        mean = image.mean((1, 2, 3), keepdim=True)
        return (mean + (image - mean) * (1 + contrast) + brightness).clamp(-1, 1)

    def codes(self, image: Tensor) -> Tensor:
        """Style codes [B, n - k, D] of pictures, from k = the first of the exemplar's layers on."""
        return self.style_encoder(image, styles=(self.layers[0], self.count)).float()

    def _chosen_layers(self) -> list[int]:
        """Which codes come from the exemplar in this step: phi's, or only the later ones of them, or none."""
        choice = self.step_rng(12)
        if choice.random() >= self.config.fewer_layers:
            return self.layers
        return self.layers[int(choice.integers(len(self.layers) + 1)) :]

    def used(self, codes: Tensor, layers: list[int] | None = None) -> Tensor:
        """Those of `codes` that the exemplar gives (`layers`; default: phi's), [B, m, D]."""
        layers = self.layers if layers is None else layers
        # A list as an index would be copied to the device, which waits for it.
        return torch.stack([codes[:, layer - self.layers[0]] for layer in layers], dim=1)

    # Pictures

    def mixed(self, batch: dict[str, Any], stream: int) -> tuple[Tensor, list[torch.Generator]]:
        """Mixed codes [B, n, D] (Eq. 5.1) with fresh random ones, and the generators for the noise."""
        network = self.generator.network
        generators = self.generators(batch["position"], stream)
        z, crossover = list(self.normal(generators, 2, network.config.style_dim).unbind(1)), None
        # A choice for all samples of the update, in all processes.
        choice = self.step_rng(10 + stream)
        if choice.random() < self.config.style_mixing:
            crossover = int(choice.integers(1, self.count))
        else:
            z = z[:1]
        stochastic = mixed_styles(network.mapping, z, self.count, crossover)
        return network.mixed_codes(stochastic, batch["codes"], batch["layers"]), generators

    def predict(self, batch: dict[str, Any], w_plus: Tensor, generators: list[torch.Generator]) -> Tensor:
        """I_pred [B, 3, S, S]."""
        return self.generator.network(
            batch["image"], batch["mask"], sketch=batch.get("sketch"), w_plus=w_plus, generator=generators
        ).image.float()

    def fill(self, batch: dict[str, Any], stream: int) -> Tensor:
        """I_out [B, 3, S, S] (Eq. 5.3)."""
        mask = batch["mask"]
        return self.predict(batch, *self.mixed(batch, stream)) * mask + batch["image"] * (1 - mask)

    # One iteration of Algorithm 2

    def iteration(self, batches: list[dict[str, Any]]) -> None:
        config = self.config
        same = bool(self.step_rng(0).random() < config.same_image_probability)
        batches = [self.prepared(batch, same) for batch in batches]
        if config.update_order == "thesis":
            fakes = self._update_generator(batches, 1, same)
            self.update_critic(batches, fakes)
        else:
            if self.critic is not None:
                with torch.no_grad(), self.accelerator.autocast():
                    fakes = [self.fill(batch, 1) for batch in batches]
                self.update_critic(batches, fakes)
            self._update_generator(batches, 2, same)
        if self._path_is_due:
            self._regularize_generator(batches[0])

    @property
    def _path_is_due(self) -> bool:
        return self.config.path_weight > 0 and self.is_due(self.config.path_every)

    def _update_generator(self, batches: list[dict[str, Any]], stream: int, same: bool) -> list[Tensor]:
        """One step -> the pictures it was taken on."""
        config, fakes = self.config, []
        with self.frozen(*self.judges):
            for batch in batches:
                with self.accelerator.autocast():
                    fake = self.fill(batch, stream)
                    loss, terms = self._generator_loss(batch, fake, same)
                if loss.requires_grad:
                    self.accelerator.backward(loss / len(batches))
                fakes.append(fake.detach())
                named = {f"generator_{name}": value for name, value in terms.items()}
                self.run.curves.record(loss_generator=loss, **named)
        # The average follows the last update of an iteration.
        learner = replace(self.generator, average=None) if self._path_is_due else self.generator
        self.update(learner, clip=config.gradient_clip)
        self.update_feature_critic(self.feature_critic, self.perceptual)
        return fakes

    def _generator_loss(
        self, batch: dict[str, Any], image: Tensor, same: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 5.8."""
        config = self.config
        total, terms = self.identity(image, batch["exemplar"])
        if same and config.has_perceptual:
            view = spatial_gradient(image, batch["confidence"]) if config.weighs_perceptual else image
            loss, named = self.compared(image, view, batch["image"])
            total, terms = total + loss, terms | named
        else:
            loss, named = self.perceptual.judge(image, batch["image"])
            total, terms = total + loss, terms | named
        if config.attribute_weight > 0 and batch["layers"]:
            view = spatial_gradient(image, batch["reverse"]) if config.weighs_attribute else image
            layers = batch["layers"]
            made, wanted = self.used(self.codes(view), layers), self.used(batch["codes"], layers)
            terms["attribute"] = attribute_distance(made, wanted, config.attribute_distance).mean()
            total = total + config.attribute_weight * terms["attribute"]
        if config.adversarial_weight > 0 and config.critic == "stylegan2":
            scores = self.critic.network(self.seen(image, batch["position"], 2))
            terms["adversarial"] = logistic_generator_loss(scores.float())
            total = total + config.adversarial_weight * terms["adversarial"]
        if same and config.l1_weight > 0:
            area = batch["mask"].sum((1, 2, 3)).clamp_min(1) * image.shape[1]
            # Outside the hole both are the same.
            terms["l1"] = ((image - batch["image"]).abs().sum((1, 2, 3)) / area).mean()
            total = total + config.l1_weight * terms["l1"]
        return total, terms

    def _regularize_generator(self, batch: dict[str, Any]) -> None:
        """Path lengths of I_pred over all mixed codes, the exemplar's included."""
        config = self.config
        count = max(len(batch["image"]) // config.path_batch_shrink, 1)
        part = {name: value[:count] if isinstance(value, Tensor) else value for name, value in batch.items()}
        w_plus, generators = self.mixed(part, 3)
        if not w_plus.requires_grad:  # all codes are the exemplar's
            w_plus.requires_grad_(True)
        image = self.predict(part, w_plus, generators)
        direction = self.normal(self.generators(part["position"], 4), *image.shape[1:])
        lengths = path_lengths(image, w_plus, direction)
        mean = self.accelerator.reduce(lengths.detach().mean(), "mean")
        mean = self.mean_length.follow(mean, config.path_decay)
        penalty = path_length_penalty(lengths, mean)
        self.accelerator.backward(config.path_weight * config.path_every * penalty)
        self.run.curves.record(path_length=mean, path_penalty=penalty)
        self.update(self.generator, clip=config.gradient_clip)

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Masked (with the sketch), exemplar, filled by the averaged generator, truth."""
        few = self.prepared({name: value[:8] for name, value in batch.items()}, False)
        masked = few["image"] * (1 - few["mask"]) - few.get("sketch", 0) * few["mask"]
        filled = self.filled(self.averaged(self.generator), few, few["codes"])
        return [masked, few["exemplar"], filled, few["image"]]

    def filled(self, network: MultiStyleGenerator, batch: dict[str, Any], codes: Tensor) -> Tensor:
        """What a finished network makes of a batch under `codes`, [B, 3, S, S] in [-1, 1]."""
        image = network(
            batch["image"],
            batch["mask"],
            codes,
            sketch=batch.get("sketch"),
            exemplar_layers=self.layers,
            generator=self.generators(batch["position"], 5),
        ).image.float()
        return (image * batch["mask"] + batch["image"] * (1 - batch["mask"])).clamp(-1, 1)

    def train(self) -> None:
        self.validation = ExemplarValidation(self) if self.config.validation_data is not None else None
        super().train()

    def after_step(self) -> None:
        config, run = self.config, self.run
        if self.validation is None or not run.is_time(config.validate_every):
            return
        metrics, rows = self.validation.score()
        run.write_curves({f"validation_{name}": value for name, value in metrics.items()})
        run.write_images("validation", rows)
        run.keep_best(metrics, config.best_metric, self.write_networks)

    def write_networks(self, folder: Path) -> None:
        network = self.averaged(self.generator)
        seed = torch.Generator().manual_seed(self.config.seed)
        network.latent_avg.copy_(network.mean_style(self.config.latent_samples, seed))
        identity = self.identity.identity
        ExemplarInpaintPipeline(
            self.style_encoder, network, None if identity is None else identity.encoder
        ).save_pretrained(folder)
        if self.critic is not None:
            self.averaged(self.critic).cpu().save_pretrained(folder / "discriminator")
