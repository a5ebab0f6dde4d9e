"""Masks of brush strokes and rectangles: the published statistics, determinism, refusals."""

import numpy as np
import pytest

from facekit.damage.gconv import gconv_mask
from facekit.damage.mixtures import MaskSampler

PUBLISHED = {"large_rectangles": 4, "small_rectangles": 9, "large_side": 128, "small_side": 64}


@pytest.mark.parametrize(
    ("size", "options", "mean", "std", "quantiles"),
    [
        (256, PUBLISHED, 0.663, 0.083, (0.611, 0.668, 0.723)),
        (512, PUBLISHED, 0.261, 0.044, (0.234, 0.265, 0.288)),
        (256, {"large_rectangles": 0, "small_rectangles": 0}, 0.583, 0.084, (0.521, 0.587, 0.639)),
    ],
    ids=["256", "512", "strokes"],
)
def test_published_statistics(size, options, mean, std, quantiles) -> None:
    rng = np.random.default_rng(0)
    shares = np.array([gconv_mask(size, rng, **options).mean() for _ in range(120)])
    assert shares.mean() == pytest.approx(mean, abs=0.025)  # standard error 0.008
    assert shares.std() == pytest.approx(std, abs=0.02)
    np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), quantiles, atol=0.03)


def test_masks_follow_the_seed_and_fit_small_pictures() -> None:
    sampler = MaskSampler("gconv", (40, 64), max_length=20, max_width=6)
    mask = sampler(3)
    assert mask.shape == (40, 64) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    assert np.array_equal(mask, sampler(3)) and not np.array_equal(mask, sampler(4))
    assert not gconv_mask(32, 0, large_rectangles=0, small_rectangles=0, strokes=0).any()


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="128 pixels do not fit"):
        gconv_mask(64, 0, large_side=128)
    with pytest.raises(ValueError, match="strokes -1"):
        gconv_mask(64, 0, strokes=-1)
