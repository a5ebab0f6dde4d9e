"""Colour guidance: mean colours of regions, super-pixels, and free strokes.

Thesis Section 6.3.1: colour images are painted with the mean colour of each semantic region.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def region_means(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each region of a picture in its mean colour.

    Args:
        pixels: uint8 `[H, W, 3]`.
        labels: whole numbers `[H, W]`: all pixels with the same number are one region, wherever they lie. Pixels with
            a negative number belong to none.

    Returns:
        uint8 `[H, W, 3]`, means rounded half to even; 0 where there is no region (see `color_tensor`).

    Raises:
        ValueError: another kind of picture, or a map of another size.
    """
    table, region = mean_colors(pixels, labels)
    painted = np.rint(table).astype(np.uint8)[region]
    painted[np.asarray(labels) < 0] = 0
    return painted


def mean_colors(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of each region, float64 `[R, 3]` in the order of their numbers, and each pixel's row, `[H, W]`.

    Arguments and errors are those of `region_means`; negative numbers count as regions here.
    """
    labels = np.asarray(labels)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(
            f"mean colours are taken of an 8-bit RGB picture [H, W, 3], not of {pixels.dtype} {list(pixels.shape)}"
        )
    if labels.shape != pixels.shape[:2] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"the regions must be whole numbers {list(pixels.shape[:2])}, as large as the picture; got "
            f"{labels.dtype} {list(labels.shape)}"
        )
    _, region, count = np.unique(labels, return_inverse=True, return_counts=True)
    region = region.reshape(labels.shape)
    flat = region.ravel()
    sums = [np.bincount(flat, pixels[..., c].ravel(), len(count)) for c in range(3)]  # exact: whole numbers
    return np.stack(sums, 1) / count[:, None], region


def superpixel_means(pixels: np.ndarray, segments: int = 50, compactness: float = 10.0) -> np.ndarray:
    """Each super-pixel (SLIC) of a picture in its mean colour: finer guidance than one colour a class.

    Args:
        pixels: uint8 `[H, W, 3]`.
        segments: about how many super-pixels; the authors' folders are named after 30 and 100.
        compactness: how much nearness counts beside colour.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        ImportError: scikit-image is missing (`pip install facekit[metrics]`).
        ValueError: fewer than one segment, or another kind of picture.
    """
    if segments < 1:
        raise ValueError(f"a picture has at least 1 super-pixel, got segments={segments}")
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ImportError("super-pixels need scikit-image: pip install facekit[metrics]") from error
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"super-pixels need an 8-bit RGB picture, not {pixels.dtype} {list(pixels.shape)}")
    return region_means(pixels, slic(pixels, n_segments=segments, compactness=compactness, start_label=0))


def stroke_map(
    layer: np.ndarray | Image.Image, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Free colour strokes -> their colours uint8 `[H, W, 3]`, 0 where there are none, and where they are.

    Args:
        layer: uint8 `[H, W, 4]`, an editor's layer with strokes where alpha > 0; or `[H, W, 3]`, strokes everywhere; or
            such a Pillow picture.
        mask: bool `[H, W]`; strokes outside it are left out.

    Returns:
        The colours, and bool `[H, W]`.

    Raises:
        ValueError: another kind of picture, or a mask of another size.
    """
    if isinstance(layer, Image.Image):
        clear = layer.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in layer.info
        layer = np.asarray(layer.convert("RGBA" if clear else "RGB"))
    if layer.ndim != 3 or layer.shape[2] not in (3, 4) or layer.dtype != np.uint8:
        raise ValueError(
            f"colour strokes are an 8-bit picture [H, W, 3] or [H, W, 4], not {layer.dtype} {list(layer.shape)}"
        )
    said = layer[..., 3] > 0 if layer.shape[2] == 4 else np.ones(layer.shape[:2], bool)
    if mask is not None:
        if mask.shape != said.shape:
            raise ValueError(f"the mask is {list(mask.shape)}, the colour strokes {list(said.shape)}")
        said = said & mask.astype(bool)
    return np.where(said[..., None], layer[..., :3], np.uint8(0)), said


def color_tensor(pixels: np.ndarray, said: np.ndarray | None = None) -> Tensor:
    """Colours uint8 `[H, W, 3]` -> `[3, H, W]` in [-1, 1], 0 where nothing is said (`said` bool `[H, W]`)."""
    values = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 127.5 - 1
    return values if said is None else values * torch.from_numpy(np.asarray(said, dtype=np.float32))
