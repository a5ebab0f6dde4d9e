"""The photo's own fine structure in a fill: strands stay, edges have no halo, nothing else changes."""

import cv2
import numpy as np
import pytest

from facekit.faces.detail import keep_detail
from facekit.images.modes import LUMA
from facekit.images.photo import as_float, from_float
from facekit.images.tint import Tint

SIDE = 128
REGION = np.zeros((SIDE, SIDE), bool)
REGION[20:100, 30:110] = True
RED = np.array([0.6, 0.2, 0.1], np.float32)


def strands(dtype: type = np.uint8) -> np.ndarray:
    """Fine brown stripes on a brown ground."""
    stripes = 0.05 * np.sin(np.arange(SIDE) * 1.3)[None, :, None]
    return from_float(np.array([0.4, 0.3, 0.2]) + stripes + np.zeros((SIDE, SIDE, 3)), dtype)


def painted(photo: np.ndarray, color: np.ndarray = RED) -> np.ndarray:
    """The photo with the region in one flat colour."""
    filled = photo.copy()
    filled[REGION] = from_float(color, photo.dtype)
    return filled


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_strands_stay_in_the_new_colour(dtype: type) -> None:
    photo = strands(dtype)
    filled = painted(photo)
    result = keep_detail(photo, filled, REGION, SIDE)
    assert result.dtype == dtype and np.array_equal(result[~REGION], filled[~REGION])
    inner = np.s_[40:80, 50:90]
    before, after = (as_float(picture[inner]) @ LUMA for picture in (photo, result))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.98
    assert 0.7 < after.std() / before.std() < 1.3
    np.testing.assert_allclose(as_float(result[inner]).mean((0, 1)), RED, atol=0.02)


def test_bright_paint_has_more_contrast_than_dark_paint() -> None:
    photo = strands()
    bright, dark = (
        keep_detail(photo, painted(photo, np.full(3, light, np.float32)), REGION, SIDE)[40:80, 50:90].std()
        for light in (0.6, 0.08)
    )
    assert bright > 1.5 * dark > 0


def test_an_edge_stays_an_edge_without_a_halo() -> None:
    """Half of the region is dark hair, half of it a bright wall; a blurred fill leads from one to the other."""
    photo = np.full((SIDE, SIDE, 3), 0.2, np.float32)
    photo[:, 70:] = 0.8
    filled = photo.copy()
    ramp = np.clip((np.arange(SIDE) - 60) / 20, 0, 1)[None, :, None]
    filled[REGION] = ((1 - ramp) * RED + ramp * np.float32(0.8) + np.zeros_like(photo))[REGION]
    row = keep_detail(photo, filled, REGION, SIDE)[60, 40:100]
    assert np.abs(row[26:29] - RED).max() < 0.12, "red up to the edge"
    assert np.abs(row[31:34] - 0.8).max() < 0.2, "nearly the wall from the edge on; the fill was half red"
    assert row.max() < 0.85 and row.min() > 0.05


def test_a_small_region_takes_its_colours_from_its_own_pixels_alone() -> None:
    """Lips are as bright as the skin around them."""
    photo = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    lips = np.zeros((SIDE, SIDE), bool)
    lips[60:66, 50:80] = True
    filled = photo.copy()
    filled[lips] = RED
    result = keep_detail(photo, filled, lips, SIDE)
    np.testing.assert_allclose(result[62:64, 55:75], np.broadcast_to(RED, (2, 20, 3)), atol=0.02)


def test_what_changed_nothing_changes_nothing() -> None:
    """A fill that is the photo, but for the steps of 8 bits."""
    noise = np.random.default_rng(0).integers(60, 200, (SIDE, SIDE, 3)).astype(np.float32) / 255
    photo = from_float(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)
    result = keep_detail(photo, photo, REGION, SIDE)
    assert np.abs(result.astype(int) - photo)[REGION].mean() < 3
    assert np.array_equal(keep_detail(photo, painted(photo), np.zeros_like(REGION), SIDE), painted(photo))


def test_a_photo_without_colours_stays_without() -> None:
    gray = np.repeat(strands()[..., :1], 3, axis=2)
    result = keep_detail(gray, painted(gray, np.full(3, 0.6, np.float32)), REGION, SIDE)
    assert (np.ptp(result.astype(int), axis=2) <= 1).all()
    levels = np.linspace(0, 1, len(Tint(np.zeros((33, 3), np.float32)).offsets), dtype=np.float32)
    offsets = (levels * (1 - levels))[:, None] * np.array([0.3, 0.05, -0.3], np.float32)
    sepia = Tint((offsets - (offsets @ LUMA)[:, None]).astype(np.float32))
    photo = sepia.colorize(as_float(gray) @ LUMA)
    filled = photo.copy()
    filled[REGION] = sepia.colorize(np.full(REGION.sum(), 0.6, np.float32))
    result = keep_detail(photo, filled, REGION, SIDE, sepia)
    assert not sepia.find_strangers(result[REGION]).any() and result[50, 40:100].std() > 0.02
