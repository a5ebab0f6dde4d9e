"""Scores of held-out pictures: how they are written, and which networks are kept as the best."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from train.engine.run import Run


class Validation(Protocol):
    """Held-out pictures of a stage, and how they are scored.

    Attributes:
        best: name of the metric by which networks are kept.
        better: whether a "higher" or a "lower" value is the better one, for each metric that `best` may be.
    """

    best: str
    better: Mapping[str, str]

    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Metrics by name, the same in all processes, and rows of sample pictures [B, 3, H, W] in [-1, 1], if any."""
        ...


def validate(run: Run, validation: Validation, write: Callable[[Path], None]) -> None:
    """Score, write curves and samples, and let `write` fill the folder `best/` where no earlier score was as good."""
    metrics, rows = validation.score()
    run.write_curves({f"validation_{name}": value for name, value in metrics.items()})
    if rows:
        run.write_images("validation", rows)
    best = validation.best
    run.keep_best(best, metrics[best], validation.better[best], write)


def pick_own_share(accelerator: Accelerator, count: int) -> range:
    """Numbers of the pictures out of `count` that this process scores."""
    return range(accelerator.process_index, count, accelerator.num_processes)


def join_rows(pictures: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """For each picture what was made of it, [1, 3, H, W] each -> the rows of a grid, [B, 3, H, W] each."""
    return [torch.cat(row) for row in zip(*pictures, strict=True)]
