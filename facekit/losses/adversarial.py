"""Adversarial losses."""

import torch
import torch.nn.functional as F
from torch import Tensor


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """mean relu(1 - D(real)) + mean relu(1 + D(fake)) (thesis Eq. 4.3)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """-mean D(fake) (thesis Eq. 4.3)."""
    return -fake.mean()


def forged_patch_discriminator_loss(real: Tensor, fake: Tensor, label_map: Tensor) -> Tensor:
    """Hinge loss of the forged-patch discriminator (thesis Eq. 4.5).

    A patch of the completed picture counts as forged where it holds any filled pixel, and as real elsewhere.

    Args:
        real: prediction map of ground-truth pictures, [B, 1, h, w].
        fake: prediction map of completed pictures, [B, 1, h, w].
        label_map: 1 = forged, [B, 1, h, w]; soft labels in between weigh both terms.

    All means divide by the number of cells of the whole map.
    """
    kept = (F.relu(1 - fake) * (1 - label_map)).mean()
    forged = (F.relu(1 + fake) * label_map).mean()
    return F.relu(1 - real).mean() + kept + forged


def forged_patch_generator_loss(fake: Tensor, label_map: Tensor | None) -> Tensor:
    """-mean(D(fake) X) (thesis Eq. 4.5); without a label map the mean over all cells (published code)."""
    return -(fake if label_map is None else fake * label_map).mean()


def soft_patch_labels(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Label map of a soft mask-guided PatchGAN (ablation D of thesis Table 4.5).

    The hole mask is shrunk to the prediction map's size and blurred, so that cells near the hole's rim get labels
    between real and forged, whatever their receptive field sees.

    Args:
        mask: [B, 1, H, W], 1 = hole.
        size: height and width of the prediction map.
    """
    small = F.interpolate(mask, size=size, mode="area")
    offsets = torch.arange(-2, 3, device=mask.device, dtype=mask.dtype)
    kernel = torch.exp(-0.5 * offsets.square())
    kernel = (kernel / kernel.sum()).view(1, 1, 1, 5)
    small = F.conv2d(F.pad(small, (2, 2, 0, 0), mode="replicate"), kernel)
    return F.conv2d(F.pad(small, (0, 0, 2, 2), mode="replicate"), kernel.transpose(2, 3))
