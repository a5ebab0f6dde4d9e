"""Scores of held-out pictures: how they are written, which networks are kept as the best, and FID."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from facekit.metrics import WeightsUnavailable, frechet_distance
from facekit.metrics.lite0 import as_uint8
from facekit.metrics.networks import inception_features, lite0_features
from train.engine.options import FIDS
from train.engine.run import Run

FID_BETTER = dict.fromkeys(FIDS, "lower")
# What looks at the pictures, and how many features it finds; names are those of `facekit evaluate`.
FID_NETWORKS = {"fid": (inception_features, 2048), "fid-lite0": (lite0_features, 1280)}


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


class FrechetDistances:
    """FID of what a stage makes of held-out pictures against these pictures, whose features are computed once.

    "fid-lite0" is measured wherever EfficientNet-Lite0's weights are installed; "fid", through the Inception network of
    the papers, only where it is `best`, since its weights may have to be downloaded. From few pictures both say little.

    Args:
        truth: the held-out pictures, [3, S, S] each in [-1, 1].
        best: the metric by which the stage keeps networks.

    Raises:
        OSError: `best` is an FID, and the weights of its network are not to be had.
        ValueError: `best` is an FID, and there are fewer than two pictures.
    """

    def __init__(self, accelerator: Accelerator, truth: Sequence[Tensor], best: str) -> None:
        self.accelerator, self.count = accelerator, len(truth)
        if best in FIDS and self.count < 2:
            raise ValueError(
                f"{best} compares sets: validation.images must be 2 or more, there is {self.count}"
            )
        names = [name for name in FIDS if self.count > 1 and (name == best or name == "fid-lite0")]
        self._networks = {name: network for name in names if (network := self._load(name, name == best))}
        self._found: dict[str, dict[int, np.ndarray]] = {name: {} for name in self._networks}
        for i in pick_own_share(accelerator, self.count):
            self.read([i], truth[i][None])
        self._truth = self._gather()

    def read(self, numbers: Iterable[int], pictures: Tensor) -> None:
        """Take in pictures [B, 3, S, S] in [-1, 1] that were made of the held-out ones of these numbers."""
        finite = bool(pictures.isfinite().all())
        pixels = np.stack([as_uint8(picture) for picture in pictures.nan_to_num()])
        for name, network in self._networks.items():
            features = network(pixels) if finite else np.full((len(pixels), FID_NETWORKS[name][1]), np.nan)
            self._found[name].update(zip(numbers, features, strict=True))

    def measure(self) -> dict[str, float]:
        """FID by name of all pictures read since the last call, the same in all processes; NaN where one is broken."""
        return {
            name: frechet_distance(self._truth[name], made) if np.isfinite(made).all() else float("nan")
            for name, made in self._gather().items()
        }

    def _load(self, name: str, needed: bool) -> Callable[[np.ndarray], np.ndarray] | None:
        try:
            return FID_NETWORKS[name][0](device=str(self.accelerator.device))
        except WeightsUnavailable as error:
            if not needed:
                return None
            other = "" if name == "fid-lite0" else "; or keep the best by --validation.best fid-lite0"
            raise WeightsUnavailable(f"validation.best is {name}: {error}{other}") from error

    def _gather(self) -> dict[str, np.ndarray]:
        """What all processes have found, [N, D] by name; the sum of tables that each fills at its own pictures."""
        tables = {}
        for name, found in self._found.items():
            table = torch.zeros(self.count, FID_NETWORKS[name][1])
            for number, features in found.items():
                table[number] = torch.from_numpy(features)
            found.clear()
            tables[name] = self.accelerator.reduce(table.to(self.accelerator.device), "sum").cpu().numpy()
        return tables


def pick_own_share(accelerator: Accelerator, count: int) -> range:
    """Numbers of the pictures out of `count` that this process scores."""
    return range(accelerator.process_index, count, accelerator.num_processes)


def join_rows(pictures: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """For each picture what was made of it, [1, 3, H, W] each -> the rows of a grid, [B, 3, H, W] each."""
    return [torch.cat(row) for row in zip(*pictures, strict=True)]
