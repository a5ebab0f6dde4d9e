"""A photo that was chosen in one tab, or a result that was gone on with, is there in the others."""

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from facekit_demo.common.carrying import Carried
from tests.app.edit_page import EditPage
from tests.app.inpaint_page import InpaintPage
from tests.app.mend_page import MendPage
from tests.app.restore_page import RestorePage


@pytest.mark.slow
def test_a_photo_goes_along_to_empty_tabs(visit, tmp_path: Path) -> None:
    visitor, portrait = visit(RestorePage), tmp_path / "portrait.png"
    Image.fromarray(data.astronaut()[:256, 100:356]).save(portrait)
    page = visitor.page

    def open_tab(name: str) -> None:
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(1500)

    visitor.choose_photo(portrait)
    page.wait_for_selector("#restore-run")
    for name in ("Inpaint", "Exemplar", "Edit"):
        page.get_by_role("tab", name=name).click()
        page.locator(f"#{name.lower()}-photo").get_by_text(portrait.stem).wait_for()
        page.wait_for_selector(f"#{name.lower()}-editor canvas")
    page.wait_for_selector("#exemplar-faces", state="attached")

    # What was taken away does not come back, nor to a tab that has a photo of its own.
    open_tab("Inpaint")
    page.locator("#inpaint-photo button[aria-label=Clear]").click()
    page.wait_for_selector("#inpaint-editor", state="hidden")
    open_tab("Restore")
    open_tab("Inpaint")
    assert not page.locator("#inpaint-editor").is_visible()
    other = tmp_path / "another.png"
    other.write_bytes(portrait.read_bytes())
    page.locator("#inpaint-photo input[type=file]").set_input_files(other)
    page.wait_for_selector("#inpaint-editor canvas")
    open_tab("Restore")
    assert page.locator("#restore-photo").get_by_text(portrait.stem).count()


def test_an_example_stays_in_its_tab(visit) -> None:
    visitor = visit(InpaintPage)
    visitor.choose_example()
    visitor.page.get_by_role("tab", name="Restore").click()
    visitor.page.wait_for_timeout(2000)
    assert not visitor.page.locator("#restore-run").is_visible()


@pytest.mark.slow
def test_a_result_that_was_gone_on_with_takes_the_place_of_what_it_was_made_of(visit, tmp_path: Path) -> None:
    visitor, portrait = visit(MendPage), tmp_path / "portrait.png"
    photo = data.astronaut()[:256, 100:356] * 0.7
    photo[20:24, 20:80] = 255
    Image.fromarray(photo.astype("uint8")).save(portrait)
    page = visitor.page

    def is_in(tab: str, task: str, name: str) -> None:
        page.get_by_role("tab", name=tab).click()
        page.locator(f"#{task}-photo").get_by_text(name, exact=True).wait_for()
        page.wait_for_selector(f"#{task}-run:enabled")

    def go_on(task: str, name: str) -> None:
        page.locator(f"#{task}-run").click()
        page.locator(f"#{task}-again").click()
        page.locator(f"#{task}-photo").get_by_text(name, exact=True).wait_for()
        page.locator(f"#{task}-again").wait_for(state="hidden")

    visitor.choose_photo(portrait)
    visitor.wait_for_editor(256, 256)
    visitor.tick("Make the faces sharp", False)  # by a network of random numbers
    is_in("Restore", "restore", "portrait")  # the photo itself is there
    is_in("Old photo", "mend", "portrait")
    go_on("mend", "portrait-mended")
    is_in("Restore", "restore", "portrait-mended")
    is_in("Inpaint", "inpaint", "portrait-mended")  # an empty tab
    is_in("Restore", "restore", "portrait-mended")
    go_on("restore", "portrait-mended-restored")
    is_in("Inpaint", "inpaint", "portrait-mended-restored")
    is_in("Old photo", "mend", "portrait-mended-restored")


@pytest.mark.slow
def test_what_was_painted_in_another_tab_is_not_replaced_by_a_result(visit, tmp_path: Path) -> None:
    visitor, portrait = visit(InpaintPage), tmp_path / "portrait.png"
    Image.fromarray(data.astronaut()[:256, 100:356]).save(portrait)
    visitor.choose_photo(portrait)
    visitor.wait_for_editor(256, 256)
    visitor.paint((0.3, 0.3), (0.6, 0.4))
    painted = visitor.strokes()
    page = visitor.page
    page.get_by_role("tab", name="Restore").click()
    page.locator("#restore-run:enabled").click()
    page.locator("#restore-again").click()
    page.locator("#restore-photo").get_by_text("portrait-restored").wait_for()
    page.get_by_role("tab", name="Inpaint").click()
    page.wait_for_timeout(2000)
    assert page.locator("#inpaint-photo").get_by_text("portrait", exact=True).count()
    assert painted.any() and (visitor.strokes() == painted).all()


@pytest.mark.slow
def test_an_edit_is_gone_on_with_in_the_other_tabs(visit, tmp_path: Path) -> None:
    visitor = visit(EditPage)
    visitor.choose_example_photo()
    visitor.edited(tmp_path)
    visitor.part("again").click()
    visitor.part("photo").get_by_text("astronaut-eyes-edited").wait_for()
    visitor.part("history").wait_for(state="hidden")
    visitor.page.get_by_role("tab", name="Restore").click()
    visitor.page.locator("#restore-photo").get_by_text("astronaut-eyes-edited").wait_for()


def test_a_photo_of_ones_own_gives_way_to_what_was_made_of_it_alone(tmp_path: Path) -> None:
    own, copy, other = (tmp_path / folder / "photo.png" for folder in ("own", "copy", "other"))
    for path, content in ((own, b"one"), (copy, b"one"), (other, b"two")):
        path.parent.mkdir()
        path.write_bytes(content)
    result = Carried("photo-mended.png", ("earlier.png", str(own)))
    assert result.is_wanted_for(None) and result.is_wanted_for(str(own)) and result.is_wanted_for(str(copy))
    assert not result.is_wanted_for(str(other)), "only the name is the same"
    assert not Carried(str(own)).is_wanted_for(str(other))
    own.unlink()
    assert not result.is_wanted_for(str(copy)), "nobody knows any more"
