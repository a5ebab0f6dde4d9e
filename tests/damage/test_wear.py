"""Drawn damage: the same by seed, its truth what can be seen, the rest of the photo untouched."""

import numpy as np
import pytest
from skimage.data import astronaut

from facekit.damage.ageing import age
from facekit.damage.wear import HIDDEN, KINDS, VISIBLE, draw_wear, is_seen, wear

PHOTO = np.ascontiguousarray(astronaut()[::2, ::2][:, :200])
RED, GREEN, BLUE = 0.299, 0.587, 0.114


def brightness(photo: np.ndarray) -> np.ndarray:
    return photo.astype(np.float64) @ (RED, GREEN, BLUE)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids=[*KINDS, "all"])
def test_the_truth_is_what_can_be_seen(kinds: tuple[str, ...]) -> None:
    before = PHOTO.copy()
    for seed in range(4):
        worn, mask = wear(PHOTO, seed, kinds)
        assert worn.shape == PHOTO.shape and worn.dtype == np.uint8
        assert mask.shape == PHOTO.shape[:2] and mask.dtype == bool
        change = np.abs(brightness(worn) - brightness(PHOTO))
        assert (change[mask] > VISIBLE - 0.01).all() and (change[~mask] < VISIBLE + 0.01).all()
        assert 0.0005 < mask.mean() < 0.5
        assert np.array_equal(PHOTO, before)


def test_the_rest_of_the_photo_stays() -> None:
    worn, mask = wear(PHOTO, 3, ("scratch", "dust", "tear"))
    same = (worn == PHOTO).all(2)
    assert same.mean() > 0.8 and not same[mask].any()
    for nothing in (wear(PHOTO, 3, ()), wear(PHOTO, 3, amount=0)):
        assert np.array_equal(nothing[0], PHOTO) and not nothing[1].any()


def test_seeds_repeat_and_differ() -> None:
    first, again, other = (wear(PHOTO, seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert (first[1] != other[1]).mean() > 0.01
    assert np.array_equal(age(PHOTO, 5), age(PHOTO, 5)) and (age(PHOTO, 5) != age(PHOTO, 6)).mean() > 0.5


def test_seeds_say_the_same_everywhere() -> None:
    """Shares of the photo, recorded once: another machine or library may round a pixel otherwise, no more."""
    recorded = {"scratch": 0.588, "crease": 1.463, "dust": 0.717, "tear": 0.107, "stain": 0.518}
    found = {kind: 100 * wear(PHOTO, 11, (kind,))[1].mean() for kind in KINDS}
    assert found == pytest.approx(recorded, abs=0.03)


def test_a_photo_looks_the_same_at_any_resolution() -> None:
    """Where a speck has more than a few pixels."""
    large, larger = (PHOTO.repeat(times, 0).repeat(times, 1) for times in (2, 4))
    for kind in KINDS:
        shares = [
            np.mean([wear(photo, seed, (kind,))[1].mean() for seed in range(5)]) for photo in (large, larger)
        ]
        assert shares[0] == pytest.approx(shares[1], rel=0.4), kind


def test_more_is_more() -> None:
    little, much = (np.mean([wear(PHOTO, seed, amount=a)[1].mean() for seed in range(4)]) for a in (0.3, 2))
    assert much > 1.5 * little


def test_labels_name_the_kind() -> None:
    for i, kind in enumerate(KINDS):
        labels = draw_wear(PHOTO, np.random.default_rng(4), (kind,))[1]
        assert set(np.unique(labels)) - {HIDDEN} == {0, i + 1}
    labels = draw_wear(PHOTO, np.random.default_rng(4))[1]
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4, 5, HIDDEN}
    worn, mask = wear(PHOTO, 4)
    assert np.array_equal(mask, is_seen(labels))
    assert np.array_equal(labels > 0, (worn != PHOTO).any(2))


def test_a_piece_of_a_large_photo_has_its_strokes() -> None:
    thin, thick = (draw_wear(PHOTO, np.random.default_rng(1), ("crease",), 1, side)[1] for side in (100, 800))
    assert is_seen(thick).mean() > 2 * is_seen(thin).mean()


def test_tiny_photos_are_worn_too() -> None:
    for shape in ((1, 1, 3), (2, 40, 3), (17, 3, 3)):
        for seed in range(5):
            worn, mask = wear(np.full(shape, 120, np.uint8), seed)
            assert worn.shape == shape and mask.shape == shape[:2]


def test_age_fades_and_keeps_the_shape() -> None:
    for seed in range(12):
        aged = age(PHOTO, seed)
        assert aged.shape == PHOTO.shape and aged.dtype == np.uint8
        assert np.abs(brightness(aged) - brightness(PHOTO)).mean() < 60
    gray = [np.ptp(age(PHOTO, seed), axis=2).mean() for seed in range(12)]
    assert min(gray) < 4 and max(gray) > 20


def test_what_cannot_be_worn_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no damage called rust; there are scratch"):
        wear(PHOTO, 0, ("rust",))
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], got float64"):
        wear(PHOTO / 255, 0)
    with pytest.raises(ValueError, match=r"got uint8 \[256, 200\]"):
        wear(PHOTO[..., 0], 0)
    with pytest.raises(ValueError, match="amount must be 0 or more"):
        wear(PHOTO, 0, amount=-1)
