"""Metrics against cases that can be worked out by hand, and against properties from their papers."""

import numpy as np
import pytest

from facekit.metrics import (
    cosine_similarity,
    frechet_distance,
    identity_distance,
    inception_discriminative_scores,
    psnr,
    score_landmarks,
    ssim,
)


def pictures(seed: int = 0, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_psnr_of_a_known_error() -> None:
    truth = np.full((16, 16, 3), 100, np.uint8)
    image = truth + 10
    assert psnr(image, truth) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(truth, truth) == float("inf")


def test_ssim_of_constant_pictures_is_their_luminance_term() -> None:
    a, b = 100.0, 150.0
    constant = (0.01 * 255) ** 2
    expected = (2 * a * b + constant) / (a * a + b * b + constant)
    first, second = (np.full((32, 32, 3), value, np.uint8) for value in (a, b))
    assert ssim(first, second) == pytest.approx(expected, abs=1e-6)
    assert ssim(first, first) == pytest.approx(1.0)


def test_ssim_falls_with_noise_and_is_symmetric() -> None:
    truth = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (64, 1, 3))
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(truth + rng.normal(0, s, truth.shape), 0, 255).round().astype(np.uint8) for s in (5, 20, 60)
    ]
    scores = [ssim(image, truth) for image in noisy]
    assert 1 > scores[0] > scores[1] > scores[2] > 0
    assert ssim(truth, noisy[1]) == pytest.approx(scores[1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3)), "uint8"),
        (np.zeros((16, 16), np.uint8), "uint8"),
        (np.zeros((16, 20, 3), np.uint8), "compared"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(image, message) -> None:
    with pytest.raises(ValueError, match=message):
        psnr(image, np.zeros((16, 16, 3), np.uint8))


def test_small_pictures_have_no_ssim() -> None:
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(pictures(side=8), pictures(1, side=8))


def test_frechet_distance_of_two_gaussians_in_closed_form() -> None:
    """Diagonal covariances: |m|^2 + sum (s1 - s2)^2."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(400, 3))
    base = (base - base.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(base.T)).T)  # exactly white
    scales, shift = np.array([1.0, 2.0, 3.0]), np.array([0.5, -1.0, 2.0])
    expected = np.square(shift).sum() + np.square(scales - 1).sum()
    assert frechet_distance(base, base * scales + shift) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_agrees_with_the_matrix_root() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(60, 5)), rng.normal(size=(50, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(real.T), np.cov(fake.T)
    difference = real.mean(0) - fake.mean(0)
    expected = difference @ difference + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_with_fewer_pictures_than_features() -> None:
    """A permutation is the same set, a shift costs its length, whatever the rank."""
    real = np.random.default_rng(2).normal(size=(10, 40))
    assert frechet_distance(real, real[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(real, real + 0.5) == pytest.approx(40 * 0.25)


def test_features_that_do_not_fit_are_refused() -> None:
    good = np.zeros((4, 3))
    for bad in (np.zeros((4, 2)), np.zeros(4), np.zeros((1, 3)), np.full((4, 3), np.nan)):
        with pytest.raises(ValueError):
            frechet_distance(good, bad)


def test_discriminative_scores_of_separable_and_of_mixed_sets() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(100, 4))
    assert inception_discriminative_scores(real, real + 50) == (0.0, 0.0)
    # Two halves of one distribution cannot be told apart, and every second fake beats its original.
    unpaired, paired = inception_discriminative_scores(real, rng.normal(size=(100, 4)))
    assert 0.35 < unpaired < 0.55 and 0.35 < paired < 0.65
    assert inception_discriminative_scores(real, real) == (0.5, 0.0)
    assert inception_discriminative_scores(real, rng.normal(size=(50, 4)))[1] is None


def test_identity_of_known_angles() -> None:
    first = np.array([[1.0, 0], [2, 0], [0, 3], [1, 0]])
    second = np.array([[5.0, 0], [0, 1], [0, -1], [1, 1]])
    assert cosine_similarity(first, second) == pytest.approx([1, 0, -1, np.sqrt(0.5)])
    assert identity_distance(first, second) == pytest.approx([0, np.sqrt(2), 2, np.sqrt(2 - np.sqrt(2))])
    with pytest.raises(ValueError, match="zero"):
        cosine_similarity(np.zeros((1, 2)), second[:1])
    with pytest.raises(ValueError, match="no pairs"):
        cosine_similarity(first[:2], second)


def test_landmark_scores_by_hand() -> None:
    truth = np.array([[0.0, 0], [10, 0], [5, 5]])
    moved = truth + np.array([3, 4])  # five pixels each, of an eye distance of ten
    scores = score_landmarks([moved, None, truth], [truth] * 3)
    assert scores.success_rate == pytest.approx(2 / 3) and scores.error == pytest.approx(0.25)
    none = score_landmarks([None], [truth])
    assert none.success_rate == 0 and np.isnan(none.error)
    with pytest.raises(ValueError, match="do not fit"):
        score_landmarks([truth[:2]], [truth])
    with pytest.raises(ValueError, match="same place"):
        score_landmarks([truth], [np.zeros((3, 2))])
