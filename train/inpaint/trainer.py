"""GRIG's training (thesis chapter 4, Algorithm 1)."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facekit.damage.mixtures import MaskSampler
from facekit.losses.perceptual import ParserLoss
from facekit.models.face_parser import FaceParser
from facekit.models.imagenet_features import FeatureCritic
from facekit.models.layers.spectral import initialize_normal
from facekit.models.patch_discriminator import ForgedPatchDiscriminator
from facekit.models.projected_discriminator import ProjectedDiscriminator
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.pipelines.inpaint import FaceInpaintPipeline
from train.checks import check_form
from train.data.augment import diff_augment, parse_policy
from train.data.images import to_tensor
from train.data.samples import Preparation
from train.engine import streams
from train.engine.stage import Learner, Stage, load_component
from train.engine.streams import Inpaint as Stream
from train.inpaint.config import ABLATIONS, InpaintConfig
from train.inpaint.losses import FeatureLoss, InpaintLosses, LossWeights, PatchLoss, Shown, fill_step
from train.inpaint.networks import load_backbone
from train.inpaint.validation import InpaintValidation


class InpaintTrainer(Stage):
    """Trains the residual inpainter and its discriminators."""

    config: InpaintConfig

    def __init__(self, config: InpaintConfig) -> None:
        super().__init__(config)
        if config.freeze_batch_statistics and not self.resumed:
            self.measure_statistics(self.generator.network)

    def build(self) -> None:
        config = self.config
        variant = ABLATIONS[config.ablation]
        options = {"form": config.form} | config.inpainter
        if not variant.get("use_transformer", True):
            options["use_transformer"] = False
        generator = self._build_generator(options)
        if config.diversity_weight > 0 and not generator.config.style_dim:
            raise ValueError(
                "diversity_weight compares fills of different codes, and this inpainter has none: give it "
                "inpainter: {style_dim: 64} beside its other options, or say diversity_weight 0"
            )
        projected = self._build_projected() if config.has_critics else None
        patch = None
        wanted = config.adversarial.patch_weight != 0 or config.matches_features
        if wanted and variant.get("patch_discriminator") != "none":
            patch = ForgedPatchDiscriminator(**config.patch)
            initialize_normal(patch)
        pictures, parser = config.pictures, None
        if pictures.parser_weight > 0:
            parser = ParserLoss(load_component(FaceParser, pictures.parser, "face_parser"))
        self.losses = InpaintLosses(
            projected,
            patch,
            labels=variant.get("patch_discriminator", "forged"),
            weights=LossWeights(
                perceptual=pictures.perceptual_weight,
                projected=config.adversarial.weight,
                patch=config.adversarial.patch_weight,
                pixel=config.pixel_weight,
                parser=pictures.parser_weight,
                diversity=config.diversity_weight,
                close_up=pictures.close_up_weight,
            ),
            mask_patch_loss=config.adversarial.mask_patch_loss,
            perceptual=pictures.perceptual,
            substitute=pictures.substitute,
            reduction=pictures.reduction,
            lpips_net=pictures.lpips_net,
            parser=parser,
            diversity_margin=config.diversity_margin,
            say=self.run.say,
        )
        self.losses.to(self.device)
        self.size = config.size or generator.config.sample_size
        # The layout first: averaging takes one pass over all parameters where copy and original lie alike.
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        generator.to(memory_format=self.layout)
        self.generator = self.learn(generator, config.learning_rate, config.betas, config.average)
        self.critics = [self._learn_critic(loss) for loss in self.losses.critics]
        self._set_modes()

    def _build_generator(self, options: dict[str, Any]) -> ResidualInpainter:
        if self.config.init_from is not None:
            pipeline = FaceInpaintPipeline.from_pretrained(self.config.init_from)
            check_form(pipeline.residual_inpainter, self.config.form)
            return pipeline.residual_inpainter.float()
        generator = ResidualInpainter(**options)
        initialize_normal(generator)
        return generator

    def _build_projected(self) -> ProjectedDiscriminator | FeatureCritic | None:
        """The image-level discriminator; None where nothing would read it."""
        options = self.config.adversarial
        if options.weight == 0 and not (options.critic == "grig" and self.config.matches_features):
            return None
        if options.critic == "projected":
            return FeatureCritic()
        network = ProjectedDiscriminator(**({"form": self.config.form} | self.config.projected))
        if self.config.backbone_init != "random":
            load_backbone(network)
        if self.config.backbone_init == "published":
            initialize_normal(network)
        else:
            initialize_normal(network.blocks)
            initialize_normal(network.head)
        return network

    def _learn_critic(self, loss: nn.Module) -> Learner:
        config, options = self.config, self.config.adversarial
        if isinstance(loss, FeatureLoss):  # it has the layout of the maps that it is shown
            return self.learn(loss, options.learning_rate or 1e-3, (0.0, 0.99))
        rate = options.learning_rate or config.learning_rate
        if isinstance(loss, PatchLoss):
            rate = options.patch_learning_rate or rate
        return self.learn(loss.to(memory_format=self.layout), rate, config.betas)

    def _set_modes(self) -> None:
        for module in [self.generator.network, *self.losses.networks]:
            module.train()
            # Critics on ImageNet maps have no inference whose statistics they could see.
            if self.config.freeze_batch_statistics and not isinstance(module, FeatureCritic):
                for part in module.modules():
                    if isinstance(part, nn.BatchNorm2d):
                        part.eval()

    # Data

    def build_preparation(self) -> Preparation:
        """As `Stage` does, with `mask` [1, S, S], 1 = hole."""
        config = self.config
        sampler = MaskSampler(size=self.size, **config.masks)
        policy = parse_policy(config.augment)

        def draw(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            sample = {"mask": torch.from_numpy(np.asarray(sampler(rng), np.float32))[None]}
            if policy:
                sample["image"] = diff_augment(to_tensor(pixels), policy, rng)
            return sample

        return Preparation(self.size, config.seed, flip=config.flip, extras=draw)

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As `Stage` does, pictures and masks in the memory layout of the networks."""
        moved = self.move(batch)
        return moved | {name: moved[name].to(memory_format=self.layout) for name in ("image", "mask")}

    def draw_noise(self, positions: Tensor, t: int) -> list[Tensor]:
        """Draw the generator's two noise maps of each sample at reasoning step t, [B, 1, S/2, S/2] each."""
        half = self.size // 2
        maps = []
        for position in positions.tolist():
            seed = np.random.SeedSequence([self.config.seed, position, t]).generate_state(1, np.uint64)[0]
            source = torch.Generator().manual_seed(int(seed) % 2**63)
            maps.append(torch.randn(2, 1, half, half, generator=source))
        return list(self.move_values(torch.stack(maps, dim=1)))

    def draw_codes(self, positions: Tensor, stream: int) -> dict[str, Tensor]:
        """Draw a code for each sample, the same in all reasoning steps: the generator's `z` [B, D]; {} without."""
        if not (count := self.generator.network.config.style_dim):
            return {}
        return {"z": self.draw_normal(self.seed_generators(positions, stream), count)}

    # Algorithm 1

    @property
    def reasoning_steps(self) -> int:
        """T in the present training step, the largest one where it is random."""
        return 1 if self.run.step <= self.config.single_step_iterations else self.config.reasoning_steps

    def draw_steps(self) -> int:
        """Draw T for the present training step, the same in all processes and after a restart."""
        if not self.config.random_steps:
            return self.reasoning_steps
        rng = np.random.default_rng([self.config.seed, streams.REASONING, self.run.step])
        return int(rng.integers(1, self.reasoning_steps, endpoint=True))

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        """Algorithm 1, lines 2 to 11, on a batch (or several, gradients averaged): T updates of every network."""
        if not self.config.freeze_batch_statistics:
            self.share_buffers(self.generator.network, *self.losses.networks)
        for batch in batches:
            batch["composite"] = batch["image"] * (1 - batch["mask"])
            if self.config.diversity_weight > 0:
                batch["other"] = batch["composite"]
            with torch.no_grad():
                batch["wanted"] = self.losses.read_maps(batch["image"])
        for t in range(1, self.draw_steps() + 1):
            if self.config.update_order == "published":
                # One forward serves both updates. Accumulated ones are done again for the generator's, so that the
                # graph of one batch at a time is kept.
                with contextlib.nullcontext() if len(batches) == 1 else torch.no_grad():
                    completed = [self._complete(batch, t) for batch in batches]
                self._update_critics([shown.detach() for shown in completed])
                self._update_generator(batches, completed if len(batches) == 1 else None, t)
            else:
                completed = self._update_generator(batches, None, t)
                self._update_critics(completed)
            for batch, shown in zip(batches, completed, strict=True):
                batch["composite"] = shown.image.detach()
                if shown.other is not None:
                    batch["other"] = shown.other
        for batch in batches:
            del batch["wanted"]  # large, and the caller has no use for it

    def _complete(self, batch: dict[str, Any], t: int) -> Shown:
        image = self._fill(batch, batch["composite"], t, Stream.CODE)
        other = None
        if "other" in batch:
            with torch.no_grad():
                other = self._fill(batch, batch["other"], t, Stream.OTHER_CODE)
        maps = self.losses.read_maps(image)
        return Shown(image, batch["image"], batch["mask"], maps, batch["wanted"], other)

    def _fill(self, batch: dict[str, Any], composite: Tensor, t: int, stream: int) -> Tensor:
        """Reasoning step t on present fills, under the codes of a stream."""
        noise, codes = self.draw_noise(batch["position"], t), self.draw_codes(batch["position"], stream)
        with self.accelerator.autocast():
            residual = self.generator.network(composite, batch["mask"], noise=noise, **codes)
        return fill_step(composite, residual.float(), batch["mask"], batch["image"])

    def _update_generator(
        self, batches: list[dict[str, Any]], completed: list[Shown] | None, t: int
    ) -> list[Shown]:
        """One update; returns what the losses looked at, without gradients."""
        results = []
        with self.freeze(*self.losses.networks):
            for i, batch in enumerate(batches):
                shown = completed[i] if completed else self._complete(batch, t)
                with self.accelerator.autocast():
                    loss, terms = self.losses.generator_loss(shown)
                self.accelerator.backward(loss / len(batches))
                self.run.curves.record(**terms)
                results.append(shown.detach())
        self.update(self.generator, clip=self.config.gradient_clip)
        return results

    def _update_critics(self, completed: list[Shown]) -> None:
        """One update of each discriminator on pictures that carry no gradients."""
        for critic in self.critics:
            for shown in completed:
                with self.accelerator.autocast():
                    loss = critic.network(*critic.network.pick_inputs(shown))
                self.accelerator.backward(loss / len(completed))
                self.run.curves.record(**{critic.network.name: loss})
            self.update(critic)

    # Results

    def copy_generator(self) -> ResidualInpainter:
        """A copy of the generator with averaged parameters and, unless frozen, statistics measured for them."""
        network = self.copy_average(self.generator)
        if not self.config.freeze_batch_statistics:
            self.measure_statistics(network)
        return network.to(memory_format=self.layout).eval()

    @torch.no_grad()
    def measure_statistics(self, network: ResidualInpainter) -> None:
        """Set running statistics of batch norm to means over `statistics_batches` batches, equal in all processes."""
        if self.config.statistics_batches == 0:
            return
        network.eval()
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # the plain mean over all batches
        for batch in itertools.islice(self.batches(start=0), self.config.statistics_batches):
            image, mask = (batch[name].to(self.device) for name in ("image", "mask"))
            composite, codes = image * (1 - mask), self.draw_codes(batch["position"], Stream.CODE)
            for t in range(1, self.reasoning_steps + 1):
                residual = network(composite, mask, noise=self.draw_noise(batch["position"], t), **codes)
                composite = fill_step(composite, residual, mask, image)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
        if network is self.generator.network:
            self._set_modes()

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Truth, masked, and as the last reasoning step left it, with a diversity term under another code too."""
        rows = [batch["image"], batch["image"] * (1 - batch["mask"]), batch["composite"]]
        rows += [batch["other"]] if "other" in batch else []
        return [row[:8].detach() for row in rows]

    def build_validation(self) -> InpaintValidation | None:
        return None if self.config.validation.data is None else InpaintValidation(self)

    def write_networks(self, folder: Path) -> None:
        generator = self.copy_generator().cpu()
        FaceInpaintPipeline(generator, num_inference_steps=self.reasoning_steps).save_pretrained(folder)
