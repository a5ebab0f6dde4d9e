"""What the trainers of prior, style encoder, code diffuser and restorer share.

Every random choice belongs to a numbered sample, so that a run is the same after a restart and, beyond rounding
and batch statistics, over any number of processes.
"""

import facekit  # noqa: F401  first: it mends torchvision, which diffusers imports

# isort: split
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.training_utils import EMAModel
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from facekit.damage.degrade import degrade_pair, get_config
from facekit.hub.errors import explained
from facekit.schedulers import CodeDiffusionScheduler
from train.data.images import Data, ImageSource, Preparation, say_count, to_tensor, training_batches
from train.engine.checkpoints import write_folder
from train.engine.run import LoopConfig, Run

if TYPE_CHECKING:
    from train.engine.picture_losses import PictureLosses

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

    def source(self) -> ImageSource:
        """Where the training pictures come from; ValueError for a mixture that cannot be read."""
        names = ("data", "split", "streaming", "shots", "exclude", "image_column", "seed", "skip_broken")
        return ImageSource(**{name: getattr(self, name) for name in names})

    def check_choices(self, **choices: tuple[str, ...]) -> None:
        """ValueError when an option is none of its choices."""
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")


class Generators(list[torch.Generator]):
    """Random streams of a batch: one a sample, or a single one where many small draws would keep a device waiting."""

    def __init__(self, streams: list[torch.Generator], batch: int) -> None:
        super().__init__(streams)
        self.batch = batch


@dataclass
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
        self._averages: list[EMAModel] = []
        # Equal weights everywhere at the start; afterwards each process draws from its own stream again.
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.build()
        self.resumed = self.run.resume()
        for average in self._averages:
            average.to(self.device)

    def build(self) -> None:
        raise NotImplementedError

    def iteration(self, batches: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        raise NotImplementedError

    def write_networks(self, folder: Path) -> None:
        """Fill the folder; called in one process, when the others may have ended."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called in every process after each step, for validation."""

    # Networks

    def learn(
        self,
        network: nn.Module,
        learning_rate: float,
        betas: tuple[float, float],
        average: tuple[float, float] | None = None,
        optimizer: type[torch.optim.Optimizer] = torch.optim.Adam,
    ) -> Learner:
        """Train a network, part of the checkpoints from now on; `average`: decay and least decay of its average."""
        network.to(self.device).train()
        # One kernel for all parameters where there is one.
        fused = {"fused": True} if optimizer is torch.optim.Adam and self.device.type == "cuda" else {}
        options = {"lr": learning_rate, "betas": tuple(map(float, betas))} | fused
        made = self.accelerator.prepare_optimizer(optimizer(network.parameters(), **options))  # type: ignore[arg-type]
        self.run.checkpoints.watch(network, made)
        self.accelerator.register_for_checkpointing(network)
        kept = None
        if average is not None:
            kept = EMAModel(
                network.parameters(), decay=float(average[0]), min_decay=float(average[1]), foreach=True
            )
            self.accelerator.register_for_checkpointing(kept)
            self._averages.append(kept)
        return Learner(network, made, kept)

    def use(self, network: Network) -> Network:
        """A network that only helps: on the device, frozen, in evaluation mode."""
        return network.to(self.device).requires_grad_(False).eval()

    def averaged(self, learner: Learner) -> Any:
        """A copy with averaged parameters, or as trained where none are kept; buffers are the trained ones."""
        network = type(learner.network).from_config(learner.network.config)
        network.load_state_dict(learner.network.state_dict())
        if learner.average is not None:
            learner.average.copy_to(network.parameters())
        return network.to(self.device).requires_grad_(False).eval()

    @contextlib.contextmanager
    def frozen(self, *networks: nn.Module) -> Iterator[None]:
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

    def learn_feature_critic(self, losses: "PictureLosses") -> Learner | None:
        """Train the critics on ImageNet features that `losses` has, if it has any."""
        if losses.feature_critic is None:
            return None
        return self.learn(losses.feature_critic, losses.config.critic_learning_rate, (0.0, 0.99))

    def update_feature_critic(self, learner: Learner | None, losses: "PictureLosses") -> None:
        """One step of the critics on ImageNet features, on what they judged since the last one."""
        if learner is None:
            return
        values = losses.critic_losses()
        for value in values:
            self.accelerator.backward(value / len(values))
            self.run.curves.record(loss_feature_critic=value)
        self.update(learner)

    def is_due(self, every: int) -> bool:
        """Whether something done every so many steps, the first included, is due; 0 means never."""
        return every > 0 and (self.run.step - 1) % every == 0

    # Numbered randomness

    def rngs(self, positions: Tensor, stream: int) -> list[np.random.Generator]:
        """One random stream a sample; `stream` tells the uses within a step apart."""
        return [np.random.default_rng([self.config.seed, p, 100 + stream]) for p in positions.tolist()]

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
        return np.random.default_rng([self.config.seed, self.run.step, 200 + stream])

    def seed_layers(self) -> None:
        """Dropout draws from the global stream, which a restart leaves elsewhere: it starts anew in each step."""
        words = [self.config.seed, self.run.step, 300, self.accelerator.process_index]
        torch.manual_seed(int(np.random.default_rng(words).integers(2**62)))

    # Data

    def batches(self, start: int | None = None) -> Iterator[dict[str, Any]]:
        """This process's batches from where the run stands (or from a sample number, as if it were alone).

        `image` [B, 3, S, S] in [-1, 1]; with damage also `damaged`, of the same shape.
        """
        config = self.config

        def damage(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
            if config.damage_probability < 1 and rng.random() >= config.damage_probability:
                return {"damaged": to_tensor(pixels), "image": to_tensor(pixels)}
            damaged, target = degrade_pair(pixels, config.damage, rng)
            return {"damaged": to_tensor(damaged), "image": to_tensor(target)}

        return training_batches(
            config.source(),
            Preparation(
                self.size, config.seed, flip=config.flip, extras=None if config.damage == "none" else damage
            ),
            batch_size=config.batch_size,
            start=self.run.samples_seen if start is None else start,
            rank=self.accelerator.process_index if start is None else 0,
            world=self.accelerator.num_processes if start is None else 1,
            num_workers=config.num_workers,
        )

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        moved = self.moved(batch)
        moved.setdefault("damaged", moved["image"])
        return moved

    def moved(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch on the device, but for `position`, which seeds random streams: reading it there would wait."""
        return {name: value if name == "position" else value.to(self.device) for name, value in batch.items()}

    # The run

    def step_on(self, group: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One training step on batches as `batches` gives them; returns them as `iteration` saw them."""
        group = [self.to_device(batch) for batch in group]
        self.seed_layers()
        self.iteration(group)
        return group

    def train(self) -> None:
        config, run = self.config, self.run
        say_count(run, config.source())
        batches = self.batches()
        for _ in run.steps():
            group = self.step_on([next(batches) for _ in range(config.gradient_accumulation_steps)])
            self.after_step()
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
    with explained(source):
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
