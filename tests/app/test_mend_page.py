"""The Old photo tab in a real browser, against the real server."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from skimage.data import astronaut

from tests.app.mend_page import MendPage
from tests.app.visitor import PHONE, changed, photo_file

FILL, FACES = "Fill the damage", "Make the faces sharp"


@pytest.fixture
def scratched(tmp_path: Path) -> Path:
    """A dark portrait with a bright line beside the face."""
    photo = (astronaut()[0:256, 100:356] * 0.7).astype(np.uint8)
    cv2.line(photo, (5, 250), (60, 20), (255, 255, 250), 4)
    path = tmp_path / "scratched.png"
    Image.fromarray(photo).save(path)
    return path


def test_one_button_does_all_and_each_step_can_be_undone(visit, tmp_path: Path, scratched: Path) -> None:
    visitor = visit(MendPage)
    visitor.choose_photo(scratched)
    visitor.wait_for_editor(256, 256)
    visitor.mend()
    result = visitor.result(tmp_path)
    assert Path(result.filename).name == "scratched-mended.png"
    whole = changed(Image.open(scratched), result)
    line = (np.asarray(Image.open(scratched)) == (255, 255, 250)).all(-1)
    assert whole[line].mean() > 0.8
    visitor.part("steps").locator("> button").click()
    visitor.part("steps").get_by_text("Faces made sharp").first.wait_for()
    assert visitor.part("steps").get_by_text("Damage filled").count()
    assert not visitor.part("steps").get_by_text("Contrast brought back").count()
    assert re.search(r"\d% of the photo was filled", visitor.part("notes").inner_text())

    visitor.tick(FACES, False)
    visitor.mend()
    visitor.part("steps").get_by_text("Faces made sharp").first.wait_for(state="detached")
    filled = changed(Image.open(scratched), visitor.result(tmp_path))
    assert filled[line].mean() > 0.8 and filled.mean() < whole.mean()


@pytest.mark.slow
def test_damage_is_shown_before_and_painted_on(visit, tmp_path: Path, scratched: Path) -> None:
    visitor = visit(MendPage)
    visitor.choose_photo(scratched)
    visitor.wait_for_editor(256, 256)
    visitor.part("find").click()
    visitor.page.wait_for_function("facekitCanvas.strokesOn('mend-editor').strokes !== ''", polling=500)
    visitor.part("looked").get_by_text("of the photo looks damaged").wait_for()
    visitor.tick(FACES, False)
    visitor.paint((60, 60), (100, 60))
    visitor.mend()
    filled = changed(Image.open(scratched), visitor.result(tmp_path))
    line = (np.asarray(Image.open(scratched)) == (255, 255, 250)).all(-1)
    assert filled[line].mean() > 0.8
    columns = np.nonzero(filled[:, 128:].any(0))[0]
    assert len(columns) > 10  # what was painted beside it


@pytest.mark.slow
def test_a_photo_in_order_comes_back_with_remarks(visit, tmp_path: Path) -> None:
    visitor, photo = visit(MendPage), photo_file(tmp_path, 300, 200, 6)
    visitor.choose_photo(photo)
    visitor.wait_for_editor(300, 200)
    visitor.part("find").click()
    visitor.part("looked").get_by_text("No damage was found").wait_for()
    visitor.mend()
    visitor.part("notes").get_by_text("No damage was found").wait_for()
    assert "no face was found" in visitor.part("notes").inner_text().lower()
    assert not changed(Image.open(photo), visitor.result(tmp_path)).any()
    visitor.tick(FACES, False)
    visitor.tick(FILL, False)
    visitor.mend()
    assert "Tick what is to be done" in visitor.message()


@pytest.mark.slow
def test_both_sides_of_a_wide_part_are_shown_whole(visit, tmp_path: Path) -> None:
    photo = np.full((200, 600, 3), 90, np.uint8)
    cv2.line(photo, (20, 100), (580, 110), (255, 255, 250), 4)
    Image.fromarray(photo).save(tmp_path / "wide.png")
    visitor = visit(MendPage)
    visitor.choose_photo(tmp_path / "wide.png")
    visitor.wait_for_editor(600, 200)
    visitor.mend()
    pair = visitor.part("close-ups").locator("img")
    pair.wait_for()
    assert pair.evaluate("pair => getComputedStyle(pair).objectFit") == "contain"
    width, height = pair.evaluate("pair => [pair.naturalWidth, pair.naturalHeight]")
    assert width > 4 * height


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling(visit, tmp_path: Path) -> None:
    visitor = visit(MendPage, **PHONE)
    visitor.choose_example()
    visitor.wait_for_editor(640, 720)
    visitor.mend()
    visitor.result(tmp_path)
    visitor.assert_fits_a_phone("photo", "editor", "result", "run", "download")


def test_a_program_gets_the_photo_and_the_mask(client: Client, tmp_path: Path, scratched: Path) -> None:
    mended, mask, notes = client.predict(handle_file(scratched), restore_faces=False, api_name="/mend")
    found = np.asarray(Image.open(mask)) > 0
    difference = changed(Image.open(scratched), Image.open(mended))
    assert found.any() and difference.any() and not difference[~found].any() and notes == ""
    all_but_a_line = np.full((256, 256), 255, np.uint8)
    all_but_a_line[:40] = 0
    Image.fromarray(all_but_a_line).save(tmp_path / "most.png")
    with pytest.raises(Exception, match="% of the photo would be filled, which is too much"):
        client.predict(handle_file(scratched), handle_file(tmp_path / "most.png"), api_name="/mend")
