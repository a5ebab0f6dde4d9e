"""A photo without a face: every tab says so at once, beside it, and its button works where something can be done."""

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from tests.app.edit_page import EditPage
from tests.app.exemplar_page import ExemplarPage
from tests.app.inpaint_page import InpaintPage
from tests.app.mend_page import MendPage
from tests.app.restore_page import RestorePage
from tests.app.visitor import photo_file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "works"),
    [(RestorePage, False), (MendPage, True), (InpaintPage, True), (ExemplarPage, False), (EditPage, False)],
)
def test_it_is_said_beside_the_photo_and_the_button_is_off_where_a_face_is_needed(
    visit, tmp_path: Path, kind, works: bool
) -> None:
    visitor, errors = visit(kind), []
    visitor.page.on("pageerror", lambda error: errors.append(str(error)))
    run = visitor.page.locator(f"#{visitor.task}-run")
    visitor.choose_photo(photo_file(tmp_path, 300, 200))
    found = visitor.part("found").get_by_text("No face was found")
    found.wait_for()
    visitor.page.wait_for_timeout(2000)
    assert visitor.part("photo").get_by_text("photo-0").is_visible() and found.is_visible()
    assert run.is_enabled() == works and visitor.part("expected").is_visible() == works
    assert not visitor.page.locator(".toast-body").count() and not errors

    portrait = tmp_path / "portrait.png"
    Image.fromarray(data.astronaut()[:256, 100:356]).save(portrait)
    visitor.part("photo").locator("button[aria-label=Clear]").click()
    run.wait_for(state="hidden")
    visitor.choose_photo(portrait)
    visitor.page.locator(f"#{visitor.task}-run:enabled").wait_for()
    visitor.part("expected").get_by_text("Takes about").wait_for()
    visitor.page.wait_for_timeout(2000)
    assert not found.count() and run.is_enabled() and not errors
