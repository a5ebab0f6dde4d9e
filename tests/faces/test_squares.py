"""Squares around holes: where they lie, what they show, and that they return to the right pixels."""

import numpy as np
import pytest

from facekit.faces.squares import (
    Box,
    CropSquare,
    choose_crop_side,
    cut_squares,
    feather,
    fill_smoothly,
    group_holes,
)


def smooth_photo(height: int, width: int) -> np.ndarray:
    """uint8 `[H, W, 3]` whose colours change slowly, so that resizing keeps them."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(x / width * 5 + 1), np.cos(y / height * 4), np.sin((x + y) / (width + height) * 6)]
    return np.rint(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def with_hole(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    hole = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom in boxes:
        hole[top:bottom, left:right] = True
    return hole


SHAPES = [
    (300, 200, (50, 80, 90, 120)),
    (1000, 1400, (100, 200, 700, 600)),
    (90, 400, (10, 20, 300, 70)),
    (400, 90, (0, 350, 90, 400)),
    (40, 40, (10, 10, 20, 20)),
    (33, 47, (0, 0, 47, 20)),
    (110, 900, (300, 10, 700, 90)),
]


@pytest.mark.parametrize("crop", ["hole", "whole"])
@pytest.mark.parametrize(("height", "width", "box"), SHAPES)
def test_a_perfect_fill_returns_to_its_place(
    height: int, width: int, box: tuple[int, int, int, int], crop: str
) -> None:
    """The true picture, cut like the region and painted back, gives the true photo: nothing shifts."""
    photo, hole = smooth_photo(height, width), with_hole(height, width, box)
    (square,) = cut_squares(photo, hole, 64, crop)
    nothing = np.zeros_like(hole)
    side = (
        choose_crop_side(Box.around_mask(hole), (width, height), 64) if crop == "hole" else max(height, width)
    )
    truth = CropSquare(photo, nothing, nothing, Box(*box), side, 64).image
    assert square.image.shape == (64, 64, 3) and square.hole.shape == (64, 64)
    canvas = np.zeros_like(photo)

    square.paint(canvas, truth)

    assert (canvas[~hole] == 0).all()
    error = np.abs(canvas[hole].astype(int) - photo[hole]).mean(axis=-1)
    assert error.mean() < 4 and error.max() < 30
    laid = np.zeros(hole.shape, dtype=np.float32)
    square.lay(laid, np.ones((64, 64), dtype=np.float32), hole)
    np.testing.assert_allclose(laid, hole, atol=1e-5)


def test_without_resizing_the_fill_is_taken_number_by_number() -> None:
    photo, hole = smooth_photo(64, 64), with_hole(64, 64, (20, 10, 50, 40))
    (square,) = cut_squares(photo, hole, 64)
    np.testing.assert_array_equal(square.hole, hole)
    filled = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    canvas = photo.copy()
    square.paint(canvas, filled.astype(np.float32) / 255)
    np.testing.assert_array_equal(canvas, np.where(hole[..., None], filled, photo))


@pytest.mark.parametrize(("height", "width", "box"), SHAPES)
def test_hidden_pixels_have_no_influence(height: int, width: int, box: tuple[int, int, int, int]) -> None:
    photo, hole = smooth_photo(height, width), with_hole(height, width, box)
    other = photo.copy()
    other[hole] = np.random.default_rng(0).integers(0, 256, (hole.sum(), 3))
    (a,), (b,) = cut_squares(photo, hole, 64), cut_squares(other, hole, 64)
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.known, b.known)


def test_the_crop_is_twice_the_hole_and_inside_the_photo() -> None:
    size = (1000, 800)
    assert choose_crop_side(Box(0, 0, 300, 100), size, 256) == 600
    assert choose_crop_side(Box(0, 0, 20, 20), size, 256) == 256
    assert choose_crop_side(Box(0, 0, 900, 20), size, 256) == 1000
    assert choose_crop_side(Box(0, 0, 20, 20), (100, 80), 256) == 100
    hole = with_hole(800, 1000, (700, 0, 1000, 100))
    (square,) = cut_squares(smooth_photo(800, 1000), hole, 256)
    assert square.inner == Box(400, 0, 1000, 600)


def test_far_holes_get_squares_of_their_own_and_near_ones_share() -> None:
    hole = with_hole(3000, 4000, (100, 100, 180, 160), (3800, 2800, 3900, 2900))
    assert group_holes(hole, 256) == [Box(100, 100, 180, 160), Box(3800, 2800, 3900, 2900)]
    near = with_hole(3000, 4000, (100, 100, 180, 160), (200, 100, 240, 160))
    assert group_holes(near, 256) == [Box(100, 100, 240, 160)]
    assert group_holes(np.zeros((100, 100), dtype=bool), 256) == []


def test_groups_cover_every_hole_once() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        height, width = random.integers(50, 1500, 2)
        hole = np.zeros((height, width), dtype=bool)
        for _ in range(random.integers(1, 30)):
            y, x = random.integers(0, height), random.integers(0, width)
            hole[y : y + random.integers(1, 90), x : x + random.integers(1, 90)] = True
        times = np.zeros(hole.shape, dtype=int)
        for box in group_holes(hole, 64):
            times[box.slices] += 1
        assert (times[hole] == 1).all()


def test_the_step_at_the_edge_of_a_hole_is_spread_inwards() -> None:
    photo = np.full((400, 400, 3), 100, dtype=np.uint8)
    hole = with_hole(400, 400, (150, 150, 250, 250))
    (square,) = cut_squares(photo, hole, 64)
    canvas = photo.copy()
    square.paint(canvas, np.full((64, 64, 3), 200 / 255, dtype=np.float32))
    profile = canvas[200, 145:180, 0].astype(int)
    assert (np.diff(profile) >= 0).all() and np.diff(profile).max() <= 20
    assert profile[0] == 100 and profile[-1] == 200


def test_the_feather_is_wide_as_asked() -> None:
    weight = feather(with_hole(40, 40, (10, 10, 30, 30)), 4)
    np.testing.assert_allclose(weight[20, 8:16], [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1], atol=0.05)
    assert (feather(np.ones((8, 8), dtype=bool), 4) == 1).all()


def test_fill_smoothly_continue_the_known_colours() -> None:
    photo = smooth_photo(120, 160).astype(np.float32) / 255
    hole = with_hole(120, 160, (60, 40, 90, 70))
    result = fill_smoothly(photo, hole)
    np.testing.assert_array_equal(result[~hole], photo[~hole])
    assert np.abs(result - photo)[hole].mean() < 0.08
    assert (fill_smoothly(photo, np.ones_like(hole)) == 0.5).all()
