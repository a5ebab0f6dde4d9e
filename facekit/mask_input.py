"""Any mask a user may hand over -> a hole per photo.

What counts as hole:

| mask | hole |
|---|---|
| gray or colour picture, integer array | luminance >= 128 (16 bits: >= 32768) |
| picture or array whose largest value is 1 | value 1 |
| float array or tensor in [0, 1] | >= 0.5 |
| picture with alpha (an editor's layer) | alpha > 0; where all is opaque, its luminance as above |
| bool | True |
"""

import os
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from facekit.imaging import MAX_PIXELS, Photo, check_range, open_upright

MaskInput = str | os.PathLike | Image.Image | np.ndarray | torch.Tensor
ASPECT_TOLERANCE = 0.01
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def load_mask(
    mask: MaskInput, size: tuple[int, int], *, name: str = "mask", max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, list[str]]:
    """One mask as bool `[H, W]` of the photo's `size` (width, height), and notes for the user.

    A mask of another size is resized (nearest) when its aspect ratio is within 1% of the photo's.

    Args:
        mask: a path, Pillow image, array `[H, W]` or `[H, W, 1..4]`, or tensor `[H, W]`, `[1, H, W]` or
            `[1, 1, H, W]` in [0, 1]. The table at the head of this module says what counts as hole.
        size: width and height of the photo after its EXIF orientation was applied.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of these kinds.
        ValueError: a file that is no picture, wrong dtype, rank or range, NaN, or an aspect ratio that does
            not fit.
    """
    if isinstance(mask, str | os.PathLike | Image.Image):
        label = f"mask {mask}" if isinstance(mask, str | os.PathLike) else name
        hole = _hole_from_pillow(open_upright(mask, label, max_pixels), label)
    elif isinstance(mask, torch.Tensor):
        hole = _hole_from_tensor(mask, name)
    elif isinstance(mask, np.ndarray):
        hole = _hole_from_array(mask, name)
    else:
        raise TypeError(
            f"{name} is a {type(mask).__name__}. Pass a path, Pillow image, numpy array or tensor."
        )
    return _fit(hole, size, name)


def load_masks(
    masks: MaskInput | Sequence[MaskInput], photos: Sequence[Photo], *, max_pixels: int | None = MAX_PIXELS
) -> list[tuple[np.ndarray, list[str]]]:
    """A hole for every photo, from one mask for all or one for each (a list or a `[B, 1, H, W]` tensor).

    Raises:
        ValueError: neither one mask nor as many as photos, or whatever `load_mask` refuses.
    """
    several = isinstance(masks, list | tuple) or (
        isinstance(masks, np.ndarray | torch.Tensor) and masks.ndim == 4 and masks.shape[0] > 1
    )
    masks = list(masks) if several else [masks]
    if len(masks) not in (1, len(photos)):
        raise ValueError(
            f"{len(masks)} masks for {len(photos)} photos. Pass one mask for all, or one for each."
        )
    names = [f"mask {i}" if len(masks) > 1 else "mask" for i in range(len(photos))]
    masks = masks * len(photos) if len(masks) == 1 else masks
    return [
        load_mask(mask, photo.size, name=name, max_pixels=max_pixels)
        for mask, photo, name in zip(masks, photos, names, strict=True)
    ]


def _hole_from_pillow(image: Image.Image, name: str) -> np.ndarray:
    if image.mode == "1":
        return np.array(image)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("CMYK", "YCbCr", "HSV", "PA", "La", "RGBa"):
        image = image.convert("RGBA" if image.mode in ("PA", "La", "RGBa") else "RGB")
    return _hole_from_array(np.asarray(image), name)


def _hole_from_tensor(mask: torch.Tensor, name: str) -> np.ndarray:
    shape = tuple(mask.shape)
    if mask.ndim < 2 or any(length != 1 for length in shape[:-2]):
        raise ValueError(f"{name} is a tensor of shape {shape}; expected [H, W], [1, H, W] or [1, 1, H, W].")
    mask = mask.detach().to("cpu").reshape(shape[-2:])
    if mask.dtype == torch.bfloat16:
        mask = mask.float()
    return _hole_from_array(mask.numpy(), name)


def _hole_from_array(array: np.ndarray, name: str) -> np.ndarray:
    shape = tuple(array.shape)
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= shape[2] <= 4) or 0 in shape:
        raise ValueError(f"{name} is an array of shape {shape}; expected [H, W] or [H, W, 1 to 4].")
    kind = array.dtype.kind
    if kind not in "buif":
        raise ValueError(f"{name} is an array of {array.dtype}; expected bool, integers or floats in [0, 1].")
    if kind == "b":
        return array if array.ndim == 2 else array.any(axis=2)
    if kind == "f":
        check_range(array, 0.0, 1.0, name, "A mask is 0 for known pixels and 1 for the hole.")
        threshold = 0.5
    else:
        smallest, largest = int(array.min()), int(array.max())
        if smallest < 0 or largest > 65535:
            raise ValueError(
                f"{name} has numbers from {smallest} to {largest}; expected 0..1, 0..255 or 16 bits."
            )
        wide = array.dtype == np.uint16 or largest > 255
        threshold = 0.5 if largest == 1 else 32768 if wide else 128
    channels = 1 if array.ndim == 2 else shape[2]
    if channels in (2, 4):
        alpha = array[..., -1]
        if alpha.min() == alpha.max() and alpha.max() > 0:
            array = array[..., :-1]
            if kind != "f" and array.max() == 1:
                threshold = 0.5
        else:
            return alpha > 0
    if array.ndim == 2:
        return array >= threshold
    gray = array[..., 0] if array.shape[2] == 1 else np.rint(array.astype(np.float32) @ _LUMA * 1e3) / 1e3
    return gray >= threshold


def _fit(hole: np.ndarray, size: tuple[int, int], name: str) -> tuple[np.ndarray, list[str]]:
    width, height = size
    own_width, own_height = hole.shape[1], hole.shape[0]
    if (own_width, own_height) == (width, height):
        return hole, []
    if abs((own_width / own_height) / (width / height) - 1) > ASPECT_TOLERANCE:
        turned = abs((own_height / own_width) / (width / height) - 1) <= ASPECT_TOLERANCE
        hint = (
            " It would fit turned by 90 degrees: photos are turned upright by their EXIF first."
            if turned
            else ""
        )
        raise ValueError(
            f"{name} is {own_width}x{own_height} and the photo {width}x{height}: the shapes differ. "
            f"Draw the mask on the photo, or crop one to the other.{hint}"
        )
    image = Image.fromarray(hole.astype(np.uint8))
    resized = np.asarray(image.resize((width, height), Image.Resampling.NEAREST)).astype(bool)
    return resized, [f"{name} of {own_width}x{own_height} was resized to the photo's {width}x{height}"]
