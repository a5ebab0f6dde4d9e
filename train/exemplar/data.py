"""What EXE-GAN training reads: pictures with holes and sketches, and the exemplars beside them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facekit.conditions.sketch import pencil_sketch, sketch_strokes
from facekit.damage.holes import brush_mask
from facekit.damage.mixtures import MaskSampler
from train.data.images import Preparation, training_batches
from train.exemplar.config import ExemplarConfig

EXEMPLAR_SEED = 2**32  # exemplars are the same pictures, in an order of their own


def random_strokes(pixels: np.ndarray, rng: np.random.Generator, dropout: float, partial: float) -> Tensor:
    """Strokes [1, H, W] of a picture uint8 [H, W, 3]: none, some of them, or all that the pencil filter finds."""
    strokes = sketch_strokes(pencil_sketch(pixels))
    if rng.random() < dropout:
        strokes = np.zeros_like(strokes)
    elif rng.random() < partial:
        strokes = strokes & (1 - brush_mask(strokes.shape, rng))
    return torch.from_numpy(strokes.astype(np.float32))[None]


def check_source(config: ExemplarConfig) -> None:
    """ValueError when exemplars are to be sampled from data that is read as a stream."""
    if config.exemplars == "sampled" and config.source().streams:
        raise ValueError(
            "a stream is read in its order and cannot be sampled from beside: say --exemplars reversed"
        )


def exemplar_batches(
    config: ExemplarConfig, masks: MaskSampler, size: int, *, start: int, rank: int, world: int
) -> Iterator[dict[str, Any]]:
    """Endless batches of one process, see `train.data.images.training_batches`.

    Yields:
        `image` [B, 3, S, S] in [-1, 1], `position` [B], `mask` [B, 1, S, S], and where there are any `exemplar`, as
        the image, and `sketch`, as the mask.
    """

    def draw(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        sample = {"mask": torch.from_numpy(masks(rng).astype(np.float32))[None]}
        if config.sketch:
            sample["sketch"] = random_strokes(pixels, rng, config.sketch_dropout, config.sketch_partial)
        return sample

    source = config.source()
    options: dict[str, Any] = {"batch_size": config.batch_size, "num_workers": config.num_workers}
    options |= {"start": start, "rank": rank, "world": world}
    prepare = Preparation(size, config.seed, flip=config.flip, extras=draw)
    pictures = training_batches(source, prepare, **options)
    if config.exemplars == "reversed":
        return pictures
    others = Preparation(size, config.seed + EXEMPLAR_SEED, flip=config.flip)
    exemplars = training_batches(source, others, **options)
    return (
        picture | {"exemplar": other["image"]} for picture, other in zip(pictures, exemplars, strict=True)
    )
