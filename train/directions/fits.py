"""Attribute directions from a prior's weights, from codes alone, and from codes with labels.

All results are [K, n, D], to be added to codes w_plus [B, n, D] (thesis Eq. 6.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.models.stylegan2 import StyleGAN2Generator

GEOMETRIES = ("population", "plain")


# Closed-form factorisation (Shen and Zhou 2021)


def read_style_weights(prior: StyleGAN2Generator) -> list[Tensor]:
    """For each code the weights [C, D] that turn it into the scales of its styled convolution.

    The last code belongs to the last RGB head alone: its entry are the weights of that.
    """
    layers = [prior.conv.conv]
    for level in prior.levels:
        layers += [level.up.conv, level.conv.conv]
    layers.append(prior.levels[-1].to_rgb)
    return [layer.modulation.affine.weight.detach().float() for layer in layers]


def factorise(prior: StyleGAN2Generator, layers: Sequence[int], count: int, scale: float = 1.0) -> Tensor:
    """Directions [count, n, D] from a prior's weights: eigenvectors of A A^T (Shen and Zhou 2021).

    A [D, sum of C] are the style weights of `layers`, with unit columns. The codes of these layers are changed, the
    others get 0. Directions are sorted by falling eigenvalue, each with the norm `scale` in every code that it changes,
    and with such a sign that the entry of the largest size is positive.

    Raises:
        ValueError: the prior has no such layers, or `count` is outside 1..D.
    """
    weights, dim = read_style_weights(prior), prior.config.style_dim
    if not layers or any(not 0 <= layer < len(weights) for layer in layers):
        raise ValueError(f"layers must be numbers from 0 to {len(weights) - 1}, got {list(layers)}")
    if not 1 <= count <= dim:
        raise ValueError(f"the number of directions must lie in 1..{dim}, got {count}")
    columns = torch.cat([weights[layer] for layer in layers]).T
    columns = columns / columns.norm(dim=0, keepdim=True).clamp_min(1e-12)
    # The matrix is symmetric; this solver sorts its eigenvalues, from the smallest up.
    vectors = torch.linalg.eigh(columns @ columns.T).eigenvectors.flip(1)[:, :count].T
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    vectors = scale * vectors * largest.sign()
    directions = vectors.new_zeros(count, prior.num_styles, dim)
    directions[:, list(layers)] = vectors[:, None]
    return directions


# Principal components


@dataclass
class CodeSpace:
    """Codes in coordinates of unit variance along their principal components.

    Attributes:
        mean: [n, D].
        components: orthonormal [k, n, D], by falling standard deviation.
        deviations: [k], the standard deviation along each.
    """

    mean: Tensor
    components: Tensor
    deviations: Tensor

    @classmethod
    def fit(cls, codes: Tensor, count: int) -> "CodeSpace":
        """Fit at most M - 1 principal components to codes [M, n, D]. Raises ValueError for fewer than 3 codes."""
        if codes.ndim != 3 or len(codes) < 3 or count < 1:
            raise ValueError(f"codes must be [M, n, D] with M of 3 or more, not {list(codes.shape)}")
        codes = codes.float()
        mean = codes.mean(0)
        count = min(count, len(codes) - 1, codes[0].numel())
        _, values, vectors = torch.linalg.svd((codes - mean).flatten(1), full_matrices=False)
        deviations = values[:count] / (len(codes) - 1) ** 0.5
        count = int((deviations > 1e-6 * deviations[0]).sum())
        components = vectors[:count].unflatten(1, mean.shape)
        return cls(mean, components, deviations[:count])

    def locate(self, codes: Tensor) -> Tensor:
        """Codes [M, n, D] -> their coordinates [M, k]."""
        return (codes.float() - self.mean).flatten(1) @ self.components.flatten(1).T / self.deviations

    @property
    def directions(self) -> Tensor:
        """One standard deviation along each component, [k, n, D]."""
        return self.components * self.deviations[:, None, None]


# Linear boundaries (InterFaceGAN, Shen et al. 2020)


def fit_boundary(coordinates: Tensor, positive: Tensor, penalty: float) -> Tensor:
    """Fit a logistic regression -> its weights [k]; both classes weigh the same, and the offset is not kept.

    Args:
        coordinates: [M, k] of about unit variance.
        positive: bool [M].
        penalty: factor of half the squared norm of the weights in the loss.

    Raises:
        ValueError: a class has fewer than 3 members.
    """
    labels = positive.float()
    counts = (int(labels.sum()), int((1 - labels).sum()))
    if min(counts) < 3:
        raise ValueError(f"a boundary needs at least 3 examples on both sides; there are {counts}")
    shares = torch.where(positive, 0.5 / counts[0], 0.5 / counts[1])
    weights = torch.zeros(coordinates.shape[1], requires_grad=True)
    offset = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, offset], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        errors = F.binary_cross_entropy_with_logits(coordinates @ weights + offset, labels, reduction="none")
        loss = (shares * errors).sum() + penalty / 2 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def find_boundary_step(
    space: CodeSpace, wanted: Tensor, held: Sequence[Tensor] = (), geometry: str = "population"
) -> Tensor:
    """The direction [n, D] that changes the score of `wanted` by one standard deviation, those of `held` not at all.

    Of all such directions it is the shortest: with `geometry="population"` in coordinates of unit variance, so that it
    follows the way in which codes of real faces vary together; with "plain" in the codes themselves, so that without
    `held` it is the normal of the boundary, as in InterFaceGAN.

    Args:
        wanted, held: weights [k] of `fit_boundary`.

    Raises:
        ValueError: an unknown geometry, or attributes so alike that one cannot be held.
    """
    if geometry not in GEOMETRIES:
        raise ValueError(f"geometry must be one of {', '.join(GEOMETRIES)}, not {geometry!r}")
    normals = torch.stack([weights / weights.norm() for weights in (wanted, *held)], 1)
    if torch.linalg.cond(normals) > 100:
        raise ValueError(
            "an attribute to be held is too much like the wanted one, so nothing would be left of it"
        )
    if geometry == "population":
        step = normals @ torch.linalg.inv(normals.T @ normals)[:, 0]
        return torch.einsum("k,knd->nd", step * space.deviations, space.components)
    slopes = normals / space.deviations[:, None]
    step = slopes @ torch.linalg.inv(slopes.T @ slopes)[:, 0]
    return torch.einsum("k,knd->nd", step, space.components)


def measure_ranking(scores: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve: how often a positive scores above a negative (ties count half); NaN without both.

    Args:
        scores: [M].
        positive: bool [M].
    """
    high, low = scores[positive], scores[~positive]
    if not len(high) or not len(low):
        return float("nan")
    differences = high[:, None] - low[None]
    return float(((differences > 0).float() + 0.5 * (differences == 0).float()).mean())
