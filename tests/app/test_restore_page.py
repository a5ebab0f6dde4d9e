"""The Restore tab in a real browser, against the real server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from facekit.faces import align_face, detect_faces
from tests.app.restore_page import RestorePage
from tests.app.visitor import PHONE, changed, photo_file

SIZE = 64  # pixels of the tiny pipeline's aligned faces


def head() -> np.ndarray:
    """[260, 260, 3]: the astronaut's head."""
    return np.ascontiguousarray(data.astronaut()[:260, 110:370])


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> Path:
    """Two heads side by side, and one that is too small to restore at the right edge."""
    photo = np.full((300, 640, 3), head()[5, 5], np.uint8)
    photo[20:280, 20:280] = head()
    photo[20:280, 300:560] = head()[:, ::-1]
    photo[100:178, 562:] = np.asarray(Image.fromarray(head()).resize((78, 78), Image.Resampling.LANCZOS))
    path = tmp_path_factory.mktemp("group") / "group.png"
    Image.fromarray(photo).save(path)
    return path


@pytest.fixture
def portrait(tmp_path) -> Path:
    path = tmp_path / "portrait.png"
    Image.fromarray(head()).save(path)
    return path


def region(photo: Path, number: int) -> np.ndarray:
    """bool [H, W]: the crop of one face, all that restoring may touch."""
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    aligned = align_face(pixels, detect_faces(pixels, faces=[number])[0], SIZE)
    inside = np.zeros(pixels.shape[:2], dtype=bool)
    left, top, right, bottom = aligned.box
    inside[top:bottom, left:right] = aligned.covers(aligned.box)
    return inside


def assert_restored_only(photo: Path, result: Image.Image, number: int) -> None:
    difference, inside = changed(Image.open(photo), result), region(photo, number)
    assert not difference[~inside].any()
    assert difference[inside].mean() > 0.5


def test_one_of_several_faces_is_restored_and_nothing_else(visit, group, tmp_path) -> None:
    visitor = visit(RestorePage)
    visitor.choose_photo(group)
    found = visitor.found()
    assert "3 faces" in found and "Face 3 is too small" in found
    assert visitor.ticked() == [True, True]
    visitor.tick(1, False)
    visitor.restore()
    result = visitor.result(tmp_path)
    assert Path(result.filename).name == "group-restored.png"
    assert_restored_only(group, result, 1)

    visitor.part("steps").locator("> button").click()
    pictures = visitor.part("steps").locator("img")
    pictures.nth(5).wait_for()
    assert pictures.count() == 6  # before, four denoising steps, after
    assert "likeness" in visitor.part("steps").inner_text()
    visitor.part("result").locator("img").first.wait_for()
    assert all("127.0.0.1" in url or url.startswith(("data:", "blob:")) for url in visitor.requests)


@pytest.mark.slow
def test_bad_files_and_a_photo_without_faces_get_a_message_and_the_page_goes_on(
    visit, portrait, tmp_path
) -> None:
    visitor = visit(RestorePage)
    visitor.choose_bad_files(tmp_path)
    visitor.choose_photo(photo_file(tmp_path, 300, 200))
    assert "No face was found" in visitor.found()
    assert not visitor.part("run").is_enabled()
    assert not visitor.part("download").is_visible() and not visitor.part("chosen").is_visible()

    visitor.part("photo").locator("button[aria-label=Clear]").click()
    visitor.part("run").wait_for(state="hidden")
    visitor.choose_photo(portrait)
    assert "One face" in visitor.found() and not visitor.part("chosen").is_visible()
    visitor.restore()
    assert_restored_only(portrait, visitor.result(tmp_path), 0)


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling_and_candidates_can_be_picked(visit, tmp_path) -> None:
    visitor = visit(RestorePage, **PHONE)
    visitor.choose_example()
    assert "One face" in visitor.found()
    visitor.candidates(2)
    visitor.restore()
    first = visitor.result(tmp_path)
    assert Path(first.filename).name == "damaged-portrait-restored-1.png"
    visitor.pick(2)
    second = visitor.result(tmp_path)
    assert Path(second.filename).name == "damaged-portrait-restored-2.png"
    assert first.size == second.size and changed(first, second).any()
    visitor.assert_fits_a_phone("photo", "faces", "run", "result", "variants", "download")


@pytest.mark.slow
def test_the_mean_of_two_is_the_models_choice_and_the_visitors(visit, portrait, tmp_path) -> None:
    visitor = visit(RestorePage)
    visitor.choose_photo(portrait)
    visitor.found()
    visitor.open("more", "average")
    assert not visitor.part("average").locator("input").is_checked(), "as the tiny model's configuration says"
    results = []
    for wanted in (False, True):
        visitor.average(wanted)
        visitor.restore()
        results.append(visitor.result(tmp_path).copy())
    assert changed(*results).any()
    assert_restored_only(portrait, results[1], 0)


@pytest.mark.slow
def test_damage_and_the_way_back(visit, portrait, tmp_path) -> None:
    visitor = visit(RestorePage)
    visitor.choose_photo(portrait)
    visitor.found()
    assert not visitor.part("back").is_visible()
    visitor.damage(0.4)
    assert "damaged copy. One face" in visitor.found()
    visitor.restore()
    damaged_result = visitor.result(tmp_path)
    assert Path(damaged_result.filename).name == "portrait-damaged-restored.png"
    assert changed(Image.open(portrait), damaged_result).mean() > 0.9  # the whole photo was damaged
    visitor.part("steps").locator("> button").click()
    pictures = visitor.part("steps").locator("img")
    pictures.nth(7).wait_for()
    assert pictures.count() == 8  # before, four steps, what the original's own codes show, after, original
    visitor.part("detector").locator("> button").click()
    visitor.part("detect").click()
    visitor.part("detector").get_by_text("Original: 1 face").first.wait_for()

    visitor.damage(1)
    visitor.part("download").wait_for(state="hidden")
    visitor.part("back").click()
    visitor.part("back").wait_for(state="hidden")
    visitor.restore()
    assert_restored_only(portrait, visitor.result(tmp_path), 0)


@pytest.mark.slow
def test_faces_are_chosen_by_tapping_them(visit, group, tmp_path) -> None:
    visitor = visit(RestorePage)
    visitor.choose_photo(group)
    visitor.found()
    for x, expected in ((0.7, [True, False]), (0.2, [False, False]), (0.93, [False, False])):
        visitor.tap(x, 0.46)
        visitor.page.wait_for_timeout(1000)
        assert visitor.ticked() == expected
    visitor.restore()
    assert "at least one face" in visitor.message()
    visitor.tap(0.2, 0.46)
    visitor.page.wait_for_timeout(1000)
    visitor.restore()
    assert_restored_only(group, visitor.result(tmp_path), 0)


@pytest.mark.slow
def test_a_picture_that_is_one_face_needs_no_detection(visit, tmp_path) -> None:
    visitor = visit(RestorePage)
    for width, height in ((200, 150), (160, 160)):
        visitor.choose_photo(photo_file(tmp_path, width, height, width))
        assert "No face was found" in visitor.found()
        visitor.part("whole").locator("input").check()
        visitor.restore()
        if width != height:
            assert "must be square" in visitor.message()
            visitor.part("photo").locator("button[aria-label=Clear]").click()
            visitor.part("run").wait_for(state="hidden")
    result = visitor.result(tmp_path)
    assert result.size == (160, 160)
    assert changed(Image.open(tmp_path / "photo-160.png"), result).mean() > 0.5


@pytest.mark.slow
def test_two_visitors_get_their_own_results(visit, group, portrait, tmp_path) -> None:
    visitors = [visit(RestorePage), visit(RestorePage)]
    for visitor, photo in zip(visitors, (group, portrait), strict=True):
        visitor.choose_photo(photo)
        visitor.found()
    visitors[0].tick(2, False)
    for visitor in visitors:
        visitor.restore()
    for visitor, photo in zip(visitors, (group, portrait), strict=True):
        assert_restored_only(photo, visitor.result(tmp_path), 0)
