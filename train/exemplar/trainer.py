"""EXE-GAN's training (thesis chapter 5, Algorithm 2)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.damage.mixtures import MaskSampler
from facekit.losses.spatial_gradient import SpatialWeights, spatial_gradient
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import mixed_styles
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline
from train.data.exemplars import EXEMPLAR_SEED, pair_exemplars
from train.data.samples import Preparation
from train.engine.critic import AdversarialStage, Critic
from train.engine.path_length import MeanLength, regularize_path
from train.engine.scores import code_distance
from train.engine.stage import load_component, scale_rates
from train.engine.streams import Exemplar as Stream
from train.engine.streams import ExemplarStep as Choice
from train.exemplar.config import ExemplarConfig
from train.exemplar.data import check_source, prepare_holes
from train.exemplar.networks import build_generator, choose_layers
from train.exemplar.validation import ExemplarValidation
from train.starts.critic import build_critic


class ExemplarTrainer(AdversarialStage):
    """Trains the multi-style generator and a discriminator on a frozen style encoder."""

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
        self.weights = SpatialWeights(**config.spatial.weights)
        if config.weighs_attribute or config.weighs_perceptual:
            # Pictures that are too small for the kernel are refused here.
            self.weights.confidence(torch.zeros(1, 1, self.size, self.size))
        every = config.path.every if config.lazy_rates and config.path.weight > 0 else 0
        rates = scale_rates(config.learning_rate, config.betas, every)
        self.generator = self.learn(generator, **rates, average=config.average)
        augment = config.critic_augment.make()
        self.critic: Critic | None = None
        if config.needs_critic:
            same = {name: generator.config[name] for name in ("sample_size", "channel_base", "max_channels")}
            network = build_critic(same | config.discriminator, config.init_from, self.run.say)
            self.critic = self.learn_critic(network, augment)
        self.build_losses()
        self.mean_length = MeanLength().to(self.device)
        self.accelerator.register_for_checkpointing(augment, self.mean_length)

    # Data

    def build_preparation(self) -> Preparation:
        return prepare_holes(self.config, self.masks, self.size)

    def batches(self, start: int | None = None) -> Iterator[dict[str, Any]]:
        """As `Stage` does, with `mask` [B, 1, S, S], and `exemplar` and `sketch` where there are any."""
        pictures = super().batches(start)
        if self.config.exemplars == "reversed":
            return pictures
        others = Preparation(self.size, self.config.seed + EXEMPLAR_SEED, flip=self.config.flip)
        return pair_exemplars(pictures, self.read_batches(self.config.make_source(), others, start))

    @torch.no_grad()
    def prepare(self, batch: dict[str, Any], same: bool) -> dict[str, Any]:
        """Lines 5 to 11 of Algorithm 2: a batch with `exemplar`, their `codes`, and the weight masks.

        Args:
            same: whether the exemplars are the pictures themselves.

        Returns:
            The batch, with `layers` (the codes' indices in this step) and, where losses need them, `confidence` and
            `reverse`, [B, 1, S, S].
        """
        config, batch = self.config, dict(batch)
        if config.shared_mask:
            batch["mask"] = batch["mask"][:1].expand_as(batch["mask"])
        if same:
            batch["exemplar"] = self._relight(batch)
        batch.setdefault("exemplar", batch["image"].flip(0))
        batch["layers"] = self._choose_layers()
        with self.accelerator.autocast():
            batch["codes"] = self.encode(batch["exemplar"])
        if config.weighs_attribute or (config.weighs_perceptual and same):
            batch["confidence"] = self.weights.confidence(batch["mask"])
            batch["reverse"] = self.weights.reverse(batch["mask"], batch["confidence"])
        return batch

    def _relight(self, batch: dict[str, Any]) -> Tensor:
        """The pictures themselves in other light, so that the network learns to take colours from around the hole."""
        image, amount = batch["image"], self.config.exemplar_jitter
        if amount == 0:
            return image
        draws = [rng.uniform(-amount, amount, 3) for rng in self.seed_rngs(batch["position"], Stream.LIGHT)]
        brightness, contrast, saturation = self.move_values(draws).view(-1, 3, 1, 1, 1).unbind(1)
        grey = image.mean(1, keepdim=True)
        image = grey + (image - grey) * (1 + saturation)
        mean = image.mean((1, 2, 3), keepdim=True)
        return (mean + (image - mean) * (1 + contrast) + brightness).clamp(-1, 1)

    def encode(self, image: Tensor) -> Tensor:
        """Style codes [B, n - k, D] of pictures, from k = the first of the exemplar's layers on."""
        return self.style_encoder(image, styles=(self.layers[0], self.count)).float()

    def _choose_layers(self) -> list[int]:
        """Draw which codes come from the exemplar in this step: phi's, or only the later ones of them, or none."""
        choice = self.seed_step_rng(Choice.LAYERS)
        if choice.random() >= self.config.fewer_layers:
            return self.layers
        return self.layers[int(choice.integers(len(self.layers) + 1)) :]

    def pick_codes(self, codes: Tensor, layers: list[int] | None = None) -> Tensor:
        """Pick those of `codes` [B, n - k, D] that the exemplar gives, of the m indices `layers` (default: phi's)."""
        layers = self.layers if layers is None else layers
        # A list as an index would be copied to the device, which waits for it.
        return torch.stack([codes[:, layer - self.layers[0]] for layer in layers], dim=1)

    # Pictures

    def mix_codes(self, batch: dict[str, Any], stream: int) -> tuple[Tensor, list[torch.Generator]]:
        """Mix the exemplar's codes with fresh random ones (Eq. 5.1) -> [B, n, D], and the generators for the noise."""
        network = self.generator.network
        generators = self.seed_generators(batch["position"], stream)
        z, crossover = list(self.draw_normal(generators, 2, network.config.style_dim).unbind(1)), None
        # A choice for all samples of the update, in all processes.
        choice = self.seed_step_rng(Choice.MIXING + stream)
        if choice.random() < self.config.style_mixing:
            crossover = int(choice.integers(1, self.count))
        else:
            z = z[:1]
        stochastic = mixed_styles(network.mapping, z, self.count, crossover)
        return network.mixed_codes(stochastic, batch["codes"], batch["layers"]), generators

    def predict(self, batch: dict[str, Any], w_plus: Tensor, generators: list[torch.Generator]) -> Tensor:
        """I_pred [B, 3, S, S] for mixed codes `w_plus` [B, n, D]."""
        return self.generator.network(
            batch["image"], batch["mask"], sketch=batch.get("sketch"), w_plus=w_plus, generator=generators
        ).image.float()

    def fill(self, batch: dict[str, Any], stream: int) -> Tensor:
        """I_out [B, 3, S, S] (Eq. 5.3) under fresh random codes."""
        mask = batch["mask"]
        return self.predict(batch, *self.mix_codes(batch, stream)) * mask + batch["image"] * (1 - mask)

    # One step of Algorithm 2, which alternates as Eq. 5.9 does

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        config = self.config
        same = bool(self.seed_step_rng(Choice.SAME).random() < config.same_image_probability)
        batches = [self.prepare(batch, same) for batch in batches]
        if config.update_order == "thesis":
            fakes = self._update_generator(batches, Stream.FAKE, same)
            if self.critic is not None:
                self.critic.update(batches, [[fake] for fake in fakes])
        else:
            if self.critic is not None:
                with torch.no_grad(), self.accelerator.autocast():
                    fakes = [self.fill(batch, Stream.FAKE) for batch in batches]
                self.critic.update(batches, [[fake] for fake in fakes])
            self._update_generator(batches, Stream.JUDGED, same)
        if self._path_is_due:
            self._regularize_generator(batches[0])

    @property
    def _path_is_due(self) -> bool:
        return self.config.path.weight > 0 and self.is_due(self.config.path.every)

    def _update_generator(self, batches: list[dict[str, Any]], stream: int, same: bool) -> list[Tensor]:
        """One update of the generator -> the pictures that it was made on."""
        # The average follows the last update of a step.
        learner = replace(self.generator, average=None) if self._path_is_due else self.generator
        return self.update_generator(batches, stream, same, learner)

    def weigh_perceptual(self, batch: dict[str, Any], image: Tensor) -> Tensor:
        return spatial_gradient(image, batch["confidence"]) if self.config.weighs_perceptual else image

    def attribute_distance(self, batch: dict[str, Any], image: Tensor) -> Tensor | None:
        """Attribute loss, [] (Eq. 5.7); None in a step whose exemplar gives no code."""
        config, layers = self.config, batch["layers"]
        if not layers:
            return None
        view = spatial_gradient(image, batch["reverse"]) if config.weighs_attribute else image
        made, wanted = self.pick_codes(self.encode(view), layers), self.pick_codes(batch["codes"], layers)
        return code_distance(made, wanted, config.attribute.distance).mean()

    def _regularize_generator(self, batch: dict[str, Any]) -> None:
        """An update by the path lengths of I_pred over all mixed codes, the exemplar's included."""
        config = self.config
        count = max(len(batch["image"]) // config.path.batch_shrink, 1)
        part = {name: value[:count] if isinstance(value, Tensor) else value for name, value in batch.items()}
        w_plus, generators = self.mix_codes(part, Stream.PATH)
        if not w_plus.requires_grad:  # all codes are the exemplar's
            w_plus.requires_grad_(True)
        image = self.predict(part, w_plus, generators)
        generators = self.seed_generators(part["position"], Stream.DIRECTION)
        direction = self.draw_normal(generators, *image.shape[1:])
        regularize_path(self, self.mean_length, image, w_plus, direction)
        self.update(self.generator, clip=config.gradient_clip)

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Masked (with the sketch), exemplar, filled by the averaged generator, truth."""
        few = self.prepare({name: value[:8] for name, value in batch.items()}, False)
        masked = few["image"] * (1 - few["mask"]) - few.get("sketch", 0) * few["mask"]
        filled = self.fill_with(self.copy_average(self.generator), few, few["codes"])
        return [masked, few["exemplar"], filled, few["image"]]

    def fill_with(self, network: MultiStyleGenerator, batch: dict[str, Any], codes: Tensor) -> Tensor:
        """Fill a batch by a finished network under the exemplar's `codes` [B, n - k, D] -> [B, 3, S, S] in [-1, 1]."""
        image = network(
            batch["image"],
            batch["mask"],
            codes,
            sketch=batch.get("sketch"),
            exemplar_layers=self.layers,
            generator=self.seed_generators(batch["position"], Stream.SAMPLE_GRID),
        ).image.float()
        return (image * batch["mask"] + batch["image"] * (1 - batch["mask"])).clamp(-1, 1)

    def build_validation(self) -> ExemplarValidation | None:
        return None if self.config.validation.data is None else ExemplarValidation(self)

    def write_networks(self, folder: Path) -> None:
        network = self.copy_average(self.generator)
        seed = torch.Generator().manual_seed(self.config.seed)
        network.latent_avg.copy_(network.mean_style(self.config.latent_samples, seed))
        identity = self.identity.identity
        ExemplarInpaintPipeline(
            self.style_encoder, network, None if identity is None else identity.encoder
        ).save_pretrained(folder)
        if self.critic is not None:
            self.copy_average(self.critic.learner).cpu().save_pretrained(folder / "discriminator")
