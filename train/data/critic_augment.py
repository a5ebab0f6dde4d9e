"""Augmentation of the pictures that a discriminator is shown, for small data: adaptive or DiffAugment.

"ada" follows Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020): each transform
below is applied with probability p, which rises while the discriminator recognises training pictures too surely. It is
simpler than the paper's: the geometric part is resampled once, bilinearly with reflected borders, where the paper
filters with a super-sampled wavelet; filters in image space, noise and cutout (off by default in the paper, too) are
left out.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.data.augment import diff_augment, parse_policy

KINDS = ("none", "ada", "diffaugment")
LUMA = np.full((3, 1), 1 / math.sqrt(3))


def draw_affine(p: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a transform [2, 3] from output to input coordinates in [-1, 1].

    Horizontal flip, rotation by a multiple of 90 degrees, shift by whole pixels up to an eighth of the side, scaling,
    rotation, anisotropic scaling, second rotation, shift by parts of a pixel.

    Args:
        p: probability of each, from 0 to 1.
        size: side of the pictures in pixels.
    """
    matrix = np.eye(3)

    def then(a: float, b: float, c: float, d: float, x: float = 0.0, y: float = 0.0) -> None:
        nonlocal matrix
        matrix = matrix @ np.array([[a, b, x], [c, d, y], [0, 0, 1]])

    def turn(angle: float) -> None:
        then(math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle))

    if rng.random() < p:
        then(float(rng.choice([-1, 1])), 0, 0, 1)
    if rng.random() < p:
        turn(int(rng.integers(4)) * math.pi / 2)
    if rng.random() < p:
        x, y = np.round(rng.uniform(-0.125, 0.125, 2) * size) * 2 / size
        then(1, 0, 0, 1, x, y)
    if rng.random() < p:
        scale = 2 ** rng.normal(0, 0.2)
        then(scale, 0, 0, scale)
    # Two rotations: together they happen with probability p.
    rotates = 1 - math.sqrt(1 - p)
    if rng.random() < rotates:
        turn(rng.uniform(-math.pi, math.pi))
    if rng.random() < p:
        stretch = 2 ** rng.normal(0, 0.2)
        then(stretch, 0, 0, 1 / stretch)
    if rng.random() < rotates:
        turn(rng.uniform(-math.pi, math.pi))
    if rng.random() < p:
        x, y = rng.normal(0, 0.125, 2) * 2
        then(1, 0, 0, 1, x, y)
    return matrix[:2]


def draw_color(p: float, rng: np.random.Generator) -> np.ndarray:
    """Draw matrix and offset, [3, 4], for colours in [-1, 1].

    Brightness, contrast, flip of luma, rotation of hue, saturation, each with probability `p`.
    """
    matrix, offset = np.eye(3), np.zeros((3, 1))
    if rng.random() < p:
        offset = offset + rng.normal(0, 0.2)
    if rng.random() < p:
        contrast = 2 ** rng.normal(0, 0.5)
        matrix, offset = contrast * matrix, contrast * offset
    along = LUMA @ LUMA.T
    if rng.random() < p:
        flip = np.eye(3) - 2 * along * rng.integers(2)
        matrix, offset = flip @ matrix, flip @ offset
    if rng.random() < p:
        angle, (a, b, c) = rng.uniform(-math.pi, math.pi), LUMA[:, 0]
        cross = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
        hue = math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * along
        matrix, offset = hue @ matrix, hue @ offset
    if rng.random() < p:
        saturate = along + (np.eye(3) - along) * 2 ** rng.normal(0, 1)
        matrix, offset = saturate @ matrix, saturate @ offset
    return np.concatenate([matrix, offset], 1)


class DiscriminatorAugment:
    """Augments batches, and changes p step by step as the discriminator is more or less sure.

    Args:
        kind: "none", "ada" or "diffaugment".
        policy: parts of DiffAugment (see `train.data.augment`).
        probability: p at the start.
        target: mean sign of D's scores of training pictures that p is steered to; 0 keeps p where it is.
        length: number of pictures in which p could go from 0 to 1.

    Raises:
        ValueError: an unknown kind or part, or a probability outside 0..1.
    """

    def __init__(
        self, kind: str, policy: str, probability: float = 0.0, target: float = 0.6, length: int = 500_000
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"critic_augment.kind must be one of {', '.join(KINDS)}; got {kind!r}")
        if not 0 <= probability <= 1:
            raise ValueError(f"critic_augment.probability must lie in 0..1, got {probability}")
        self.kind, self.policy = kind, parse_policy(policy)
        self.probability, self.target, self.length = probability, target, length
        self._signs: list[float] = []

    def __call__(self, images: Tensor, rngs: list[np.random.Generator]) -> Tensor:
        """Pictures [B, 3, S, S] in [-1, 1] -> augmented, [B, 3, S, S], not clipped; differentiable once.

        Args:
            rngs: a random stream for each picture.
        """
        if self.kind == "diffaugment":
            return torch.stack(
                [diff_augment(x, self.policy, rng) for x, rng in zip(images, rngs, strict=True)]
            )
        p = self.probability
        if self.kind == "none" or p == 0:
            return images
        size = images.shape[-1]
        draws = [(draw_affine(p, size, rng), draw_color(p, rng)) for rng in rngs]
        affine, color = (
            torch.from_numpy(np.stack(part).astype(np.float32)).to(images.device)
            for part in zip(*draws, strict=True)
        )
        images = images.float()
        grid = F.affine_grid(affine, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        return torch.einsum("bij,bjhw->bihw", color[:, :, :3], images) + color[:, :, 3, None, None]

    def observe(self, mean_sign: float, pictures: int, every: int) -> None:
        """Take note of how sure D was in a step, and change p after every `every` steps.

        p rises where the mean of the signs is above the target, and falls where it is below, by the pictures of these
        steps / `length`.

        Args:
            mean_sign: mean sign of D's scores of the step's training pictures, from -1 to 1.
            pictures: of the step, in all processes.
        """
        self._signs.append(mean_sign)
        if len(self._signs) < every:
            return
        confidence = sum(self._signs) / every
        self._signs.clear()
        if self.target > 0:
            move = math.copysign(every * pictures / self.length, confidence - self.target)
            self.probability = min(max(self.probability + move, 0.0), 1.0)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"probability": self.probability, "signs": list(self._signs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as a checkpoint has it."""
        self.probability, self._signs = state["probability"], list(state["signs"])
