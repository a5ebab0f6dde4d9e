"""What a visitor does on the Inpaint tab."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WAIT = 120_000  # milliseconds; a busy machine draws the painting canvas slowly
# Drawn in software, a canvas of 60 frames a second would starve the server under test.
SLOW_FRAMES = """
const draw = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = callback => setTimeout(() => draw(callback), 100);
"""


class InpaintPage:
    """One visitor's page, already open."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
        self.context.set_default_timeout(WAIT)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(SLOW_FRAMES)
        self.page.goto(url)
        self.page.wait_for_selector("#inpaint-photo input[type=file]", state="attached")

    def close(self) -> None:
        self.context.close()

    def choose_photo(self, path: Path) -> None:
        self.page.locator("#inpaint-photo input[type=file]").set_input_files(path)

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

    def result(self, folder: Path) -> Image.Image:
        """Wait for the result and download it."""
        with self.page.expect_download() as download:
            self.page.locator("#inpaint-download").click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return Image.open(path)

    def message(self) -> str:
        """The next message that pops up; it is closed again."""
        toast = self.page.locator(".toast-body").first
        toast.wait_for()
        text = toast.inner_text()
        toast.locator(".toast-close").click()
        toast.wait_for(state="detached")
        return text


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """bool [H, W]: where two RGB pictures differ."""
    assert before.size == after.size
    return (np.asarray(before.convert("RGB")) != np.asarray(after.convert("RGB"))).any(axis=2)
