"""A photo that was chosen in one tab is there in the others."""

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from tests.app.inpaint_page import InpaintPage
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
