"""Bring a fill's tones in line with the picture around the hole."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Side of the windows over which the two sides of the rim are compared, and the rim is bridged. Wider ones take another
# part of the face for another tone: a cheek beside a wall gets the wall's colour.
WINDOW = 3
# A correction that fades is drawn on so many cells a side, and ends so many cells away from the rim.
CELLS = 32
FADE = 6


def match_tones(fill: Tensor, known: Tensor, holes: Tensor, *, fades: bool = False) -> Tensor:
    """Remove steps in tone along the rim of the hole.

    Along the rim the local means of both sides should agree. Their difference is interpolated smoothly over the
    hole (pull-push: means over ever larger squares, the finest that knows something wins) and added: the idea of
    Poisson blending (Perez et al., SIGGRAPH 2003) at the cost of a few poolings. The outermost pixel of the fill, which
    has least context and is often too bright or too dark, becomes the local mean of both sides.

    Args:
        fill: completed pictures [N, 3, H, W] in [-1, 1].
        known: the pictures before, [N, 3, H, W] in [-1, 1]; what they show in the hole does not count.
        holes: [N, 1, H, W], 1 = hole.
        fades: let the correction end about a fifth of the picture's side away from the rim. For fills that something
            guided: the middle of a large hole keeps the tones that it was to have.

    Returns:
        [N, 3, H, W], unchanged outside the hole. A picture without known pixels comes back as it is.
    """
    outside = 1 - holes
    rim = holes * _grow(outside, 1)
    core = holes - rim
    # A hole too narrow to have a core is judged by its rim.
    inside = torch.where(_grow(core, WINDOW // 2) > 0, core, holes)
    difference = (_local_mean(known, outside) - _local_mean(fill, inside)) * rim
    correction = _spread(difference, rim) * holes
    matched = fill + (correction * _nearness(outside) if fades else correction)
    bridged = _local_mean(torch.where(outside > 0, known, matched), outside + core)
    return torch.where(rim > 0, bridged, matched)


def _grow(mask: Tensor, by: int) -> Tensor:
    return F.max_pool2d(mask, 2 * by + 1, 1, by)


def _local_mean(picture: Tensor, weight: Tensor) -> Tensor:
    """Mean of the weighted pixels in the window round each pixel; 0 where there are none."""
    total = F.avg_pool2d(picture * weight, WINDOW, 1, WINDOW // 2)
    return total / F.avg_pool2d(weight, WINDOW, 1, WINDOW // 2).clamp(min=1e-6)


def _nearness(outside: Tensor) -> Tensor:
    """How near the rim is, [N, 1, H, W]: 1 outside and next to the rim, falling to 0 in the middle of large holes."""
    height, width = outside.shape[-2:]
    cells = F.max_pool2d(outside, (max(height // CELLS, 1), max(width // CELLS, 1)), ceil_mode=True)
    # The rim's own cells and their neighbours count in full: between the middles of cells it is interpolated.
    rings = [(1 - step / FADE) * _grow(cells, 1 + step) for step in range(FADE)]
    near = torch.stack(rings).amax(dim=0)
    return F.interpolate(near, (height, width), mode="bilinear", align_corners=False)


def _spread(values: Tensor, weight: Tensor) -> Tensor:
    """Smooth interpolation of `values` (already weighted) from where `weight` is 1 to everywhere."""
    if min(values.shape[-2:]) < 2:
        return values / weight.clamp(min=1e-6)
    coarse = _spread(F.avg_pool2d(values, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True))
    coarse = F.interpolate(coarse, values.shape[-2:], mode="bilinear", align_corners=False)
    share = (4 * weight).clamp(max=1)
    return share * values / weight.clamp(min=1e-6) + (1 - share) * coarse
