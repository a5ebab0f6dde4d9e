"""What a run reports while it goes on: curves in `curves.jsonl` and the tracker, and grids of pictures."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image


class Curves:
    """Means of what the steps record, and where they are written."""

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self.accelerator = folder, accelerator
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}

    def start(self, config: Any) -> None:
        """Start the tracker, if there is one; `config` is the dataclass of the run's options."""
        if config.tracker != "none":
            flat = {key: value if isinstance(value, (int, float, str, bool)) else str(value)
                    for key, value in asdict(config).items()}  # fmt: skip
            self.accelerator.init_trackers(self.folder.name, config=flat)

    def record(self, **values: torch.Tensor | float) -> None:
        """Add values, numbers or tensors of one, to the means that are logged every `log_every` steps."""
        for name, value in values.items():
            value = value.detach().float() if isinstance(value, torch.Tensor) else torch.tensor(float(value))
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value, count + 1)

    def take_means(self) -> dict[str, float]:
        """The means of what was recorded since the last call, by name; recording begins anew."""
        means = {name: (total / count).item() for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return means

    def write(self, values: dict[str, float], step: int, samples: int) -> None:
        """Write a line of values to `curves.jsonl`, and to the tracker; `samples` are the pictures seen so far."""
        if self.accelerator.is_main_process and values:
            with open(self.folder / "curves.jsonl", "a") as file:
                file.write(json.dumps({"step": step, "samples": samples} | values) + "\n")
        self.accelerator.log(values, step=step)

    def cut(self, step: int) -> None:
        """Drop lines after a step: a killed run may have logged more than its last checkpoint knows."""
        path = self.folder / "curves.jsonl"
        if self.accelerator.is_main_process and path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            path.write_text("".join(line + "\n" for line in lines))

    def write_images(self, name: str, rows: list[torch.Tensor], step: int) -> None:
        """Write a grid, a row for each tensor [B, 3, H, W] in [-1, 1], to `samples/NAME-STEP.png` and TensorBoard."""
        if not self.accelerator.is_main_process:
            return
        grid = torch.cat([torch.cat(list(row.float().cpu()), dim=2) for row in rows], dim=1)
        pixels = grid.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}-{step:09d}.png")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_image(name, pixels, step, dataformats="HWC")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")  # the line that a kill cut short
