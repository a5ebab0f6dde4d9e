"""GRIG's training: networks, optimizers and data of one run, and Algorithm 1."""

import facekit  # noqa: F401  first: it mends torchvision, which diffusers imports

# isort: split
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from facekit.damage.mixtures import MaskSampler
from facekit.losses.perceptual import ParserLoss
from facekit.models.face_parser import FaceParser
from facekit.models.imagenet_features import FeatureCritic
from facekit.models.patch_discriminator import ForgedPatchDiscriminator
from facekit.models.projected_discriminator import ProjectedDiscriminator
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.models.spectral import initialize_normal
from facekit.pipelines.inpaint import FaceInpaintPipeline
from train.data.augment import diff_augment, parse_policy
from train.data.images import ImageSource, Preparation, say_count, to_tensor, training_batches
from train.engine.checkpoints import write_folder
from train.engine.run import Run
from train.engine.scores import imagenet_distance
from train.engine.stage import load_component
from train.inpaint.config import ABLATIONS, InpaintConfig
from train.inpaint.losses import FeatureLoss, InpaintLosses, LossWeights, PatchLoss, Shown, fill_step
from train.inpaint.networks import load_backbone
from train.inpaint.validation import ValidationSet


class InpaintTrainer:
    """Networks, optimizers and data of one run, and what happens in an iteration."""

    def __init__(self, config: InpaintConfig) -> None:
        self.config = config
        self.source()  # refuses what cannot be read before anything is built
        self.run = Run(config)
        variant = ABLATIONS[config.ablation]
        # Equal weights everywhere at the start; afterwards each process draws from its own stream again.
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            options = dict(config.inpainter)
            if not variant.get("use_transformer", True):
                options["use_transformer"] = False
            self.generator = self._build_generator(options)
            projected = None
            if variant.get("use_projected", True):
                projected = self._build_projected()
            patch = None
            wanted = config.patch_weight != 0 or config.compares_features
            if wanted and variant.get("patch_discriminator") != "none":
                patch = ForgedPatchDiscriminator(**config.patch)
                initialize_normal(patch)
        parser = None
        if config.parser_weight > 0:
            parser = ParserLoss(load_component(FaceParser, config.parser, "face_parser"))
        self.losses = InpaintLosses(
            projected,
            patch,
            labels=variant.get("patch_discriminator", "forged"),
            weights=LossWeights(
                perceptual=config.perceptual_weight,
                projected=config.projected_weight,
                patch=config.patch_weight,
                pixel=config.pixel_weight,
                parser=config.parser_weight,
            ),
            mask_patch_loss=config.mask_patch_loss,
            perceptual=config.perceptual,
            substitute=config.perceptual_substitute,
            reduction=config.perceptual_reduction,
            lpips_net=config.lpips_net,
            parser=parser,
            say=self.run.say,
        )
        # The layout first: averaging takes one pass over all parameters where copy and original lie alike.
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.generator.to(memory_format=self.layout)
        self.ema = EMAModel(
            self.generator.parameters(),
            decay=config.ema_decay,
            min_decay=config.ema_min_decay,
            foreach=True,
        )
        self._prepare()
        resumed = self.run.resume()
        self.ema.to(self.run.accelerator.device)
        if config.freeze_batch_statistics and not resumed:
            self.measure_statistics(self.raw_generator)

    def _build_generator(self, options: dict[str, Any]) -> ResidualInpainter:
        if self.config.init_from is not None:
            pipeline = FaceInpaintPipeline.from_pretrained(self.config.init_from)
            return pipeline.residual_inpainter.float()
        generator = ResidualInpainter(**options)
        initialize_normal(generator)
        return generator

    def _build_projected(self) -> ProjectedDiscriminator | FeatureCritic | None:
        """The image-level discriminator; None where nothing would read it."""
        if self.config.projected_weight == 0 and not (
            self.config.critic == "grig" and self.config.compares_features
        ):
            return None
        if self.config.critic == "projected":
            return FeatureCritic()
        network = ProjectedDiscriminator(**self.config.projected)
        if self.config.backbone_init != "random":
            load_backbone(network)
        if self.config.backbone_init == "published":
            initialize_normal(network)
        else:
            initialize_normal(network.blocks)
            initialize_normal(network.head)
        return network

    def _prepare(self) -> None:
        run, config, losses = self.run, self.config, self.losses
        self.size = config.size or self.generator.config.sample_size
        self.generator_optimizer = adam(self.generator, config.learning_rate, config.betas)
        self.generator, self.generator_optimizer = run.accelerator.prepare(
            self.generator, self.generator_optimizer
        )
        self.raw_generator: ResidualInpainter = run.accelerator.unwrap_model(self.generator)
        self.critics = []
        for loss in losses.critics:
            if not isinstance(loss, FeatureLoss):  # it has the layout of the maps that it is shown
                loss.to(memory_format=self.layout)
            self.critics.append(run.accelerator.prepare(loss, self._critic_optimizer(loss)))
        for network, optimizer in [(self.generator, self.generator_optimizer), *self.critics]:
            run.checkpoints.watch(run.accelerator.unwrap_model(network), optimizer)
        losses.to(run.accelerator.device)
        run.accelerator.register_for_checkpointing(self.ema)
        self._set_modes()

    def _critic_optimizer(self, loss: nn.Module) -> torch.optim.Optimizer:
        config = self.config
        if isinstance(loss, FeatureLoss):
            return adam(loss, config.discriminator_learning_rate or 1e-3, (0.0, 0.99))
        rate = config.discriminator_learning_rate or config.learning_rate
        if isinstance(loss, PatchLoss):
            rate = config.patch_learning_rate or rate
        return adam(loss, rate, config.betas)

    def _set_modes(self) -> None:
        for module in [self.raw_generator, *self.losses.networks]:
            module.train()
            # Critics on ImageNet maps have no inference whose statistics they could see.
            if self.config.freeze_batch_statistics and not isinstance(module, FeatureCritic):
                for part in module.modules():
                    if isinstance(part, torch.nn.BatchNorm2d):
                        part.eval()

    # Data

    def source(self) -> ImageSource:
        names = ("data", "split", "streaming", "shots", "exclude", "image_column", "seed", "skip_broken")
        return ImageSource(**{name: getattr(self.config, name) for name in names})

    def batches(
        self, start: int | None = None, rank: int | None = None, world: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Batches of a process from a sample number on; by default this process's, from where the run stands."""
        config, accelerator = self.config, self.run.accelerator
        sampler = MaskSampler(size=self.size, **config.masks)
        policy = parse_policy(config.augment)

        def extras(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            sample = {"mask": torch.from_numpy(np.asarray(sampler(rng), np.float32))[None]}
            if policy:
                sample["image"] = diff_augment(to_tensor(pixels), policy, rng)
            return sample

        return training_batches(
            self.source(),
            Preparation(self.size, config.seed, flip=config.flip, extras=extras),
            batch_size=config.batch_size,
            start=self.run.samples_seen if start is None else start,
            rank=accelerator.process_index if rank is None else rank,
            world=accelerator.num_processes if world is None else world,
            num_workers=config.num_workers,
        )

    def noise(self, positions: Tensor, t: int) -> list[Tensor]:
        """The generator's two noise maps of each sample at reasoning step t, [B, 1, H/2, W/2] each."""
        half = self.size // 2
        maps = []
        for position in positions.tolist():
            seed = np.random.SeedSequence([self.config.seed, position, t]).generate_state(1, np.uint64)[0]
            source = torch.Generator().manual_seed(int(seed) % 2**63)
            maps.append(torch.randn(2, 1, half, half, generator=source))
        return list(to_device(torch.stack(maps, dim=1), self.run.accelerator.device))

    # Algorithm 1

    @property
    def reasoning_steps(self) -> int:
        """T at the present iteration, the largest one where it is random."""
        return 1 if self.run.step <= self.config.single_step_iterations else self.config.reasoning_steps

    def draw_steps(self) -> int:
        """T of the present iteration, the same in all processes and after a restart."""
        if not self.config.random_steps:
            return self.reasoning_steps
        rng = np.random.default_rng([self.config.seed, 4, self.run.step])
        return int(rng.integers(1, self.reasoning_steps, endpoint=True))

    def step_on(self, group: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One training step on batches as `batches` gives them; returns them, on the device."""
        self.iteration(group)
        return group

    def iteration(self, batches: list[dict[str, Any]]) -> None:
        """Algorithm 1 on one batch (or several whose gradients are averaged): T updates of every network."""
        device = self.run.accelerator.device
        for batch in batches:
            for name in ("image", "mask"):
                batch[name] = to_device(batch[name], device).to(memory_format=self.layout)
            batch["composite"] = batch["image"] * (1 - batch["mask"])
            with torch.no_grad():
                batch["wanted"] = self.losses.maps(batch["image"])
        for t in range(1, self.draw_steps() + 1):
            if self.config.update_order == "published":
                # One forward serves both updates. Accumulated ones are done again for the generator's: averaging
                # gradients over processes needs each backward right after its forward.
                with contextlib.nullcontext() if len(batches) == 1 else torch.no_grad():
                    completed = [self._complete(batch, t) for batch in batches]
                self._update_critics([shown.detached() for shown in completed])
                self._update_generator(batches, completed if len(batches) == 1 else None, t)
            else:
                completed = self._update_generator(batches, None, t)
                self._update_critics(completed)
            for batch, shown in zip(batches, completed, strict=True):
                batch["composite"] = shown.image.detach()
        for batch in batches:
            del batch["wanted"]  # large, and the caller has no use for it

    def _complete(self, batch: dict[str, Any], t: int) -> Shown:
        noise = self.noise(batch["position"], t)
        residual = self.generator(batch["composite"], batch["mask"], noise=noise)
        image = fill_step(batch["composite"], residual.float(), batch["mask"], batch["image"])
        return Shown(image, batch["image"], batch["mask"], self.losses.maps(image), batch["wanted"])

    def _update_generator(
        self, batches: list[dict[str, Any]], completed: list[Shown] | None, t: int = 0
    ) -> list[Shown]:
        """One update; returns what the generator was judged by, without gradients."""
        accelerator, results = self.run.accelerator, []
        self.losses.train_networks(False)
        for i, batch in enumerate(batches):
            with self._sync(self.generator, i == len(batches) - 1):
                shown = completed[i] if completed else self._complete(batch, t)
                with accelerator.autocast():
                    loss, terms = self.losses.generator_loss(shown)
                accelerator.backward(loss / len(batches))
            self.run.curves.record(**terms)
            results.append(shown.detached())
        if self.config.gradient_clip is not None:
            accelerator.clip_grad_norm_(self.generator.parameters(), self.config.gradient_clip)
        self._step(self.generator_optimizer)
        self.ema.step(self.raw_generator.parameters())
        return results

    def _update_critics(self, completed: list[Shown]) -> None:
        """One update of each discriminator on pictures that carry no gradients."""
        accelerator = self.run.accelerator
        self.losses.train_networks(True)
        for critic, optimizer in self.critics:
            loss_of = accelerator.unwrap_model(critic)
            for i, shown in enumerate(completed):
                with self._sync(critic, i == len(completed) - 1), accelerator.autocast():
                    loss = critic(*loss_of.reads(shown))
                accelerator.backward(loss / len(completed))
                self.run.curves.record(**{loss_of.name: loss})
            self._step(optimizer)

    def _sync(self, module: Any, last: bool) -> Any:
        """Average gradients over the processes with the last of several passes only."""
        return contextlib.nullcontext() if last else self.run.accelerator.no_sync(module)

    @staticmethod
    def _step(optimizer: Any) -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    # Results

    def averaged_generator(self) -> ResidualInpainter:
        """The generator with averaged parameters; buffers are those of the trained one, as published."""
        # Where `init_from` lay on this machine is nobody's business.
        config = {key: value for key, value in self.raw_generator.config.items() if key != "_name_or_path"}
        network = ResidualInpainter.from_config(config)
        network.load_state_dict(self.raw_generator.state_dict())
        self.ema.copy_to(network.parameters())
        if not self.config.freeze_batch_statistics:
            self.measure_statistics(network)
        return network.to(self.run.accelerator.device, memory_format=self.layout).eval()

    @torch.no_grad()
    def measure_statistics(self, network: ResidualInpainter) -> None:
        """Running statistics of batch norm as means over `statistics_batches` batches, the same in all processes."""
        if self.config.statistics_batches == 0:
            return
        network.to(self.run.accelerator.device).eval()
        norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # the plain mean over all batches
        for batch in itertools.islice(self.batches(start=0, rank=0, world=1), self.config.statistics_batches):
            image, mask = (batch[name].to(self.run.accelerator.device) for name in ("image", "mask"))
            composite = image * (1 - mask)
            for t in range(1, self.reasoning_steps + 1):
                residual = network(composite, mask, noise=self.noise(batch["position"], t))
                composite = fill_step(composite, residual, mask, image)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum
        if network is self.raw_generator:
            self._set_modes()

    def write_pipeline(self, folder: Path) -> None:
        FaceInpaintPipeline(self.averaged_generator().cpu()).save_pretrained(folder)

    def validation_set(self) -> ValidationSet | None:
        config, device = self.config, self.run.accelerator.device
        if config.validation_data is None:
            return None
        distance = self.losses.imagenet or imagenet_distance(device, config.best_metric == "imagenet")
        return ValidationSet(
            ImageSource(
                config.validation_data, config.validation_split, exclude={}, image_column=config.image_column
            ),
            MaskSampler(size=self.size, **config.validation_masks),
            size=self.size,
            count=config.validation_images,
            lpips_loss=self.losses.lpips,
            distance=distance,
        )

    def train(self) -> None:
        config, run = self.config, self.run
        validation = self.validation_set()
        say_count(run, self.source())
        batches = self.batches()
        for _ in run.steps():
            group = self.step_on([next(batches) for _ in range(config.gradient_accumulation_steps)])
            if run.is_time(config.sample_every):
                run.write_images(
                    "train", [batch_row(group[0], name) for name in ("image", "masked", "composite")]
                )
            if validation and run.is_time(config.validate_every):
                network = self.averaged_generator()
                metrics, rows = validation.score(network, self.reasoning_steps, run.accelerator)
                run.write_curves({f"validation_{name}": value for name, value in metrics.items()})
                run.write_images("validation", rows)
                name = config.best_metric
                better = "higher" if name in ("psnr", "ssim") else "lower"
                run.keep_best(name, metrics[name], better, self.write_pipeline)
        if run.is_main:
            write_folder(run.folder / "pipeline", self.write_pipeline)
            run.say(f"wrote {run.folder / 'pipeline'}")


def adam(module: nn.Module, rate: float, betas: Sequence[float]) -> torch.optim.Adam:
    """Adam on what a network trains."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trained, lr=rate, betas=tuple(betas))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on a device that does not wait for it.

    From ordinary memory a GPU copies only once it has done all that it was given before.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def batch_row(batch: dict[str, Any], name: str, limit: int = 8) -> Tensor:
    """A row of a sample grid: "image", "composite" or "masked"."""
    row = batch["image"] * (1 - batch["mask"]) if name == "masked" else batch[name]
    return row[:limit].detach()
