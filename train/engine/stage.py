"""A stage of training: networks that learn, numbered randomness, batches, and the run around a training step.

Every random choice belongs to a numbered sample, so that a run is the same after a restart and, but for rounding and
batch statistics, over any number of processes.
"""

import facekit  # noqa: F401  first: it mends torchvision, which diffusers imports

# isort: split
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate.utils import broadcast
from diffusers.models.modeling_utils import ModelMixin
from diffusers.training_utils import EMAModel
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from facekit.damage.degrade import degrade_pair, get_config
from facekit.hub.errors import explain_errors
from facekit.schedulers import CodeDiffusionScheduler
from train.data.images import Data, ImageSource, say_count, to_tensor
from train.data.samples import PictureSource, Preparation, Prepare, read_batches
from train.engine import streams
from train.engine.checkpoints import write_folder
from train.engine.options import Average
from train.engine.run import LoopConfig, Run
from train.engine.validation import Validation, validate
from train.engine.without import check_losses, leave_out_losses, refuse_identity, refuse_idle_close_ups

RECORD = "training.json"
LIGHT = 0.3  # severity up to which damage counts as light, see `facekit.damage.degrade.degrade`
Network = TypeVar("Network", bound=ModelMixin)


@dataclass(kw_only=True)
class StageConfig(LoopConfig):
    """Options of the shared loop, and of the pictures.

    Attributes:
        data, split, streaming, shots, exclude, image_column, skip_broken: see `train.data.images.ImageSource`.
        flip: mirror half of the pictures.
        damage: preset of `facekit.damage.degrade` for the network's input, or "none": the input is the picture.
        damage_probability: share of the pictures that are damaged.
        light_damage: share of the damaged pictures that are damaged at one severity of at most `LIGHT`. The presets
            draw blur, scale, noise and quality each by itself, so that hardly any picture has little of all.
        gradient_clip: largest norm of the gradients of the networks that make pictures or codes; None: any.
        without: losses that the run leaves out although its options weigh them, because their network cannot be had:
            "identity", "perceptual" (or "lpips"), one name or a list. The run says so; without this option a network
            that is missing is refused.
    """

    data: Data
    split: str = "train"
    streaming: bool = False
    shots: int | None = None
    exclude: dict[str, list[Any]] = field(default_factory=dict)
    image_column: str = "image"
    skip_broken: bool = False
    flip: bool = True
    damage: str = "none"
    damage_probability: float = 1.0
    light_damage: float = 0.0
    gradient_clip: float | None = None
    without: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        leave_out_losses(self)
        self.apply_ablation()
        refuse_identity(self)
        refuse_idle_close_ups(self)
        self.make_source()  # refuses what cannot be read before anything is built
        if not 0 < self.damage_probability <= 1:
            raise ValueError(
                f"damage_probability must be above 0 and at most 1, got {self.damage_probability}; "
                "damage: none leaves all pictures as they are"
            )
        if not 0 <= self.light_damage <= 1:
            raise ValueError(f"light_damage must be between 0 and 1, got {self.light_damage}")
        if self.damage != "none":
            get_config(self.damage)
        elif self.light_damage > 0:
            raise ValueError("light_damage is a share of the damaged pictures, and damage is none")
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise ValueError(
                f"gradient_clip must be above 0, got {self.gradient_clip}; leave it out for no limit"
            )

    def apply_ablation(self) -> None:
        """Change the losses that an ablation changes, before one without a network is refused; here none."""

    def make_source(self) -> ImageSource:
        """Build the source of the training pictures. Raises ValueError for a mixture that cannot be read."""
        names = ("data", "split", "streaming", "shots", "exclude", "image_column", "seed", "skip_broken")
        return ImageSource(**{name: getattr(self, name) for name in names})


class Generators(list[torch.Generator]):
    """Random streams of a batch of `batch` samples: one each, or one for all where many draws would delay a device."""

    def __init__(self, streams: list[torch.Generator], batch: int) -> None:
        super().__init__(streams)
        self.batch = batch


@dataclass(eq=False)
class Learner:
    """A network that is trained, its optimizer, and its averaged parameters where they are kept."""

    network: Any
    optimizer: Any
    average: EMAModel | None = None


class Stage:
    """One trainer. A subclass fills in `build`, `iterate`, `sample_rows` and `write_networks`.

    Networks are not wrapped for several processes: gradients are averaged in one message before each update. These
    trainings pass a network several times before one update, differentiate gradients, and use other parts of it
    from update to update, which a wrapper does not support.

    Attributes:
        size: side of the training pictures in pixels, set by `build`.
        learners: the networks that learn, in the order in which checkpoints hold them.
        resumed: whether the run goes on from a checkpoint.
    """

    size: int

    def __init__(self, config: StageConfig) -> None:
        self.config, self.run = config, Run(config)
        self.accelerator = self.run.accelerator
        self.device = self.accelerator.device
        self.learners: list[Learner] = []
        check_losses(config, self.run.say)
        # Equal weights everywhere at the start; afterwards each process draws from its own stream again.
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.build()
        self.resumed = self.run.resume()
        for learner in self.learners:
            if learner.average is not None:
                learner.average.to(self.device)

    def build(self) -> None:
        """Build or load all networks, give those that learn to `learn`, and set `size`."""
        raise NotImplementedError

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        """One training step on batches on the device, over which gradients are averaged."""
        raise NotImplementedError

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Rows of a grid of sample pictures, [B, 3, S, S] in [-1, 1] each, made of a batch on the device."""
        raise NotImplementedError

    def write_networks(self, folder: Path) -> None:
        """Write the networks into a folder; called in one process, when the others may have ended."""
        raise NotImplementedError

    def write_results(self, folder: Path) -> None:
        """Write the networks, and beside them how they came about."""
        self.write_networks(folder)
        (folder / RECORD).write_text(json.dumps(self.run.describe(), indent=1) + "\n")

    def build_validation(self) -> Validation | None:
        """Held-out pictures and how they are scored; None where the run scores nothing."""
        return None

    # Networks

    def learn(
        self,
        network: nn.Module,
        learning_rate: float,
        betas: tuple[float, float],
        average: Average | None = None,
        optimizer: type[torch.optim.Optimizer] = torch.optim.Adam,
    ) -> Learner:
        """Have a network trained; it is part of the checkpoints from now on.

        Args:
            learning_rate, betas: of its optimizer, one of Adam's kind.
            average: options of the moving average of its parameters; None keeps none.
        """
        network.to(self.device).train()
        # One kernel for all parameters where there is one.
        fused = {"fused": True} if optimizer is torch.optim.Adam and self.device.type == "cuda" else {}
        options = {"lr": learning_rate, "betas": tuple(map(float, betas))} | fused
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        made = self.accelerator.prepare_optimizer(optimizer(parameters, **options))  # type: ignore[arg-type]
        self.run.checkpoints.watch(network, made)
        self.accelerator.register_for_checkpointing(network)
        kept = None
        if average is not None:
            kept = EMAModel(
                network.parameters(),
                decay=float(average.decay),
                min_decay=float(average.min_decay),
                foreach=True,
            )
            self.accelerator.register_for_checkpointing(kept)
        self.learners.append(Learner(network, made, kept))
        return self.learners[-1]

    def use(self, network: Network) -> Network:
        """A network that only helps: on the device, frozen, in evaluation mode."""
        return network.to(self.device).requires_grad_(False).eval()

    def copy_average(self, learner: Learner) -> Any:
        """A copy with averaged parameters, or as trained where none are kept; buffers are the trained ones."""
        network = self.copy_network(learner.network)
        if learner.average is not None:
            learner.average.copy_to(network.parameters())
        return network

    def copy_network(self, network: Network) -> Network:
        """A copy to look with and to save, frozen, in evaluation mode."""
        known: Any = network
        # The folder that `init_from` named would be published with the network.
        config = {key: value for key, value in known.config.items() if key != "_name_or_path"}
        copied = type(known).from_config(config)
        copied.load_state_dict(known.state_dict())
        return self.use(copied)

    @contextlib.contextmanager
    def freeze(self, *networks: nn.Module) -> Iterator[None]:
        """Let gradients flow through these networks without being collected for them, while the context lasts."""
        parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)

    def update(self, *learners: Learner, clip: float | None = None) -> None:
        """One optimizer step each, with gradients averaged over the processes; `clip`: the largest norm of these."""
        for learner in learners:
            gradients = [p.grad for p in learner.network.parameters() if p.grad is not None]
            if self.accelerator.num_processes > 1 and gradients:
                flat = torch.cat([gradient.flatten() for gradient in gradients])
                flat = self.accelerator.reduce(flat, "mean")
                for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                    gradient.copy_(part.view_as(gradient))
            if clip is not None and gradients:
                # accelerate's own clipping undoes float16's loss scale for all optimizers, again at each call.
                self.accelerator.unscale_gradients(learner.optimizer)
                norm = nn.utils.clip_grad_norm_(learner.network.parameters(), clip)
                # Where float16 overflows, the update is skipped and the loss scale lowered: that is no norm to record.
                if self.accelerator.scaler is None or norm.isfinite():
                    self.run.curves.record(gradient_norm=norm)
            learner.optimizer.step()
            learner.optimizer.zero_grad(set_to_none=True)
            if learner.average is not None:
                learner.average.step(learner.network.parameters())

    def share_buffers(self, *networks: nn.Module) -> None:
        """Give every process the first one's running statistics (each process keeps its own, over its own batches)."""
        if self.accelerator.num_processes > 1:
            for network in networks:
                broadcast([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def is_due(self, every: int) -> bool:
        """Whether something done every `every` steps, from the first one on, is due; 0 means never."""
        return every > 0 and (self.run.step - 1) % every == 0

    # Numbered randomness

    def seed_rngs(self, positions: Tensor, stream: int) -> list[np.random.Generator]:
        """A random stream for each sample number; `stream` (see `train.engine.streams`) tells uses in a step apart."""
        return [
            np.random.default_rng([self.config.seed, p, streams.SAMPLE + stream]) for p in positions.tolist()
        ]

    def seed_generators(self, positions: Tensor, stream: int) -> "Generators":
        """Streams like those of `seed_rngs` for tensors on the device; on a GPU a single one for the whole batch."""
        first = positions if self.device.type == "cpu" else positions[:1]
        seeds = [int(rng.integers(2**62)) for rng in self.seed_rngs(first, stream)]
        return Generators([torch.Generator(self.device).manual_seed(seed) for seed in seeds], len(positions))

    def draw_normal(self, generators: "Generators", *shape: int) -> Tensor:
        """Draw from N(0, 1), [B, *shape] float32."""
        shape = (generators.batch, *shape)
        return randn_tensor(shape, generator=list(generators), device=self.device)

    def seed_step_rng(self, stream: int) -> np.random.Generator:
        """The random stream of a choice for a whole step, the same in all processes."""
        return np.random.default_rng([self.config.seed, self.run.step, streams.STEP + stream])

    def seed_layers(self) -> None:
        """Seed the global stream, from which dropout draws, by the step: a restart would leave it elsewhere."""
        words = [self.config.seed, self.run.step, streams.LAYERS, self.accelerator.process_index]
        torch.manual_seed(int(np.random.default_rng(words).integers(2**62)))

    # Data

    def build_preparation(self) -> Preparation:
        """Build what makes a sample of each picture that is read, with `damaged` where the options ask for it."""
        config = self.config

        def damage(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            if config.damage_probability < 1 and rng.random() >= config.damage_probability:
                return {"damaged": to_tensor(pixels), "image": to_tensor(pixels)}
            light = config.light_damage > 0 and rng.random() < config.light_damage
            severity = float(rng.uniform(0, LIGHT)) if light else None
            damaged, target = degrade_pair(pixels, config.damage, rng, severity)
            return {"damaged": to_tensor(damaged), "image": to_tensor(target)}

        extras = None if config.damage == "none" else damage
        return Preparation(self.size, config.seed, flip=config.flip, extras=extras)

    def batches(self, start: int | None = None) -> Iterator[dict[str, Any]]:
        """Endless batches of this process from where the run stands, or from sample `start` as if it were alone.

        Yields:
            `image` [B, 3, S, S] in [-1, 1], `position` [B], and with damage `damaged`, as `image`.
        """
        return self.read_batches(self.config.make_source(), self.build_preparation(), start)

    def read_batches(
        self, source: PictureSource, prepare: Prepare, start: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Batches of any source and preparation, dealt out to the processes as those of `batches`."""
        alone = start is not None
        return read_batches(
            source,
            prepare,
            batch_size=self.config.batch_size,
            start=start if alone else self.run.samples_seen,
            rank=0 if alone else self.accelerator.process_index,
            world=1 if alone else self.accelerator.num_processes,
            num_workers=self.config.num_workers,
        )

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch as `iterate` takes it, on the device; without damage `damaged` is `image`."""
        moved = self.move(batch)
        moved.setdefault("damaged", moved["image"])
        return moved

    def move(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, but for `position`: it seeds random streams, and reading it back would wait."""
        return {
            name: value if name == "position" else self.move_values(value) for name, value in batch.items()
        }

    def move_values(self, values: Any) -> Tensor:
        """Move an array, list or tensor to the device, as a tensor, floats as float32.

        Nothing waits for the device meanwhile: memory is pinned, since a GPU copies from ordinary memory only once it
        has done all that it was given before.
        """
        tensor = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values))
        if tensor.is_floating_point():
            tensor = tensor.float()
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    # The run

    def step_on(self, group: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One training step on batches as `batches` gives them; returns them on the device, as `iterate` left them."""
        group = [self.to_device(batch) for batch in group]
        self.seed_layers()
        self.iterate(group)
        return group

    def train(self) -> None:
        """The whole run: steps, validations, sample pictures, and at the end `pipeline/`."""
        config, run = self.config, self.run
        validation = self.build_validation()
        say_count(run, config.make_source())
        batches = self.batches()
        for _ in run.steps():
            group = self.step_on([next(batches) for _ in range(config.gradient_accumulation_steps)])
            if validation is not None and run.is_time(config.validation.every):
                validate(run, validation, self.write_results)
            if run.is_time(config.sample_every) and run.is_main:
                with torch.no_grad():
                    run.write_images("train", self.sample_rows(group[0]))
        if run.is_main:
            write_folder(run.folder / "pipeline", self.write_results)
            run.say(f"wrote {run.folder / 'pipeline'}")


def load_scheduler(source: str) -> CodeDiffusionScheduler:
    """The scheduler beside a code diffuser, in a folder or on the Hub.

    Raises:
        ValueError: the folder has no sub-folder `scheduler`.
        OSError: the repository has none, or cannot be reached.
    """
    folder = Path(source)
    if folder.is_dir() and not (folder / "scheduler").is_dir():
        raise ValueError(
            f"{folder} has no sub-folder scheduler, which says how its code diffuser was trained"
        )
    with explain_errors(source) as options:
        return CodeDiffusionScheduler.from_pretrained(source, subfolder="scheduler", **options)


def scale_rates(learning_rate: float, betas: tuple[float, float], every: int) -> dict[str, Any]:
    """Scale Adam's learning rate and betas for a regulariser that has its own update every `every` steps.

    As StyleGAN2 does (appendix B); 0 leaves them as they are.

    Returns:
        Arguments of `Stage.learn`.
    """
    share = every / (every + 1) if every > 0 else 1.0
    return {"learning_rate": learning_rate * share, "betas": tuple(beta**share for beta in betas)}


def load_component(network_class: type[Network], source: str, name: str) -> Network:
    """A network in float32 from a folder or Hub repository: of its sub-folder `name`, or itself where there is none.

    Raises:
        OSError: neither holds such a network.
    """
    folder = Path(source)
    if folder.is_dir():
        return network_class.from_pretrained(folder / name if (folder / name).is_dir() else folder).float()
    try:
        return network_class.from_pretrained(source, subfolder=name).float()
    except OSError:
        return network_class.from_pretrained(source).float()
