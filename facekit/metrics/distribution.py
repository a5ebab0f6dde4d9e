"""Distances between two sets of pictures in the features of a network: FID, KID, U-IDS and P-IDS."""

import numpy as np

ROWS = 1024  # of a kernel matrix, held at a time


def _check(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must be [N, D] with the same D, not {list(real.shape)} and {list(fake.shape)}"
        )
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"two pictures of each kind are needed, there are {len(real)} and {len(fake)}")
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise ValueError("some features are not finite")
    return real, fake


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """FID (Heusel et al. 2017) of two sets of features, [N, D] and [M, D].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2), with the covariances' unbiased estimates. The trace of the root is the
    sum of the singular values of X1 X2^T, where Ci = Xi^T Xi: exact also with fewer pictures than features, and
    without a matrix root that may turn complex.

    Raises:
        ValueError: features that do not fit, are not finite, or belong to fewer than two pictures.
    """
    real, fake = _check(real, fake)
    difference = real.mean(0) - fake.mean(0)
    a = (real - real.mean(0)) / np.sqrt(len(real) - 1)
    b = (fake - fake.mean(0)) / np.sqrt(len(fake) - 1)
    if min(len(a), len(b)) > a.shape[1]:  # many pictures: the triangular factors have the same covariance
        a, b = np.linalg.qr(a, mode="r"), np.linalg.qr(b, mode="r")
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(difference @ difference + np.square(a).sum() + np.square(b).sum() - 2 * root, 0.0))


def kernel_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """KID (Binkowski et al. 2018) of two sets of features, [N, D] and [M, D].

    The unbiased estimate of the squared maximum mean discrepancy under the kernel (x.y / D + 1)^3, from all pictures
    at once, not from random subsets. It may fall a little below zero for sets of one distribution.

    Raises:
        ValueError: see `frechet_distance`.
    """
    real, fake = _check(real, fake)
    within = sum(_kernel_mean_of_pairs(x) for x in (real, fake))
    return float(within - 2 * _kernel_sum(real, fake) / (len(real) * len(fake)))


def _kernel_mean_of_pairs(x: np.ndarray) -> float:
    """Mean of the kernel over pairs of different pictures: a picture with itself would bias it."""
    itself = _cubic(np.square(x).sum(1) / x.shape[1]).sum()
    return (_kernel_sum(x, x) - itself) / (len(x) * (len(x) - 1))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    starts = range(0, len(x), ROWS)
    return sum(_cubic(x[start : start + ROWS] @ y.T / x.shape[1]).sum() for start in starts)


def _cubic(product: np.ndarray) -> np.ndarray:
    shifted = product + 1
    return shifted * shifted * shifted  # many times faster than a power of 3


def inception_discriminative_scores(real: np.ndarray, fake: np.ndarray) -> tuple[float, float | None]:
    """U-IDS and P-IDS (Zhao et al. 2021, CoModGAN): how often a linear SVM takes fakes for real ones.

    The SVM learns to tell the two sets apart and is asked about the same pictures.

    Args:
        real, fake: features, [N, D] and [M, D]; for P-IDS row i of both belongs to the same picture.

    Returns:
        U-IDS, the share of wrong answers (0.5: sets that cannot be told apart), and P-IDS, the share of pairs whose
        fake looks more real than its original; `None` where the numbers of pictures differ.

    Raises:
        ImportError: scikit-learn is missing.
        ValueError: see `frechet_distance`.
    """
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise ImportError("U-IDS and P-IDS need scikit-learn: pip install 'facekit[metrics]'") from error
    real, fake = _check(real, fake)
    if np.array_equal(real, fake):
        return 0.5, 0.0  # nothing to learn; a solver would answer by chance
    features = np.concatenate([real, fake])
    labels = np.concatenate([np.ones(len(real)), np.zeros(len(fake))])
    svm = LinearSVC(dual=len(features) < features.shape[1], max_iter=20_000).fit(features, labels)
    scores = svm.decision_function(features)
    on_real, on_fake = scores[: len(real)], scores[len(real) :]
    wrong = ((on_real <= 0).mean() + (on_fake > 0).mean()) / 2
    paired = float((on_fake > on_real).mean()) if len(real) == len(fake) else None
    return float(wrong), paired
