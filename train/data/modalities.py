"""What the trainings of FACEMUG read: pictures with sketch, semantic map and colours, and which of them are hidden.

Every picture comes with all modalities; `keep` [4, S, S] says where the encoder's input shows each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.conditions.guidance import encoder_input
from facekit.conditions.sketch import pencil_sketch, sketch_strokes, thin_strokes
from facekit.damage.holes import brush_mask, free_form_mask
from facekit.damage.mixtures import MaskSampler
from train.data.images import (
    Picture,
    Preparation,
    fit_square,
    name_of,
    read_picture,
    to_tensor,
)
from train.data.label_maps import MIRRORED, LabelFolder, color_map, one_hot

if TYPE_CHECKING:
    from train.engine.options import ModalityConfig

MODALITIES = ("image", "sketch", "semantics", "color")  # the order of `keep`
ENCODER_CHANNELS = 26


def holes_of(size: int, rng: np.random.Generator, large: bool) -> np.ndarray:
    """What is kept, uint8 [S, S]: 0 in the holes of a CoModGAN mask (`large`) or of MAT's."""
    return 1 - (free_form_mask(size, rng) if large else brush_mask(size, rng))


def ruled_keep(config: "ModalityConfig", size: int, ruling: int, rng: np.random.Generator) -> np.ndarray:
    """Keep masks uint8 [4, S, S] of a sample in a batch that modality number `ruling` rules."""
    keep = np.zeros((len(MODALITIES), size, size), np.uint8)
    for i in range(len(MODALITIES)):
        if i == ruling:
            keep[i] = 1 if rng.random() < config.unmasked_probability else holes_of(size, rng, True)
        elif config.modality_rule == "trainer" and rng.random() < 0.5:
            keep[i] = holes_of(size, rng, False)
    return keep


def edit_keep(mask: np.ndarray, threshold: float, rng: np.random.Generator) -> np.ndarray:
    """Keep masks uint8 [4, S, S] of Algorithm 5, lines 11 to 18, for a hole `mask` uint8 [S, S], 1 = hole."""
    keep = np.zeros((len(MODALITIES), *mask.shape), np.uint8)
    keep[0] = 1 - mask
    for i in range(1, len(MODALITIES)):
        if rng.random() <= threshold:
            keep[i] = mask * holes_of(mask.shape[0], rng, False)
    return keep


class EncoderKeep:
    """Draws `keep` for the training of the style encoder; all samples of a batch have one ruling modality."""

    def __init__(self, config: "ModalityConfig", size: int) -> None:
        self.config, self.size = config, size
        self.masks = MaskSampler(size=size, **config.edit_masks)

    def __call__(self, position: int, rng: np.random.Generator) -> dict[str, Any]:
        config, size = self.config, self.size
        kind = rng.random()
        if kind < config.exemplar_probability:
            keep = np.zeros((len(MODALITIES), size, size), np.uint8)
            keep[0] = 1
        elif kind < config.exemplar_probability + config.edit_probability:
            keep = edit_keep(self.masks(rng), config.modality_threshold, rng)
        else:
            batch = np.random.default_rng([config.seed, 2, position // config.batch_size])
            keep = ruled_keep(config, size, int(batch.integers(len(MODALITIES))), rng)
        return {"keep": torch.from_numpy(keep)}


@dataclass
class ModalityPreparation(Preparation):
    """As `Preparation`, with `sketch` [1, S, S] and, given `labels`, `labels` [S, S] and `color` [3, S, S].

    `draw(position, rng)` adds what is random about the masks.
    """

    labels: LabelFolder | None = None
    thin_sketch: float = 0.0
    draw: Callable[[int, np.random.Generator], dict[str, Any]] | None = None

    def __call__(self, picture: Picture, position: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, position])
        image, labels = read_picture(picture), None
        if self.labels is not None:
            # The same crop: the same draws.
            as_picture = Image.fromarray(self.labels.read(name_of(picture), image.size))
            again = np.random.default_rng([self.seed, position])
            labels = fit_square(as_picture, self.size, again, Image.Resampling.NEAREST)[..., 0]
        pixels = fit_square(image, self.size, rng)
        if self.flip and rng.random() < 0.5:
            pixels = cv2.flip(pixels, 1)
            labels = None if labels is None else MIRRORED[cv2.flip(labels, 1)]
        strokes = sketch_strokes(pencil_sketch(pixels))
        if rng.random() < self.thin_sketch:
            strokes = thin_strokes(strokes, int(rng.integers(2, 4)))
        sample: dict[str, Any] = {"image": to_tensor(pixels), "position": position}
        sample["sketch"] = torch.from_numpy(strokes.astype(np.float32))[None]
        if labels is not None:
            sample["labels"] = torch.from_numpy(np.ascontiguousarray(labels))
            sample["color"] = color_map(pixels, labels)
        if self.draw is not None:
            sample |= self.draw(position, rng)
        return sample


def hide(batch: dict[str, Tensor], keep: Tensor) -> dict[str, Tensor | None]:
    """The modalities of a batch where `keep` [B, 4, S, S] is 1: image, sketch, semantics, color; absent ones None."""
    parts = {name: keep[:, i : i + 1].float() for i, name in enumerate(MODALITIES)}
    labels = batch.get("labels")
    return {
        "image": batch["image"] * parts["image"],
        "sketch": batch["sketch"] * parts["sketch"],
        "semantics": None if labels is None else one_hot(labels) * parts["semantics"],
        "color": None if labels is None else batch["color"] * parts["color"],
    }


def encoder_view(batch: dict[str, Tensor], keep: Tensor) -> Tensor:
    """The encoder's 26 channels [B, 26, S, S] of a batch under keep masks."""
    return encoder_input(**hide(batch, keep))


def prepare_guided(
    config: Any, size: int, draw: Callable[[int, np.random.Generator], dict[str, Any]]
) -> ModalityPreparation:
    """The preparation of a stage whose options are a `GuidanceConfig`; `draw`: see `ModalityPreparation`."""
    labels = LabelFolder(config.data, config.semantics_folder) if config.semantics == "folder" else None
    options = {"flip": config.flip, "labels": labels, "thin_sketch": config.thin_sketch, "draw": draw}
    return ModalityPreparation(size, config.seed, **options)
