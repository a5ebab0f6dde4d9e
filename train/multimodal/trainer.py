"""FACEMUG's training (thesis chapter 6, Algorithm 5)."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.conditions.guidance import encoder_input
from facekit.conditions.semantics import load_parser
from facekit.losses.strokes import pencil_strength
from facekit.models.bisenet import BiSeNet
from facekit.models.face_parser import FaceParser
from facekit.models.latent_warper import LatentWarper
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator, mixed_styles
from facekit.pipelines.edit.pipeline import FaceEditPipeline
from train.data.exemplars import EXEMPLAR_SEED, pair_exemplars
from train.data.label_maps import Labeller
from train.data.modalities import show_encoder
from train.data.samples import Preparation
from train.engine.critic import AdversarialStage, Critic
from train.engine.scores import code_distance
from train.engine.stage import load_component
from train.engine.streams import Multimodal as Stream
from train.engine.streams import MultimodalStep as Choice
from train.multimodal.config import MultimodalConfig
from train.multimodal.data import load_known_codes, prepare_edits
from train.multimodal.networks import build_networks, check_guides
from train.multimodal.regions import edit_regions
from train.multimodal.validation import MultimodalValidation
from train.starts.critic import build_critic


class MultimodalTrainer(AdversarialStage):
    """Trains aggregation, refiner and a discriminator on a frozen style encoder and prior."""

    config: MultimodalConfig

    def build(self) -> None:
        config = self.config
        self.encoder = self.use(load_component(StyleEncoder, config.style_encoder, "style_encoder"))
        self.prior = self.use(load_component(StyleGAN2Generator, config.prior, "prior"))
        check_guides(self.encoder, self.prior)
        aggregation, refiner = build_networks(config, self.prior, self.run.say)
        self.size, self.count = refiner.config.sample_size, refiner.num_styles
        self.guide_size = config.guide_size or self.size
        if self.guide_size % self.size:
            raise ValueError(f"guide_size {self.guide_size} is no multiple of the refiner's size {self.size}")
        self.faces = (
            load_known_codes(config.prior).to(self.device) if config.random_codes == "faces" else None
        )
        self.labeller = Labeller(config.guidance.labelled_by, self.device)
        self.aggregation = self.learn(aggregation, config.learning_rate, config.betas, config.average)
        self.refiner = self.learn(refiner, config.learning_rate, config.betas, config.average)
        augment = config.critic_augment.make()
        self.critic: Critic | None = None
        if config.needs_critic:
            same = {name: refiner.config[name] for name in ("sample_size", "channel_base", "max_channels")}
            network = build_critic(same | config.discriminator, config.init_from, self.run.say)
            self.critic = self.learn_critic(network, augment)
        self.build_losses()
        self.accelerator.register_for_checkpointing(augment)

    # Data

    def build_preparation(self) -> Preparation:
        return prepare_edits(self.config, self.guide_size)

    def batches(self, start: int | None = None) -> Iterator[dict[str, Any]]:
        """As `Stage` does, with what `prepare_edits` adds, and `exemplar` [B, 3, S, S] where it may be another picture.

        S is the guide size.
        """
        config, pictures = self.config, super().batches(start)
        if config.same_image_probability == 1:
            return pictures
        others = Preparation(self.guide_size, config.seed + EXEMPLAR_SEED, flip=config.flip)
        return pair_exemplars(pictures, self.read_batches(config.make_source(), others, start))

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As `Stage` does, with labels and colours where a parser makes them."""
        return self.labeller(self.move(batch))

    def make_holes(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add `keep` [B, 4, S, S], 1 where picture and drawings are seen, after some holes became those of regions."""
        guidance = self.config.guidance
        if guidance.region_probability > 0:
            rngs = self.seed_rngs(batch["position"], Stream.REGION)
            batch = edit_regions(batch, rngs, guidance.region_probability, guidance.recolor_probability)
        mask = batch["mask"]
        return batch | {"keep": torch.cat([1 - mask, batch["shown"] * mask], 1)}

    @torch.no_grad()
    def prepare(self, batch: dict[str, Any], same: bool) -> dict[str, Any]:
        """Lines 5 to 29 of Algorithm 5: what the learning networks are given.

        Args:
            same: whether the exemplars are the pictures themselves.

        Returns:
            `image` [B, 3, S, S], `mask` [B, 1, S, S], `sketch` [B, 1, S, S], `semantics` [B, 19, S, S] and `color`
            [B, 3, S, S] at the refiner's size, `exemplar` at the guide size, `codes` [B, t, D], `bank`, the prior's
            maps, and `position` [B].
        """
        batch = self.make_holes(batch)
        exemplar = batch["image"] if same else batch["exemplar"]
        keep = batch["keep"]
        if not same:
            keep = torch.cat([keep[:, :1], torch.zeros_like(keep[:, 1:])], 1)
        ready = self.reduce(batch | {"keep": keep})
        with self.accelerator.autocast():
            own = self.encode(exemplar)
            projected = self.encoder(ready.pop("view")).float()
            if same:
                swap = [
                    rng.random() < self.config.projected_probability
                    for rng in self.seed_rngs(batch["position"], Stream.PROJECTED)
                ]
                codes = torch.where(self.move_values(swap)[:, None, None], projected, own)
            elif self.config.ablation == "d":
                codes = own
            else:
                codes = self.diversify(own, batch["position"])
            bank = self.read_bank(
                projected if self.config.bank_codes == "projected" else codes, batch["position"]
            )
        return ready | {"exemplar": exemplar, "codes": codes, "bank": bank}

    def reduce(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Average a batch down to the refiner's size; beside it `view`, what the encoder reads at the guide size."""
        step = self.guide_size // self.size
        view = show_encoder(batch, batch["keep"])
        small = F.avg_pool2d(view, step) if step > 1 else view
        image = F.avg_pool2d(batch["image"], step) if step > 1 else batch["image"]
        # A pixel that is edited in part is edited.
        mask = F.max_pool2d(batch["mask"], step) if step > 1 else batch["mask"]
        modalities = dict(
            zip(("sketch", "semantics", "color"), small[:, 3:].split([1, 19, 3], 1), strict=True)
        )
        return {"image": image, "mask": mask, "view": view, "position": batch["position"], **modalities}

    # Codes and pictures

    def encode(self, image: Tensor) -> Tensor:
        """Style codes [B, t, D] of whole pictures [B, 3, S, S], without any other modality."""
        return self.encoder(encoder_input(image)).float()

    def diversify(self, own: Tensor, positions: Tensor) -> Tensor:
        """Eq. 6.20: alpha times the exemplars' codes [B, t, D], 1 - alpha times mixed random ones; alpha is drawn."""
        count = own.shape[1]
        crossover = int(self.seed_step_rng(Choice.CROSSOVER).integers(1, count))
        if self.faces is None:
            z = self.draw_normal(
                self.seed_generators(positions, Stream.RANDOM_CODES), 2, self.prior.config.style_dim
            )
            mixed = mixed_styles(self.prior.mapping, list(z.unbind(1)), count, crossover).float()
        else:
            pairs = [
                rng.integers(len(self.faces), size=2).tolist()
                for rng in self.seed_rngs(positions, Stream.RANDOM_CODES)
            ]
            first, second = self.faces[self.move_values(pairs).T]
            mixed = torch.cat([first[:, :crossover], second[:, crossover:count]], 1)
        shares = [float(rng.random()) for rng in self.seed_rngs(positions, Stream.SHARE)]
        return torch.lerp(mixed, own, self.move_values(shares)[:, None, None])

    def read_bank(self, codes: Tensor, positions: Tensor) -> list[Tensor]:
        """The prior's feature maps of codes [B, t, D], up to the refiner's size."""
        generators, level = self.seed_generators(positions, Stream.BANK), self.count // 2 - 1
        output = self.prior(w_plus=codes, generator=generators, stop_at=level, feature_layer="conv")
        return output.features

    def fill(self, batch: dict[str, Any], stream: int) -> Tensor:
        """I_out [B, 3, S, S] (Eq. 6.1) by the networks that learn."""
        generators = self.seed_generators(batch["position"], stream)
        return self.fill_with(self.aggregation.network, self.refiner.network, batch, generators)

    def fill_with(self, aggregation: Any, refiner: Any, batch: dict[str, Any], generators: Any) -> Tensor:
        """The same by other networks; `generators` are for the refiner's noise, None uses the stored one."""
        names = ("image", "mask", "sketch", "semantics", "color")
        features = aggregation(*(batch[name] for name in names))
        noise = {"noise": "fixed"} if generators is None else {"generator": generators}
        image = refiner(features, batch["codes"], batch["bank"], **noise).float()
        return image * batch["mask"] + batch["image"] * (1 - batch["mask"])

    # One step of Algorithm 5, which alternates as Eq. 6.24 does

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        # r > rho: other faces.
        same = bool(self.seed_step_rng(Choice.SAME).random() <= self.config.same_image_probability)
        batches = [self.prepare(batch, same) for batch in batches]
        fakes = self.update_generator(batches, Stream.FAKE, same, self.aggregation, self.refiner)
        if self.critic is not None:
            self.critic.update(batches, [[fake] for fake in fakes])

    def attribute_distance(self, batch: dict[str, Any], image: Tensor) -> Tensor | None:
        """Diversity-enhanced attribute loss, [] (Eq. 6.21)."""
        return code_distance(self.encode(image), batch["codes"], self.config.attribute.distance).mean()

    def generator_loss(
        self, batch: dict[str, Any], image: Tensor, same: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `AdversarialStage` does, with the strokes of samples that are given some."""
        total, terms = super().generator_loss(batch, image, same)
        if same and self.config.strokes_weight > 0:
            drawn = batch["mask"] * batch["sketch"].amax((1, 2, 3), keepdim=True).gt(0)
            found, wanted = (pencil_strength(picture.float()) for picture in (image, batch["image"]))
            terms["strokes"] = ((found - wanted).abs() * drawn).sum() / drawn.sum().clamp_min(1)
            total = total + self.config.strokes_weight * terms["strokes"]
        return total, terms

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Masked with strokes, colours, filled by the averaged networks, truth."""
        few = self.prepare({name: value[:8] for name, value in batch.items()}, True)
        networks = self.copy_average(self.aggregation), self.copy_average(self.refiner)
        filled = self.fill_with(
            *networks, few, self.seed_generators(few["position"], Stream.SAMPLE_GRID)
        ).clamp(-1, 1)
        masked = few["image"] * (1 - few["mask"]) + 2 * few["sketch"]
        return [masked, few["color"], filled, few["image"]]

    def build_validation(self) -> MultimodalValidation | None:
        return None if self.config.validation.data is None else MultimodalValidation(self)

    def write_networks(self, folder: Path) -> None:
        if self.config.latent_warper is not None:
            self.build_pipeline().save_pretrained(folder)
        for name in ("aggregation", "refiner"):
            self.copy_average(getattr(self, name)).cpu().save_pretrained(folder / name)
        copy.deepcopy(self.encoder).cpu().save_pretrained(folder / "style_encoder")
        copy.deepcopy(self.prior).cpu().save_pretrained(folder / "prior")
        if self.critic is not None:
            self.copy_average(self.critic.learner).cpu().save_pretrained(folder / "discriminator")

    def build_pipeline(self) -> FaceEditPipeline:
        """Build the whole pipeline around the averaged networks."""
        config, parser, directions = self.config, None, None
        if config.guidance.face_parser is not None:
            found = load_parser(config.guidance.face_parser)
            parser = found if isinstance(found, FaceParser | BiSeNet) else None
        if config.directions is not None:
            directions = load_component(StyleDirections, config.directions, "directions")
        return FaceEditPipeline(
            style_encoder=self.encoder,
            prior=self.prior,
            latent_warper=load_component(LatentWarper, str(config.latent_warper), "latent_warper"),
            aggregation=self.copy_average(self.aggregation),
            refiner=self.copy_average(self.refiner),
            face_parser=parser,
            directions=directions,
        )
