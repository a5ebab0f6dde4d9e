"""What Algorithm 5 reads: pictures with holes and modalities in them, and the exemplars beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from facekit.damage.mixtures import MaskSampler
from facekit.pipelines.sample import CODES_FILE
from train.data.images import Preparation, training_batches
from train.data.modalities import edit_keep, guided_batches
from train.exemplar.data import EXEMPLAR_SEED

if TYPE_CHECKING:
    from train.multimodal.trainer import MultimodalTrainer


def edit_batches(trainer: "MultimodalTrainer", start: int | None = None) -> Iterator[dict[str, Any]]:
    """Endless batches, see `train.data.modalities.guided_batches`, all at the guide size.

    Yields:
        Beside the modalities `mask` [B, 1, S, S], 1 = to be edited, `keep` [B, 4, S, S], and `exemplar`, as the image,
        where it may be another one.
    """
    config, size = trainer.config, trainer.guide_size
    masks = MaskSampler(size=size, **config.masks)

    def draw(position: int, rng: np.random.Generator) -> dict[str, Any]:
        mask = masks(rng)
        keep = edit_keep(mask, config.modality_threshold, rng)
        return {"mask": torch.from_numpy(mask.astype(np.float32))[None], "keep": torch.from_numpy(keep)}

    pictures = guided_batches(trainer, size, draw, start)
    if config.same_image_probability == 1:
        return pictures
    exemplars = training_batches(
        config.source(),
        Preparation(size, config.seed + EXEMPLAR_SEED, flip=config.flip),
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        start=trainer.run.samples_seen if start is None else start,
        rank=trainer.accelerator.process_index if start is None else 0,
        world=trainer.accelerator.num_processes if start is None else 1,
    )
    return (
        picture | {"exemplar": other["image"]} for picture, other in zip(pictures, exemplars, strict=True)
    )


def known_codes(prior: str) -> Tensor:
    """Codes of faces that a generator was published with, [M, n, D].

    Raises:
        ValueError: there are none.
    """
    folder = Path(prior)
    path = next((p for p in (folder / "prior" / CODES_FILE, folder / CODES_FILE) if p.is_file()), None)
    if path is None:
        raise ValueError(f"{folder} has no {CODES_FILE}: say --random_codes mapping")
    return load_file(path)["w_plus"].float()
