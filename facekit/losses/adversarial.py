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


def soft_patch_discriminator_loss(real: Tensor, fake: Tensor, soft_mask: Tensor) -> Tensor:
    """mean (D(real) - 1)^2 + mean (D(fake) - (1 - soft mask))^2: SM-PatchGAN (ablation D of thesis Table 4.5).

    Zeng et al., Aggregated contextual transformations for high-resolution image inpainting, TVCG 2022, whose target for
    a completed picture is the blurred mask of what is known.

    Args:
        real, fake: prediction maps of ground-truth and of completed pictures, [B, 1, h, w].
        soft_mask: see `soften_mask`, [B, 1, h, w].
    """
    return (real - 1).square().mean() + (fake - (1 - soft_mask)).square().mean()


def soft_patch_generator_loss(fake: Tensor, mask: Tensor | None) -> Tensor:
    """mean (D(fake) - 1)^2 m of SM-PatchGAN: patches of the hole alone count; without a mask [B, 1, H, W] all do."""
    loss = (fake - 1).square()
    return (loss if mask is None else loss * F.interpolate(mask, size=fake.shape[-2:], mode="area")).mean()


def soften_mask(mask: Tensor, size: tuple[int, int], width: int = 71, sigma: float = 10.0) -> Tensor:
    """The soft mask of SM-PatchGAN: the hole mask under a large Gaussian, shrunk to the prediction map's size.

    Cells near the hole's rim so get values between 0 and 1, whatever their receptive field sees. The thesis gives no
    numbers for it: the Gaussian is about as wide as a patch of the 70x70 PatchGAN that it names, with the deviation of
    the AOT-GAN authors' script.

    Args:
        mask: [B, 1, H, W], 1 = hole.
        size: height and width of the prediction map.
        width, sigma: of the Gaussian, in pixels of the mask; the width is odd.
    """
    reach = width // 2
    offsets = torch.arange(-reach, reach + 1, device=mask.device, dtype=mask.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = (kernel / kernel.sum()).view(1, 1, 1, width)
    soft = F.conv2d(F.pad(mask, (reach, reach, 0, 0), mode="replicate"), kernel)
    soft = F.conv2d(F.pad(soft, (0, 0, reach, reach), mode="replicate"), kernel.transpose(2, 3))
    return F.interpolate(soft, size=size, mode="area")
