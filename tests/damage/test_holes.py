"""Mask generators: the published draws and statistics, exact bands, determinism, refusals."""

import numpy as np
import pytest

from facekit.damage.holes import (
    OutOfDraws,
    brush_mask,
    centre_mask,
    free_form_mask,
    large_mask,
    part_mask,
    ratio_mask,
)
from facekit.damage.mixtures import MaskSampler

BANDS = [(tenth / 10, (tenth + 1) / 10) for tenth in range(10)]
PUBLISHED_COUNTS = [57396, 42415, 57318, 48954, 59339, 61470, 62804, 59120]


def test_free_form_repeats_the_published_draws() -> None:
    rng = np.random.RandomState(0)
    assert [int(free_form_mask(256, rng).sum()) for _ in range(8)] == PUBLISHED_COUNTS


def test_free_form_statistics() -> None:
    rng = np.random.RandomState(0)
    masks = np.stack([free_form_mask(256, rng) for _ in range(2000)])
    shares = masks.mean(axis=(1, 2))
    assert shares.mean() == pytest.approx(0.727, abs=6e-4)
    assert shares.std() == pytest.approx(0.182, abs=6e-4)
    assert (shares.min(), shares.max()) == pytest.approx((0.033, 0.998), abs=6e-4)
    np.testing.assert_allclose(
        np.quantile(shares, [0.1, 0.25, 0.5, 0.75, 0.9]), [0.459, 0.628, 0.767, 0.865, 0.922], atol=6e-4
    )
    assert (shares > 0.5).mean() == pytest.approx(0.875, abs=6e-4)
    by_row = masks.mean(axis=(0, 2))[[0, 64, 128, 192, 255]]
    np.testing.assert_allclose(by_row, [0.537, 0.756, 0.765, 0.762, 0.534], atol=6e-4)


@pytest.mark.parametrize(
    ("generator", "mean", "std", "quartiles"),
    [
        (free_form_mask, 0.724, 0.182, (0.624, 0.765, 0.859)),
        (brush_mask, 0.404, 0.186, (0.274, 0.416, 0.542)),
    ],
)
def test_statistics_of_an_independent_stream(generator, mean, std, quartiles) -> None:
    rng = np.random.default_rng(1)
    shares = np.array([generator(256, rng).mean() for _ in range(1000)])
    assert shares.mean() == pytest.approx(mean, abs=0.02)  # standard error 0.006
    assert shares.std() == pytest.approx(std, abs=0.02)
    np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), quartiles, atol=0.035)


@pytest.mark.parametrize(
    "make", [free_form_mask, brush_mask, lambda size, seed: ratio_mask(size, 0.3, 0.6, seed)]
)
@pytest.mark.parametrize("size", [256, (96, 200)])
def test_masks_are_binary_and_follow_the_seed(make, size) -> None:
    mask = make(size, 7)
    assert mask.shape == ((256, 256) if size == 256 else size)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    np.testing.assert_array_equal(mask, make(size, 7))
    assert (mask != make(size, 8)).any()


def test_masks_leave_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()
    free_form_mask(64)
    ratio_mask(64)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("size", [256, (33, 70)])
def test_ratio_mask_stays_in_its_band(band, size) -> None:
    shares = [ratio_mask(size, *band, seed).mean() for seed in range(25)]
    assert band[0] <= min(shares) and max(shares) <= band[1]
    assert max(shares) - min(shares) > 0.05  # the whole band is used, not one point of it


@pytest.mark.parametrize("band", BANDS[6:])
def test_large_masks_are_those_of_the_free_form_scheme_that_lie_in_the_band(band) -> None:
    rng = np.random.default_rng(5)
    draws = (free_form_mask(256, rng) for _ in range(1000))
    wanted = next(mask for mask in draws if band[0] < mask.mean() < band[1])
    np.testing.assert_array_equal(large_mask(256, *band, np.random.default_rng(5)), wanted)


def test_large_masks_lie_in_their_band_where_the_scheme_has_none() -> None:
    with pytest.raises(OutOfDraws, match="1000 draws"):
        free_form_mask(16, 0, hole_range=(0.7, 0.7))
    assert large_mask(20, 0.75, 0.75, 0).sum() == 300


def test_ratio_mask_ends_of_the_scale() -> None:
    assert ratio_mask(32, 0, 0).sum() == 0
    assert ratio_mask(32, 1, 1).sum() == 32 * 32
    assert ratio_mask(20, 0.25, 0.25, 3).sum() == 100
    assert ratio_mask(2, 0, 0.25, 3).sum() == 1


def test_hole_range_is_open_at_both_ends() -> None:
    rng = np.random.default_rng(0)
    for low, high in ((0.2, 0.4), (0.6, 0.9)):
        assert all(low < free_form_mask(128, rng, hole_range=(low, high)).mean() < high for _ in range(20))


def test_centre_mask() -> None:
    mask = centre_mask(256)
    assert mask[64:192, 64:192].all() and mask.sum() == 128 * 128
    assert centre_mask((100, 60)).sum() == 50 * 30
    assert centre_mask(64, share=1.0).all()


def test_part_masks_lie_on_the_parts_of_an_aligned_face() -> None:
    masks = np.stack([part_mask(64, seed) for seed in range(300)])
    np.testing.assert_array_equal(masks[3], MaskSampler("part", 64)(3))
    shares = masks.mean(axis=(1, 2))
    assert 0.02 < shares.min() < 0.05 and 0.3 < shares.max() < 0.6
    often = masks.mean(axis=0)
    eye, other_eye, mouth = often[30, 24], often[30, 40], often[47, 32]
    assert min(eye, other_eye, mouth) > 0.25 and often[:6].max() == often[:, :2].max() == 0
    assert part_mask((40, 90), 0).shape == (40, 90)


def test_sampler_by_name_equals_the_function() -> None:
    np.testing.assert_array_equal(MaskSampler("cmod", 64)(5), free_form_mask(64, 5))
    np.testing.assert_array_equal(MaskSampler("brush", 64)(5), brush_mask(64, 5))
    np.testing.assert_array_equal(MaskSampler("ratio", 64, low=0.2, high=0.5)(5), ratio_mask(64, 0.2, 0.5, 5))
    np.testing.assert_array_equal(MaskSampler("centre", (64, 32), share=0.5)(5), centre_mask((64, 32), 0.5))


def test_sampler_mixture_follows_its_weights() -> None:
    parts = [
        {"kind": "centre", "weight": 3},
        {"kind": "ratio", "weight": 1, "low": 0.9, "high": 1.0},
        {"kind": "centre", "weight": 0, "share": 0.01},
    ]
    sampler = MaskSampler("mixture", 64, parts=parts)
    rng = np.random.default_rng(0)
    shares = np.array([sampler(rng).mean() for _ in range(400)])
    assert ((shares == 0.25) | (shares >= 0.9)).all()
    assert (shares == 0.25).mean() == pytest.approx(0.75, abs=0.08)
    np.testing.assert_array_equal(sampler(11), sampler(11))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: free_form_mask(0), "size"),
        (lambda: free_form_mask((256, 256, 3)), "size"),
        (lambda: free_form_mask(64, hole_range=(0.5, 0.2)), "hole_range"),
        (lambda: free_form_mask(64, 0, hole_range=(0.5, 0.5)), "widen hole_range"),
        (lambda: ratio_mask(64, -0.1, 0.2), "band"),
        (lambda: ratio_mask(2, 0.3, 0.4), "whole pixel count"),
        (lambda: centre_mask(64, share=25), "share"),
        (lambda: free_form_mask(64, "zero"), "random generator"),
        (lambda: MaskSampler("blobs"), "unknown mask kind"),
        (lambda: MaskSampler("mixture"), "parts"),
        (lambda: MaskSampler("mixture", parts=[{"kind": "cmod", "weight": -1}]), "weights"),
        (lambda: MaskSampler("centre", parts=[{"kind": "cmod"}]), "mixture"),
        (lambda: MaskSampler("ratio", low=2, high=3), "band"),
    ],
)
def test_refusals(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
