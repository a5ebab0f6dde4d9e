"""Scores that several validations have: fine detail, ImageNet distance where its weights are installed, codes."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from facekit.losses.imagenet import ImageNetDistance
from facekit.models.imagenet_features import feature_distance


def laplacian_energy(image: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] -> squared difference of the grey picture from the mean over 3 x 3 pixels, [B, 1, H, W]."""
    grey = image.float().mean(1, keepdim=True)
    return (grey - F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="reflect"), 3, 1)).square()


def sharpness(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of the target's energy of fine detail that a picture has, [B]; within `mask` [B, 1, H, W] where given."""
    weight = torch.ones_like(image[:, :1]) if mask is None else mask
    made, wanted = ((laplacian_energy(x) * weight).sum((1, 2, 3)) for x in (image, target))
    return made / wanted.clamp_min(1e-12)


def widen_mask(mask: Tensor, pixels: int) -> Tensor:
    """A mask [B, 1, H, W] of 0 and 1, widened by `pixels` on every side."""
    return F.max_pool2d(mask, 2 * pixels + 1, stride=1, padding=pixels)


def load_imagenet_distance(device: torch.device, needed: bool = False) -> ImageNetDistance | None:
    """The ImageNet distance on a device; where its weights are not installed None, or OSError if it is `needed`."""
    try:
        return ImageNetDistance().to(device)
    except OSError:
        if needed:
            raise
        return None


def average_scores(accelerator: Accelerator, table: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Scores over all pictures by name: the mean of each column, of `sharpness`, which has outliers, the median.

    Args:
        table: a row for each picture; in each process the rows of the others' pictures are zero.
        names: of the columns, in their order; columns beyond them are left out.
    """
    table = accelerator.reduce(table.to(accelerator.device), "sum").cpu()
    columns = dict(zip(names, table.T, strict=False))
    return {
        name: float(np.median(column.numpy())) if name == "sharpness" else column.mean().item()
        for name, column in columns.items()
    }


@torch.no_grad()
def compare_holes(distance: ImageNetDistance, image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """ImageNet distance of pictures [B, 3, H, W] in [-1, 1] in and next to the holes of `mask` [B, 1, H, W], [B]."""
    near = widen_mask(mask, 9)  # features see a little beyond their place
    return feature_distance(distance.features(image), distance.features(target), near)


def code_distance(codes: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """Distance of style codes [B, m, D] of each sample, [B].

    Args:
        kind: "norm", the mean over the codes of their differences' L2 norms (Eq. 5.7); "full_norm", the L2 norm of all
            m D differences together (Eq. 6.13, 6.21); "mse", the mean of their squares.
    """
    difference = codes.float() - wanted.float()
    if kind == "norm":
        return difference.norm(dim=2).mean(1)
    if kind == "full_norm":
        return difference.flatten(1).norm(dim=1)
    return difference.square().mean((1, 2))
