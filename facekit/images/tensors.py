"""Between pictures in [0, 1] and the batches in [-1, 1] that networks take; results in the form that was asked for."""

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args, overload

import numpy as np
import torch
from PIL import Image

from facekit.images.photo import Photo, drop_foreign_profile, from_float
from facekit.images.tint import Tint, apply_tint

OutputType = Literal["pil", "photo", "np", "pt"]
OUTPUT_TYPES = get_args(OutputType)

Pictures = list[Image.Image] | list[Photo] | list[np.ndarray] | np.ndarray | list[torch.Tensor] | torch.Tensor


def check_output_type(output_type: str) -> None:
    """Raise ValueError unless `deliver` knows this type."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(
            f"output_type is {output_type!r}; choose one of {', '.join(map(repr, OUTPUT_TYPES))}."
        )


def to_batch(pictures: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Pictures float32 `[S, S, 3]` in [0, 1] -> `[N, 3, S, S]` in [-1, 1] on `device`."""
    stacked = np.stack(pictures).transpose(0, 3, 1, 2) * np.float32(2) - np.float32(1)
    return torch.from_numpy(np.ascontiguousarray(stacked)).to(device)


def masks_to_batch(masks: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Masks bool `[S, S]` -> float32 `[N, 1, S, S]`, 1 where they are True, on `device`."""
    return torch.from_numpy(np.stack(masks)[:, None].astype(np.float32)).to(device)


@overload
def deliver(photos: list[Photo], output_type: Literal["pil"]) -> list[Image.Image]: ...
@overload
def deliver(photos: list[Photo], output_type: str) -> Pictures: ...
def deliver(photos: list[Photo], output_type: str) -> Pictures:
    """Convert photos to an output type.

    Args:
        output_type: "pil": a list of Pillow images; "photo": the photos as they are; "np": a float32 array
            `[B, H, W, C]` in [0, 1]; "pt": a float32 tensor `[B, C, H, W]` in [0, 1]. Photos of different shapes come
            as a list of arrays or tensors.
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


Picture = TypeVar("Picture", Photo, Image.Image)


def expect_kind(pictures: Pictures, kind: type[Picture]) -> list[Picture]:
    """Pictures that a call gave, for those who go on with `Photo`s (`output_type="photo"`) or Pillow images ("pil").

    Raises:
        TypeError: they are of another kind.
    """
    expected = [picture for picture in pictures if isinstance(picture, kind)]
    if len(expected) != len(pictures):
        raise TypeError(
            f"these pictures are not all of the kind {kind.__name__}. Choose another output_type."
        )
    return expected


def heat_map(values: np.ndarray, peak: float | None = None) -> Image.Image:
    """Draw a map float32 `[H, W]` >= 0 as an RGB image: blue for 0, red for `peak` (default: the map's maximum)."""
    peak = float(values.max()) if peak is None else peak
    level = np.clip(values / max(peak, 1e-12), 0, 1)
    channels = [np.clip(1.5 - np.abs(4 * level - centre), 0, 1) for centre in (3, 2, 1)]
    return Image.fromarray(np.rint(np.stack(channels, axis=-1) * 255).astype(np.uint8))


def to_pictures(
    images: torch.Tensor,
    tints: Sequence[Tint | None] | None = None,
    painted: Sequence[np.ndarray | None] | None = None,
) -> list[np.ndarray]:
    """`[N, 3, S, S]` in [-1, 1] -> float32 `[S, S, 3]` in [0, 1] each.

    Args:
        tints: the tone of the photo that each one goes into, see `facekit.images.tint`; None for one in colour.
        painted: bool `[S, S]` where one has colours that were asked for, or None.
    """
    squares = list(((images + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
    tints = [None] * len(squares) if tints is None else tints
    painted = [None] * len(squares) if painted is None else painted
    return [apply_tint(*square) for square in zip(squares, tints, painted, strict=True)]


@overload
def deliver_squares(
    squares: Sequence[np.ndarray], output_type: Literal["pil"], photo: Photo | None = None
) -> list[Image.Image]: ...
@overload
def deliver_squares(
    squares: Sequence[np.ndarray], output_type: str, photo: Photo | None = None
) -> Pictures: ...
def deliver_squares(squares: Sequence[np.ndarray], output_type: str, photo: Photo | None = None) -> Pictures:
    """Squares float32 `[S, S, 3]` in [0, 1] in the form of `output_type`, see `deliver`.

    `photo`: what they were cut from; its colour profile goes with them, and in a `Photo` its depth.
    """
    if not squares:
        return []
    info = {}
    if photo is not None and "icc_profile" in photo.info:
        info = drop_foreign_profile({"icc_profile": photo.info["icc_profile"]}, "RGB")
    if output_type in ("pil", "photo"):
        deep = photo is not None and photo.is_deep and output_type == "photo"
        squares = [from_float(square, np.uint16 if deep else np.uint8) for square in squares]
    return deliver([Photo(np.ascontiguousarray(square), "RGB", info=info) for square in squares], output_type)
