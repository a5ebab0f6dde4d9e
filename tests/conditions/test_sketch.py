"""Pencil sketches: the reference pictures bit for bit, a plain loop, and what strokes look like."""

import argparse
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
    SKETCH_FILTERS,
    canny_edges,
    centre_lines,
    even_strokes,
    filter_strokes,
    grey_picture,
    pencil_sketch,
    read_sketch,
    read_sketches,
    sketch_photo,
    sketch_strokes,
    smooth,
    thin_strokes,
    view_strokes,
)
from facekit.faces import detect_faces
from facekit.faces.squares import FaceSquare, cut_squares
from facekit.images.photo import load_images
from facekit_cli.options import add_sketch_filter
from tests.conftest import find_shared
from tests.helpers.parity_data import PARITY


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


def test_canny_edges_are_thin_lines_where_the_picture_steps() -> None:
    rgb = np.full((40, 40, 3), 40, np.uint8)
    rgb[10:30, 10:30] = 220
    rgb[34:36, 5:35] = 48  # too faint
    edges = canny_edges(rgb)
    assert set(np.unique(edges)) == {0, 1} and not edges[32:].any()
    assert (edges[12:28].sum(axis=1) == 2).all() and (edges[:, 12:28].sum(axis=0) == 2).all()
    rows, columns = np.nonzero(edges)
    assert {rows.min(), columns.min()} <= {9, 10} and {rows.max(), columns.max()} <= {29, 30}
    # Networks learn from lines as wide as a pencil's.
    assert (
        np.array_equal(filter_strokes(rgb, "canny"), even_strokes(edges))
        and even_strokes(edges).sum() > edges.sum()
    )
    assert np.array_equal(filter_strokes(rgb), sketch_strokes(pencil_sketch(rgb)))


@pytest.mark.parametrize("scale", [0.5, 1, 3])
@pytest.mark.parametrize("filter", ["pencil", "canny"])
def test_the_sketch_of_a_photo_is_the_one_that_the_network_would_see(filter: str, scale: float) -> None:
    side = round(512 * scale)
    photo = np.asarray(Image.fromarray(astronaut()).resize((side, side), Image.Resampling.LANCZOS))
    face = detect_faces(photo, faces="largest")[0]
    strokes = sketch_photo(photo, filter=filter, known_faces=[face])
    assert strokes.shape == (side, side) and strokes.dtype == bool
    square = FaceSquare(photo, face, 256, np.ones((side, side), bool))
    wanted = filter_strokes(np.rint(square.image * 255).astype(np.uint8), filter) > 0
    seen = view_strokes(strokes, square)

    def near(a: np.ndarray) -> np.ndarray:
        return cv2.dilate(a.astype(np.uint8), np.ones((3, 3))) > 0

    assert (near(seen) & wanted).sum() > 0.8 * wanted.sum() and (near(wanted) & seen).sum() > 0.9 * seen.sum()


def test_the_sketch_of_another_picture_lies_on_the_photo_s_face() -> None:
    photo = np.ascontiguousarray(astronaut()[:256, 100:356])
    blank = np.full_like(photo, 90)
    assert np.array_equal(sketch_photo(photo, aligned=True), filter_strokes(photo) > 0)
    other = sketch_photo(blank, lines_of=Image.fromarray(photo).resize((512, 512)), aligned=True)
    assert other.any() and (other & sketch_photo(photo, aligned=True)).sum() > 0.5 * other.sum()
    assert not sketch_photo(blank).any()  # no face
    with pytest.raises(ValueError, match="no sketch filter 'crayon'; known are pencil, canny"):
        sketch_photo(photo, filter="crayon")
    with pytest.raises(ValueError, match="no sketch filter 'crayon'"):
        filter_strokes(photo, "crayon")


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
    for width in (4, 6, 8, 10):
        strokes = even_strokes(drawing(width))
        assert 0.8 < strokes.sum() / thin.sum() < 1.15
        assert (strokes <= near).mean() > 0.998  # ends and corners may move by a pixel or two
        assert cv2.connectedComponents(strokes)[0] == cv2.connectedComponents(thin)[0] == 4
    assert set(np.unique(thin)) == {0, 1}
    assert not even_strokes(np.zeros((9, 9), np.uint8)).any()


def test_strokes_like_those_of_the_filter_stay_and_painted_areas_become_lines() -> None:
    known = drawing(2)
    assert np.array_equal(even_strokes(known), known)
    brow = known.copy()
    brow[70:80, 20:60] = 1
    strokes = even_strokes(brow)
    assert np.array_equal(even_strokes(strokes), strokes)
    assert 0 < strokes[66:84, 16:64].sum() < 3 * 50
    assert cv2.connectedComponents(strokes)[0] == 5


def test_sketches_of_the_filter_stay_as_they_are(shared_dir: Path) -> None:
    files = sorted((shared_dir / "data" / "synthetic-faces-256" / "val").glob("*.jpg"))[::10]
    assert len(files) == 10
    for file in files:
        strokes = sketch_strokes(pencil_sketch(np.asarray(Image.open(file).convert("RGB"))))
        assert strokes.any() and np.array_equal(even_strokes(strokes), strokes), file.name


def test_sketch_of_a_face_stays_as_it_is() -> None:
    face = Image.fromarray(astronaut()[19:192, 138:311]).resize((256, 256), Image.Resampling.LANCZOS)
    strokes = sketch_strokes(pencil_sketch(np.asarray(face)))
    assert np.array_equal(even_strokes(strokes), strokes)


def test_networks_see_lines_of_one_width_however_large_the_photo_is() -> None:
    """A face that fills a photo of 64, 256 or 2048 pixels, with strokes of a fiftieth of that."""
    seen = []
    for side in (64, 256, 2048):
        canvas = np.zeros((side, side), np.uint8)
        cv2.ellipse(canvas, (side // 2, side // 2), (side // 4, side // 3), 0, 0, 300, 1, max(side // 50, 1))
        hole = np.zeros((side, side), bool)
        hole[side // 8 : -side // 8, side // 8 : -side // 8] = True
        (square,) = cut_squares(np.zeros((side, side, 3), np.uint8), hole, 256, crop="whole")
        strokes = view_strokes(canvas > 0, square)
        assert strokes.dtype == bool and strokes.shape == (256, 256) and not strokes[~square.hole].any()
        lines = centre_lines(strokes.astype(np.uint8))
        assert 1.5 < strokes.sum() / lines.sum() < 3.5
        seen.append(lines)
    near = [cv2.dilate(lines, np.ones((7, 7), np.uint8)) for lines in seen]
    for lines in seen:
        assert all((lines <= other).mean() > 0.999 for other in near)


def test_centre_lines_against_a_plain_loop() -> None:
    """Zhang and Suen's conditions word by word, one pixel after another."""
    strokes = np.zeros((20, 24), np.uint8)
    strokes[2:9, 3:20] = strokes[6:17, 9:14] = strokes[15:20, 20:24] = 1
    strokes[5, 5] = 0
    wanted, changed = np.pad(strokes, 1), True
    while changed:
        changed = False
        for turn in (0, 1):
            gone = []
            for y, x in np.argwhere(wanted).tolist():
                steps = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
                p2, p3, p4, p5, p6, p7, p8, p9 = near = [int(wanted[y + i, x + j]) for i, j in steps]
                rises = sum(a == 0 and b == 1 for a, b in zip(near, [*near[1:], p2], strict=True))
                edge = (p2 * p4 * p6, p4 * p6 * p8) if turn == 0 else (p2 * p4 * p8, p2 * p6 * p8)
                if 2 <= p2 + p3 + p4 + p5 + p6 + p7 + p8 + p9 <= 6 and rises == 1 and edge == (0, 0):
                    gone.append((y, x))
            for place in gone:
                wanted[place] = 0
            changed = changed or bool(gone)
    assert np.array_equal(centre_lines(strokes), wanted[1:-1, 1:-1])


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


def test_commands_know_the_same_filters() -> None:
    """They repeat them, for no help should wait for OpenCV."""
    parser = argparse.ArgumentParser()
    add_sketch_filter(parser)
    (option,) = (action for action in parser._actions if action.dest == "draw_sketch")
    assert tuple(option.choices or ()) == SKETCH_FILTERS
