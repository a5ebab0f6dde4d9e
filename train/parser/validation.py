"""How far a parser agrees with label maps: intersection over union."""

import numpy as np
import torch
from torch import Tensor

from facekit.conditions.semantics import CLASS_NAMES, paint

# Brows, eyes and lips are each one group: sides are a matter of position.
GROUPS: dict[str, tuple[str, ...]] = {
    "background": ("background",),
    "skin": ("skin",),
    "hair": ("hair",),
    "brows": ("l_brow", "r_brow"),
    "eyes": ("l_eye", "r_eye"),
    "nose": ("nose",),
    "lips": ("u_lip", "l_lip"),
}


def confusion(predicted: Tensor, labels: Tensor, classes: int = len(CLASS_NAMES)) -> Tensor:
    """Pixels by true (row) and predicted class, `[C, C]`; labels below 0 do not count."""
    known = labels >= 0
    index = labels[known] * classes + predicted[known]
    return torch.bincount(index, minlength=classes**2).view(classes, classes).double()


def group_ious(table: Tensor) -> dict[str, float]:
    """Intersection over union of each of `GROUPS` in a confusion table, and `miou`, their mean.

    A group that is in neither map is left out.
    """
    ious = {}
    for name, parts in GROUPS.items():
        members = torch.tensor([CLASS_NAMES.index(part) for part in parts])
        both = table[members][:, members].sum()
        union = table[members].sum() + table[:, members].sum() - both
        if union > 0:
            ious[name] = (both / union).item()
    return ious | {"miou": float(np.mean(list(ious.values())))}


def painted(labels: Tensor) -> Tensor:
    """Maps `[B, H, W]` -> their preview pictures `[B, 3, H, W]` in [-1, 1]."""
    pictures = np.stack([paint(one) for one in labels.cpu().numpy()])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
