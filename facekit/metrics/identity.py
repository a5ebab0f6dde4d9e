"""Whether a face stays the same person, in the space of an identity network."""

import numpy as np


def _unit(embeddings: np.ndarray) -> np.ndarray:
    embeddings = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    if embeddings.ndim != 2 or not (norms > 0).all():
        raise ValueError(f"embeddings must be [N, D], none of them zero; got {list(embeddings.shape)}")
    return embeddings / norms


def cosine_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """CSIM of faces, pair by pair: embeddings [N, D], twice -> [N] in [-1, 1].

    Raises:
        ValueError: shapes that differ or are not [N, D], or an embedding of zeros.
    """
    first, second = _unit(first), _unit(second)
    if first.shape != second.shape:
        raise ValueError(f"embeddings {list(first.shape)} and {list(second.shape)} are no pairs")
    return (first * second).sum(1)


def identity_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IDD (thesis section 5.3.5): distance of unit embeddings, [N] in [0, 2]; sqrt(2 - 2 CSIM).

    The thesis names ArcFace's space and leaves the norm open; its values around 1.3 for different people fit the
    Euclidean distance of unit vectors.
    """
    return np.sqrt(np.maximum(2 - 2 * cosine_similarity(first, second), 0))
