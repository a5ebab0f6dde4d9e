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

    def wait_for_editor(self, width: int, height: int) -> float:
        """Wait until the photo is on the canvas; gives its zoom."""
        self.page.locator("#inpaint-editor canvas").first.wait_for(state="visible")
        self.page.wait_for_function(
            """() => { const zoom = document.querySelector('#inpaint-editor .zoom-number span');
                       const seen = window.lastZoom; window.lastZoom = zoom && zoom.innerText;
                       return zoom && zoom.innerText !== '100%' && seen === zoom.innerText; }""",
            polling=700,
        )
        return float(self.page.locator("#inpaint-editor .zoom-number span").inner_text().rstrip("%")) / 100

    def paint(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the brush between two points, in screen pixels from the canvas's centre."""
        canvas = self.page.locator("#inpaint-editor canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x + start[0], y + start[1])
        self.page.mouse.down()
        self.page.mouse.move(x + end[0], y + end[1], steps=8)
        self.page.mouse.up()
        self.page.locator("#inpaint-editor button[aria-label=Undo]:not([disabled])").wait_for()

    def choose_mask(self, path: Path) -> None:
        more = self.page.locator("#inpaint-more > button")
        if not self.page.locator("#inpaint-mask").is_visible():
            more.click()
        self.page.locator("#inpaint-mask input[type=file]").set_input_files(path)

    def anything_else(self) -> None:
        self.page.get_by_label("Anything else").check()

    def fill(self) -> None:
        self.page.locator("#inpaint-run").click()
