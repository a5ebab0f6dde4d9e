"""Checkpoints that survive a kill, and folders that are never seen half-written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn


class Checkpoints:
    """The checkpoints of a run: everything that accelerate prepared or that was registered, and the random states.

    A checkpoint is written into a folder of a temporary name and renamed when it is whole, so one that a kill cut short
    is never taken for a checkpoint.

    Args:
        output_dir: of the run; checkpoints lie in `checkpoints/` below it.
        accelerator: of the run.
        keep: number of checkpoints that stay; older ones are deleted.
        say: prints a line for the person at the terminal.
    """

    def __init__(
        self, output_dir: Path, accelerator: Accelerator, keep: int, say: Callable[[str], None]
    ) -> None:
        self.output_dir, self.accelerator, self.keep, self.say = output_dir, accelerator, keep, say
        self._watched: list[tuple[nn.Module, Any, list[float]]] = []

    def watch(self, network: nn.Module, optimizer: Any) -> None:
        """Check the weights of a network that learns before every save.

        A resumed run takes the learning rate of its optimizer from the options, not from the checkpoint.
        """
        self._watched.append((network, optimizer, [group["lr"] for group in optimizer.param_groups]))

    def load(self) -> dict[str, Any] | None:
        """Put everything back as the newest checkpoint has it; delete unfinished ones.

        Returns:
            The `state` that `save` was given; None where there is no checkpoint.
        """
        if self.accelerator.is_main_process:
            for partial in (self.output_dir / "checkpoints").glob("*.partial"):
                shutil.rmtree(partial)
        self.accelerator.wait_for_everyone()
        found = find_checkpoints(self.output_dir)
        if not found:
            return None
        self.accelerator.load_state(str(found[-1]))
        self._take_rates()
        return json.loads((found[-1] / "run.json").read_text())

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint of a step, unless it exists; `state` goes into its `run.json`.

        Raises:
            FloatingPointError: weights of a network are not finite; nothing is written.
        """
        final = self.output_dir / "checkpoints" / f"step-{step:09d}"
        partial = final.with_name(final.name + ".partial")
        if final.exists():
            return
        self._check_weights(step)
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (partial / "run.json").write_text(json.dumps(state, indent=1))
            _flush_to_disk(partial)
            os.replace(partial, final)
            for old in find_checkpoints(self.output_dir)[: -self.keep]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def _take_rates(self) -> None:
        for network, optimizer, rates in self._watched:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                if group["lr"] != rate:
                    name = type(network).__name__
                    self.say(f"{name}: learning rate {rate:g} from here on, {group['lr']:g} before")
                    group["lr"] = rate

    def _check_weights(self, step: int) -> None:
        broken = [
            type(network).__name__
            for network, _, _ in self._watched
            if not torch.stack([parameter.isfinite().all() for parameter in network.parameters()]).all()
        ]
        if broken:
            raise FloatingPointError(
                f"weights of {', '.join(broken)} not finite at step {step}: nothing was saved. {self.advise()}"
            )

    def advise(self) -> str:
        """Say how a run whose numbers are no longer finite can be saved."""
        found = find_checkpoints(self.output_dir)
        start = f"go on from {found[-1].name}" if found else "begin anew"
        return f"The same command will {start}: give it a lower learning rate or mixed_precision=no"


def find_checkpoints(output_dir: Path) -> list[Path]:
    """The folders of a run's complete checkpoints, oldest first."""
    return sorted(path for path in (output_dir / "checkpoints").glob("step-*") if path.suffix != ".partial")


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder beside `folder`, then put it in its place, so that nobody reads half of one.

    A folder that stood there is deleted once the new one is whole.
    """
    partial, old = folder.with_name(folder.name + ".partial"), folder.with_name(folder.name + ".old")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    write(partial)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def _flush_to_disk(folder: Path) -> None:
    """Wait until the files are on the disk; only then may the rename declare them whole."""
    for path in [*folder.rglob("*"), folder]:
        if os.name != "nt" or path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
