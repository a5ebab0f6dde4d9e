"""The Inpaint tab in a real browser, against the real server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.provenance import inspect
from facekit_demo.common.gallery import inpaint_examples
from tests.app.inpaint_page import InpaintPage
from tests.app.visitor import PHONE, changed, photo_file


def test_painted_hole_is_filled_and_nothing_else(visit, tmp_path) -> None:
    visitor = visit(InpaintPage)
    photo = tmp_path / "photo.jpg"
    Image.open(photo_file(tmp_path, 400, 300)).save(photo, quality=95)
    visitor.choose_photo(photo)
    zoom = visitor.wait_for_editor(400, 300)
    visitor.paint((-60, 0), (60, 0))
    visitor.fill()
    same = visitor.result(tmp_path)
    assert Path(same.filename).name == "photo-filled.jpg" and same.format == "JPEG"
    assert inspect(same.filename).metadata is not None, "another format says as well that a model worked"
    visitor.part("format").get_by_label("PNG").check()
    filled = visitor.result(tmp_path)
    assert Path(filled.filename).name == "photo-filled.png"
    difference = changed(Image.open(photo), filled)
    assert "not on a face" in visitor.part("notes").inner_text()

    rows, columns = np.nonzero(difference)
    stroke = 120 / zoom
    brush = 60 / zoom  # an upper limit of its width
    assert columns.min() < 200 - stroke / 4 and columns.max() > 200 + stroke / 4
    assert columns.min() >= 200 - stroke / 2 - brush and columns.max() <= 200 + stroke / 2 + brush
    assert rows.min() >= 150 - brush and rows.max() <= 150 + brush
    assert all("127.0.0.1" in url or url.startswith(("data:", "blob:")) for url in visitor.requests)


@pytest.mark.slow
def test_mask_file_then_a_second_photo(visit, tmp_path) -> None:
    visitor = visit(InpaintPage)
    photo, mask = photo_file(tmp_path, 320, 240, 1), np.zeros((240, 320), np.uint8)
    mask[100:150, 40:120] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.new("L", (100, 300), 255).save(tmp_path / "other-shape.png")

    visitor.choose_photo(photo)
    visitor.wait_for_editor(320, 240)
    visitor.choose_mask(tmp_path / "other-shape.png")
    assert "100x300" in visitor.message()
    visitor.choose_mask(tmp_path / "mask.png")
    visitor.page.wait_for_timeout(1500)
    visitor.fill()
    difference = changed(Image.open(photo), visitor.result(tmp_path))
    assert difference.any() and not difference[mask == 0].any()
    assert difference[mask > 0].mean() > 0.9

    second = photo_file(tmp_path, 260, 390, 2)
    visitor.remove_photo()
    visitor.choose_photo(second)
    visitor.wait_for_editor(260, 390)
    visitor.paint((0, -40), (0, 40))
    visitor.fill()
    result = visitor.result(tmp_path)
    assert Path(result.filename).name == "photo-2-filled.png"
    assert 0 < changed(Image.open(second), result).mean() < 0.4


@pytest.mark.slow
def test_a_button_pressed_early_waits_for_the_photo(visit, tmp_path) -> None:
    visitor = visit(InpaintPage)
    visitor.choose_photo(photo_file(tmp_path, 320, 240, 1))
    visitor.wait_for_editor(320, 240)
    visitor.part("examples").locator("button").first.click()
    visitor.page.wait_for_timeout(500)  # as quick as people are
    visitor.page.evaluate("document.querySelector('#inpaint-run').click()")
    (example,) = inpaint_examples()
    hole, result = np.asarray(Image.open(example.mask)) > 0, visitor.result(tmp_path)
    difference = changed(Image.open(example.photo), result)
    assert Path(result.filename).stem == f"{example.photo.stem}-filled"
    assert difference[hole].mean() > 0.9 and not difference[~hole].any()


@pytest.mark.slow
def test_after_a_wrong_mask_file_no_photo_is_waited_for(visit, tmp_path) -> None:
    visitor = visit(InpaintPage)
    visitor.choose_photo(photo_file(tmp_path, 320, 240, 1))
    visitor.wait_for_editor(320, 240)
    Image.new("L", (100, 300), 255).save(tmp_path / "other-shape.png")
    visitor.choose_mask(tmp_path / "other-shape.png")
    assert "100x300" in visitor.message()
    settled = "facekitCanvas.settle(['inpaint-editor']).then(() => performance.now())"
    before = visitor.page.evaluate("performance.now()")
    assert visitor.page.evaluate(settled) - before < 10_000, "half of what it waits at most"


@pytest.mark.slow
def test_example_face_and_its_steps(visit, tmp_path) -> None:
    visitor = visit(InpaintPage)
    visitor.choose_example()
    visitor.wait_for_editor(640, 720)
    visitor.fill()
    (example,) = inpaint_examples()
    hole = np.asarray(Image.open(example.mask)) > 0
    difference = changed(Image.open(example.photo), visitor.result(tmp_path))
    assert difference[hole].mean() > 0.9 and not difference[~hole].any()
    visitor.page.locator("#inpaint-steps > button").click()
    pictures = visitor.page.locator("#inpaint-steps img")
    pictures.nth(5).wait_for()
    assert pictures.count() == 6  # three steps, each with its heat map
    visitor.page.locator("#inpaint-result img").first.wait_for()


@pytest.mark.slow
def test_bad_files_get_a_message_and_the_page_goes_on(visit, tmp_path) -> None:
    visitor = visit(InpaintPage)
    visitor.choose_bad_files(tmp_path)

    frames = [Image.new("RGB", (64, 64), (level, 0, 0)) for level in (0, 90)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    visitor.choose_photo(tmp_path / "moving.gif")
    assert "animated" in visitor.message()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    visitor.choose_photo(tmp_path / "dot.png")
    assert "1x1" in visitor.message()
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    visitor.choose_photo(tmp_path / "bomb.png")
    assert "400,000,000" in visitor.message()

    visitor.choose_photo(photo_file(tmp_path, 200, 200, 3))
    visitor.wait_for_editor(200, 200)
    visitor.fill()
    assert "Paint over the part" in visitor.message()
    visitor.paint((-20, 0), (20, 0))
    visitor.fill()
    assert visitor.result(tmp_path).size == (200, 200)


@pytest.mark.slow
def test_two_visitors_get_their_own_results(visit, tmp_path) -> None:
    visitors, photos = [], [photo_file(tmp_path, 300, 200, 4), photo_file(tmp_path, 240, 240, 5)]
    for photo in photos:
        visitor = visit(InpaintPage)
        visitor.choose_photo(photo)
        visitor.wait_for_editor(*Image.open(photo).size)
        visitor.paint((-30, -10), (30, 10))
        visitors.append(visitor)
    for visitor in visitors:
        visitor.fill()
    for visitor, photo in zip(visitors, photos, strict=True):
        result = visitor.result(tmp_path)
        assert Path(result.filename).name == f"{photo.stem}-filled.png"
        assert 0 < changed(Image.open(photo), result).mean() < 0.4


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling(visit, tmp_path) -> None:
    visitor = visit(InpaintPage, **PHONE)
    visitor.choose_example()
    visitor.wait_for_editor(640, 720)
    visitor.fill()
    visitor.result(tmp_path)
    visitor.assert_fits_a_phone("photo", "editor", "result", "run", "download")
