"""The strokes that the pencil filter (`facekit.conditions.sketch`) finds in a picture, in a form with gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Grey as the filter makes it: ITU-R BT.601.
GREY = (0.299, 0.587, 0.114)
# (1 2 1) / 4 and (-1 0 1): what the pencil filter smooths and differs with.
SMOOTH, DIFFER = (0.25, 0.5, 0.25), (-1.0, 0.0, 1.0)


def pencil_strength(image: Tensor) -> Tensor:
    """How dark the pencil filter draws each pixel: `255 - pencil_sketch(image)` over 255, without its rounding.

    The gradients in x and y are joined by their norm, where the filter joins them bit by bit.

    Args:
        image: [B, 3, H, W] in [-1, 1].

    Returns:
        [B, 1, H, W] in [0, 1]; the filter takes as strokes what is above a half.
    """
    weights = image.new_tensor(GREY).reshape(1, 3, 1, 1)
    grey = _filter((image * weights).sum(1, keepdim=True), SMOOTH, SMOOTH)
    # Sobel's kernel is four times (1 2 1) / 4, and a difference in [-1, 1] is twice the same one in [0, 1]: 4 / 2.
    across, down = 2 * _filter(grey, SMOOTH, DIFFER), 2 * _filter(grey, DIFFER, SMOOTH)
    norm = torch.sqrt(across.square() + down.square() + 1e-8)  # the root has no gradient at 0
    return (0.75 * norm).clamp(max=1)


def _filter(picture: Tensor, rows: tuple[float, ...], columns: tuple[float, ...]) -> Tensor:
    """A separable filter of 3 by 3; borders are reflected."""
    kernel = torch.outer(picture.new_tensor(rows), picture.new_tensor(columns))
    return F.conv2d(F.pad(picture, (1, 1, 1, 1), mode="reflect"), kernel[None, None])
