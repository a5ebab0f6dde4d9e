"""Damage: the published goldens step by step, determinism, ranges, and refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from skimage.data import astronaut

from facekit.damage.degrade import (
    PRESETS,
    Damage,
    DegradeConfig,
    apply_damage,
    blur,
    compress,
    degrade,
    degrade_pair,
    gaussian_kernel,
    resize,
    sample_damage,
)

GOLDEN = Path(__file__).parents[1] / "data" / "parity" / "vspbfr" / "degrade.seed0.safetensors"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return load_file(GOLDEN)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return astronaut()[:256, 96:352].copy()


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(np.float32) - second.astype(np.float32)) ** 2)
    return float(10 * np.log10(255.0**2 / error))


def test_kernels_match_the_published_ones(golden: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(gaussian_kernel(39, 3.0), golden["kernel_iso39_s3"], atol=1e-8)
    turned = gaussian_kernel(41, 6.0, 1.5, 0.7)
    np.testing.assert_allclose(turned, golden["kernel_aniso41_6_1.5_0.7"], atol=1e-8)


def test_each_step_matches_the_published_one(golden: dict[str, np.ndarray]) -> None:
    blurred = blur(golden["gt"], golden["kernel_aniso41_6_1.5_0.7"])
    np.testing.assert_allclose(blurred[::2, ::2], golden["after_blur"], atol=1e-6)
    small = resize(blurred, 38, 38)
    np.testing.assert_allclose(small, golden["after_down"], atol=1e-6)
    noisy = np.clip(small + golden["unit_noise"] * np.float32(10 / 255), 0, 1)
    pressed = compress(noisy, 75, swap_red_blue=True)
    # One grey level: JPEG codecs may round differently.
    np.testing.assert_allclose(pressed, golden["after_jpeg"], atol=1.01 / 255)
    large = np.rint(resize(pressed, 128, 128) * 255)
    np.testing.assert_allclose(large, golden["lq"], atol=1.01)


def test_the_whole_chain_matches_when_the_noise_does(golden: dict[str, np.ndarray]) -> None:
    class RecordedNoise:
        def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
            assert shape == golden["unit_noise"].shape
            return golden["unit_noise"]

    damage = Damage(41, 6.0, 1.5, angle=0.7, scale=3.3, noise=10.0, quality=75, swap_red_blue=True)
    result = apply_damage(golden["gt"], damage, RecordedNoise())
    np.testing.assert_allclose(result * 255, golden["lq"], atol=1.01)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_seed_fixes_the_damage(photo: np.ndarray, preset: str) -> None:
    first, again, other = (degrade(photo, preset, seed) for seed in (3, 3, 4))
    assert first.dtype == np.uint8 and first.shape == photo.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, photo)


def test_floats_and_bytes_agree(photo: np.ndarray) -> None:
    from_bytes = degrade(photo, "thesis", 1)
    from_floats = degrade(photo.astype(np.float32) / 255, "thesis", 1)
    assert from_floats.dtype == np.float32
    assert np.abs(from_floats * 255 - from_bytes).max() < 1e-3


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_draws_stay_in_their_ranges(preset: str) -> None:
    config = replace(PRESETS[preset], gray_probability=0.5, haze_probability=0.5)
    rng = np.random.default_rng(0)
    draws = [sample_damage(config, rng, 512) for _ in range(400)]
    for name, (low, high) in {"sigma_x": config.sigma, "scale": config.scale, "noise": config.noise}.items():
        values = [getattr(draw, name) for draw in draws]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high >= max(values) > high - 0.05 * (high - low)
    assert {draw.quality for draw in draws} == set(range(60, 100))
    assert {draw.kernel_size for draw in draws} == set(config.kernel_sizes)
    assert 0.4 < np.mean([draw.gray for draw in draws]) < 0.6
    assert 0.4 < np.mean([draw.haze is not None for draw in draws]) < 0.6
    isotropic = np.mean([draw.sigma_x == draw.sigma_y for draw in draws])
    assert abs(isotropic - (1 - config.anisotropic_probability)) < 0.1


def test_blur_scales_with_the_picture_only_when_asked() -> None:
    full = sample_damage("thesis", np.random.default_rng(5), 512)
    half = sample_damage("thesis", np.random.default_rng(5), 256)
    assert half.sigma_x == pytest.approx(full.sigma_x / 2)
    assert (full.kernel_size, half.kernel_size) == (41, 21)
    fixed = sample_damage("published-a", np.random.default_rng(5), 256)
    assert fixed.sigma_x == sample_damage("published-a", np.random.default_rng(5), 512).sigma_x
    assert fixed.kernel_size in (39, 41)


def test_severity_grows(photo: np.ndarray) -> None:
    quality = [psnr(degrade(photo, "thesis", 0, severity), photo) for severity in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > 35 and quality[-1] < 25


def test_gray_damage_makes_the_target_gray(photo: np.ndarray) -> None:
    always = replace(PRESETS["published-b"], gray_probability=1.0)
    damaged, target = degrade_pair(photo, always, 0)
    for picture in (damaged, target):
        assert np.ptp(picture, axis=2).max() == 0
    never = replace(always, gray_probability=0.0)
    assert degrade_pair(photo, never, 0)[1] is photo


def test_haze_lifts_the_blacks() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    hazy = DegradeConfig(haze_probability=1.0, noise=(0.0, 0.0))
    assert 10 < degrade(black, hazy, 0).mean() < 70
    assert degrade(black, replace(hazy, haze_probability=0.0), 0).max() <= 1


def test_a_tiny_picture_survives() -> None:
    assert degrade(np.full((3, 2, 3), 200, np.uint8), "thesis", 0, severity=1.0).shape == (3, 2, 3)


@pytest.mark.parametrize(
    "bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.int32), None]
)
def test_wrong_arrays_are_refused(bad: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="damage needs"):
        degrade(bad)


def test_wrong_settings_are_refused(photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match="published-a"):
        degrade(photo, "mild")
    with pytest.raises(ValueError, match="between 0"):
        degrade(photo, "thesis", 0, severity=1.5)
