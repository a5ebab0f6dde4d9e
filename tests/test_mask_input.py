"""Masks of every kind mean the hole that the table in `facekit.mask_input` says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.imaging import load_images
from facekit.mask_input import load_mask, load_masks

HEIGHT, WIDTH = 24, 32


@pytest.fixture
def hole() -> np.ndarray:
    hole = np.zeros((HEIGHT, WIDTH), dtype=bool)
    hole[4:12, 6:20] = True
    return hole


def read(mask: object) -> np.ndarray:
    result, notes = load_mask(mask, (WIDTH, HEIGHT))
    assert result.dtype == bool and notes == []
    return result


def test_kinds_that_mean_the_same_hole(hole: np.ndarray, tmp_path: Path) -> None:
    bright = hole.astype(np.uint8) * 255
    Image.fromarray(bright).save(tmp_path / "mask.png")
    kinds = [
        hole,
        bright,
        hole.astype(np.uint8),
        hole.astype(np.int64),
        hole.astype(np.float64),
        hole.astype(np.uint16) * 65535,
        bright[..., None],
        np.repeat(bright[..., None], 3, axis=2),
        Image.fromarray(bright),
        Image.fromarray(bright).convert("1"),
        Image.fromarray(bright).convert("RGB"),
        Image.fromarray(bright).convert("P"),
        Image.fromarray(bright).convert("RGBA"),
        torch.from_numpy(hole),
        torch.from_numpy(hole)[None, None].float(),
        torch.from_numpy(hole)[None].to(torch.bfloat16),
        str(tmp_path / "mask.png"),
        tmp_path / "mask.png",
    ]
    for kind in kinds:
        np.testing.assert_array_equal(read(kind), hole)


def test_gray_values_count_from_128_and_floats_from_a_half() -> None:
    gray = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    gray[0, :4] = [1, 127, 128, 255]
    assert np.flatnonzero(read(gray)).tolist() == [2, 3]
    assert np.flatnonzero(read(Image.fromarray(gray).convert("RGB"))).tolist() == [2, 3]
    soft = np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    soft[0, :3] = [0.49, 0.5, 1]
    assert np.flatnonzero(read(soft)).tolist() == [1, 2]


def test_a_layer_of_an_editor_counts_where_it_was_painted(hole: np.ndarray) -> None:
    layer = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    layer[hole] = (0, 0, 0, 3)  # black, faint strokes
    np.testing.assert_array_equal(read(layer), hole)
    np.testing.assert_array_equal(read(Image.fromarray(layer)), hole)
    assert not read(np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)).any()


def test_another_size_is_resized_only_if_the_shape_fits(hole: np.ndarray) -> None:
    large = np.kron(hole, np.ones((3, 3), dtype=bool))
    result, notes = load_mask(large, (WIDTH, HEIGHT))
    np.testing.assert_array_equal(result, hole)
    assert notes == ["mask of 96x72 was resized to the photo's 32x24"]
    with pytest.raises(ValueError, match=r"mask is 33x24 and the photo 32x24"):
        load_mask(np.zeros((24, 33), dtype=bool), (32, 24))
    with pytest.raises(ValueError, match=r"24x32 and the photo 32x24.*turned by 90 degrees"):
        load_mask(np.zeros((32, 24), dtype=bool), (32, 24))


def test_one_mask_serves_many_photos(hole: np.ndarray) -> None:
    photos = load_images([np.zeros((HEIGHT, WIDTH), dtype=np.uint8)] * 3)
    assert all((got == hole).all() for got, _ in load_masks(hole, photos))
    assert len(load_masks([hole] * 3, photos)) == 3
    assert len(load_masks(torch.zeros(3, 1, HEIGHT, WIDTH), photos)) == 3
    with pytest.raises(ValueError, match="2 masks for 3 photos"):
        load_masks([hole] * 2, photos)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((HEIGHT, WIDTH), np.nan), "NaN"),
        (np.full((HEIGHT, WIDTH), 255.0), r"expected \[0, 1\]"),
        (np.full((HEIGHT, WIDTH), -1), "from -1"),
        (torch.full((1, HEIGHT, WIDTH), -1.0), r"expected \[0, 1\]"),
        (np.zeros((HEIGHT, WIDTH), dtype=complex), "complex"),
        (np.zeros(WIDTH), "shape"),
        (np.zeros((1, HEIGHT, WIDTH, 3, 1)), "shape"),
        (torch.zeros(3, HEIGHT, WIDTH), "shape"),
    ],
)
def test_wrong_masks_are_refused(bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_mask(bad, (WIDTH, HEIGHT))


def test_files_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"mask .*mask\.png is no image"):
        load_mask(tmp_path / "mask.png", (WIDTH, HEIGHT))
    with pytest.raises(FileNotFoundError):
        load_mask(tmp_path / "other.png", (WIDTH, HEIGHT))
    with pytest.raises(TypeError, match="int"):
        load_mask(3, (WIDTH, HEIGHT))
