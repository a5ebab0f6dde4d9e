"""Edits of a whole region, as users make them: the hole is a region of the picture's label map, its colours are new.

Neither is in the thesis, whose holes know nothing of the face and whose colours are always the picture's own.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.conditions.semantics import CLASS_NAMES
from facekit.images.modes import LUMA
from train.data.modalities import MODALITIES

# Hair stands there twice: it is what people change most, and holes of other kinds never cover it.
REGIONS: tuple[tuple[str, ...], ...] = (
    ("hair",),
    ("hair",),
    ("mouth", "u_lip", "l_lip"),
    ("l_brow", "r_brow", "l_eye", "r_eye"),
    ("nose",),
    ("skin", "l_brow", "r_brow", "l_eye", "r_eye", "nose", "mouth", "u_lip", "l_lip"),
)
# What people dye or paint: how far its brightness moves at most, and its two differences of colour on average.
RECOLORED = {"hair": (0.3, 0.08), "u_lip": (0.1, 0.08), "l_lip": (0.1, 0.08)}
LEAST = 0.003  # share of the picture below which a region is none
WIDEST = 16  # by so many pixels of 256 a hole reaches beyond its region at most


def edit_regions(
    batch: dict[str, Any],
    rngs: list[np.random.Generator],
    probability: float,
    recolor_probability: float,
) -> dict[str, Any]:
    """Turn holes of a batch into holes of whole regions, and give some of these new colours, in the picture too.

    Args:
        batch: `image` [B, 3, S, S] and `color` [B, 3, S, S] in [-1, 1], `labels` uint8 [B, S, S], `mask` [B, 1, S, S],
            and `shown` uint8 [B, 3, S, S]: where in the hole each drawing is shown.
        rngs: a random stream for each sample.
        probability: how often a hole becomes that of a region.
        recolor_probability: how often hair or lips in such a hole get other colours; these are always shown then.

    Returns:
        The batch, in which all of these but the labels have changed.
    """
    image, color, mask, shown = (batch[name].clone() for name in ("image", "color", "mask", "shown"))
    for i, rng in enumerate(rngs):
        becomes, recolors = rng.random(2) < (probability, recolor_probability)
        first, reach = int(rng.integers(len(REGIONS))), int(rng.integers(WIDEST + 1))
        chosen = find_region(batch["labels"][i], first)
        if not becomes or chosen is None:
            continue
        classes, region = chosen
        mask[i] = widen(region, reach * region.shape[-1] // 256)
        dyed = tuple(name for name in classes if name in RECOLORED)
        part = is_of(batch["labels"][i], dyed)
        if recolors and part.any():
            image[i], mean = recolor(image[i], part, *RECOLORED[dyed[0]], rng)
            color[i] = torch.where(part, mean[:, None, None], color[i])
            shown[i, MODALITIES.index("color") - 1] = 1
    return batch | {"image": image, "color": color, "mask": mask, "shown": shown}


def is_of(labels: Tensor, classes: tuple[str, ...]) -> Tensor:
    """Where a map [S, S] has one of the classes, bool [S, S]."""
    numbers = torch.tensor([CLASS_NAMES.index(name) for name in classes], device=labels.device)
    return torch.isin(labels, numbers.to(labels.dtype))


def find_region(labels: Tensor, first: int) -> tuple[tuple[str, ...], Tensor] | None:
    """Region `first` of a map [S, S], or the next one that it shows: its classes, and where it is, bool [S, S]."""
    for step in range(len(REGIONS)):
        classes = REGIONS[(first + step) % len(REGIONS)]
        region = is_of(labels, classes)
        if region.float().mean() >= LEAST:
            return classes, region
    return None


def widen(region: Tensor, reach: int) -> Tensor:
    """A region bool [S, S] and what is up to `reach` pixels beside it, float [1, S, S]."""
    return F.max_pool2d(region.float()[None], 2 * reach + 1, stride=1, padding=reach)


def recolor(
    image: Tensor, region: Tensor, brightness: float, colors: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Give a region bool [S, S] of a picture [3, S, S] in [-1, 1] another mean colour; light and shade stay in it.

    Args:
        brightness: how far the mean luma moves at most, of 1.
        colors: standard deviation of what is added to red minus luma and blue minus luma.

    Returns:
        The picture, with a soft rim of two pixels, and the region's mean colour in it, [3].
    """
    luma = torch.from_numpy(LUMA).to(image.device)
    own = image.add(1).div(2)
    mean = own[:, region].mean(1)
    light = (luma * mean).sum()
    target_light = (light + float(rng.uniform(-brightness, brightness))).clamp(0.08, 0.85)
    difference = (mean - light) * float(rng.uniform(0.3, 1.3))
    difference[[0, 2]] += torch.from_numpy(rng.normal(0, colors, 2)).to(difference)
    difference[1] = -(luma[0] * difference[0] + luma[2] * difference[2]) / luma[1]  # so that it has no luma
    # Bright hair has more contrast than dark hair, as a share of its brightness the same.
    contrast = ((target_light + 0.15) / (light + 0.15)).clamp(0.5, 1.6)
    changed = target_light + difference[:, None, None] + (own - mean[:, None, None]) * contrast
    soft = F.avg_pool2d(region.float()[None], 5, stride=1, padding=2, count_include_pad=False)
    result = torch.lerp(own, changed.clamp(0, 1), soft).mul(2).sub(1)
    result = torch.where(soft > 0, result, image)
    return result, result[:, region].mean(1)
