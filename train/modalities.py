"""What the trainings of FACEMUG read: pictures with sketch, semantic map and colours, and which of them are hidden.

Every picture comes with all modalities; `keep` [4, S, S] says where the encoder's input shows each of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.conditions.color import color_tensor, region_means
from facekit.conditions.guidance import encoder_input
from facekit.conditions.semantics import CLASS_NAMES, load_parser, parse
from facekit.conditions.semantics import MIRRORED as MIRRORED_CLASSES
from facekit.conditions.sketch import pencil_sketch, sketch_strokes, thin_strokes
from facekit.damage.holes import brush_mask, free_form_mask
from facekit.damage.mixtures import MaskSampler
from train.data import (
    Data,
    Picture,
    Preparation,
    fit_square,
    is_mixture,
    name_of,
    read_picture,
    to_tensor,
    training_batches,
)
from train.perceptual import PictureLossConfig

if TYPE_CHECKING:
    from train.stage import Stage

MODALITIES = ("image", "sketch", "semantics", "color")  # the order of `keep`
NUM_CLASSES = len(CLASS_NAMES)
ENCODER_CHANNELS = 26
UNKNOWN = 255  # label of a pixel of which nothing is said
# Brows, eyes and ears: mirroring a picture exchanges their sides.
MIRRORED = np.arange(256, dtype=np.uint8)
MIRRORED[:NUM_CLASSES] = MIRRORED_CLASSES


@dataclass(kw_only=True)
class GuidanceConfig(PictureLossConfig):
    """Options of the modalities.

    Attributes:
        semantics: where label maps come from: "folder" (index maps of the 19 BiSeNet classes, one for each picture, at
            the same place and with the same name, as .png), "parser" (a network labels the pictures) or "none". Colour
            maps are the mean colours of their regions; with "none" there are neither.
        semantics_folder: default: the folder `semantic` in `data`.
        face_parser: the network for "parser", see `facekit.conditions.semantics.load_parser`.
        thin_sketch: share of the sketches that are eroded by a square of 2 or 3 pixels.
        modality_threshold: omega of Algorithm 5: how often a modality is shown, with gaps, in an edited region.
    """

    semantics: str = "folder"
    semantics_folder: str | None = None
    face_parser: str | None = None
    thin_sketch: float = 0.5
    modality_threshold: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(semantics=("folder", "parser", "none"))
        self.check_probabilities("thin_sketch", "modality_threshold")
        if self.semantics == "parser" and self.face_parser is None:
            raise ValueError(
                "semantics: parser needs face_parser, a folder or Hub id; or say --semantics none"
            )

    def check_probabilities(self, *names: str) -> None:
        """ValueError when one of these options is not within 0 to 1."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, got {getattr(self, name)}")


@dataclass(kw_only=True)
class ModalityConfig(GuidanceConfig):
    """Options of what the encoder is shown while it learns.

    Attributes:
        modality_rule: "trainer" (one modality rules a batch, with a large hole; each other one has a smaller hole or,
            half the time, is absent) or "thesis" (Algorithm 3: the others are always absent).
        unmasked_probability: how often the ruling modality has no hole.
        exemplar_probability: share of samples where the encoder reads the whole picture and nothing else, as it does
            with exemplars.
        edit_probability, edit_masks: share of samples as Algorithm 5 shows them (the picture outside a hole, and inside
            it each other modality with gaps, or absent with probability 1 - `modality_threshold`), and their holes.
    """

    modality_rule: str = "trainer"
    unmasked_probability: float = 0.25
    exemplar_probability: float = 0.0
    edit_probability: float = 0.0
    edit_masks: dict[str, Any] = field(default_factory=lambda: {"kind": "cmod"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(modality_rule=("trainer", "thesis"))
        self.check_probabilities("unmasked_probability", "exemplar_probability", "edit_probability")
        if self.exemplar_probability + self.edit_probability > 1:
            raise ValueError(
                "exemplar_probability and edit_probability are shares of all samples: 1 at most together"
            )
        MaskSampler(**self.edit_masks)


class LabelFolder:
    """Label maps beside the pictures of a folder.

    Raises:
        ValueError: the folder of maps is missing, or the pictures come from several folders.
    """

    def __init__(self, data: Data, folder: str | None) -> None:
        if is_mixture(data):
            raise ValueError(
                "label maps are found by the picture's place in one data folder; for a mixture say --semantics parser "
                "or none"
            )
        self.data = Path(str(data)).resolve()
        self.folder = Path(folder) if folder is not None else self.data / "semantic"
        if not self.folder.is_dir():
            raise ValueError(
                f"{self.folder} is no folder of label maps: name one by --semantics_folder, or say --semantics parser "
                "or none"
            )

    def read(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """The map of a picture of `data` by its file and its width and height, uint8 [H, W].

        ValueError where there is none or it is wrong.
        """
        source = Path(name)
        try:
            path = self.folder / source.resolve().relative_to(self.data).with_suffix(".png")
        except ValueError:
            raise ValueError(
                "label maps are found by the picture's place in the data folder: data must be one"
            ) from None
        if not path.is_file():
            raise ValueError(f"{path}, the label map of {source.name}, is missing")
        with Image.open(path) as opened:
            labels = np.array(opened)
        if labels.ndim != 2 or labels.shape[::-1] != size:
            raise ValueError(
                f"{path} is {list(labels.shape)}; the picture's indices, {list(size[::-1])}, are needed"
            )
        if labels[labels != UNKNOWN].max(initial=0) >= NUM_CLASSES:
            raise ValueError(
                f"{path} has labels above {NUM_CLASSES - 1}: maps are to hold BiSeNet's class indices"
            )
        return labels


def holes_of(size: int, rng: np.random.Generator, large: bool) -> np.ndarray:
    """What is kept, uint8 [S, S]: 0 in the holes of a CoModGAN mask (`large`) or of MAT's."""
    return 1 - (free_form_mask(size, rng) if large else brush_mask(size, rng))


def ruled_keep(config: ModalityConfig, size: int, ruling: int, rng: np.random.Generator) -> np.ndarray:
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

    def __init__(self, config: ModalityConfig, size: int) -> None:
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


def color_map(pixels: np.ndarray, labels: np.ndarray) -> Tensor:
    """Mean colours of the regions, [3, H, W] in [-1, 1], 0 where the label is unknown."""
    return color_tensor(region_means(pixels, labels), labels != UNKNOWN)


def one_hot(labels: Tensor) -> Tensor:
    """Labels [B, S, S] -> float [B, 19, S, S], all zero where unknown."""
    classes = torch.arange(NUM_CLASSES, dtype=labels.dtype, device=labels.device)
    return (labels[:, None] == classes[:, None, None]).float()


def shown(batch: dict[str, Tensor], keep: Tensor) -> dict[str, Tensor | None]:
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
    return encoder_input(**shown(batch, keep))


def guided_batches(
    stage: "Stage",
    size: int,
    draw: Callable[[int, np.random.Generator], dict[str, Any]],
    start: int | None = None,
    seed: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Batches of a stage whose config is a `GuidanceConfig`, as `Stage.batches`, prepared by `ModalityPreparation`."""
    config: Any = stage.config
    labels = LabelFolder(config.data, config.semantics_folder) if config.semantics == "folder" else None
    options = {"flip": config.flip, "labels": labels, "thin_sketch": config.thin_sketch, "draw": draw}
    return training_batches(
        config.source(),
        ModalityPreparation(size, config.seed if seed is None else seed, **options),
        batch_size=config.batch_size,
        start=stage.run.samples_seen if start is None else start,
        rank=stage.accelerator.process_index if start is None else 0,
        world=stage.accelerator.num_processes if start is None else 1,
        num_workers=config.num_workers,
    )


class Labeller:
    """Adds `labels` and `color` to a batch on the device, where semantics come from a parser."""

    def __init__(self, config: GuidanceConfig, device: torch.device) -> None:
        self.parser: Any = None
        if config.semantics == "parser":
            self.parser = load_parser(config.face_parser).to(device).requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.parser is None:
            return batch
        image = batch["image"]
        labels = parse(self.parser, image).to(torch.uint8)
        pixels = image.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        colors = [color_map(p, own) for p, own in zip(pixels, labels.cpu().numpy(), strict=True)]
        return batch | {"labels": labels, "color": torch.stack(colors).to(image)}
