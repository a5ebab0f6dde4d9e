"""What a first visitor sees, with the eyes and with a screen reader."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from facekit.methods import methods
from tests.app.edit_page import EditPage
from tests.app.exemplar_page import ExemplarPage
from tests.app.inpaint_page import InpaintPage
from tests.app.mend_page import MendPage
from tests.app.restore_page import RestorePage
from tests.app.visitor import Visitor


def test_an_example_is_one_click_away_and_makes_room_for_the_work(visit) -> None:
    visitor = visit(RestorePage)
    page, inpaint = visitor.page, "#inpaint-run"
    assert visitor.part("sample").get_by_role("img").get_attribute("alt")
    for method in methods():
        page.get_by_role("tab", name=method.title).click()
        page.get_by_text(method.summary).wait_for()
        page.locator(f"#{method.name}-about").wait_for()
        if method.name == visitor.task:
            visitor.part("about").locator("> button").click()
            visitor.part("about").get_by_text(method.paper).wait_for()
    page.get_by_role("button", name="A scratched photo, painted and filled").click()
    page.wait_for_selector(inpaint)
    assert page.get_by_role("tab", name="Inpaint").get_attribute("aria-selected") == "true"
    assert page.locator("#inpaint-photo").get_by_text("scratched-portrait").count()
    page.locator(".first-look").wait_for(state="hidden")
    assert page.locator("#inpaint-sample").is_visible()
    page.locator(inpaint).click()
    page.locator("#inpaint-download").wait_for()
    page.locator("#inpaint-sample").wait_for(state="hidden")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RestorePage, InpaintPage, ExemplarPage, EditPage, MendPage])
def test_axe_finds_nothing_serious(visit, kind) -> None:
    visitor: Visitor = visit(kind)
    page, found = visitor.page, []
    # Colours that are on their way to others would be measured in between.
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    visitor.part("examples").locator("button[aria-label]").first.wait_for()

    def look(state: str) -> None:
        for dark in (False, True):
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
            page.wait_for_timeout(300)
            for violation in Axe().run(page).response["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    nodes = [node["html"][:200] for node in violation["nodes"]]
                    found.append((state, "dark" if dark else "light", violation["id"], nodes))

    look("before a photo")
    visitor.part("examples").locator("button").first.click()
    visitor.part("expected").get_by_text("Takes about").wait_for()
    visitor.part("run").wait_for()
    look("with a photo")
    assert not found
