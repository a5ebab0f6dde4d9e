"""Semantic maps: the 19 classes of a face, painting with a palette, and face parsers.

Maps hold one class number a pixel, -1 where nothing is said. Networks read them one-hot.
"""

import logging
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

logger = logging.getLogger(__name__)

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
UNLABELLED = -1
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
# Two classes differ by 85 in some channel: less than half of that is unambiguous.
TOLERANCE = 42
# Parsers of the SegFormer kind read pictures of this size, normalised so.
PARSER_SIZE = 512
PARSER_MEAN, PARSER_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORKED_PARSER = "jonathandinu/face-parsing"


def paint(labels: np.ndarray) -> np.ndarray:
    """Labels `[H, W]`, -1 where unlabelled -> uint8 `[H, W, 3]` in the colours of `PALETTE`.

    Raises:
        ValueError: labels that are no class.
    """
    labels = np.asarray(labels)
    check_labels(labels)
    return np.array([*PALETTE, UNLABELLED_COLOR], np.uint8)[labels]  # -1 takes the last


def check_labels(labels: np.ndarray) -> None:
    """ValueError when a map has other values than -1 and the classes; the message lists the known."""
    if labels.dtype.kind not in "iu":
        raise ValueError(f"a semantic map holds whole numbers, not {labels.dtype}")
    wrong = (labels < UNLABELLED) | (labels >= len(CLASS_NAMES))
    if wrong.any():
        y, x = (int(places[0]) for places in np.nonzero(wrong)[-2:])
        raise ValueError(
            f"the semantic map has the unknown label {labels[wrong][0]} at x={x}, y={y}; known are "
            f"{_listed()}, and -1 where nothing is said"
        )


def _listed() -> str:
    return ", ".join(f"{label} {name}" for label, name in enumerate(CLASS_NAMES))


def one_hot(labels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Labels `[B, H, W]` -> `[B, 19, H, W]` of 0 and 1; all zeros where a label is -1.

    Raises:
        ValueError: another shape, or labels that are no class.
    """
    if labels.ndim != 3 or labels.is_floating_point():
        raise ValueError(f"labels are whole numbers [B, H, W], not {labels.dtype} {list(labels.shape)}")
    labels = labels.long()
    if labels.numel() and (int(labels.min()) < UNLABELLED or int(labels.max()) >= len(CLASS_NAMES)):
        check_labels(labels.cpu().numpy())
    classes = torch.arange(len(CLASS_NAMES), device=labels.device)[None, :, None, None]
    return (labels[:, None] == classes).to(dtype)


def labels_from_palette(picture: np.ndarray | Image.Image, tolerance: int = TOLERANCE) -> np.ndarray:
    """A painted picture -> its labels int16 `[H, W]`, -1 where nothing is painted.

    Args:
        picture: uint8 `[H, W, 3]`, or `[H, W, 4]` as an editor's layer, which is painted where alpha > 0; or such a
            Pillow picture. Colours are those of `PALETTE`; grey 222 says nothing.
        tolerance: how far a colour may be from its palette colour, in the channel that differs most. Up to 42
            no colour fits two classes; the nearest counts.

    Raises:
        ValueError: another kind of picture, or a pixel that is no colour of the palette: the message says where, and
            which colours are known.
    """
    if isinstance(picture, Image.Image):
        clear = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
        picture = np.asarray(picture.convert("RGBA" if clear else "RGB"))
    if picture.ndim != 3 or picture.shape[2] not in (3, 4) or picture.dtype != np.uint8:
        raise ValueError(
            f"a painted map is an 8-bit picture [H, W, 3] or [H, W, 4], not {picture.dtype} {list(picture.shape)}"
        )
    painted = picture[..., 3] > 0 if picture.shape[2] == 4 else np.ones(picture.shape[:2], bool)
    labels = np.full(picture.shape[:2], UNLABELLED, np.int16)
    if not painted.any():
        return labels
    # Few colours, many pixels: each colour is looked up once.
    r, g, b = (picture[painted][:, c].astype(np.int32) for c in range(3))
    codes, place = np.unique((r << 16) | (g << 8) | b, return_inverse=True)
    colors = np.stack((codes >> 16, codes >> 8 & 255, codes & 255), 1)
    table = np.array([*PALETTE, UNLABELLED_COLOR])
    distance = np.abs(colors[:, None] - table[None]).max(2)
    nearest = distance.argmin(1)
    unknown = (distance.min(1) > tolerance)[place]
    if unknown.any():
        y, x = (int(places[unknown][0]) for places in np.nonzero(painted))
        known = ", ".join(f"{name} {color}" for name, color in zip(CLASS_NAMES, PALETTE, strict=True))
        raise ValueError(
            f"the painted map has the colour {tuple(picture[y, x, :3].tolist())} at x={x}, y={y}, which is none "
            f"of the palette; known are {known}, and grey {UNLABELLED_COLOR} where nothing is said"
        )
    labels[painted] = np.where(nearest == len(CLASS_NAMES), UNLABELLED, nearest)[place]
    return labels


def label_table(id2label: Mapping[Any, str]) -> Tensor:
    """A parser's own numbers -> ours, int64 `[number of its labels]`, by their names.

    Raises:
        ValueError: a name that is none of `CLASS_NAMES`, or numbers with gaps.
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
        parser: `facekit.models.face_parser.FaceParser`, or a `transformers` network for semantic segmentation, such as
            SegFormer, whose labels are mapped by their names (`config.id2label`). Both in evaluation mode.
        images: `[B, 3, H, W]` in [-1, 1].
        batch_size: faces that pass the network at once.

    Returns:
        int64 `[B, H, W]` on the images' device.

    Raises:
        ValueError: images of another shape, or a parser with labels of no known class.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images to parse are [B, 3, H, W] in [-1, 1], not {list(images.shape)}")
    id2label = getattr(parser.config, "id2label", None)
    table = None if id2label is None else label_table(id2label)
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
            mean, std = (part.new_tensor(x)[:, None, None] for x in (PARSER_MEAN, PARSER_STD))
            logits = parser(pixel_values=(part / 2 + 0.5 - mean) / std).logits
            logits = F.interpolate(logits, images.shape[-2:], mode="bilinear")
        found = logits.argmax(1)
        parts.append((found if table is None else table.to(found.device)[found]).to(images.device))
    return torch.cat(parts)


def load_parser(source: str | None = None) -> Any:
    """A face parser for `parse`.

    Args:
        source: folder or Hub id of a `FaceParser` or of a `transformers` network for semantic segmentation. By default
            `jonathandinu/face-parsing` where it can be had, else the bundled starter, with a warning: it is small,
            and was trained on pseudo-labels.

    Raises:
        OSError: no such model, or the Hub cannot be reached.
        ImportError: a network of transformers, which is not installed.
        ValueError: a parser with labels of no known class.
    """
    from facekit.hub.errors import explained
    from facekit.hub.starters import starter
    from facekit.models.face_parser import FaceParser

    if source is None:
        try:
            return _transformers_parser(NETWORKED_PARSER, local_files_only=not _hub_answers())
        except (OSError, ImportError):
            logger.warning("%s cannot be loaded; parsing with the starter instead", NETWORKED_PARSER)
            return FaceParser.from_pretrained(starter("face-parser"))
    with explained(source):
        config = FaceParser.load_config(source)
        if config.get("_class_name") == "FaceParser":
            return FaceParser.from_pretrained(source)
        return _transformers_parser(source)


def _hub_answers() -> bool:
    """Whether a download is worth trying: without a network its attempts take half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():  # what is behind a proxy cannot be asked like this
        return True
    url = urlsplit(constants.ENDPOINT)
    try:
        address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        socket.create_connection(address, timeout=3).close()
    except OSError:
        return False
    return True


def _transformers_parser(source: str, **options: Any) -> Any:
    try:
        from transformers import AutoModelForSemanticSegmentation
    except ImportError as error:
        raise ImportError(
            f"the parser {source} is a network of transformers: pip install 'transformers>=5.0'"
        ) from error
    parser = AutoModelForSemanticSegmentation.from_pretrained(source, **options).eval()
    label_table(parser.config.id2label)  # refuse it now
    return parser
