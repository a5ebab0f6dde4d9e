"""A stage whose steps last as long as it is told, alone and under `accelerate launch`: which precision does it take?"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

import facekit  # noqa: F401
from train.engine.config import read_config
from train.engine.precision import launch
from train.engine.stage import Stage, StageConfig


class Tint(ModelMixin, ConfigMixin):
    """Three numbers that become the mean colour of the pictures."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.zeros(3))


class TimedTrainer(Stage):
    """In float32 a step lasts 0.2 s; in bfloat16 `bf16_seconds[rank]`, and its losses may be infinite."""

    bf16_seconds = (0.0, 0.0)
    bf16_breaks = False

    def build(self) -> None:
        self.size = 8
        self.tint = self.learn(Tint(), 0.1, (0.9, 0.99))

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        half = self.config.mixed_precision == "bf16"
        time.sleep(self.bf16_seconds[self.accelerator.process_index] if half else 0.2)
        for batch in batches:
            loss = (batch["image"].mean((0, 2, 3)) - self.tint.network.colour).square().mean()
            self.accelerator.backward(loss)
            self.run.curves.record(loss=loss / 0 if half and self.bf16_breaks else loss)
        self.update(self.tint)

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        return [batch["image"]]

    def write_networks(self, folder: Path) -> None:
        self.copy_average(self.tint).save_pretrained(folder / "tint")
        (folder / "precision.txt").write_text(str(self.config.mixed_precision))


if __name__ == "__main__":
    # As fast as can be in one process, slow in the other.
    TimedTrainer.bf16_seconds = (0.0, 1.0)
    config = read_config(StageConfig, sys.argv[2:])

    class Noted(TimedTrainer):
        def train(self) -> None:
            Path(sys.argv[1] + f".{os.environ.get('RANK', '0')}").write_text(self.config.mixed_precision)
            super().train()

    launch(Noted, config)
