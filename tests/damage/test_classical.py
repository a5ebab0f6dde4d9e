"""The detector without a network: lines and specks are found, calm surfaces and broad shapes are left alone."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facekit.damage.classical import find_damage_classically
from facekit.damage.score import compare
from facekit.damage.wear import wear


def wall(side: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (120 + rng.normal(0, 3, (side, side, 1)) + np.zeros(3)).round().astype(np.uint8)


def test_a_line_and_a_speck_are_found() -> None:
    photo, truth = wall(), np.zeros((300, 300), bool)
    truth[40:260, 100:102] = truth[200:204, 200:204] = True
    photo[truth] = 230
    assert compare(find_damage_classically(photo), truth).f1 > 0.98
    photo[truth] = 10
    assert compare(find_damage_classically(photo), truth).f1 > 0.98


def test_a_wall_and_a_broad_shape_are_left_alone() -> None:
    photo = wall()
    cv2.circle(photo, (150, 150), 40, (240, 240, 240), -1)
    assert not find_damage_classically(photo).any()


def test_drawn_scratches_are_found_at_any_size() -> None:
    for side in (256, 1000):
        worn, truth = wear(wall(side), 3, ("scratch",))
        found = find_damage_classically(worn)
        assert found.shape == truth.shape and found.dtype == bool
        assert compare(found, truth).f1 > 0.7


def test_little_is_marked_on_a_photo() -> None:
    assert find_damage_classically(astronaut()).mean() < 0.03


def test_what_is_no_photo_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], got uint8 \[300, 300\]"):
        find_damage_classically(wall()[..., 0])
    assert find_damage_classically(wall()[:1, :1]).shape == (1, 1)
