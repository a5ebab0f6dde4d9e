"""The Edit tab in a real browser, against the real server."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from facekit_demo.common.gallery import EYES
from tests.app.edit_page import EditPage
from tests.app.visitor import PHONE, changed


@pytest.mark.slow
def test_edits_after_edits_change_their_masks_alone(visit, tmp_path) -> None:
    visitor = visit(EditPage)
    visitor.choose_example_photo()
    photo, eyes = Image.fromarray(data.astronaut()), np.zeros((512, 512), bool)
    eyes[EYES[1] : EYES[3] + 1, EYES[0] : EYES[2] + 1] = True

    visitor.open_canvas("drawing", "sketch")
    visitor.paint((-40, -90), (30, -90), "sketch")
    first = visitor.edited(tmp_path)
    difference = changed(photo, first)
    assert difference[eyes].mean() > 0.8 and not difference[~eyes].any()
    visitor.act("undo")
    assert not visitor.part("download").is_visible()

    # The mask stays; one more stroke makes it larger.
    visitor.wait_for_editor(512, 512)
    visitor.paint((-40, -70), (0, -70))
    second = visitor.edited(tmp_path)
    assert not visitor.part("notes").get_by_text("Nothing says what should be there").count()
    difference = changed(photo, second)
    assert difference[eyes].mean() > 0.8 and changed(first, second)[eyes | difference].any()
    assert not difference[260:].any() and not difference[:, 330:].any()
    visitor.act("undo")
    visitor.act("redo")
    assert not changed(second, visitor.result(tmp_path)).any()
    assert all("127.0.0.1" in url or url.startswith(("data:", "blob:")) for url in visitor.requests)


@pytest.mark.slow
def test_parts_start_from_the_parser_and_wrong_input_gets_a_message(visit, tmp_path) -> None:
    visitor = visit(EditPage)
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()).save(path)
    visitor.choose_photo(path)
    visitor.wait_for_editor(512, 512)
    visitor.part("run").click()
    assert "Paint over the part" in visitor.message()
    visitor.paint((-20, -100), (20, -100))
    visitor.open_canvas("parts", "semantics")
    visitor.start_parts()
    visitor.act("run")
    difference = changed(Image.open(path), visitor.result(tmp_path))
    assert difference.any() and not difference[260:].any()


def test_one_panel_of_the_board_is_open_and_the_button_in_reach(visit) -> None:
    visitor = visit(EditPage)
    visitor.choose_example_photo()
    assert visitor.is_on_screen("run")
    before = visitor.places_of_heads()
    visitor.open_canvas("drawing", "sketch")
    assert visitor.places_of_heads() == before and len(before) > 8
    visitor.part("editor").wait_for(state="hidden")
    assert visitor.is_on_screen("run")
    assert visitor.page.evaluate("document.documentElement.scrollHeight") < 1800
    # The mask is read while its canvas is out of sight.
    visitor.page.wait_for_function("facekitCanvas.strokesOn('edit-editor').strokes !== ''", polling=500)
    visitor.part("drawing").locator("> button").click()
    visitor.part("editor").wait_for()


@pytest.mark.slow
def test_a_photo_is_not_taken_away_because_the_one_before_has_no_face(visit, tmp_path) -> None:
    visitor = visit(EditPage)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000, 3000)).save(tmp_path / "noise.jpg", quality=60)
    Image.fromarray(data.astronaut()).save(tmp_path / "portrait.png")
    visitor.choose_photo(tmp_path / "noise.jpg")
    visitor.part("masking").wait_for()  # the canvas is there, faces are still sought
    visitor.part("photo").locator("button[aria-label=Clear]").click()
    visitor.choose_photo(tmp_path / "portrait.png")
    visitor.part("photo").get_by_text("portrait").wait_for()
    visitor.wait_for_editor(512, 512)
    visitor.page.wait_for_timeout(6000)
    assert visitor.part("photo").get_by_text("portrait").is_visible()
    visitor.paint((-20, -100), (20, -100))
    assert visitor.edited(tmp_path).size == (512, 512)


@pytest.mark.slow
def test_a_mask_alone_is_said_to_give_a_draft(visit, tmp_path) -> None:
    visitor = visit(EditPage)
    visitor.choose_example_photo()
    assert visitor.part("masking").get_by_text("With the mask alone").is_visible()
    visitor.edited(tmp_path)
    visitor.part("notes").get_by_text("Nothing says what should be there").wait_for()


@pytest.mark.slow
def test_a_candidate_is_picked(visit, tmp_path) -> None:
    visitor = visit(EditPage)
    visitor.choose_example_photo()
    eyes = np.zeros((512, 512), bool)
    eyes[EYES[1] : EYES[3] + 1, EYES[0] : EYES[2] + 1] = True
    visitor.open("chance", "count")
    visitor.set_number("count", 2)
    first = visitor.edited(tmp_path)
    first.load()  # the next download has the same name
    assert visitor.part("variants").locator("button.thumbnail-item").count() == 2
    visitor.pick(2)
    visitor.page.wait_for_timeout(500)
    second = changed(first, visitor.result(tmp_path))
    assert second[eyes].any() and not second[~eyes].any()


@pytest.mark.slow
def test_an_object_is_put_in_and_its_rim_edited(visit, tmp_path) -> None:
    visitor = visit(EditPage)
    visitor.choose_example_photo()
    visitor.part("run").wait_for()
    photo = Image.fromarray(data.astronaut())
    hat = np.zeros((60, 100, 4), np.uint8)
    hat[10:50, 10:90] = (20, 60, 160, 255)
    Image.fromarray(hat).save(tmp_path / "a-hat.png")
    visitor.choose_object(tmp_path / "a-hat.png")
    visitor.act("paste")
    pasted = visitor.result(tmp_path)
    difference = changed(photo, pasted)
    rows, columns = np.flatnonzero(difference.any(1)), np.flatnonzero(difference.any(0))
    # 40% of 512 pixels wide, its middle in the middle and at a quarter of the height
    assert (columns[0], columns[-1]) == (256 - 102, 256 + 102) and (rows[0], rows[-1]) == (128 - 51, 128 + 50)
    visitor.wait_for_editor(512, 512)
    edited = visitor.edited(tmp_path)
    rim = changed(pasted, edited)
    assert rim.any() and not rim[128 - 30 : 128 + 30, 256 - 70 : 256 + 70].any()
    visitor.go_to(0)
    visitor.part("download").wait_for(state="hidden")
    # A photo that is no cut-out must be painted on.
    photo.crop((0, 0, 200, 200)).save(tmp_path / "photo-of-a-hat.png")
    visitor.open("pasting", "object")
    visitor.part("object").locator(
        "button[aria-label='Clear'], button[title='Clear'], button.label-clear-button"
    ).first.click()
    visitor.choose_object(tmp_path / "photo-of-a-hat.png")
    visitor.wait_for_editor(200, 200, "object-canvas")
    visitor.part("paste").click()
    assert "Paint over the object" in visitor.message()


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling(visit) -> None:
    visitor = visit(EditPage, **PHONE)
    visitor.choose_example_photo()
    visitor.assert_fits_a_phone("photo", "editor", "clear", "run", "open")
