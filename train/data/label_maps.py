"""Label maps, from a folder or a parser, and what networks read of them: one-hot maps and region colours."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.conditions.color import color_tensor, region_means
from facekit.conditions.semantics import CLASS_NAMES, load_parser, parse
from facekit.conditions.semantics import MIRRORED as MIRRORED_CLASSES
from train.data.images import Data, is_mixture

NUM_CLASSES = len(CLASS_NAMES)
UNKNOWN = 255  # label of a pixel whose class is not known
# Brows, eyes and ears: mirroring a picture exchanges their sides.
MIRRORED = np.arange(256, dtype=np.uint8)
MIRRORED[:NUM_CLASSES] = MIRRORED_CLASSES


class LabelFolder:
    """Label maps of the pictures of a folder, at the same places under the same names.

    Args:
        data: the folder of pictures.
        folder: that of the maps; None: `semantic` in `data`.

    Raises:
        ValueError: the folder of maps is missing, or the pictures come from several folders.
    """

    def __init__(self, data: Data, folder: str | None) -> None:
        if is_mixture(data):
            raise ValueError(
                "label maps are found by the picture's place in one data folder; for a mixture say "
                "--guidance.semantics parser or none"
            )
        self.data = Path(str(data)).resolve()
        self.folder = Path(folder) if folder is not None else self.data / "semantic"
        if not self.folder.is_dir():
            raise ValueError(
                f"{self.folder} is no folder of label maps: name one by --guidance.semantics_folder, or say "
                "--guidance.semantics parser or none"
            )

    def read(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """The map of a picture, uint8 [H, W] of the 19 BiSeNet classes, 255 where unknown.

        Args:
            name: path of the picture's file, in the folder of the data.
            size: width and height of the picture.

        Raises:
            ValueError: there is no map, or it is of another size or has other labels.
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


def average_colors(pixels: np.ndarray, labels: np.ndarray) -> Tensor:
    """Mean colours of the regions of a picture, [3, H, W] in [-1, 1], 0 where the label is unknown.

    Args:
        pixels: uint8 [H, W, 3].
        labels: uint8 [H, W].
    """
    return color_tensor(region_means(pixels, labels), labels != UNKNOWN)


def one_hot(labels: Tensor) -> Tensor:
    """Labels uint8 [B, S, S] -> float [B, 19, S, S], all zero where unknown."""
    classes = torch.arange(NUM_CLASSES, dtype=labels.dtype, device=labels.device)
    return (labels[:, None] == classes[:, None, None]).float()


class Labeller:
    """Adds `labels` uint8 [B, S, S] and `color` [B, 3, S, S] in [-1, 1] to a batch on the device, by a face parser.

    Args:
        parser: its folder or Hub id; None: batches stay as they are.
    """

    def __init__(self, parser: str | None, device: torch.device) -> None:
        self.parser: Any = None
        if parser is not None:
            self.parser = load_parser(parser).to(device).requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.parser is None:
            return batch
        image = batch["image"]
        labels = parse(self.parser, image).to(torch.uint8)
        pixels = image.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        colors = [average_colors(p, own) for p, own in zip(pixels, labels.cpu().numpy(), strict=True)]
        return batch | {"labels": labels, "color": torch.stack(colors).to(image)}
