"""The style encoder's training (thesis section 3.2.4; of all modalities, Algorithm 3)."""

import itertools
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from facekit.losses.codes import CodePool, LatentDiscriminator, delta_loss
from facekit.losses.logistic import logistic_discriminator_loss, logistic_generator_loss
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.pipelines.sample import CODES_FILE
from train.data.label_maps import Labeller
from train.data.modalities import ENCODER_CHANNELS, EncoderKeep, prepare_guided, show_encoder
from train.data.samples import Preparation
from train.engine.critic import Critic, collect_r1
from train.engine.optimizers import OPTIMIZERS
from train.engine.picture_losses import PictureLosses
from train.engine.stage import Learner, Stage, load_component, scale_rates
from train.engine.streams import POOL_STEP
from train.engine.streams import StyleEncoder as Stream
from train.starts.critic import build_critic, grow_to
from train.starts.widen import widen_input
from train.style_encoder.config import StyleEncoderConfig
from train.style_encoder.validation import EncoderValidation


class StyleEncoderTrainer(Stage):
    """Trains the encoder on a finished generator, or with `joint` both together, or the generator alone.

    Attributes:
        reader: the encoder, which learns as `encoder` unless it is kept as it is.
    """

    config: StyleEncoderConfig

    def build(self) -> None:
        config = self.config
        self.critic: Critic | None = None
        self.latent_critic = self.teacher = None
        if config.teacher is not None:
            self.teacher = self.use(load_component(StyleEncoder, config.teacher, "style_encoder"))
        if config.modalities:
            self.labeller = Labeller(config.guidance.labelled_by, self.device)
        if config.joint:
            judge = self._build_joint()
        else:
            self.generator = self.use(load_component(StyleGAN2Generator, config.prior, "prior"))
            judge = None
            if config.pictures.matches_features:
                judge = self.use(load_component(StyleGAN2Discriminator, config.prior, "discriminator"))
        encoder = self._build_encoder()
        average = config.average if config.average.decay > 0 else None
        kind = torch.optim.Adam if config.joint else OPTIMIZERS[config.optimizer]
        if self.teacher is not None:
            self._check_teacher(encoder)
        self.encoder: Learner | None = None
        if config.keep_encoder:
            self.reader = self.use(encoder)
        else:
            self.encoder = self.learn(encoder, config.learning_rate, config.betas, average, kind)
            self.reader = self.encoder.network
        made = self.generator.config.sample_size
        self.size = config.size or (made if config.joint else min(made, encoder.config.sample_size))
        self.compare_size = config.compare_size or self.size
        if not 1 <= self.compare_size <= self.size:
            raise ValueError(f"compare_size must be from 1 to size, {self.size}; got {self.compare_size}")
        if judge is not None and judge.config.sample_size != self.compare_size:
            raise ValueError(
                f"the discriminator reads pictures of {judge.config.sample_size}, the run's are {self.compare_size}"
            )
        self.losses = PictureLosses(config.pictures, judge, self.device, self.run.say, config.judge)
        self.feature_critic = self.losses.learn_critic(self)
        if config.latent.weight > 0:
            dim = self.generator.config.style_dim
            self.latent_critic = self.learn(
                LatentDiscriminator(dim), config.latent.learning_rate, (0.9, 0.999)
            )
            self.pools = torch.nn.ModuleDict(
                {name: CodePool(config.latent.pool, dim) for name in ("real", "fake")}
            ).to(self.device)
            self.accelerator.register_for_checkpointing(self.pools)

    def _check_teacher(self, encoder: StyleEncoder) -> None:
        ours, theirs = (
            (network.config.num_styles, network.config.style_dim) for network in (encoder, self.teacher)
        )
        if ours != theirs or self.teacher.config.in_channels != 3:
            raise ValueError(
                f"the teacher must read RGB and give the encoder's codes, {ours[0]} of {ours[1]} numbers; it reads "
                f"{self.teacher.config.in_channels} channels and gives {theirs[0]} of {theirs[1]}"
            )

    def _build_joint(self) -> StyleGAN2Discriminator | None:
        """Generator and, where a loss needs one, discriminator: new, or those of `init_from`, grown."""
        config = self.config
        if config.init_from is not None:
            prior = load_component(StyleGAN2Generator, config.init_from, "prior")
            size = config.prior.get("sample_size", prior.config.sample_size)
            prior = grow_to(prior, size, self.run.say)
        else:
            prior = StyleGAN2Generator(**config.prior)
        average = config.average if config.average.decay > 0 else None
        self.prior = self.learn(prior, config.learning_rate, config.betas, average)
        self.generator = self.prior.network
        if not config.needs_critic:
            return None
        options = {"sample_size": prior.config.sample_size} | config.discriminator
        critic = build_critic(options, config.init_from, self.run.say)
        rates = scale_rates(*config.adversarial.choose_rates(config), config.adversarial.r1_every)
        learner = self.learn(critic, **rates)
        self.critic = Critic(self, learner)
        return critic

    def _build_encoder(self) -> StyleEncoder:
        config, generator = self.config, self.generator
        if config.init_from is not None:
            encoder = load_component(StyleEncoder, config.init_from, "style_encoder")
            return widen_input(encoder, ENCODER_CHANNELS) if config.modalities else encoder
        options: dict[str, Any] = {"in_channels": ENCODER_CHANNELS} if config.modalities else {}
        options |= {"num_styles": generator.num_styles, "style_dim": generator.config.style_dim}
        encoder = StyleEncoder(**(options | config.encoder))
        if not config.joint:
            encoder.latent_avg.copy_(generator.latent_avg)
        return encoder

    # Data

    def build_preparation(self) -> Preparation:
        """As `Stage` does; with `modalities` with them, see `train.data.modalities.ModalityPreparation`."""
        if not self.config.modalities:
            return super().build_preparation()
        config = self.config
        keep = EncoderKeep(config.guidance, self.size, config.seed, config.batch_size)
        return prepare_guided(config, self.size, keep)

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As `Stage` does; with `modalities` `damaged` is what the encoder reads, [B, 26, S, S]."""
        if not self.config.modalities:
            return super().to_device(batch)
        batch = self.labeller(self.move(batch))
        return batch | {"damaged": show_encoder(batch, batch["keep"])}

    # Codes and pictures

    @property
    def stage(self) -> int | None:
        """Index of the last code with an offset of its own; None when all have theirs."""
        config, last = self.config, self.generator.num_styles - 1
        if config.progressive.start <= 0:
            return None
        since = self.run.step - 1 - config.progressive.start
        return (
            None
            if since // config.progressive.every >= last
            else max(since // config.progressive.every + 1, 0)
        )

    def encode(self, batch: dict[str, Any]) -> Tensor:
        """Codes [B, n, D] of what the encoder reads of a batch."""
        return self.reader(batch["damaged"], stage=self.stage)

    def paint(self, codes: Tensor, positions: Tensor, stream: int) -> Tensor:
        """The generator's pictures of codes [B, n, D], averaged down to the size of the losses, [B, 3, S, S]."""
        image = self.generator(w_plus=codes, generator=self.seed_generators(positions, stream)).image.float()
        return (
            F.adaptive_avg_pool2d(image, self.compare_size) if image.shape[-1] > self.compare_size else image
        )

    def mix_codes(self, codes: Tensor, positions: Tensor) -> Tensor:
        """Codes [B, n, D] mixed with those of the neighbour in the batch: interpolated, or its from a layer on."""
        weights = []
        for rng in self.seed_rngs(positions, Stream.MIXING):
            if rng.random() < 0.5:
                weights.append(torch.full((codes.shape[1],), float(rng.random())))
            else:
                weights.append((torch.arange(codes.shape[1]) >= int(rng.integers(1, codes.shape[1]))).float())
        share = torch.stack(weights).to(codes)[:, :, None]
        return torch.lerp(codes, codes.roll(1, 0), share)

    # One step: discriminator of codes, discriminator of pictures, encoder (and generator)

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        if self.latent_critic is not None:
            self._update_latent_critic(batches)
        if self.critic is not None:
            with torch.no_grad(), self.accelerator.autocast():
                fakes = [self._fake(batch) for batch in batches]
            self.critic.update(batches, fakes)
        judges = (self.critic, self.latent_critic, self.feature_critic)
        helpers = [learner.network for learner in judges if learner is not None]
        with self.freeze(*helpers):
            for batch in batches:
                with self.accelerator.autocast():
                    loss, terms = self._encoder_loss(batch)
                self.accelerator.backward(loss / len(batches))
                self.run.curves.record(
                    loss_encoder=loss, **{f"encoder_{name}": value for name, value in terms.items()}
                )
        learners = [self.encoder, self.prior if self.config.joint else None]
        self.update(*filter(None, learners), clip=self.config.gradient_clip)
        self.losses.update_critic(self, self.feature_critic)

    def _fake(self, batch: dict[str, Any]) -> list[Tensor]:
        """What the discriminator of pictures is shown as made: reconstructions, and pictures of mixed codes."""
        codes, position = self.encode(batch), batch["position"]
        fakes = [self.paint(codes, position, Stream.PICTURE)]
        if self.config.mixing_weight > 0:
            mixed = self.mix_codes(codes, position)
            fakes.append(self.paint(mixed, position, Stream.MIXED_PICTURE))
        return fakes

    def _encoder_loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        config, image, position = self.config, batch["image"], batch["position"]
        codes = self.encode(batch)
        adversarial = (
            self.critic is not None
            and config.adversarial.critic == "stylegan2"
            and config.adversarial.weight > 0
        )
        total, terms = codes.new_zeros((), dtype=torch.float32), {}
        output = features = between = None
        if config.compares_pictures:
            if self.feature_critic is not None and config.mixing_weight > 0:
                # One pass for both kinds of pictures.
                both = torch.cat([codes, self.mix_codes(codes, position)])
                output, between = self.paint(both, position.repeat(2), Stream.PICTURE).chunk(2)
            else:
                output = self.paint(codes, position, Stream.PICTURE)
            image = F.adaptive_avg_pool2d(image, output.shape[-1])
            features = self.critic.network.features(output) if adversarial else None
            total, terms = self.losses(output, image, features, between)
        if self.teacher is not None:
            with torch.no_grad():
                wanted = self.teacher(batch["image"]).float()
            terms["teacher"] = F.mse_loss(codes.float(), wanted)
            total = total + config.teacher_weight * terms["teacher"]
        pixel = {"l2": (config.l2_weight, F.mse_loss), "l1": (config.l1_weight, F.l1_loss)}
        for name, (weight, distance) in pixel.items():
            if weight > 0:
                terms[name] = distance(output, image)
                total = total + weight * terms[name]
        if self.encoder is not None and config.delta_weight > 0:
            offsets = codes - self.reader.latent_avg
            terms["delta"] = delta_loss(offsets, self.stage)
            total = total + config.delta_weight * terms["delta"]
        if self.latent_critic is not None:
            used = codes if self.stage is None else codes[:, : self.stage + 1]
            terms["latent"] = logistic_generator_loss(self.latent_critic.network(used).float())
            total = total + config.latent.weight * terms["latent"]
        if self.critic is not None and config.adversarial.critic == "stylegan2":
            critic = self.critic.network
            if adversarial:
                terms["adversarial"] = logistic_generator_loss(critic.decide(features[-1]).float())
                total = total + config.adversarial.weight * terms["adversarial"]
            if config.mixing_weight > 0:
                between = self.paint(self.mix_codes(codes, position), position, Stream.MIXED_PICTURE)
                terms["mixing"] = logistic_generator_loss(critic(between).float())
                total = total + config.mixing_weight * terms["mixing"]
        return total, terms

    def _update_latent_critic(self, batches: list[dict[str, Any]]) -> None:
        """A step of the discriminator of codes: the mapping network's against the encoder's, each through its pool."""
        config, critic = self.config, self.latent_critic.network
        chooser = torch.Generator().manual_seed(int(self.seed_step_rng(POOL_STEP).integers(2**62)))
        for batch in batches:
            position = batch["position"]
            with torch.no_grad():
                z = self.draw_normal(
                    self.seed_generators(position, Stream.MAPPING), self.generator.config.style_dim
                )
                real = self.generator.mapping(z).float()
                fake = self.encode(batch).float()
                fake = fake if self.stage is None else fake[:, : self.stage + 1]
            real, fake = (
                self._exchange(name, codes, chooser)
                for name, codes in (("real", real), ("fake", fake.flatten(0, 1)))
            )
            loss = logistic_discriminator_loss(critic(real), critic(fake))
            self.accelerator.backward(loss / len(batches))
            self.run.curves.record(loss_latent_discriminator=loss)
        self.update(self.latent_critic)
        if config.latent.r1_weight > 0 and self.is_due(config.latent.r1_every):
            penalty = collect_r1(self, critic, real, config.latent.r1_weight, config.latent.r1_every)
            self.run.curves.record(latent_r1=penalty)
            self.update(self.latent_critic)

    def _exchange(self, name: str, codes: Tensor, chooser: torch.Generator) -> Tensor:
        """Exchange the codes of all processes with a pool, so that all pools stay equal; this process's part."""
        rank, count = self.accelerator.process_index, len(codes)
        return self.pools[name].exchange(self.accelerator.gather(codes), chooser)[
            rank * count : (rank + 1) * count
        ]

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Input, reconstruction, truth, in joint training mixtures, all at the size of the losses.

        With modalities the input is two rows.
        """
        positions = batch["position"][:8]
        learns = self.reader.training
        self.reader.eval()
        codes = self.reader(batch["damaged"][:8], stage=self.stage)
        self.reader.train(learns)
        rows = [
            batch["damaged"][:8],
            self.paint(codes, positions, Stream.PICTURE),
            batch["image"][:8],
        ]
        if self.config.modalities:
            # Strokes in white over the picture, region colours below.
            read, made, truth = rows
            side = made.shape[-1]
            first = [read[:, :3] + 2 * read[:, 3:4], read[:, -3:], truth]
            first = [F.interpolate(row, (side, side), mode="area") for row in first]
            return [*first[:2], made, first[2]]
        rows = [F.adaptive_avg_pool2d(row, rows[1].shape[-1]) for row in rows]
        return (
            [
                *rows,
                self.paint(self.mix_codes(codes, positions), positions, Stream.MIXED_PICTURE),
            ]
            if self.config.joint
            else rows
        )

    @torch.no_grad()
    def measure_encoder(self) -> StyleEncoder:
        """The averaged encoder with batch statistics measured anew, since the trained ones belong to other weights.

        Of one that is kept a copy as it is.
        """
        if self.encoder is None:
            return self.copy_network(self.reader)
        encoder = self.copy_average(self.encoder)
        if self.encoder.average is None or self.config.statistics_batches == 0:
            return encoder
        norms = [part for part in encoder.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # the plain mean over all batches
        for batch in itertools.islice(self.batches(start=0), self.config.statistics_batches):
            encoder(self.to_device(batch)["damaged"])
        return encoder.eval()

    @torch.no_grad()
    def encode_known(self, encoder: StyleEncoder) -> Tensor:
        """Codes [M, n, D] of at least `latent_samples` training faces."""
        count = -(-self.config.latent_samples // self.config.batch_size)
        return torch.cat(
            [
                encoder(self.to_device(batch)["image"])
                for batch in itertools.islice(self.batches(start=0), count)
            ]
        )

    def build_validation(self) -> EncoderValidation | None:
        return None if self.config.validation.data is None else EncoderValidation(self)

    def write_networks(self, folder: Path) -> None:
        encoder = self.measure_encoder()
        if self.config.joint:
            prior, codes = (
                self.copy_average(self.prior),
                self.encode_known(encoder)[:, : self.prior.network.num_styles],
            )
            prior.latent_avg.copy_(codes.mean(0))
            prior.cpu().save_pretrained(folder / "prior")
            kept = codes[: self.config.latent_kept].half().cpu().contiguous()
            save_file({"w_plus": kept}, folder / "prior" / CODES_FILE)
            if self.critic is not None:
                self.copy_average(self.critic.learner).cpu().save_pretrained(folder / "discriminator")
        encoder.cpu().save_pretrained(folder / "style_encoder")
