"""What a visitor does on the Inpaint tab."""

from pathlib import Path

from tests.app.visitor import Visitor


class InpaintPage(Visitor):
    """One visitor's page, open at Inpaint."""

    task, tab = "inpaint", "Inpaint"

    def remove_photo(self) -> None:
        self.page.locator("#inpaint-photo button[aria-label=Clear]").click()
        self.page.wait_for_selector("#inpaint-editor", state="hidden")

    def choose_example(self) -> None:
        self.page.locator("#inpaint-examples button").first.click()
        self.page.wait_for_selector("#inpaint-editor")

    def choose_mask(self, path: Path) -> None:
        more = self.page.locator("#inpaint-more > button")
        if not self.page.locator("#inpaint-mask").is_visible():
            more.click()
        # As a visitor does: not before its place is seen.
        self.page.locator("#inpaint-mask").wait_for()
        self.page.locator("#inpaint-mask input[type=file]").set_input_files(path)

    def fill(self) -> None:
        self.page.locator("#inpaint-run").click()
