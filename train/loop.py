"""What every training script shares: processes, checkpoints that survive a kill, curves, samples, best-keeping."""

import json
import os
import shutil
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
from PIL import Image
from torch import nn
from tqdm.auto import tqdm

from facekit.images.files import why_not_writable

PRECISIONS = ("no", "bf16", "fp16", "auto")


@dataclass(kw_only=True)
class LoopConfig:
    """Options of the shared loop.

    Attributes:
        output_dir: everything a run writes: `checkpoints/`, `samples/`, `curves.jsonl`, `best/`, `pipeline/`.
        max_steps: iterations (batches) of the whole run, restarts included.
        max_minutes: stop after so many minutes of this launch; the run can be resumed.
        total_minutes: end the run after so many minutes of training, restarts included. What lies between the last
            checkpoint and a kill is trained again and not counted.
        batch_size: pictures per process and forward pass.
        gradient_accumulation_steps: forward passes whose gradients are averaged into one update.
        mixed_precision: "no", "bf16", "fp16", or "auto": the fastest of them, as `train.precision` measures.
        resume: go on from the newest complete checkpoint in `output_dir`.
        keep_checkpoints: older ones are deleted.
        checkpoint_every: steps from one checkpoint to the next.
        checkpoint_minutes: write one also when so many minutes have passed since the last.
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
    validate_every: int = 1000
    tracker: str = "tensorboard"

    def __post_init__(self) -> None:
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

    The script builds networks and optimizers, passes them through `prepare`, calls `resume`, then loops over
    `steps()`. A checkpoint is written into a folder of a temporary name and renamed when it is whole, so one that
    a kill cut short is never taken for a checkpoint.
    """

    def __init__(self, config: LoopConfig) -> None:
        if config.mixed_precision == "auto":
            raise ValueError("mixed_precision auto is settled by train.precision.launch, before a run begins")
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
        self.minutes = 0.0  # of training, restarts included
        self.best: dict[str, float] = {}
        self._watched: list[tuple[nn.Module, Any, list[float]]] = []
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}
        if self.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        # Each process draws its own noise; the data order does not depend on it.
        set_seed(config.seed, device_specific=True)

    @property
    def is_main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def samples_per_step(self) -> int:
        return (
            self.config.batch_size * self.config.gradient_accumulation_steps * self.accelerator.num_processes
        )

    def say(self, message: str) -> None:
        """One line for the person at the terminal, once per run."""
        if self.is_main:
            tqdm.write(message)

    # Checkpoints

    def watch(self, network: nn.Module, optimizer: Any) -> None:
        """A network that learns: its weights are looked at before every save, and a resumed run takes its optimizer's
        learning rate from the options, not from the checkpoint."""
        self._watched.append((network, optimizer, [group["lr"] for group in optimizer.param_groups]))

    def _take_rates(self) -> None:
        for network, optimizer, rates in self._watched:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                if group["lr"] != rate:
                    name = type(network).__name__
                    self.say(f"{name}: learning rate {rate:g} from here on, {group['lr']:g} before")
                    group["lr"] = rate

    def _check_weights(self) -> None:
        broken = [
            type(network).__name__
            for network, _, _ in self._watched
            if not torch.stack([parameter.isfinite().all() for parameter in network.parameters()]).all()
        ]
        if broken:
            raise FloatingPointError(
                f"weights of {', '.join(broken)} not finite at step {self.step}: nothing was saved. {self._way_out()}"
            )

    def _way_out(self) -> str:
        found = checkpoints_of(self.folder)
        start = f"go on from {found[-1].name}" if found else "begin anew"
        return f"The same command will {start}: give it a lower learning rate or mixed_precision=no"

    def resume(self) -> bool:
        """Load the newest complete checkpoint, if there is one. Call after `accelerator.prepare`."""
        found = checkpoints_of(self.folder)
        if not self.config.resume:
            if found:
                raise ValueError(
                    f"{self.folder} already holds checkpoints; choose another output_dir or leave resume on"
                )
            return False
        if self.is_main:
            for partial in (self.folder / "checkpoints").glob("*.partial"):
                shutil.rmtree(partial)
        self.accelerator.wait_for_everyone()
        if not found:
            return False
        self.accelerator.load_state(str(found[-1]))
        self._take_rates()
        state = json.loads((found[-1] / "run.json").read_text())
        self.step, self.samples_seen, self.best = state["step"], state["samples_seen"], state["best"]
        self.minutes = state.get("minutes", 0.0)  # checkpoints of before did not count them
        self._cut_curves()
        self.say(f"resumed {self.folder} at step {self.step} ({self.samples_seen} pictures seen)")
        return True

    def save(self) -> Path:
        """Write a checkpoint of everything that was prepared or registered, and the random states."""
        final = self.folder / "checkpoints" / f"step-{self.step:09d}"
        partial = final.with_name(final.name + ".partial")
        if final.exists():
            return final
        self._check_weights()
        if self.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.is_main:
            state = {"step": self.step, "samples_seen": self.samples_seen, "best": self.best}
            state["minutes"] = self.minutes
            state["config"] = asdict(self.config)
            (partial / "run.json").write_text(json.dumps(state, indent=1))
            _flush_to_disk(partial)
            os.replace(partial, final)
            for old in checkpoints_of(self.folder)[: -self.config.keep_checkpoints]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()
        return final

    # The loop

    def steps(self) -> Iterator[int]:
        """Step numbers from where the run stands; saves, and stops at `max_steps` or when its minutes are over."""
        self._start_trackers()
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
        """Whether something done every so many steps (and at the end) is due."""
        return every > 0 and (self.step % every == 0 or self.step == self.config.max_steps)

    # Curves

    def record(self, **values: torch.Tensor | float) -> None:
        """Add to the means that are logged every `log_every` steps."""
        for name, value in values.items():
            value = value.detach().float() if isinstance(value, torch.Tensor) else torch.tensor(float(value))
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value, count + 1)

    def means(self) -> dict[str, float]:
        """The means of what was recorded since the last call."""
        means = {name: (total / count).item() for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return means

    def _log_means(self) -> dict[str, str]:
        means = self.means()
        self.write_curves(means)
        broken = [name for name, value in means.items() if not np.isfinite(value)]
        if broken:
            raise FloatingPointError(f"{', '.join(broken)} not finite at step {self.step}. {self._way_out()}")
        return {name: f"{value:.3f}" for name, value in means.items()}

    def write_curves(self, values: dict[str, float]) -> None:
        """To `curves.jsonl` and the tracker."""
        if self.is_main and values:
            with open(self.folder / "curves.jsonl", "a") as file:
                file.write(json.dumps({"step": self.step, "samples": self.samples_seen} | values) + "\n")
        self.accelerator.log(values, step=self.step)

    def _cut_curves(self) -> None:
        """Drop what a killed run logged after the checkpoint that we go on from."""
        path = self.folder / "curves.jsonl"
        if self.is_main and path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= self.step]
            path.write_text("".join(line + "\n" for line in lines))

    def _start_trackers(self) -> None:
        if self.config.tracker != "none":
            flat = {key: value if isinstance(value, (int, float, str, bool)) else str(value)
                    for key, value in asdict(self.config).items()}  # fmt: skip
            self.accelerator.init_trackers(self.folder.name, config=flat)

    def write_images(self, name: str, rows: list[torch.Tensor]) -> None:
        """A grid, one row per tensor [B, 3, H, W] in [-1, 1], to `samples/NAME-STEP.png` and TensorBoard."""
        if not self.is_main:
            return
        grid = torch.cat([torch.cat(list(row.float().cpu()), dim=2) for row in rows], dim=1)
        pixels = grid.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}-{self.step:09d}.png")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_image(name, pixels, self.step, dataformats="HWC")

    def keep_best(self, metrics: dict[str, float], name: str, write: Callable[[Path], None]) -> bool:
        """Let `write(folder)` fill `best/` when metric `name` is the best so far.

        Higher is better for psnr, ssim and miou.
        """
        value = metrics[name]
        if not np.isfinite(value):
            return False
        higher = name in ("psnr", "ssim", "miou")
        best = self.best.get(name)
        if best is not None and (value <= best if higher else value >= best):
            return False
        self.best[name] = value
        if self.is_main:
            write_folder(self.folder / "best", write)
        return True


def work_in(output_dir: str, work: Callable[[], None]) -> None:
    """Work that writes to `output_dir`, which is looked at first; Ctrl-C ends it with one line and exit code 130.

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
    found = checkpoints_of(folder)
    kept = f"goes on from {found[-1].name}" if found else "begins anew: there was no checkpoint yet"
    if PartialState().is_main_process:
        print(f"stopped; the same command {kept}", file=sys.stderr)
    sys.exit(130)


def checkpoints_of(output_dir: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in (output_dir / "checkpoints").glob("step-*") if path.suffix != ".partial")


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder beside its place, then put it there, so that a reader never sees half of one."""
    partial, old = folder.with_name(folder.name + ".partial"), folder.with_name(folder.name + ".old")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    write(partial)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def _is_over(minutes: float, limit: float | None) -> bool:
    return limit is not None and minutes >= limit


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")  # the line that a kill cut short


def _flush_to_disk(folder: Path) -> None:
    """Have the files on the disk before the rename that declares them whole."""
    for path in [*folder.rglob("*"), folder]:
        if os.name != "nt" or path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
