"""Semantic maps: the 19 classes of a face, maps that a user drew, the palette, and face parsers.

Maps are uint8 `[H, W]`: one class number for each pixel, 255 where there is no class. Networks read them one-hot.

| semantics | read as |
|---|---|
| gray picture, integer array or tensor `[H, W]` | labels 0 to 18 in the order of `CLASS_NAMES`; 255 or -1: unlabelled |
| colour picture, array `[H, W, 3]` | colours of `PALETTE`; gray 222: unlabelled |
| the same with alpha, array `[H, W, 2 or 4]` | an editor's layer: where alpha > 0 as above, else unlabelled |
| mapping such as `{"hair": mask}` | class names and masks, later ones on top; True is the whole region to edit |
"""

import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.images.masks import MaskInput, fit, load_mask
from facekit.images.opening import read_array
from facekit.models.imagenet_input import normalise_colours
from facekit.notes import Note

logger = logging.getLogger(__name__)

SemanticsInput = MaskInput | Mapping[str, MaskInput | Literal[True]]

# The order of the usual BiSeNet face parser, which the networks read. l_ is the left side of the picture.
CLASS_NAMES = (
    "background",
    "skin",
    "l_brow",
    "r_brow",
    "l_eye",
    "r_eye",
    "eye_g",
    "l_ear",
    "r_ear",
    "ear_r",
    "nose",
    "mouth",
    "u_lip",
    "l_lip",
    "neck",
    "neck_l",
    "cloth",
    "hair",
    "hat",
)
NUM_CLASSES = len(CLASS_NAMES)
UNLABELLED = 255
# Class of the same part in the mirrored picture.
MIRRORED = (0, 1, 3, 2, 5, 4, 6, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
# Colours of pictures of maps; networks never see them.
PALETTE = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 0, 85),
    (255, 0, 170),
    (0, 255, 0),
    (85, 255, 0),
    (170, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (0, 85, 255),
    (0, 170, 255),
    (255, 255, 0),
    (255, 255, 85),
    (255, 255, 170),
    (255, 0, 255),
)
UNLABELLED_COLOR = (222, 222, 222)
# Colours of two classes differ by 85 in some channel: less than half of that is unambiguous.
PALETTE_TOLERANCE = 42
STRAY_SHARE = 0.02  # of a painted map may be blended colours, along the edges of its areas
PARSER_SIZE = 512  # side of the pictures that parsers of the SegFormer kind read
NETWORKED_PARSER = "jonathandinu/face-parsing"


def read_semantics(
    semantics: SemanticsInput,
    size: tuple[int, int],
    hole: np.ndarray,
    *,
    name: str = "semantics",
    max_pixels: int | None = None,
) -> tuple[np.ndarray, list[Note]]:
    """A semantic map as labels uint8 `[H, W]` (255 = unlabelled) of the photo's `size`, and notes.

    Args:
        semantics: see the table at the head of this module.
        size: width and height of the photo.
        hole: bool `[H, W]`: the region of a class whose mask is True.
        name: how messages call the map, unless it is a path.
        max_pixels: refuse larger pictures before they are decoded; None lifts the limit.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of the kinds in the table.
        ValueError: unknown labels, colours or class names (the message lists the known), another aspect
            ratio than the photo's, or a picture that `load_image` or `load_mask` refuses.
    """
    if isinstance(semantics, Mapping):
        return _read_masks(semantics, size, hole, name, max_pixels)
    name = str(semantics) if isinstance(semantics, str | os.PathLike) else name
    labels, notes = _read_map(read_array(semantics, name, max_pixels), name)
    labels, resized = fit(labels, size, name)
    return labels, notes + resized


def _read_map(array: np.ndarray, name: str) -> tuple[np.ndarray, list[Note]]:
    said = np.ones(array.shape[:2], dtype=bool)
    if array.ndim == 3 and array.shape[2] in (2, 4):
        array, said = array[..., :-1], array[..., -1] > 0
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        return np.where(said, as_labels(array, name), np.uint8(UNLABELLED)), []
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f"{name} is {array.dtype} {list(array.shape)}; expected labels [H, W], or colours uint8 [H, W, 3] or "
            "[H, W, 4]."
        )
    return _read_palette(array, said, name)


def as_labels(values: np.ndarray, name: str = "the semantic map") -> np.ndarray:
    """Whole numbers of any type, 255 or -1 where there is no class -> labels uint8 of the same shape, 255 there.

    Args:
        values: of any shape.
        name: how messages call them.

    Raises:
        ValueError: numbers that are not whole, or that are no class; the message lists the known classes.
    """
    known = ", ".join(f"{label} {word}" for label, word in enumerate(CLASS_NAMES))
    if values.dtype.kind not in "ui":
        raise ValueError(
            f"{name} has no whole numbers. Pass labels, a palette picture, or for a mask the class that it marks: "
            f'{{"hair": mask}}. Classes are {known}.'
        )
    labels = np.where(values == -1, UNLABELLED, values) if values.dtype.kind == "i" else values
    wrong = (labels != UNLABELLED) & ((labels < 0) | (labels >= NUM_CLASSES))
    if wrong.any():
        found = ", ".join(map(str, np.unique(labels[wrong])[:5].tolist()))
        *_, y, x = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{name} has unknown labels ({found}). Known are {known}; {UNLABELLED} is unsaid. The first unknown one is "
            f"at x={x}, y={y}."
        )
    return labels.astype(np.uint8)


def _read_palette(rgb: np.ndarray, said: np.ndarray, name: str) -> tuple[np.ndarray, list[Note]]:
    labels, strange = match_palette(rgb[said])
    share = strange.mean() if strange.size else 0.0
    if share > STRAY_SHARE:
        colors, counts = np.unique(rgb[said][strange], axis=0, return_counts=True)
        example = colors[counts.argmax()]
        y, x = np.argwhere(said & (rgb == example).all(axis=2))[0].tolist()
        known = ", ".join(f"{word} {color}" for word, color in zip(CLASS_NAMES, PALETTE, strict=True))
        raise ValueError(
            f"{share:.0%} of {name} shows colours of no class, for example {tuple(example.tolist())} at x={x}, y={y}. "
            f"The palette is {known}."
        )
    found = np.full(rgb.shape[:2], UNLABELLED, dtype=np.uint8)
    found[said] = labels
    what = "{share:.1%} of {name} shows blended colours and says nothing"
    notes = [Note("reading", what, share=max(share, 0.001), name=name)] if share else []
    return found, notes


def match_palette(colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours uint8 `[..., 3]` -> the labels that they stand for, uint8 `[...]`, and which are not in the palette.

    The second array, bool `[...]`, is True for colours that are not in the palette. These and gray 222 become 255.
    """
    r, g, b = np.moveaxis(colors.astype(np.int32), -1, 0)
    # Few colours, many pixels: each colour is looked up once.
    codes, places = np.unique((r << 16) | (g << 8) | b, return_inverse=True)
    found = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    distance = np.abs(found[:, None] - np.array([*PALETTE, UNLABELLED_COLOR])).max(axis=2, initial=0)
    nearest, strange = distance.argmin(axis=1), distance.min(axis=1, initial=256) > PALETTE_TOLERANCE
    labels = np.where(strange | (nearest == NUM_CLASSES), UNLABELLED, nearest).astype(np.uint8)
    places = places.reshape(colors.shape[:-1])
    return labels[places], strange[places]


def _read_masks(
    masks: Mapping[str, MaskInput | Literal[True]],
    size: tuple[int, int],
    hole: np.ndarray,
    name: str,
    max_pixels: int | None,
) -> tuple[np.ndarray, list[Note]]:
    unknown = [word for word in masks if word not in CLASS_NAMES]
    if unknown:
        raise ValueError(f"{name} has the class {unknown[0]!r}; known are {', '.join(CLASS_NAMES)}.")
    labels, notes = np.full((size[1], size[0]), UNLABELLED, dtype=np.uint8), []
    for word, mask in masks.items():
        where = hole
        if mask is not True:
            where, remarks = load_mask(mask, size, name=f"{name} {word}", max_pixels=max_pixels)
            notes += remarks
        labels[where] = CLASS_NAMES.index(word)
    return labels, notes


def paint(labels: np.ndarray) -> np.ndarray:
    """Labels `[H, W]`, 255 or -1 where unlabelled -> uint8 `[H, W, 3]` in the colours of `PALETTE`.

    Raises:
        ValueError: labels that are no class.
    """
    labels = as_labels(np.asarray(labels))
    return np.array([*PALETTE, UNLABELLED_COLOR], np.uint8)[np.minimum(labels, NUM_CLASSES)]


def make_label_table(id2label: Mapping[Any, str]) -> Tensor:
    """For each class number of a parser the number of the class of that name here, int64 `[its labels]`.

    Args:
        id2label: the parser's numbers, from 0 without gaps, and the names of their classes.

    Raises:
        ValueError: a name that is not in `CLASS_NAMES`, or numbers with gaps.
    """
    names = {int(number): name for number, name in id2label.items()}
    unknown = [name for name in names.values() if name not in CLASS_NAMES]
    if unknown or sorted(names) != list(range(len(names))):
        what = f"labels of no known class: {', '.join(unknown)}" if unknown else "gaps in its label numbers"
        raise ValueError(f"this parser has {what}; known classes are {', '.join(CLASS_NAMES)}")
    return torch.tensor([CLASS_NAMES.index(names[number]) for number in range(len(names))])


@torch.no_grad()
def parse(parser: Any, images: Tensor, batch_size: int = 8) -> Tensor:
    """The class of every pixel of aligned faces.

    Args:
        parser: `facekit.FaceParser`, `facekit.BiSeNet`, or a `transformers` network for semantic segmentation, such as
            SegFormer, whose labels are mapped by their names (`config.id2label`). All in evaluation mode.
        images: `[B, 3, H, W]` in [-1, 1].
        batch_size: how many faces pass through the network at once.

    Returns:
        int64 `[B, H, W]` on the images' device.

    Raises:
        ValueError: images of another shape, or a parser with labels of no known class.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images to parse are [B, 3, H, W] in [-1, 1], not {list(images.shape)}")
    id2label = getattr(parser.config, "id2label", None)
    table = None if id2label is None else make_label_table(id2label)
    if len(images) == 0:
        return images.new_zeros(0, *images.shape[-2:], dtype=torch.int64)
    # The weights of a network that comes to its device layer by layer lie nowhere ("meta") until then.
    device = images.device if parser.device.type == "meta" else parser.device
    parts = []
    for part in images.split(batch_size):
        part = part.to(device, parser.dtype)
        if table is None:
            logits = parser(part)
        else:
            part = F.interpolate(part, (PARSER_SIZE,) * 2, mode="bilinear", antialias=True)
            logits = parser(pixel_values=normalise_colours(part)).logits
            logits = F.interpolate(logits, images.shape[-2:], mode="bilinear")
        found = logits.argmax(1)
        parts.append((found if table is None else table.to(found.device)[found]).to(images.device))
    return torch.cat(parts)


def load_parser(source: str | None = None) -> Any:
    """Load a face parser for `parse`, in evaluation mode.

    Args:
        source: folder or Hub id of a `FaceParser`, of a `BiSeNet` (`facekit convert bisenet`) or of a `transformers`
            network for semantic segmentation. By default `jonathandinu/face-parsing` if it can be loaded, else the
            bundled starter, with a warning: the starter is small and was trained on pseudo-labels.

    Raises:
        OSError: no such model, or the Hub cannot be reached.
        ImportError: the model needs transformers, which is not installed.
        ValueError: a parser with labels of no known class.
    """
    from facekit.hub.errors import explain_errors, why_unreachable
    from facekit.hub.starters import starter
    from facekit.models.bisenet import BiSeNet
    from facekit.models.face_parser import FaceParser

    if source is None:
        try:
            return _load_transformers_parser(NETWORKED_PARSER, local_files_only=why_unreachable() is not None)
        except (OSError, ImportError):
            logger.warning("%s cannot be loaded; parsing with the starter instead", NETWORKED_PARSER)
            return FaceParser.from_pretrained(starter("face-parser"))
    with explain_errors(source) as options:
        config = FaceParser.load_config(source, **options)
        for known in (FaceParser, BiSeNet):
            if config.get("_class_name") == known.__name__:
                return known.from_pretrained(source, **options)
        return _load_transformers_parser(source, **options)


def _load_transformers_parser(source: str, **options: Any) -> Any:
    try:
        from transformers import AutoModelForSemanticSegmentation
    except ImportError as error:
        raise ImportError(
            f"the parser {source} is a network of transformers: pip install 'transformers>=5.0'"
        ) from error
    parser = AutoModelForSemanticSegmentation.from_pretrained(source, **options).eval()
    make_label_table(parser.config.id2label)  # refuse it now
    return parser
