"""What the trainings of FACEMUG read: pictures with sketch, semantic map and colours, and which of them are hidden.

Every picture comes with all modalities; `keep` [4, S, S] is 1 where the encoder is shown them (in the order of
`MODALITIES`), 0 where they are hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.conditions.guidance import encoder_input
from facekit.conditions.sketch import SKETCH_FILTERS, filter_strokes, thin_strokes
from facekit.damage.holes import brush_mask, free_form_mask
from facekit.damage.mixtures import MaskSampler
from train.checks import check_choices, check_probabilities
from train.data.images import Picture, find_file, fit_square, read_picture, to_tensor
from train.data.label_maps import MIRRORED, LabelFolder, average_colors, one_hot
from train.data.samples import Preparation

MODALITIES = ("image", "sketch", "semantics", "color")  # the order of `keep`
ENCODER_CHANNELS = 26


@dataclass(kw_only=True)
class Guidance:
    """Options of the modalities.

    Attributes:
        semantics: where label maps come from: "folder" (index maps of the 19 BiSeNet classes, one for each picture, at
            the same place and with the same name, as .png), "parser" (a network labels the pictures) or "none". Colour
            maps are the mean colours of their regions; with "none" there are neither.
        semantics_folder: the folder of the maps; None: `semantic` in `data`.
        face_parser: the network for "parser", see `facekit.conditions.semantics.load_parser`.
        sketch_filter: what draws sketches from pictures, "pencil" or "canny", see
            `facekit.conditions.sketch.filter_strokes`.
        thin_sketch: share of the sketches that are eroded by a square of 2 or 3 pixels.
        threshold: omega of Algorithm 5: probability that a modality is shown, with gaps, in an edited region.
        gaps: where the gaps are: "strokes" hides what strokes cover; "thesis" multiplies by a CMOD mask, as line 17 of
            Algorithm 5 is written, so that what the mask covers is shown.
    """

    semantics: str = "folder"
    semantics_folder: str | None = None
    face_parser: str | None = None
    sketch_filter: str = "pencil"
    thin_sketch: float = 0.5
    threshold: float = 0.8
    gaps: str = "strokes"

    def __post_init__(self) -> None:
        check_choices(
            self,
            semantics=("folder", "parser", "none"),
            sketch_filter=SKETCH_FILTERS,
            gaps=("strokes", "thesis"),
        )
        check_probabilities(self, "thin_sketch", "threshold")
        if self.semantics == "parser" and self.face_parser is None:
            raise ValueError(
                "semantics: parser needs face_parser, a folder or Hub id; or say --guidance.semantics none"
            )

    @property
    def labelled_by(self) -> str | None:
        """The network that labels the pictures; None where none does."""
        return self.face_parser if self.semantics == "parser" else None


@dataclass(kw_only=True)
class EncoderGuidance(Guidance):
    """Options of the modalities that the style encoder is shown while it learns.

    Attributes:
        rule: "thesis" (Algorithm 3: all samples of a batch are shown one modality, where a CoModGAN mask is 1, and
            nothing else), "trainer" (the authors' last one: so too, but each other modality is shown where one of MAT's
            smaller masks is 1, or half the time not at all) or "holes" (the starters': as "trainer", but everything is
            shown where those masks are 0).
        unmasked_probability: how often the main modality is shown whole; neither in the thesis nor in the authors'
            trainer (0), the starters use it.
        exemplar_probability: share of samples where the encoder reads the whole picture and nothing else, as it does
            with exemplars.
        edit_probability, edit_masks: share of samples as Algorithm 5 shows them (the picture outside a hole, and inside
            it each other modality with gaps, or absent with probability 1 - `threshold`), and their holes.
    """

    rule: str = "trainer"
    unmasked_probability: float = 0.0
    exemplar_probability: float = 0.0
    edit_probability: float = 0.0
    edit_masks: dict[str, Any] = field(default_factory=lambda: {"kind": "cmod"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, rule=("thesis", "trainer", "holes"))
        shares = ("unmasked_probability", "exemplar_probability", "edit_probability")
        check_probabilities(self, *shares)
        if self.rule == "thesis" and any(getattr(self, name) > 0 for name in shares):
            raise ValueError(
                f"rule thesis masks one modality in every sample, as Algorithm 3 lists it: {', '.join(shares)} must be "
                "0; they go with --guidance.rule trainer or holes"
            )
        if self.exemplar_probability + self.edit_probability > 1:
            raise ValueError(
                "exemplar_probability and edit_probability are shares of all samples: 1 at most together"
            )
        MaskSampler(**self.edit_masks)


def draw_ruled_keep(
    guidance: EncoderGuidance, size: int, ruling: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw keep masks uint8 [4, S, S] of a sample whose main modality is number `ruling` (Algorithm 3, lines 5 to 11).

    Modalities are multiplied by a mask whose 1 is the edited region (section 6.2.1), so that region is what is shown.
    """
    keep = np.zeros((len(MODALITIES), size, size), np.uint8)
    for i in range(len(MODALITIES)):
        if i == ruling and rng.random() < guidance.unmasked_probability:
            keep[i] = 1
        elif i == ruling or (guidance.rule != "thesis" and rng.random() < 0.5):
            mask = free_form_mask(size, rng) if i == ruling else brush_mask(size, rng)
            keep[i] = 1 - mask if guidance.rule == "holes" else mask
    return keep


def draw_edit_keep(
    mask: np.ndarray, threshold: float, rng: np.random.Generator, gaps: str = "strokes"
) -> np.ndarray:
    """Draw keep masks uint8 [4, S, S] of an edit (Algorithm 5, lines 11 to 18).

    Args:
        mask: uint8 [S, S], 1 = hole.
        threshold: omega, the probability that a modality is shown in the hole.
        gaps: see `Guidance`.
    """
    keep = np.zeros((len(MODALITIES), *mask.shape), np.uint8)
    keep[0] = 1 - mask
    for i in range(1, len(MODALITIES)):
        if rng.random() <= threshold:
            size = mask.shape[0]
            keep[i] = mask * (free_form_mask(size, rng) if gaps == "thesis" else 1 - brush_mask(size, rng))
    return keep


class EncoderKeep:
    """Draws `keep` for the training of the style encoder; all samples of a batch have the same main modality.

    Without label maps that is the picture or the sketch, since the others would show nothing at all.

    Args:
        size: side of the masks in pixels.
        seed: of the run.
        batch_size: samples of one process in a batch.
    """

    def __init__(self, guidance: EncoderGuidance, size: int, seed: int, batch_size: int) -> None:
        self.guidance, self.size, self.seed, self.batch_size = guidance, size, seed, batch_size
        self.masks = MaskSampler(size=size, **guidance.edit_masks)
        self.count = 2 if guidance.semantics == "none" else len(MODALITIES)

    def __call__(self, position: int, rng: np.random.Generator) -> dict[str, Any]:
        guidance, size = self.guidance, self.size
        kind = rng.random()
        if kind < guidance.exemplar_probability:
            keep = np.zeros((len(MODALITIES), size, size), np.uint8)
            keep[0] = 1
        elif kind < guidance.exemplar_probability + guidance.edit_probability:
            keep = draw_edit_keep(self.masks(rng), guidance.threshold, rng, guidance.gaps)
        else:
            batch = np.random.default_rng([self.seed, 2, position // self.batch_size])
            keep = draw_ruled_keep(guidance, size, int(batch.integers(self.count)), rng)
        return {"keep": torch.from_numpy(keep)}


@dataclass
class ModalityPreparation(Preparation):
    """As `Preparation`, with `sketch` [1, S, S] and, where there are maps, `labels` [S, S] and `color` [3, S, S].

    Attributes:
        labels: the maps; None where there are none, or a parser makes them later.
        sketch_filter: what draws sketches.
        thin_sketch: share of the sketches that are eroded.
        draw: `draw(position, rng)` gives what is random about the masks.
    """

    labels: LabelFolder | None = None
    sketch_filter: str = "pencil"
    thin_sketch: float = 0.0
    draw: Callable[[int, np.random.Generator], dict[str, Any]] | None = None

    def __call__(self, picture: Picture, position: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, position])
        image, labels = read_picture(picture), None
        if self.labels is not None:
            # The same crop: the same draws.
            as_picture = Image.fromarray(self.labels.read(find_file(picture), image.size))
            again = np.random.default_rng([self.seed, position])
            labels = fit_square(as_picture, self.size, again, Image.Resampling.NEAREST)[..., 0]
        pixels = fit_square(image, self.size, rng)
        if self.flip and rng.random() < 0.5:
            pixels = cv2.flip(pixels, 1)
            labels = None if labels is None else MIRRORED[cv2.flip(labels, 1)]
        strokes = filter_strokes(pixels, self.sketch_filter)
        if rng.random() < self.thin_sketch:
            strokes = thin_strokes(strokes, int(rng.integers(2, 4)))
        sample: dict[str, Any] = {"image": to_tensor(pixels), "position": position}
        sample["sketch"] = torch.from_numpy(strokes.astype(np.float32))[None]
        if labels is not None:
            sample["labels"] = torch.from_numpy(np.ascontiguousarray(labels))
            sample["color"] = average_colors(pixels, labels)
        if self.draw is not None:
            sample |= self.draw(position, rng)
        return sample


def hide(batch: dict[str, Tensor], keep: Tensor) -> dict[str, Tensor | None]:
    """The modalities of a batch by name, 0 where `keep` [B, 4, S, S] is; without labels two of them are None."""
    parts = {name: keep[:, i : i + 1].float() for i, name in enumerate(MODALITIES)}
    labels = batch.get("labels")
    return {
        "image": batch["image"] * parts["image"],
        "sketch": batch["sketch"] * parts["sketch"],
        "semantics": None if labels is None else one_hot(labels) * parts["semantics"],
        "color": None if labels is None else batch["color"] * parts["color"],
    }


def show_encoder(batch: dict[str, Tensor], keep: Tensor) -> Tensor:
    """What the encoder reads of a batch, [B, 26, S, S], where `keep` [B, 4, S, S] is 1."""
    return encoder_input(**hide(batch, keep))


def prepare_guided(
    config: Any, size: int, draw: Callable[[int, np.random.Generator], dict[str, Any]]
) -> ModalityPreparation:
    """Build the preparation of a stage whose options have a group `guidance`; `draw`: see `ModalityPreparation`.

    Raises:
        ValueError: the folder of label maps is missing, or the pictures come from several folders.
    """
    guidance, labels = config.guidance, None
    if guidance.semantics == "folder":
        labels = LabelFolder(config.data, guidance.semantics_folder)
    options = {"flip": config.flip, "labels": labels, "thin_sketch": guidance.thin_sketch, "draw": draw}
    options |= {"sketch_filter": guidance.sketch_filter}
    return ModalityPreparation(size, config.seed, **options)
