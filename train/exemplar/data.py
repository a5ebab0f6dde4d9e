"""What EXE-GAN's training reads: pictures with holes and sketches."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from facekit.conditions.sketch import filter_strokes
from facekit.damage.holes import brush_mask
from facekit.damage.mixtures import MaskSampler
from train.data.samples import Preparation
from train.exemplar.config import ExemplarConfig, Sketches


def draw_strokes(pixels: np.ndarray, rng: np.random.Generator, sketches: Sketches) -> Tensor:
    """Draw strokes [1, H, W] of 0 and 1 of a picture uint8 [H, W, 3]: none, some, or all that the filter finds."""
    strokes = filter_strokes(pixels, sketches.filter)
    if rng.random() < sketches.dropout:
        strokes = np.zeros_like(strokes)
    elif rng.random() < sketches.partial:
        strokes = strokes & (1 - brush_mask(strokes.shape, rng))
    return torch.from_numpy(strokes.astype(np.float32))[None]


def check_source(config: ExemplarConfig) -> None:
    """Refuse to sample exemplars from data that is read as a stream. Raises ValueError."""
    if config.exemplars == "sampled" and config.make_source().streams:
        raise ValueError(
            "a stream is read in its order and cannot be sampled from beside: say --exemplars reversed"
        )


def prepare_holes(config: ExemplarConfig, masks: MaskSampler, size: int) -> Preparation:
    """Build the preparation of pictures with `mask` [1, S, S], 1 = hole, and, with sketches, `sketch` [1, S, S]."""

    def draw(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        sample = {"mask": torch.from_numpy(masks(rng).astype(np.float32))[None]}
        if config.sketches.read:
            sample["sketch"] = draw_strokes(pixels, rng, config.sketches)
        return sample

    return Preparation(size, config.seed, flip=config.flip, extras=draw)
