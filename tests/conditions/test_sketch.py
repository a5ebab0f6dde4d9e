"""Pencil sketches: the reference pictures bit for bit, a plain loop, and what strokes look like."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from skimage.data import astronaut
from skimage.morphology import skeletonize

from facekit.conditions.sketch import (
    centre_lines,
    even_strokes,
    grey_picture,
    pencil_sketch,
    read_sketch,
    read_sketches,
    sketch_strokes,
    smooth,
    thin_strokes,
)
from facekit.images.photo import load_images
from tests.conftest import find_shared
from tests.parity_data import PARITY


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    """The committed reference pictures, completed by the full set where it can be found."""
    shared = find_shared()
    full = None if shared is None else shared / "parity" / "facemug" / "golden.seed0.safetensors"
    return load_file(PARITY / "facemug" / "encoders.seed0.safetensors") | (load_file(full) if full else {})


def test_reference_sketch_bit_for_bit(stored: dict[str, np.ndarray]) -> None:
    sketch = pencil_sketch(stored["prep.rgb"])
    strokes = sketch_strokes(sketch)
    assert np.array_equal(strokes, stored["prep.sketch_binary"])
    assert set(np.unique(strokes)) == {0, 1}


def test_reference_stages_bit_for_bit(stored: dict[str, np.ndarray], shared_dir: Path) -> None:
    grey = grey_picture(stored["prep.rgb"])
    assert np.array_equal(grey, stored["prep.gray"])
    assert np.array_equal(smooth(grey), stored["prep.gray_blurred"])
    assert np.array_equal(pencil_sketch(stored["prep.rgb"]), stored["prep.sketch"])
    strokes = stored["prep.sketch_binary"]
    for size in (3, 4, 7):
        expected = stored[f"prep.sketch_binary_eroded_rows{size}"]
        assert np.array_equal(thin_strokes(strokes, size, vertical_only=True), expected)
    assert np.array_equal(thin_strokes(strokes, 3), stored["prep.sketch_binary_eroded3_isotropic"])


def test_filter_against_a_plain_loop() -> None:
    """Definition word by word, one pixel after another, on a picture that is not square."""
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    height, width = rgb.shape[:2]

    def reflected(index: int, length: int) -> int:
        index = abs(index)
        return index if index < length else 2 * (length - 1) - index

    def at(picture: list[list[int]], y: int, x: int) -> int:
        return picture[reflected(y, height)][reflected(x, width)]

    grey = [
        [(9798 * int(r) + 19235 * int(g) + 3735 * int(b) + 16384) >> 15 for r, g, b in row] for row in rgb
    ]
    taps = [(i, j, (2 - abs(i)) * (2 - abs(j))) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    blurred = [
        [(sum(w * at(grey, y + i, x + j) for i, j, w in taps) + 8) >> 4 for x in range(width)]
        for y in range(height)
    ]
    wanted = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            edge = across = down = 0
            for i in (-1, 0, 1):
                across += (2 - abs(i)) * (at(blurred, y + i, x + 1) - at(blurred, y + i, x - 1))
                down += (2 - abs(i)) * (at(blurred, y + 1, x + i) - at(blurred, y - 1, x + i))
            for sign in (1, -1):
                edge += 0.75 * (min(max(sign * across, 0), 255) | min(max(sign * down, 0), 255))
            wanted[y, x] = 255 - min(round(edge), 255)
    assert len(np.unique(wanted)) > 10
    assert np.array_equal(pencil_sketch(rgb), wanted)


def test_strokes_lie_on_edges_and_get_thinner() -> None:
    rgb = np.full((40, 40, 3), 40, np.uint8)
    rgb[10:30, 10:30] = 220
    strokes = sketch_strokes(pencil_sketch(rgb))
    assert strokes[9:11, 15].all() and strokes[15, 29:31].all()
    assert not strokes[13:27, 13:27].any() and not strokes[:7].any()
    assert thin_strokes(strokes, 1).sum() == strokes.sum() > thin_strokes(strokes, 2).sum() > 0
    full = np.ones((5, 5), np.uint8)
    assert thin_strokes(full, 4).all()


def test_other_pictures_are_refused() -> None:
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((1, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match="8-bit RGB"):
            pencil_sketch(wrong)
    with pytest.raises(ValueError, match="at least 1"):
        thin_strokes(np.ones((4, 4), np.uint8), 0)


def drawing(width: int) -> np.ndarray:
    """A circle, a corner and a slanted line, drawn `width` pixels thick."""
    canvas = np.zeros((128, 128), np.uint8)
    cv2.circle(canvas, (40, 40), 24, 1, width)
    cv2.polylines(canvas, [np.array([[80, 20], [80, 60], [110, 60]])], False, 1, width)
    cv2.line(canvas, (20, 110), (100, 90), 1, width)
    return canvas


def test_drawings_of_any_thickness_become_the_same_lines() -> None:
    thin = even_strokes(drawing(1))
    near = cv2.dilate(thin, np.ones((5, 5), np.uint8))
    for width in (2, 3, 6, 10):
        strokes = even_strokes(drawing(width))
        assert 0.8 < strokes.sum() / thin.sum() < 1.15
        assert (strokes <= near).mean() > 0.998  # ends and corners may move by a pixel or two
        assert cv2.connectedComponents(strokes)[0] == cv2.connectedComponents(thin)[0] == 4
    assert set(np.unique(thin)) == {0, 1}


def test_centre_lines_against_an_independent_thinning() -> None:
    thick = drawing(7)
    lines, other = centre_lines(thick), skeletonize(thick > 0)
    assert (lines <= thick).all()
    assert lines.sum() == pytest.approx(other.sum(), rel=0.06)
    near = cv2.dilate(other.astype(np.uint8), np.ones((3, 3), np.uint8))
    assert (lines <= near).mean() > 0.999
    assert not centre_lines(np.zeros((5, 5), np.uint8)).any()
    full = centre_lines(np.ones((9, 30), np.uint8))
    assert 0 < full.sum() < 40


def test_width_is_that_of_the_pencil_filter() -> None:
    """Evened strokes cover about as much as the filter's own, of a face about as large as in an aligned picture."""
    face = Image.fromarray(astronaut()[19:192, 138:311]).resize((256, 256), Image.Resampling.LANCZOS)
    strokes = sketch_strokes(pencil_sketch(np.asarray(face)))
    again = even_strokes(strokes)
    assert int(again.sum()) == pytest.approx(int(strokes.sum()), rel=0.35)


def test_layers_and_pictures_are_read_alike() -> None:
    wanted = drawing(3)
    layer = np.zeros((128, 128, 4), np.uint8)
    layer[wanted == 1] = (250, 240, 230, 255)  # bright strokes of a layer are strokes too
    bright = wanted * np.uint8(255)
    for picture in (layer, bright, np.dstack([bright] * 3), wanted > 0):
        for given in (picture, Image.fromarray(picture)):
            strokes, notes = read_sketch(given, (128, 128))
            assert np.array_equal(strokes, wanted) and not notes
    assert np.array_equal(read_sketch(Image.fromarray(layer).convert("LA"), (128, 128))[0], wanted)
    faint = np.dstack([np.zeros((128, 128, 3), np.uint8), wanted * np.uint8(9)])
    assert np.array_equal(read_sketch(faint, (128, 128))[0], wanted)


def test_strokes_are_bright_on_black_or_dark_on_paper() -> None:
    where = drawing(3) > 0

    def inked(pen: tuple[int, int, int], ground: tuple[int, int, int]) -> np.ndarray:
        return np.where(where[..., None], np.uint8(pen), np.uint8(ground))

    for pen in ((0, 0, 0), (255, 0, 0), (0, 0, 255), (60, 60, 200)):
        strokes, notes = read_sketch(inked(pen, (250, 248, 240)), (128, 128))
        assert np.array_equal(strokes, where)
        assert notes == ["sketch is mostly white: its dark lines are the strokes"]
    for chalk in ((255, 255, 255), (0, 0, 255), (255, 0, 0)):
        strokes, notes = read_sketch(inked(chalk, (0, 0, 0)), (128, 128))
        assert np.array_equal(strokes, where) and not notes


def test_every_photo_has_its_sketch_or_all_have_one() -> None:
    photos = load_images([np.zeros((128, 128, 3), np.uint8)] * 2)
    one, other = drawing(1) > 0, drawing(4) > 0
    assert read_sketches(None, photos, None) == [None, None]
    pairs: list[tuple[Any, tuple[np.ndarray, np.ndarray]]] = [
        (one, (one, one)),
        ([one, other], (one, other)),
        (torch.from_numpy(np.stack([one, other]))[:, None], (one, other)),
    ]
    for given, expected in pairs:
        found = [entry[0] for entry in read_sketches(given, photos, None) if entry is not None]
        assert len(found) == 2 and all(map(np.array_equal, found, expected))
    with pytest.raises(ValueError, match="3 sketches for 2 photos"):
        read_sketches([one] * 3, photos, None)
    with pytest.raises(ValueError, match="sketch 1 is 64x128 and the photo 128x128"):
        read_sketches([one, one[:, ::2]], photos, None)
