"""Exemplars beside the pictures of a training: the same pictures, in an order of their own."""

from collections.abc import Iterator
from typing import Any

EXEMPLAR_SEED = 2**32  # added to the run's seed for the exemplars' order


def pair_exemplars(
    pictures: Iterator[dict[str, Any]], exemplars: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Batches of pictures, each with the pictures of a batch of `exemplars` as its `exemplar`, [B, 3, S, S]."""
    return (batch | {"exemplar": other["image"]} for batch, other in zip(pictures, exemplars, strict=True))
