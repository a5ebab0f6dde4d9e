"""The Exemplar tab in a real browser, against the real server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from facekit.faces import detect_faces
from facekit.pipelines.exemplar.occlusion import draw_occlusion_mask
from facekit_demo.common.gallery import EYES
from tests.app.exemplar_page import ExemplarPage
from tests.app.visitor import PHONE, changed, photo_file

FACE = (100, 0, 356, 256)  # left, top, right, bottom of the astronaut's head in her photo


def portrait(folder: Path) -> Path:
    """A photo with one face."""
    path = folder / "portrait.png"
    Image.fromarray(data.astronaut()).crop(FACE).save(path)
    return path


def test_hole_is_filled_after_the_chosen_face_and_nothing_else(visit, tmp_path) -> None:
    visitor = visit(ExemplarPage)
    visitor.choose_example_photo()
    assert visitor.row().count() == 12
    photo, hole = Image.fromarray(data.astronaut()), np.zeros((512, 512), bool)
    hole[EYES[1] : EYES[3] + 1, EYES[0] : EYES[2] + 1] = True

    first = visitor.next_result(tmp_path)
    difference = changed(photo, first)
    assert difference[hole].mean() > 0.8 and not difference[~hole].any()
    assert visitor.part("variants").locator("button.thumbnail-item").count() == 4
    visitor.choose_face(4)
    other = visitor.next_result(tmp_path)
    difference = changed(first, other)
    assert difference[hole].any() and not difference[~hole].any()

    visitor.open("mixing", "second")
    visitor.choose_face(9, "second")
    mixed = visitor.next_result(tmp_path)
    assert changed(other, mixed)[hole].any() and not changed(photo, mixed)[~hole].any()

    visitor.part("compare").click()
    mixes = visitor.part("mixes").locator("button.thumbnail-item")
    mixes.last.wait_for()
    assert mixes.count() == 11
    mixes.nth(7).click()
    share = visitor.part("share").locator("input[type=number]")
    visitor.page.wait_for_function("share => share.value === '0.7'", arg=share.element_handle())
    assert all("127.0.0.1" in url or url.startswith(("data:", "blob:")) for url in visitor.requests)


@pytest.mark.slow
def test_what_glasses_hide_is_recovered_after_an_own_picture(visit, tmp_path) -> None:
    visitor, photo = visit(ExemplarPage), portrait(tmp_path)
    own = tmp_path / "other-day.png"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(own)
    visitor.choose_photo(photo)
    visitor.wait_for_editor(256, 256)
    visitor.upload_face(own)
    visitor.page.wait_for_function(
        "document.querySelectorAll('#exemplar-faces button.thumbnail-item').length === 13"
    )
    visitor.recover("glasses")
    visitor.variations(1)

    # Lines: one inside the proposed mask, and one outside.
    visitor.open("drawing", "pencil")
    visitor.wait_for_editor(256, 256, "pencil")
    visitor.paint((-30, -20), (30, -20), "pencil")
    visitor.paint((-60, 90), (60, 90), "pencil")
    difference = changed(Image.open(photo), visitor.next_result(tmp_path))
    pixels = np.asarray(Image.open(photo))
    proposed = draw_occlusion_mask("glasses", detect_faces(pixels)[0], (256, 256))
    assert difference[proposed].mean() > 0.9 and not difference[~proposed].any()
    assert "of the lines lie outside" in visitor.part("notes").inner_text()


@pytest.mark.slow
def test_wrong_input_gets_a_message_and_the_page_goes_on(visit, tmp_path) -> None:
    visitor, photo = visit(ExemplarPage), portrait(tmp_path)
    visitor.choose_photo(photo)
    visitor.wait_for_editor(256, 256)
    visitor.fill()
    assert "Paint over the part" in visitor.message()
    visitor.page.set_viewport_size(
        {"width": 1280, "height": 1400}
    )  # the button lies below the canvas, not over it
    visitor.paint((-10, 190), (10, 190))
    visitor.fill()
    assert "Choose a face as the example" in visitor.message()
    visitor.upload_face(photo_file(tmp_path, 200, 200))
    assert "photo-0.png shows no face" in visitor.message()

    several = Image.new("RGB", (512, 256))
    for left in (0, 256):
        several.paste(Image.open(photo), (left, 0))
    several.save(tmp_path / "friends.png")
    visitor.upload_face(tmp_path / "friends.png")
    assert "friends.png shows 2 faces" in visitor.message()
    assert visitor.row().count() == 14
    visitor.choose_face(2)
    visitor.variations(1)
    visitor.fill()
    assert "Paint over a part of the face" in visitor.message()
    visitor.paint((-20, -20), (20, -20))
    assert changed(Image.open(photo), visitor.next_result(tmp_path)).any()


@pytest.mark.slow
def test_a_photo_without_a_face(visit, tmp_path) -> None:
    visitor = visit(ExemplarPage)
    visitor.choose_bad_files(tmp_path)
    visitor.choose_photo(photo_file(tmp_path, 200, 200))
    visitor.wait_for_editor(200, 200)
    visitor.part("lower_face").click()
    assert "No face was found" in visitor.message()
    visitor.paint((-20, 0), (20, 0))
    visitor.choose_face(1)
    assert not visitor.part("run").is_enabled()


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling(visit) -> None:
    visitor = visit(ExemplarPage, **PHONE)
    visitor.choose_example_photo()
    visitor.row()
    visitor.assert_fits_a_phone("photo", "editor", "glasses", "faces", "own", "run")
