"""Results in the form that was asked for, and maps as pictures."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from facekit.images.photo import Photo

OUTPUT_TYPES = ("pil", "photo", "np", "pt")


def check_output_type(output_type: str) -> None:
    """Raise ValueError unless `deliver` knows this type."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(
            f"output_type is {output_type!r}; choose one of {', '.join(map(repr, OUTPUT_TYPES))}."
        )


def deliver(photos: list[Photo], output_type: str) -> Any:
    """Photos as a list of Pillow images, as they are ("photo"), float32 `[B, H, W, C]` ("np") or `[B, C, H, W]` ("pt")
    in [0, 1].

    Arrays and tensors of different shapes come as a list.
    """
    if output_type == "photo":
        return photos
    if output_type == "pil":
        return [photo.to_pil() for photo in photos]
    if output_type == "np":
        arrays = [photo.to_numpy() for photo in photos]
        return np.stack(arrays) if len({a.shape for a in arrays}) == 1 else arrays
    tensors = [photo.to_tensor() for photo in photos]
    return torch.stack(tensors) if len({t.shape for t in tensors}) == 1 else tensors


def heat_map(values: np.ndarray, peak: float | None = None) -> Image.Image:
    """A map float32 `[H, W]` >= 0 as a picture: blue for 0, red for `peak` (default: its maximum)."""
    peak = float(values.max()) if peak is None else peak
    level = np.clip(values / max(peak, 1e-12), 0, 1)
    channels = [np.clip(1.5 - np.abs(4 * level - centre), 0, 1) for centre in (3, 2, 1)]
    return Image.fromarray(np.rint(np.stack(channels, axis=-1) * 255).astype(np.uint8))
