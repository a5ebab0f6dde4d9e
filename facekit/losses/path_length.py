"""Path-length regularisation of StyleGAN2 (Karras et al. 2020, section 3.2)."""

import math

import torch
from torch import Tensor


def path_lengths(image: Tensor, w_plus: Tensor, direction: Tensor) -> Tensor:
    """How far the picture moves in a random direction for a step in W, per sample.

    Args:
        image: [B, 3, H, W], computed from `w_plus`.
        w_plus: [B, n, D] with gradient.
        direction: standard normal, of the image's shape.

    Returns:
        [B]: norm of J^T y with y = direction / sqrt(H W), mean square over the n style vectors.
    """
    projected = (image * direction).sum() / math.sqrt(image.shape[-2] * image.shape[-1])
    (gradient,) = torch.autograd.grad(projected, w_plus, create_graph=True)
    return gradient.float().square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor | float) -> Tensor:
    """mean (length - a)^2 with a the running mean of lengths, a constant here."""
    return (lengths - mean).square().mean()
