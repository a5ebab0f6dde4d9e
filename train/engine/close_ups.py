"""Eyes and mouth of aligned faces, enlarged: where a face is looked at first, and few pixels of the whole picture."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.models.imagenet_features import JUDGED

# What is looked at, as it ends the names of loss terms: whole pictures, and their eyes and mouths enlarged.
WHOLE, CLOSE = "", "_close"
# Maps that critics of close-ups judge: the finest shows nothing in enlarged pictures, and costs more than all others.
JUDGED_CLOSE = JUDGED[1:]


class Window(NamedTuple):
    """A part of a square picture, twice as wide as high; left, top and width as shares of its side."""

    left: float
    top: float
    width: float


# In FFHQ's alignment eyes lie at 0.38 and 0.62 of the width and 0.47 of the height, the mouth's middle at 0.5 and 0.74.
EYES = Window(0.28, 0.36, 0.44)
MOUTH = Window(0.34, 0.66, 0.32)


def cut_close_ups(images: Tensor) -> Tensor:
    """Aligned faces [B, C, S, S] -> their eyes, then their mouths, enlarged to [2 B, C, S / 2, S]."""
    side = images.shape[-1]
    parts = []
    for window in (EYES, MOUTH):
        left, top, width = (round(share * side) for share in window)
        part = images[..., top : top + width // 2, left : left + width]
        parts.append(F.interpolate(part, (side // 2, side), mode="bilinear", align_corners=False))
    return torch.cat(parts)
