"""What every training shares: its processes, the loop over steps with limits of time, the best networks kept."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, set_seed
from tqdm.auto import tqdm

from facekit.images.files import why_not_writable
from facekit.metrics.speed import describe_device
from train.engine.checkpoints import Checkpoints, find_checkpoints, write_folder
from train.engine.curves import Curves
from train.engine.groups import fill_groups
from train.engine.renamed import refuse_old_names

PRECISIONS = ("no", "bf16", "fp16", "auto")


@dataclass(kw_only=True)
class LoopConfig:
    """Options of the shared loop.

    Attributes:
        output_dir: everything a run writes: `checkpoints/`, `samples/`, `curves.jsonl`, `best/`, `pipeline/`.
        max_steps: training steps of the whole run, restarts included.
        max_minutes: of this launch; the run can be resumed.
        total_minutes: of training in the whole run, restarts included. What was trained after the last checkpoint
            before a kill is trained again, and not counted.
        batch_size: pictures per process and forward pass.
        gradient_accumulation_steps: forward passes whose gradients are averaged into one update.
        mixed_precision: "no", "bf16", "fp16", or "auto": the fastest of them, as `train.engine.precision` measures.
        seed: of all random choices.
        num_workers: processes that read pictures, beside each process that trains.
        resume: go on from the newest complete checkpoint in `output_dir`.
        keep_checkpoints: number of checkpoints that stay; older ones are deleted.
        checkpoint_every: steps from one checkpoint to the next.
        checkpoint_minutes: a checkpoint is also written when this long has passed since the last.
        log_every, sample_every: steps from one line of `curves.jsonl`, and from one grid of pictures, to the next.
        tracker: "tensorboard", "trackio" or "none"; `curves.jsonl` is always written.
    """

    output_dir: str
    max_steps: int
    max_minutes: float | None = None
    total_minutes: float | None = None
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    mixed_precision: str = "no"
    seed: int = 0
    num_workers: int = 0
    resume: bool = True
    keep_checkpoints: int = 2
    checkpoint_every: int = 1000
    checkpoint_minutes: float | None = None
    log_every: int = 20
    sample_every: int = 500
    tracker: str = "tensorboard"

    def __post_init__(self) -> None:
        fill_groups(self)
        for name in ("max_steps", "batch_size", "gradient_accumulation_steps", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.mixed_precision is False:  # YAML 1.1 reads a bare no so
            self.mixed_precision = "no"
        if self.mixed_precision not in PRECISIONS:
            raise ValueError(
                f"mixed_precision must be one of {', '.join(PRECISIONS)}; got {self.mixed_precision!r}"
            )
        for name in ("total_minutes", "checkpoint_minutes"):
            minutes = getattr(self, name)
            if minutes is not None and minutes <= 0:
                raise ValueError(f"{name} must be above 0, got {minutes}; leave it out for no limit")
        if self.tracker not in ("tensorboard", "trackio", "none"):
            raise ValueError(f"tracker must be tensorboard, trackio or none, got {self.tracker!r}")


class Run:
    """One training run over any number of processes.

    A trainer builds networks and optimizers, has accelerate prepare them, calls `resume`, then loops over `steps()`.

    Attributes:
        step, samples_seen: finished steps (while one is running, its number), and pictures that all processes saw.
        minutes: of training, restarts included.
        best: the best value so far of each metric by which networks are kept.

    Raises:
        ValueError: `mixed_precision` is still "auto".
    """

    def __init__(self, config: LoopConfig) -> None:
        if config.mixed_precision == "auto":
            raise ValueError(
                "mixed_precision auto is settled by train.engine.precision.launch, before a run begins"
            )
        self.config = config
        self.folder = Path(config.output_dir)
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            log_with=None if config.tracker == "none" else config.tracker,
            project_config=ProjectConfiguration(
                project_dir=str(self.folder), logging_dir=str(self.folder / "logs")
            ),
            # Adversarial training leaves some networks without gradients in a step.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=False)],
        )
        if self.accelerator.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes never change within a run
            torch.backends.cuda.matmul.allow_tf32 = True
        self.step = 0
        self.samples_seen = 0
        self.minutes = 0.0
        self.best: dict[str, float] = {}
        self.checkpoints = Checkpoints(self.folder, self.accelerator, config.keep_checkpoints, self.say)
        self.curves = Curves(self.folder, self.accelerator)
        if self.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        # Each process draws its own noise; the data order does not depend on it.
        set_seed(config.seed, device_specific=True)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.accelerator.is_main_process

    @property
    def samples_per_step(self) -> int:
        """Pictures that all processes together read in a step."""
        return (
            self.config.batch_size * self.config.gradient_accumulation_steps * self.accelerator.num_processes
        )

    def say(self, message: str) -> None:
        """One line for the person at the terminal, once per run."""
        if self.is_main:
            tqdm.write(message)

    def resume(self) -> bool:
        """Load the newest complete checkpoint; whether there was one. Call after accelerate's `prepare`.

        Raises:
            ValueError: `resume` is off and there are checkpoints, or the newest has options of an earlier version or is
                of another optimizer, form of networks or set of critics.
        """
        if not self.config.resume:
            if find_checkpoints(self.folder):
                raise ValueError(
                    f"{self.folder} already holds checkpoints; choose another output_dir or leave resume on"
                )
            return False
        for newest in find_checkpoints(self.folder)[-1:]:
            before = json.loads((newest / "run.json").read_text()).get("config", {})
            refuse_old_names(
                type(self.config),
                before,
                f"{newest} was written by an earlier version",
                ". Choose another output_dir; networks can be gone on with by init_from",
            )
            now = asdict(self.config)
            if not now.get("joint", False):  # which takes Adam, whatever the option says
                self._refuse_other("optimizer", before.get("optimizer"), now.get("optimizer"))
            self._refuse_other("form", before.get("form", "published"), now.get("form"))
            weights = [(options.get("pictures") or {}).get("close_up_weight", 0) for options in (before, now)]
            if min(weights) == 0:  # the losses differ, and with projected critics those do, too
                self._refuse_other("pictures.close_up_weight", *weights)
        state = self.checkpoints.load()
        if state is None:
            return False
        self.step, self.samples_seen, self.best = state["step"], state["samples_seen"], state["best"]
        self.minutes = state.get("minutes", 0.0)  # checkpoints of earlier versions did not count them
        self.curves.cut(self.step)
        self.say(f"resumed {self.folder} at step {self.step} ({self.samples_seen} pictures seen)")
        return True

    def _refuse_other(self, option: str, before: object, now: object) -> None:
        """Refuse to go on with another value than `before`: a checkpoint of the one says nothing to the other."""
        if None not in (before, now) and before != now:
            raise ValueError(
                f"the checkpoints in {self.folder} are of a run with {option} {before}, not {now}: say --{option} "
                f"{before}, or choose another output_dir; networks can be gone on with by init_from"
            )

    def save(self) -> None:
        """Write a checkpoint, see `Checkpoints`."""
        state: dict[str, Any] = {"step": self.step, "samples_seen": self.samples_seen, "best": self.best}
        self.checkpoints.save(self.step, state | {"minutes": self.minutes, "config": asdict(self.config)})

    # The loop

    def steps(self) -> Iterator[int]:
        """Step numbers from where the run stands; saves, and stops at `max_steps` or when its minutes are over.

        Raises:
            FloatingPointError: a recorded value or a weight is no longer finite.
        """
        self.curves.start(self.config)
        config, before = self.config, self.minutes
        started = saved = time.monotonic()
        complete = _is_over(self.minutes, config.total_minutes)
        if complete:
            self.say(f"total_minutes were reached at step {self.step}: the run is complete")
        bar = tqdm(total=config.max_steps, initial=self.step, disable=not self.is_main, desc=self.folder.name)
        while self.step < config.max_steps and not complete:
            self.step += 1
            yield self.step
            self.samples_seen += self.samples_per_step
            bar.update()
            if self.step % config.log_every == 0:
                bar.set_postfix(self._log_means())
            now = time.monotonic()
            self.minutes = before + (now - started) / 60
            out_of_time, complete, due = self._agree(
                _is_over((now - started) / 60, config.max_minutes),
                _is_over(self.minutes, config.total_minutes),
                _is_over((now - saved) / 60, config.checkpoint_minutes),
            )
            if complete and config.total_minutes is not None:  # another process's clock may have been ahead
                self.minutes = max(self.minutes, config.total_minutes)
            ends = self.step == config.max_steps or out_of_time or complete
            if self.step % config.checkpoint_every == 0 or due or ends:
                self.save()
                saved = time.monotonic()
            if complete:
                self.say(f"total_minutes reached at step {self.step}: the run is complete")
            elif out_of_time:
                self.say(f"max_minutes reached at step {self.step}; the same command goes on from here")
                break
        bar.close()
        self.accelerator.end_training()

    def _agree(self, *conditions: bool) -> list[bool]:
        """Whether each holds in any process, so that all do the same whatever their clocks say."""
        limits = (self.config.max_minutes, self.config.total_minutes, self.config.checkpoint_minutes)
        if self.accelerator.num_processes == 1 or all(limit is None for limit in limits):
            return list(conditions)
        flags = torch.tensor([float(condition) for condition in conditions], device=self.accelerator.device)
        return [count > 0 for count in self.accelerator.reduce(flags, "sum").tolist()]

    def is_time(self, every: int) -> bool:
        """Whether something done every `every` steps, and after the last one, is due; 0 means never."""
        return every > 0 and (self.step % every == 0 or self.step == self.config.max_steps)

    def describe(self) -> dict[str, Any]:
        """How the networks came about so far, restarts included: `training.json` beside them.

        Returns:
            `stage`, such as "train.inpaint"; `steps` and `pictures` seen; `minutes` of training; `batch_size` of a
            step over all processes; `processes`, `device`, `mixed_precision`; `complete`: no step is left.
        """
        config = self.config
        return {
            "stage": type(config).__module__.rpartition(".")[0],
            "steps": self.step,
            "pictures": self.samples_seen,
            "minutes": round(self.minutes, 3),
            "batch_size": self.samples_per_step,
            "processes": self.accelerator.num_processes,
            "device": describe_device(self.accelerator.device),
            "mixed_precision": config.mixed_precision,
            "complete": self.step >= config.max_steps or _is_over(self.minutes, config.total_minutes),
        }

    # Curves

    def _log_means(self) -> dict[str, str]:
        means = self.curves.take_means()
        self.write_curves(means)
        broken = [name for name, value in means.items() if not np.isfinite(value)]
        if broken:
            raise FloatingPointError(
                f"{', '.join(broken)} not finite at step {self.step}. {self.checkpoints.advise()}"
            )
        return {name: f"{value:.3f}" for name, value in means.items()}

    def write_curves(self, values: dict[str, float]) -> None:
        """Write values of this step to the curves."""
        self.curves.write(values, self.step, self.samples_seen)

    def write_images(self, name: str, rows: list[torch.Tensor]) -> None:
        """Write pictures of this step, see `Curves.write_images`."""
        self.curves.write_images(name, rows, self.step)

    def keep_best(self, metric: str, value: float, better: str, write: Callable[[Path], None]) -> bool:
        """Let `write(folder)` fill `best/` where a metric's value is the best so far; whether it was.

        Args:
            better: "higher" or "lower", the better values. A value that is not finite is never the best.
        """
        if not np.isfinite(value):
            return False
        best = self.best.get(metric)
        if best is not None and (value <= best if better == "higher" else value >= best):
            return False
        self.best[metric] = value
        if self.is_main:
            write_folder(self.folder / "best", write)
        return True


def work_in(output_dir: str, work: Callable[[], None]) -> None:
    """Do work that writes to `output_dir`, once that can be written to; Ctrl-C ends it with one line and exit code 130.

    Raises:
        OSError: no file can be written there.
        SystemExit: after Ctrl-C.
    """
    folder = Path(output_dir)
    if reason := why_not_writable(folder):
        raise OSError(f"output_dir {reason}")
    try:
        work()
        return
    except KeyboardInterrupt:
        pass  # and with it goes what was at work, progress bars for example
    found = find_checkpoints(folder)
    kept = f"goes on from {found[-1].name}" if found else "begins anew: there was no checkpoint yet"
    if PartialState().is_main_process:
        print(f"stopped; the same command {kept}", file=sys.stderr)
    sys.exit(130)


def _is_over(minutes: float, limit: float | None) -> bool:
    return limit is not None and minutes >= limit
