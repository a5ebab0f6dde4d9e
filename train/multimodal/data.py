"""What Algorithm 5 reads: pictures with holes and modalities in them, and codes of known faces."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from facekit.damage.mixtures import MaskSampler
from facekit.pipelines.sample import CODES_FILE
from train.data.modalities import ModalityPreparation, draw_edit_keep, prepare_guided
from train.multimodal.config import MultimodalConfig


def prepare_edits(config: MultimodalConfig, size: int) -> ModalityPreparation:
    """Build the preparation of pictures with modalities, and the hole of each.

    That is `mask` [1, S, S], 1 = to be edited, and `shown` uint8 [3, S, S], 1 where a drawing is shown if it lies in
    the hole.

    Raises:
        ValueError: the folder of label maps is missing, or the pictures come from several folders.
    """
    masks = MaskSampler(size=size, **config.masks)

    def draw(position: int, rng: np.random.Generator) -> dict[str, Any]:
        mask = masks(rng)
        shown = draw_edit_keep(np.ones_like(mask), config.guidance.threshold, rng, config.guidance.gaps)[1:]
        return {"mask": torch.from_numpy(mask.astype(np.float32))[None], "shown": torch.from_numpy(shown)}

    return prepare_guided(config, size, draw)


def load_known_codes(prior: str) -> Tensor:
    """Codes of faces [M, n, D] that lie beside the weights of a generator, in a folder.

    Raises:
        ValueError: there are none.
    """
    folder = Path(prior)
    path = next((p for p in (folder / "prior" / CODES_FILE, folder / CODES_FILE) if p.is_file()), None)
    if path is None:
        raise ValueError(f"{folder} has no {CODES_FILE}: say --random_codes mapping")
    return load_file(path)["w_plus"].float()
