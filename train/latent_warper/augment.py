"""Pictures in other colours, at another size and partly covered: changes that leave the pose (Algorithm 4, line 3)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# The thesis names scaling, colours and covering, but gives no numbers.
BRIGHTNESS, LEAST_CONTRAST, MOST_CONTRAST, MOST_SATURATION, SCALE = 0.5, 0.5, 1.5, 2.0, 0.0625


def augment(images: Tensor, rngs: list[np.random.Generator], scale: float) -> Tensor:
    """Augment pictures [B, 3, S, S] in [-1, 1]: other colours, resized by `scale`, a square of half the side set to 0.

    Brightness moves by up to 0.5, saturation is multiplied by 0 to 2 about each pixel's mean, contrast by 0.5 to 1.5
    about each picture's mean; nothing is clipped. Resized pictures are padded by reflection or cropped to their size.

    Args:
        rngs: a random stream for each picture.
    """
    draws = torch.tensor([rng.random(5).tolist() for rng in rngs]).to(images)
    shape = (-1, 1, 1, 1)
    images = images + (draws[:, 0].view(shape) - 0.5) * 2 * BRIGHTNESS
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, draws[:, 1].view(shape) * MOST_SATURATION)
    mean = images.mean((1, 2, 3), keepdim=True)
    contrast = LEAST_CONTRAST + draws[:, 2].view(shape) * (MOST_CONTRAST - LEAST_CONTRAST)
    images = rescale(torch.lerp(mean, images, contrast), scale)
    side = images.shape[-1]
    half = side // 2
    keep = torch.ones_like(images[:, :1])
    for i, (top, left) in enumerate((draws[:, 3:] * (side + 1 - half)).long().tolist()):
        keep[i, :, top : top + half, left : left + half] = 0
    return images * keep


def rescale(images: Tensor, scale: float) -> Tensor:
    """Resize pictures [B, 3, S, S] bilinearly about their centre; padded by reflection or cropped to [B, 3, S, S]."""
    side = images.shape[-1]
    other = round(side * scale)
    images = F.interpolate(images, (other, other), mode="bilinear", align_corners=False)
    before = abs(side - other) // 2
    if other < side:
        after = side - other - before
        return F.pad(images, (before, after, before, after), mode="reflect")
    return images[..., before : before + side, before : before + side]
