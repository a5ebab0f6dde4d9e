"""`--mixed_precision auto`: the fastest of float32, bfloat16 and float16 on this machine, by the clock.

Which one that is depends on the processor and the networks: bfloat16 halves the time of some stages and doubles that of
others. So one training step is timed in each, on the run's own networks and pictures, before the run begins.
"""

import contextlib
import copy
import gc
import io
import json
import math
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import is_bf16_available

from train.engine.checkpoints import find_checkpoints
from train.engine.run import LoopConfig, Run, work_in

WORDS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


class Trainer(Protocol):
    """The part of `train.engine.stage.Stage` that is timed and launched."""

    run: Run

    def batches(self) -> Iterator[dict[str, Any]]: ...

    def step_on(self, group: list[dict[str, Any]]) -> Any: ...

    def train(self) -> None: ...


def launch(trainer_class: Any, config: LoopConfig) -> None:
    """Train a `Trainer` class. Where `mixed_precision` is "auto" a precision is chosen first, and the run says which.

    Raises:
        OSError: `output_dir` cannot be written.
        SystemExit: with code 130 after Ctrl-C.
    """
    work_in(config.output_dir, lambda: _train(trainer_class, config))


def _train(trainer_class: Any, config: LoopConfig) -> None:
    said = None
    if config.mixed_precision == "auto":
        choice, said = choose_precision(trainer_class, config)
        config = change(config, mixed_precision=choice)
    trainer: Trainer = trainer_class(config)
    if said is not None:
        trainer.run.say(said)
    trainer.train()


def choose_precision(trainer_class: Any, config: LoopConfig) -> tuple[str, str]:
    """Choose "no", "bf16" or "fp16" for a run; beside it the reason in words.

    A run that is resumed keeps the precision of its newest checkpoint. All processes of a run choose the same.
    """
    found = find_checkpoints(Path(config.output_dir))
    if found:
        choice = json.loads((found[-1] / "run.json").read_text())["config"]["mixed_precision"]
        return choice, f"mixed_precision auto: {choice}, as this run began"
    with keep_random_states():
        seconds = {"no": time_step(trainer_class, config, "no")}
        if is_bf16_available():
            seconds["bf16"] = time_step(trainer_class, config, "bf16")
        # On processors float16 has neither units of its own nor accelerate's loss scaling.
        if PartialState().device.type == "cuda":
            seconds["fp16"] = time_step(trainer_class, config, "fp16")
    choice = min(seconds, key=seconds.__getitem__)  # the first, float32, where none gives finite losses
    measured = ", ".join(
        f"{WORDS[name]} {f'{value:.3g} s' if math.isfinite(value) else 'not finite'}"
        for name, value in seconds.items()
    )
    return choice, f"mixed_precision auto: {choice} (a step takes {measured})"


def time_step(trainer_class: Any, config: LoopConfig, precision: str) -> float:
    """Seconds of the slowest process for the second training step in a precision; inf if losses are not finite.

    The first step, which is not timed, fills caches and chooses kernels.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {"output_dir": folder, "tracker": "none", "resume": False, "num_workers": 0}
        tried = change(config, mixed_precision=precision, **options)
        AcceleratorState._reset_state()  # the precision, not the processes' connection
        # What a trainer says while it is built, the run itself will say.
        with contextlib.redirect_stdout(io.StringIO()):
            trainer: Trainer = trainer_class(tried)
        accelerator = trainer.run.accelerator
        trainer.run.step = 2  # not the first, which updates every lazy regulariser
        batches = trainer.batches()
        group = [next(batches) for _ in range(config.gradient_accumulation_steps)]
        seconds = 0.0
        for _ in range(2):
            _synchronize(accelerator.device)
            started = time.perf_counter()
            trainer.step_on([dict(batch) for batch in group])
            _synchronize(accelerator.device)
            seconds = time.perf_counter() - started
        if not all(np.isfinite(value) for value in trainer.run.curves.take_means().values()):
            seconds = math.inf
        slowest = accelerator.gather(torch.tensor([seconds], device=accelerator.device)).max().item()
        accelerator.free_memory()
        # Optimizers, hooks and networks refer to each other in circles.
        del trainer, batches, group
        gc.collect()
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        AcceleratorState._reset_state()
    return slowest


def change(config: LoopConfig, **options: Any) -> LoopConfig:
    """A copy with other values. Its checks do not run again: what they changed (by an ablation) would change twice."""
    changed = copy.copy(config)
    for name, value in options.items():
        setattr(changed, name, value)
    return changed


@contextlib.contextmanager
def keep_random_states() -> Iterator[None]:
    """Put the global random streams of Python, NumPy and PyTorch (all devices) back where they were afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
