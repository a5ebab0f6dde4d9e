"""F1 with a tolerance, against masks whose score can be said."""

import numpy as np
import pytest

from facekit.damage.score import Agreement, compare, grow


def line(column: int, width: int = 1) -> np.ndarray:
    mask = np.zeros((20, 40), bool)
    mask[:, column : column + width] = True
    return mask


@pytest.mark.parametrize(("off", "f1"), [(0, 1), (1, 1), (2, 1), (3, 0)])
def test_two_pixels_off_is_right(off: int, f1: float) -> None:
    assert compare(line(10 + off), line(10)).f1 == f1


def test_precision_and_recall() -> None:
    found = line(10) | line(30)
    assert compare(found, line(10)).precision == 0.5 and compare(found, line(10)).recall == 1
    assert compare(line(10), found).precision == 1 and compare(line(10), found).recall == 0.5
    wide = compare(line(10, 9), line(10))
    assert wide.precision == pytest.approx(3 / 9)
    total = compare(found, line(10)) + compare(line(10), found)
    assert total == Agreement(60, 40, 60, 40) and total.f1 == pytest.approx(2 / 3)


def test_what_is_ignored_is_not_wrong() -> None:
    found, ignored = line(10) | line(30), line(28, 5)
    assert compare(found, line(10), ignored=ignored) == compare(line(10), line(10))
    assert compare(found, line(10), ignored=line(10)).precision == 0.5  # the truth counts all the same


def test_nothing_is_no_error() -> None:
    nothing = np.zeros((5, 5), bool)
    assert compare(nothing, nothing) == Agreement() and Agreement().f1 == 0
    assert compare(~nothing, nothing).precision == 0 == compare(nothing, ~nothing).recall


def test_growth_is_round() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    assert grow(mask, 2).sum() == 13 and grow(mask, 0).sum() == 1


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one size, got \[5, 5\] and \[5, 6\]"):
        compare(np.zeros((5, 5), bool), np.zeros((5, 6), bool))
