"""Masks of every kind mean the hole that the table in `facekit.images.masks` says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage.data import astronaut

from facekit.images.masks import load_mask, load_masks
from facekit.images.photo import load_images

HEIGHT, WIDTH = 24, 32


@pytest.fixture
def hole() -> np.ndarray:
    hole = np.zeros((HEIGHT, WIDTH), dtype=bool)
    hole[4:12, 6:20] = True
    return hole


@pytest.fixture
def photo() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[100 : 100 + HEIGHT, 180 : 180 + WIDTH])


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


def rgb(
    hole: np.ndarray, paint: tuple[int, int, int], ground: tuple[int, int, int] = (0, 0, 0)
) -> np.ndarray:
    return np.where(hole[..., None], np.uint8(paint), np.uint8(ground))


def palette_picture(indices: np.ndarray, *colors: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette([value for color in colors for value in color])
    return picture


@pytest.mark.parametrize(
    "paint", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 0, 0), (0, 0, 200), (90, 200, 90)]
)
def test_a_stroke_in_any_bright_colour_on_black_is_hole(
    hole: np.ndarray, paint: tuple[int, int, int]
) -> None:
    np.testing.assert_array_equal(read(rgb(hole, paint)), hole)
    np.testing.assert_array_equal(read(Image.fromarray(rgb(hole, paint))), hole)
    np.testing.assert_array_equal(read(palette_picture(hole, (0, 0, 0), paint)), hole)
    np.testing.assert_array_equal(read(rgb(hole, paint).astype(np.float32) / 255), hole)


def test_lossy_files_and_soft_edges_keep_the_hole(tmp_path: Path) -> None:
    large = np.zeros((192, 256), dtype=bool)
    large[40:120, 60:200] = True
    edge = ImageFilter.GaussianBlur(1)
    for paint in ((255, 255, 255), (255, 0, 0), (128, 0, 0)):
        file = tmp_path / "mask.jpg"
        Image.fromarray(rgb(large, paint)).filter(edge).save(file, quality=60, subsampling=0)
        result, _ = load_mask(file, (256, 192))
        away_from_the_edge = np.ones_like(large)
        away_from_the_edge[36:124, 56:204] = False
        away_from_the_edge[44:116, 64:196] = True
        np.testing.assert_array_equal(result[away_from_the_edge], large[away_from_the_edge])
    Image.fromarray(large.astype(np.uint8) * 255).save(tmp_path / "gray.jpg", quality=30)
    np.testing.assert_array_equal(load_mask(tmp_path / "gray.jpg", (256, 192))[0], large)


@pytest.mark.parametrize(
    "numbers",
    [
        lambda hole: hole * np.uint8(15),
        lambda hole: hole * np.uint16(255),
        lambda hole: hole * np.int32(1023),
        lambda hole: hole / np.float32(255),
        lambda hole: Image.fromarray(hole * np.uint8(15)),
        lambda hole: Image.fromarray(hole * np.uint16(255)),
        lambda hole: torch.from_numpy(hole / np.float32(255))[None],
    ],
)
def test_two_values_far_below_white_are_known_and_hole(hole: np.ndarray, numbers: Callable) -> None:
    result, (note,) = load_mask(numbers(hole), (WIDTH, HEIGHT))
    np.testing.assert_array_equal(result, hole)
    assert "all but 0 are hole" in note


def test_labels_of_a_segmentation_are_hole_but_for_the_background(hole: np.ndarray) -> None:
    labels = hole * np.uint8(3)
    labels[0, :5] = [1, 2, 17, 18, 30]
    result, notes = load_mask(labels, (WIDTH, HEIGHT))
    np.testing.assert_array_equal(result, labels > 0)
    assert notes == ["mask has the values 0, 1, 2, 3, 17, 18 and more: all but 0 are hole"]
    # The palette of VOC: 8 is a dark red, which is a class like the others.
    voc = palette_picture(labels // 3, (0, 0, 0), (192, 128, 128), *[(64, 0, 0)] * 9)
    result, notes = load_mask(voc, (WIDTH, HEIGHT))
    np.testing.assert_array_equal(result, labels // 3 > 0)
    assert notes == ["mask has labels in colour: all but black are hole"]


def test_a_dark_tone_with_soft_edges_is_hole_and_a_dark_haze_is_not() -> None:
    across = np.tile(np.clip(np.arange(256) - 40, 0, 90), (192, 1)).astype(np.uint8)
    result, (note,) = load_mask(across, (256, 192))
    np.testing.assert_array_equal(result, across >= 45)
    assert note == "mask is dark: hole is at least half of its brightest value, 90 of 255"
    haze = np.tile(np.arange(256) // 2, (192, 1)).astype(np.uint8) // 2 * 2
    result, (note,) = load_mask(haze.clip(0, 120), (256, 192))
    assert not result.any()
    assert note == "the brightest value of mask is 120 of 255, and hole begins at 128: paint it white"
    assert not read(np.zeros((HEIGHT, WIDTH), dtype=np.uint8)).any()
    assert not load_mask(np.full((HEIGHT, WIDTH), 16, dtype=np.uint8), (WIDTH, HEIGHT))[0].any()


def test_alpha_counts_only_where_it_tells_known_from_hole(hole: np.ndarray, photo: np.ndarray) -> None:
    bright = rgb(hole, (255, 255, 255))
    full = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    stray = full.copy()
    stray[0, 0] = 254
    clear = full.copy()
    clear[-1, :3] = 0
    for alpha in (full, full // 2, stray, clear):
        np.testing.assert_array_equal(read(np.dstack([bright, alpha])), hole)
        np.testing.assert_array_equal(read(np.dstack([bright[..., 0], alpha])), hole)
    erased = np.where(hole, np.uint8(0), full)
    note = f"mask is opaque with a transparent part, {hole.mean():.0%} of it: that part is the hole"
    for colors in (
        photo,
        np.where(hole[..., None], np.uint8(0), photo),
        np.zeros_like(photo),
        photo[..., :1],
    ):
        for picture in (np.dstack([colors, erased]), np.dstack([colors, erased]) / np.float32(255)):
            result, notes = load_mask(picture, (WIDTH, HEIGHT))
            np.testing.assert_array_equal(result, hole)
            assert notes == [note]
    cut_out = np.dstack([photo, np.where(hole, full, np.uint8(0))])
    np.testing.assert_array_equal(read(cut_out), hole)


def test_a_transparent_colour_of_a_file_is_alpha(hole: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(rgb(hole, (0, 0, 90))).save(tmp_path / "rgb.png", transparency=(0, 0, 0))
    Image.fromarray(hole.astype(np.uint8) * 90).save(tmp_path / "gray.png", transparency=0)
    palette_picture(hole, (255, 255, 255), (0, 0, 0)).save(tmp_path / "palette.png", transparency=0)
    for name in ("rgb", "gray", "palette"):
        np.testing.assert_array_equal(read(tmp_path / f"{name}.png"), hole)


def test_a_photo_is_no_mask(hole: np.ndarray, photo: np.ndarray, tmp_path: Path) -> None:
    painted = np.where(hole[..., None], np.uint8([255, 0, 0]), photo)
    Image.fromarray(painted).save(tmp_path / "painted.jpg", quality=90)
    for given in (photo, painted, tmp_path / "painted.jpg"):
        with pytest.raises(
            ValueError, match=r"is a photo and no mask.*white on black, or on a transparent layer"
        ):
            load_mask(given, (WIDTH, HEIGHT))
    result, (note,) = load_mask(photo[..., 0], (WIDTH, HEIGHT))
    np.testing.assert_array_equal(result, photo[..., 0] >= 128)
    assert "of mask is neither black nor white: 128 and more of 255 is hole" in note
