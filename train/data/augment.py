"""DiffAugment (Zhao et al. 2020) on a ground-truth picture before it is masked, as GRIG trains on small data."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

POLICIES = ("color", "translation", "cutout")


def parse_policy(policy: str) -> tuple[str, ...]:
    """Read the parts of a policy: "color,translation" -> ("color", "translation"); "" has none.

    Raises:
        ValueError: an unknown part.
    """
    parts = tuple(part.strip() for part in policy.split(",") if part.strip())
    unknown = [part for part in parts if part not in POLICIES]
    if unknown:
        raise ValueError(f"unknown augmentation {unknown}; known are {list(POLICIES)}")
    return parts


def diff_augment(image: Tensor, policy: tuple[str, ...], rng: np.random.Generator) -> Tensor:
    """Augment a picture [3, H, W] in [-1, 1]; nothing is clipped, and what a shift uncovers is 0 (mid-grey).

    Colour: brightness + U(-0.5, 0.5), saturation x U(0, 2), contrast x U(0.5, 1.5). Translation: up to an eighth of
    each side. Cutout: a rectangle of a fifth of each side set to 0.
    """
    if "color" in policy:
        image = image + float(rng.uniform(-0.5, 0.5))
        grey = image.mean(dim=0, keepdim=True)
        image = grey + (image - grey) * float(rng.uniform(0, 2))
        mean = image.mean()
        image = mean + (image - mean) * float(rng.uniform(0.5, 1.5))
    height, width = image.shape[-2:]
    if "translation" in policy:
        reach_y, reach_x = round(height / 8), round(width / 8)
        dy, dx = int(rng.integers(-reach_y, reach_y + 1)), int(rng.integers(-reach_x, reach_x + 1))
        padded = F.pad(image, (reach_x, reach_x, reach_y, reach_y))
        image = padded[:, reach_y - dy : reach_y - dy + height, reach_x - dx : reach_x - dx + width]
    if "cutout" in policy:
        side_y, side_x = round(height / 5), round(width / 5)
        y, x = int(rng.integers(0, height - side_y + 1)), int(rng.integers(0, width - side_x + 1))
        image = image.clone()
        image[:, y : y + side_y, x : x + side_x] = 0
    return torch.clone(image, memory_format=torch.contiguous_format)
