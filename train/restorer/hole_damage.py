"""What a restorer is shown of a filled face (`facekit.pipelines.restored_fill`), made of any picture.

Around a hole the photo is sharp; in it a fill is soft, and often off in tone. The truth is known, so a restorer can
learn to draw such a hole as the rest of the picture is.
"""

from typing import Any

import numpy as np

from facekit.damage.degrade import DegradeConfig, degrade
from facekit.damage.mixtures import MaskSampler
from train.data.images import to_tensor
from train.restorer.config import HoleDamage

# Fills are soft and blocky; unlike damaged photos they have next to no noise, and were not compressed.
SOFTNESS = DegradeConfig(sigma=(1.0, 8.0), scale=(1.0, 6.0), noise=(0.0, 3.0), quality=(95.0, 100.0))
TINT = 0.3  # of a change of tone each channel varies by that much more or less


class DamagedHoles:
    """Softens a hole's pixels and changes their tone.

    Args:
        options: shapes of the holes, and how much the tone changes.
        size: side of the pictures.
    """

    def __init__(self, options: HoleDamage, size: int) -> None:
        self.tone, self.sampler = options.tone, MaskSampler(size=size, **options.masks)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        """A picture uint8 [S, S, 3] -> `damaged`, which is it but for the hole, and `image`; [3, S, S] in [-1, 1]."""
        inside = self.sampler(rng)[..., None] > 0
        soft = degrade(pixels, SOFTNESS, rng).astype(np.float32)
        gains = np.exp(self.tone * (rng.standard_normal() + TINT * rng.standard_normal(3)))
        fill = np.clip(np.rint(soft * gains), 0, 255).astype(np.uint8)
        return {"damaged": to_tensor(np.where(inside, fill, pixels)), "image": to_tensor(pixels)}
