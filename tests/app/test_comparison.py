"""Before and after at the photo's own resolution: what is cut, and which parts are offered."""

from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from facekit.faces import Face
from facekit.images.formats import FORMATS
from facekit.images.photo import Photo, load_image
from facekit_demo.common.candidates import THUMBNAIL, candidates_of
from facekit_demo.common.comparison import CLOSE_SIDE, compare, cut, face_box, face_places, mask_place
from facekit_demo.common.running import PREVIEW_SIDE
from facekit_demo.common.saved_format import Download

SIZE = (4000, 3000)
# Eyes, nose and corners of the mouth of an upright face, centred between them, one pixel from eye to eye.
POINTS = np.array([[-0.5, -0.5], [0.5, -0.5], [0, 0], [-0.4, 0.5], [0.4, 0.5]])


def face(index: int, x: float, y: float, width: float) -> Face:
    points = POINTS * width + (x, y)
    box = (x - width, y - width, x + width, y + width)
    return Face(index=index, box=box, landmarks=points, score=1.0)


FACES = [face(0, 600, 900, 90), face(1, 2500, 1500, 200), face(2, 3980, 2950, 100)]


@pytest.fixture(scope="module")
def group() -> Photo:
    """Twelve megapixels of noise."""
    small = np.random.default_rng(0).integers(0, 256, (750, 1000, 3), dtype=np.uint8)
    return load_image(Image.fromarray(small.repeat(4, 0).repeat(4, 1)))


def retouched(photo: Photo, faces: list[Face]) -> Photo:
    pixels = photo.pixels.copy()
    for one in faces:
        left, top, right, bottom = face_box(one, photo.size)
        pixels[top:bottom, left:right] //= 2
    return replace(photo, pixels=pixels)


def test_faces_are_cut_out_pixel_for_pixel_and_nothing_larger_is_shown(group, tmp_path) -> None:
    after, files = retouched(group, FACES[:2]), (str(tmp_path / "before.png"), str(tmp_path / "after.png"))
    for photo, file in zip((group, after), files, strict=True):
        Image.fromarray(photo.pixels).save(file, compress_level=1)
    compared = compare(group, after, face_places(FACES, SIZE), files)
    assert [name for _, name in compared.row] == ["Face 1", "Face 2"]  # nothing changed at the third
    left, top, right, bottom = compared.places[1].box
    for shown, photo in zip(compared.close_up(1), (group, after), strict=True):
        assert shown.size == (right - left, bottom - top) and right - left > 600
        assert np.array_equal(np.asarray(shown), photo.pixels[top:bottom, left:right])
    everything = [*compared.shown, *compared.close_up(0), *(picture for picture, _ in compared.row)]
    assert max(max(picture.size) for picture in everything) <= PREVIEW_SIDE


def test_a_part_lies_inside_the_photo_is_square_and_bounded(group) -> None:
    for one in FACES:
        left, top, right, bottom = face_box(one, SIZE)
        assert 0 <= left < right <= SIZE[0] and 0 <= top < bottom <= SIZE[1]
        assert abs((right - left) - (bottom - top)) <= 1
    assert cut(group, (0, 0, 3000, 1500)).size == (CLOSE_SIDE, CLOSE_SIDE // 2)
    assert face_places(FACES[:1], SIZE)[0].name == "The face" and face_places([], SIZE) == []
    mask = Image.new("L", SIZE)
    mask.paste(255, (10, 500, 110, 540))
    assert mask_place(mask).box == (0, 436, 228, 604)


def test_a_version_is_shown_by_its_largest_face(group, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    after = retouched(group, FACES)
    source = tmp_path / "group.jpg"
    Image.new("RGB", (8, 8)).save(source)  # only its format is asked for
    with gr.Blocks():
        download = Download("restore")
    (one,) = candidates_of([after], group, str(source), FACES, "group-restored", download, None, [[]])
    assert max(one.thumbnail.size) == THUMBNAIL and one.thumbnail.width == one.thumbnail.height
    expected = cut(after, face_box(FACES[1], SIZE), THUMBNAIL)
    assert np.array_equal(np.asarray(one.thumbnail), np.asarray(expected))
    assert one.compared.after == one.saved.path and Path(one.saved.path).name == "group-restored.png"
    assert one.saved.own is FORMATS["jpeg"]
