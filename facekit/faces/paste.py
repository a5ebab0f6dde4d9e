"""Put edited faces back into their photo; everything outside the edited region stays bit-identical."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facekit.images.modes import LUMA

from .align import AlignedFace, check_photo, colour_channels
from .geometry import (
    TILE,
    Box,
    cast,
    resample,
    sample_nearest,
    shift_target,
    smoothstep,
    target_coordinates,
    tiles,
)

Edit = tuple[AlignedFace, np.ndarray] | tuple[AlignedFace, np.ndarray, np.ndarray | None]

WINDOW_FEATHER, MASK_FEATHER = 0.1, 0.01


@dataclass(eq=False)
class _Layer:
    """One edit, ready to be laid over the photo: pixels [size, size(, 3)] float32 and where they go."""

    aligned: AlignedFace
    pixels: np.ndarray
    mask: np.ndarray | None
    mask_on_photo: bool
    threshold: float
    feather: float


def paste_faces(
    photo: np.ndarray,
    edits: Sequence[Edit],
    *,
    mode: str = "difference",
    feather: float | None = None,
    mask_space: str = "auto",
) -> np.ndarray:
    """Lay edited faces over a photo.

    Where several faces overlap, each pixel belongs to the face whose centre is nearest in units of its own
    crop, with a soft change from one to the other; the order of `edits` does not matter.

    Args:
        photo: the photo that the faces were cut from, as `align_face` takes it (EXIF orientation applied).
        edits: (aligned face, edited image [, mask]) each. The image is [size, size, 3] (or [size, size] on a
            gray photo; colour on a gray photo becomes luma) in the photo's dtype, or uint8 or uint16
            (rescaled on photos of the other depth), or floating in [0, 1]. The mask limits the change to its
            region: [size, size] in the aligned picture or [H, W] on the photo; bool, or in [0, 1] with the
            threshold 0.5, or an integer mask in [0, 255] with the threshold 127.5 (an integer mask that holds
            only 0 and 1 counts as bool). Without a mask the region is the crop's rounded middle.
        mode: "difference" adds what the edit changed, so that unchanged content keeps the photo's own
            resolution; "replace" puts the edited pixels themselves, for holes whose old content must leave no
            trace.
        feather: width of the soft edge as a share of the crop's side; it lies inside the region. Default 0.1
            without a mask and 0.01 with one; 0 is a hard edge.
        mask_space: "aligned", "photo", or "auto", which goes by the mask's size.

    Returns:
        A copy of the photo, same shape and dtype. Pixels outside the regions and the alpha channel are
        unchanged.

    Raises:
        ValueError: sizes that do not fit, wrong ranges, NaN, or a mask whose space cannot be told from its
            size.
    """
    check_photo(photo)
    if mode not in ("difference", "replace"):
        raise ValueError(f'mode must be "difference" or "replace", got {mode!r}')
    if mask_space not in ("auto", "aligned", "photo"):
        raise ValueError(f'mask_space must be "auto", "aligned" or "photo", got {mask_space!r}')
    if feather is not None and not 0 <= feather <= 0.5:
        raise ValueError(f"feather must be in [0, 0.5] of the crop's side, got {feather}")
    layers = [_prepare(photo, edit, mode, feather, mask_space) for edit in edits]

    out = photo.copy()
    cells: dict[tuple[int, int], list[tuple[_Layer, Box]]] = {}
    for layer in layers:
        if mode == "difference" and len(layers) == 1 and not layer.pixels.any():
            continue
        for cell in tiles(layer.aligned.box):
            cells.setdefault((cell[0] // TILE, cell[1] // TILE), []).append((layer, cell))
    for members in cells.values():
        _paste_cell(photo, out, members, mode)
    return out


def _prepare(photo: np.ndarray, edit: Edit, mode: str, feather: float | None, mask_space: str) -> _Layer:
    aligned, edited, mask = (*edit, None)[:3]
    size = aligned.size
    if aligned.photo_shape != photo.shape[:2]:
        raise ValueError(
            f"the face was cut from a photo of {list(aligned.photo_shape)} pixels, this photo has "
            f"{list(photo.shape[:2])}"
        )
    edited = np.asarray(edited)
    if (
        edited.shape[:2] != (size, size)
        or edited.ndim > 3
        or (edited.ndim == 3 and edited.shape[2] not in (1, 3))
    ):
        raise ValueError(f"an edited face must be {[size, size, 3]}, got {list(edited.shape)}")
    pixels = _in_photo_range(edited, photo.dtype)
    gray = aligned.image.ndim == 2
    if gray and pixels.ndim == 3:
        pixels = pixels @ LUMA if pixels.shape[2] == 3 else pixels[:, :, 0]
    elif not gray and (pixels.ndim == 2 or pixels.shape[2] == 1):
        pixels = np.repeat(pixels.reshape(size, size, 1), 3, axis=2)
    if mode == "difference":
        pixels = pixels - aligned.image.astype(np.float32)
    on_photo, threshold = False, 0.5
    if mask is not None:
        mask, on_photo, threshold = _check_mask(np.asarray(mask), aligned, mask_space)
    if feather is None:
        feather = WINDOW_FEATHER if mask is None else MASK_FEATHER
    return _Layer(aligned, np.ascontiguousarray(pixels, dtype=np.float32), mask, on_photo, threshold, feather)


def _in_photo_range(edited: np.ndarray, dtype: np.dtype) -> np.ndarray:
    values = edited.astype(np.float32)
    if np.issubdtype(edited.dtype, np.floating):
        if not np.isfinite(values).all():
            raise ValueError("the edited face holds NaN or infinite values")
        if np.issubdtype(dtype, np.floating):
            return values
        if values.min() < -1e-3 or values.max() > 1 + 1e-3:
            raise ValueError(
                f"floating edited faces must lie in [0, 1], got [{values.min():.3g}, {values.max():.3g}]"
            )
        return values * np.iinfo(dtype).max
    if edited.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"an edited face must be uint8, uint16 or floating, got {edited.dtype}")
    top = 1.0 if np.issubdtype(dtype, np.floating) else float(np.iinfo(dtype).max)
    return values if edited.dtype == dtype else values * (top / np.iinfo(edited.dtype).max)


def _check_mask(mask: np.ndarray, aligned: AlignedFace, mask_space: str) -> tuple[np.ndarray, bool, float]:
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[:, :, 0]
    shapes = {"aligned": (aligned.size, aligned.size), "photo": aligned.photo_shape}
    spaces = [
        space for space, shape in shapes.items() if mask.shape == shape and mask_space in ("auto", space)
    ]
    if not spaces:
        raise ValueError(
            f"a mask must be {list(shapes['aligned'])} (aligned) or {list(shapes['photo'])} (photo), got "
            f"{list(mask.shape)} with mask_space={mask_space!r}"
        )
    if len(spaces) == 2:
        raise ValueError('photo and aligned face have the same size; say mask_space="aligned" or "photo"')
    if mask.dtype != bool and not np.issubdtype(mask.dtype, np.number):
        raise ValueError(f"a mask must be bool or real numbers, got {mask.dtype}")
    low, high = float(mask.min()), float(mask.max())
    if np.issubdtype(mask.dtype, np.floating):
        if not (low >= 0 and high <= 1):
            raise ValueError(f"a floating mask must lie in [0, 1], got [{low:.3g}, {high:.3g}]")
        # 0.5 itself belongs to the region.
        threshold = 0.4999
    else:
        if low < 0 or high > 255:
            raise ValueError(f"an integer mask must lie in [0, 255], got [{low:.0f}, {high:.0f}]")
        threshold = 127.5 if high > 1 else 0.5
    return mask, spaces[0] == "photo", threshold


def _paste_cell(photo: np.ndarray, out: np.ndarray, members: list[tuple[_Layer, Box]], mode: str) -> None:
    """Blend all edits of one cell of the tile grid, so that memory does not grow with photo or face."""
    boxes = np.array([box for _, box in members])
    x0, y0 = (int(value) for value in boxes[:, :2].min(axis=0))
    x1, y1 = (int(value) for value in boxes[:, 2:].max(axis=0))
    colours = colour_channels(photo)
    window = (slice(y0, y1), slice(x0, x1)) + (() if colours is None else (colours,))
    original = photo[window].astype(np.float32)
    extra = (None,) * (original.ndim - 2)

    change = np.zeros_like(original)
    total = np.zeros(original.shape[:2], dtype=np.float32)
    strongest = np.zeros_like(total)
    for layer, box in members:
        part = (slice(box[1] - y0, box[3] - y0), slice(box[0] - x0, box[2] - x0))
        x, y = target_coordinates(layer.aligned.matrix, box)
        weight = _opacity(layer, box, x, y)
        if not weight.any():
            continue
        width, height = box[2] - box[0], box[3] - box[1]
        pixels = resample(layer.pixels, shift_target(layer.aligned.matrix, box[0], box[1]), width, height)
        pixels = pixels.reshape(original[part].shape)
        if mode == "replace":
            pixels = pixels - original[part]
        share = weight * _closeness(layer, x, y)
        change[part] += pixels * share[(..., *extra)]
        total[part] += share
        strongest[part] = np.maximum(strongest[part], weight)
    change *= (strongest / np.maximum(total, 1e-20))[(..., *extra)]
    change += original
    np.copyto(out[window], cast(change, photo.dtype), where=(strongest > 0)[(..., *extra)])


def _closeness(layer: _Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Nearness of aligned positions x, y [h, w] to the face's centre: 1 there, falling to almost 0 at the edge.

    So a crop's edge shows no more than its middle where another face goes on beneath it.
    """
    middle = (layer.aligned.size - 1) / 2
    outward = np.maximum(np.abs(x - middle), np.abs(y - middle)) * np.float32(2 / layer.aligned.size)
    return np.maximum(1 - outward, np.float32(1e-3)) ** 4


def _opacity(layer: _Layer, box: Box, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weight of the edit in [0, 1] for the photo pixels of `box` with aligned positions x, y; all [h, w]."""
    aligned = layer.aligned
    if layer.mask is None:
        # A superellipse of degree 4: the crop's middle without its corners.
        u, v = ((2 * value + 1) / np.float32(aligned.size) - 1 for value in (x, y))
        inward = 1 - np.sqrt(np.sqrt(u * u * u * u + v * v * v * v))
        return (
            (inward > 0).astype(np.float32)
            if layer.feather == 0
            else smoothstep(inward / (2 * layer.feather))
        )

    reach = layer.feather * math.hypot(*(aligned.quad[3] - aligned.quad[0]))
    # The distance to the region's edge is needed up to `reach` only, so a window that much wider shows all of
    # it.
    margin, (height, width) = math.ceil(reach) + 2, aligned.photo_shape
    wide = Box(
        max(box.left - margin, 0),
        max(box.top - margin, 0),
        min(box.right + margin, width),
        min(box.bottom + margin, height),
    )
    region = aligned.covers(wide)
    if layer.mask_on_photo:
        region &= layer.mask[wide[1] : wide[3], wide[0] : wide[2]] > layer.threshold
    else:
        shifted = shift_target(aligned.matrix, wide[0], wide[1])
        region &= sample_nearest(layer.mask, shifted, wide[2] - wide[0], wide[3] - wide[1]) > layer.threshold
    distance = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    left, top = box[0] - wide[0], box[1] - wide[1]
    distance = distance[top : top + box[3] - box[1], left : left + box[2] - box[0]]
    return smoothstep(distance / (1 + reach))
