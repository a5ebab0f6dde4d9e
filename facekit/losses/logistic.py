"""Non-saturating logistic GAN losses with R1, as StyleGAN2 uses them (thesis Eq. 3.12, 5.4 and 6.22)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def logistic_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """mean softplus(-D(real)) + mean softplus(D(fake)); logits of any shape."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def logistic_generator_loss(fake: Tensor) -> Tensor:
    """mean softplus(-D(fake)), the non-saturating form."""
    return F.softplus(-fake).mean()


def r1_penalty(logits: Tensor, real: Tensor) -> Tensor:
    """Mean over the batch of the squared gradient norm of D at real data (Mescheder et al. 2018).

    Args:
        logits: D(real), any shape whose first axis is the batch.
        real: what D was given, [B, ...], with `requires_grad`.

    The factor gamma / 2 is the caller's.
    """
    (gradient,) = torch.autograd.grad(logits.float().sum(), real, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
