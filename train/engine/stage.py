"""A stage of training: networks that learn, numbered randomness, batches, and the run around an iteration.

Every random choice belongs to a numbered sample, so that a run is the same after a restart and, beyond rounding
and batch statistics, over any number of processes.
"""

import facekit  # noqa: F401  first: it mends torchvision, which diffusers imports

# isort: split
import contextlib
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
from train.data.samples import PictureSource, Preparation, Prepare, training_batches
from train.engine import streams
from train.engine.checkpoints import write_folder
from train.engine.options import Average
from train.engine.run import LoopConfig, Run
from train.engine.validation import Validation, validate

Network = TypeVar("Network", bound=ModelMixin)


@dataclass(kw_only=True)
class StageConfig(LoopConfig):
    """Options of the shared loop, and of the pictures.

    Attributes:
        data, split, streaming, shots, exclude, image_column, skip_broken: see `train.data.images.ImageSource`.
        flip: mirror half of the pictures.
        damage: preset of `facekit.damage.degrade` for the network's input, or "none".
        damage_probability: share of the pictures that are damaged.
        gradient_clip: largest norm of the gradients of the networks that make pictures or codes; None: any.
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
    gradient_clip: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.source()  # refuses what cannot be read before anything is built
        if not 0 < self.damage_probability <= 1:
            raise ValueError(
                f"damage_probability must be above 0 and at most 1, got {self.damage_probability}; "
                "damage: none leaves all pictures as they are"
            )
        if self.damage != "none":
            get_config(self.damage)
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise ValueError(
                f"gradient_clip must be above 0, got {self.gradient_clip}; leave it out for no limit"
            )

    def source(self) -> ImageSource:
        """Where the training pictures come from; ValueError for a mixture that cannot be read."""
        names = ("data", "split", "streaming", "shots", "exclude", "image_column", "seed", "skip_broken")
        return ImageSource(**{name: getattr(self, name) for name in names})


class Generators(list[torch.Generator]):
    """Random streams of a batch: one a sample, or a single one where many small draws would keep a device waiting."""

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
    """One trainer. A subclass fills in `build`, `iteration`, `sample_rows` and `write_networks`.

    Networks are not wrapped for several processes: gradients are averaged in one message before each update. These
    trainings pass a network several times before one update, differentiate gradients, and use other parts of it
    from update to update, which a wrapper does not follow.
    """

    size: int  # side of the training pictures, set by `build`

    def __init__(self, config: StageConfig) -> None:
        self.config, self.run = config, Run(config)
        self.accelerator = self.run.accelerator
        self.device = self.accelerator.device
        self.learners: list[Learner] = []
        # Equal weights everywhere at the start; afterwards each process draws from its own stream again.
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.build()
        self.resumed = self.run.resume()
        for learner in self.learners:
            if learner.average is not None:
                learner.average.to(self.device)

    def build(self) -> None:
        raise NotImplementedError

    def iteration(self, batches: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        raise NotImplementedError

    def write_networks(self, folder: Path) -> None:
        """Fill the folder; called in one process, when the others may have ended."""
        raise NotImplementedError

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
        """Train a network, part of the checkpoints from now on; `average`: that of its average, if one is kept."""
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
        # Where the weights of `init_from` lay on this machine is nobody's business.
        config = {key: value for key, value in learner.network.config.items() if key != "_name_or_path"}
        network = type(learner.network).from_config(config)
        network.load_state_dict(learner.network.state_dict())
        if learner.average is not None:
            learner.average.copy_to(network.parameters())
        return network.to(self.device).requires_grad_(False).eval()

    @contextlib.contextmanager
    def freeze(self, *networks: nn.Module) -> Iterator[None]:
        """Gradients flow through these networks, but are not collected for them."""
        parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)

    def update(self, *learners: Learner, clip: float | None = None) -> None:
        """One optimizer step each, with gradients averaged over the processes; `clip`: their largest norm."""
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
                # Too large a loss scale is found by overflow; its update is skipped and says nothing of the norm.
                if self.accelerator.scaler is None or norm.isfinite():
                    self.run.curves.record(gradient_norm=norm)
            learner.optimizer.step()
            learner.optimizer.zero_grad(set_to_none=True)
            if learner.average is not None:
                learner.average.step(learner.network.parameters())

    def share_buffers(self, *networks: nn.Module) -> None:
        """Give every process the first one's running statistics, which each keeps over its own batches."""
        if self.accelerator.num_processes > 1:
            for network in networks:
                broadcast([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def is_due(self, every: int) -> bool:
        """Whether something done every so many steps, the first included, is due; 0 means never."""
        return every > 0 and (self.run.step - 1) % every == 0

    # Numbered randomness

    def rngs(self, positions: Tensor, stream: int) -> list[np.random.Generator]:
        """One random stream a sample; `stream` (see `train.engine.streams`) tells the uses within a step apart."""
        return [
            np.random.default_rng([self.config.seed, p, streams.SAMPLE + stream]) for p in positions.tolist()
        ]

    def generators(self, positions: Tensor, stream: int) -> "Generators":
        """The same for tensors, on the device; on an accelerator one stream for the whole batch."""
        first = positions if self.device.type == "cpu" else positions[:1]
        seeds = [int(rng.integers(2**62)) for rng in self.rngs(first, stream)]
        return Generators([torch.Generator(self.device).manual_seed(seed) for seed in seeds], len(positions))

    def normal(self, generators: "Generators", *shape: int) -> Tensor:
        """N(0, 1), [B, *shape]."""
        shape = (generators.batch, *shape)
        return randn_tensor(shape, generator=list(generators), device=self.device)

    def step_rng(self, stream: int) -> np.random.Generator:
        """A choice for a whole step, the same in all processes."""
        return np.random.default_rng([self.config.seed, self.run.step, streams.STEP + stream])

    def seed_layers(self) -> None:
        """Dropout draws from the global stream, which a restart leaves elsewhere: it starts anew in each step."""
        words = [self.config.seed, self.run.step, streams.LAYERS, self.accelerator.process_index]
        torch.manual_seed(int(np.random.default_rng(words).integers(2**62)))

    # Data

    def preparation(self) -> Preparation:
        """What is made of each picture that is read."""
        config = self.config

        def damage(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            if config.damage_probability < 1 and rng.random() >= config.damage_probability:
                return {"damaged": to_tensor(pixels), "image": to_tensor(pixels)}
            damaged, target = degrade_pair(pixels, config.damage, rng)
            return {"damaged": to_tensor(damaged), "image": to_tensor(target)}

        extras = None if config.damage == "none" else damage
        return Preparation(self.size, config.seed, flip=config.flip, extras=extras)

    def batches(self, start: int | None = None) -> Iterator[dict[str, Any]]:
        """This process's batches from where the run stands (or from a sample number, as if it were alone).

        `image` [B, 3, S, S] in [-1, 1]; with damage also `damaged`, of the same shape.
        """
        return self.read_batches(self.config.source(), self.preparation(), start)

    def read_batches(
        self, source: PictureSource, prepare: Prepare, start: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Batches of any source under any preparation, shared out as those of `batches`."""
        alone = start is not None
        return training_batches(
            source,
            prepare,
            batch_size=self.config.batch_size,
            start=start if alone else self.run.samples_seen,
            rank=0 if alone else self.accelerator.process_index,
            world=1 if alone else self.accelerator.num_processes,
            num_workers=self.config.num_workers,
        )

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        moved = self.move(batch)
        moved.setdefault("damaged", moved["image"])
        return moved

    def move(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch on the device, but for `position`, which seeds random streams: reading it there would wait."""
        return {name: value if name == "position" else self.on_device(value) for name, value in batch.items()}

    def on_device(self, values: Any) -> Tensor:
        """Numbers on the host as a tensor on the device, floats as float32.

        Copying does not wait for the device's work: from ordinary memory a GPU copies only once it has done all that it
        was given before.
        """
        tensor = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values))
        if tensor.is_floating_point():
            tensor = tensor.float()
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    # The run

    def step_on(self, group: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One training step on batches as `batches` gives them; returns them as `iteration` saw them."""
        group = [self.to_device(batch) for batch in group]
        self.seed_layers()
        self.iteration(group)
        return group

    def train(self) -> None:
        config, run = self.config, self.run
        validation = self.build_validation()
        say_count(run, config.source())
        batches = self.batches()
        for _ in run.steps():
            group = self.step_on([next(batches) for _ in range(config.gradient_accumulation_steps)])
            if validation is not None and run.is_time(config.validation.every):
                validate(run, validation, self.write_networks)
            if run.is_time(config.sample_every) and run.is_main:
                with torch.no_grad():
                    run.write_images("train", self.sample_rows(group[0]))
        if run.is_main:
            write_folder(run.folder / "pipeline", self.write_networks)
            run.say(f"wrote {run.folder / 'pipeline'}")


def load_scheduler(source: str) -> CodeDiffusionScheduler:
    """The scheduler beside a code diffuser, see `load_component`."""
    folder = Path(source)
    if folder.is_dir() and not (folder / "scheduler").is_dir():
        raise ValueError(
            f"{folder} has no sub-folder scheduler, which says how its code diffuser was trained"
        )
    with explain_errors(source):
        return CodeDiffusionScheduler.from_pretrained(source, subfolder="scheduler")


def lazy_options(learning_rate: float, betas: tuple[float, float], every: int) -> dict[str, Any]:
    """Adam's options where a regulariser has its own update every so many steps (StyleGAN2, appendix B)."""
    share = every / (every + 1) if every > 0 else 1.0
    return {"learning_rate": learning_rate * share, "betas": tuple(beta**share for beta in betas)}


def load_component(network_class: type[Network], source: str, name: str) -> Network:
    """A network out of a folder or Hub repository: its sub-folder `name`, or the whole where there is none.

    Raises:
        OSError: when neither holds such a network.
    """
    folder = Path(source)
    if folder.is_dir():
        return network_class.from_pretrained(folder / name if (folder / name).is_dir() else folder).float()
    try:
        return network_class.from_pretrained(source, subfolder=name).float()
    except OSError:
        return network_class.from_pretrained(source).float()
