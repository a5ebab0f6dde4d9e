"""What a visitor does on any tab, and what tests need to look at results."""

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
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
BAD_FILES = {
    "corrupt.jpg": (b"\xff\xd8\xff\xe0 no picture", "corrupt.jpg is truncated"),
    "empty.png": (b"", "empty.png is empty"),
    "text.txt": (b"words", "text.txt"),
}


class Visitor:
    """One visitor's page, open at the tab whose parts have ids that start with `task`.

    `script` runs in the page before its own.
    """

    task: str
    tab: str
    script = ""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
        self.context.set_default_timeout(WAIT)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(SLOW_FRAMES + self.script)
        self.page.goto(url)
        self.page.get_by_role("tab", name=self.tab).click()
        self.page.wait_for_selector(f"#{self.task}-photo input[type=file]", state="attached")

    def close(self) -> None:
        self.context.close()

    def part(self, name: str) -> Any:
        """Locator of the tab's part of that name."""
        return self.page.locator(f"#{self.task}-{name}")

    def choose_photo(self, path: Path) -> None:
        self.part("photo").locator("input[type=file]").set_input_files(path)

    def choose_bad_files(self, folder: Path) -> None:
        """Files of every bad kind, one after the other; each must get its message."""
        for name, (content, message) in BAD_FILES.items():
            (folder / name).write_bytes(content)
            self.choose_photo(folder / name)
            assert message in self.message()

    def wait_for_editor(self, width: int, height: int, name: str = "editor") -> float:
        """Wait until the photo is on the canvas; gives its zoom."""
        self.part(name).locator("canvas").first.wait_for(state="visible")
        editor = f"{self.task}-{name}"
        self.page.wait_for_function("id => facekitCanvas.isReady(id)", arg=editor, polling=700)
        zoom = f"#{self.task}-{name} .zoom-number span"
        self.page.wait_for_function(
            """selector => { const zoom = document.querySelector(selector);
                             const seen = window.lastZoom; window.lastZoom = zoom && zoom.innerText;
                             return zoom && zoom.innerText !== '100%' && seen === zoom.innerText; }""",
            arg=zoom,
            polling=700,
        )
        return float(self.page.locator(zoom).inner_text().rstrip("%")) / 100

    def paint(self, start: tuple[float, float], end: tuple[float, float], name: str = "editor") -> None:
        """Drag the brush between two points, in screen pixels from the canvas's centre.

        As a visitor does, again where nothing was painted: what stands above the canvas may grow in that moment.
        """
        from playwright.sync_api import TimeoutError as NotSeen  # only browsers' tests need the package

        canvas, strokes = self.part(name).locator("canvas").first, "id => facekitCanvas.strokesOn(id).strokes"
        for tries_left in (2, 1, 0):
            canvas.scroll_into_view_if_needed()
            box = canvas.bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            before = self.page.evaluate(strokes, f"{self.task}-{name}")
            self.page.mouse.move(x + start[0], y + start[1])
            self.page.mouse.down()
            self.page.mouse.move(x + end[0], y + end[1], steps=8)
            self.page.mouse.up()
            try:
                self.page.wait_for_function(
                    f"([id, before]) => ({strokes})(id) !== before",
                    arg=[f"{self.task}-{name}", before],
                    polling=500,
                    timeout=20_000,
                )
                return
            except NotSeen:
                if not tries_left:
                    raise

    def strokes(self, name: str = "editor") -> np.ndarray:
        """bool [H, W]: what is painted on the canvas, the one that was made last, in its own pixels."""
        width, height, painted = self.page.evaluate(
            """name => {
                 const {target_element, app, layer_manager} = window.editor;
                 if (!document.querySelector(name).contains(target_element)) throw Error(name);
                 const target = layer_manager.draw_textures.get(layer_manager.layers[0].container);
                 const {pixels, width, height} = app.renderer.extract.pixels({target});
                 let painted = "";
                 for (let at = 3; at < pixels.length; at += 4) painted += pixels[at] ? "1" : "0";
                 return [width, height, painted];
               }""",
            f"#{self.task}-{name}",
        )
        return np.array([*painted]).reshape(height, width) == "1"

    def pick(self, number: int) -> None:
        """Pick a candidate that is not shown and wait until it is."""
        sources = f"[...document.querySelectorAll('#{self.task}-result img')].map(image => image.src).join()"
        before = self.page.evaluate(sources)
        self.part("variants").locator("button").nth(number - 1).click()
        self.page.wait_for_function(f"before => {sources} !== before", arg=before)

    def open(self, panel: str, content: str) -> None:
        """Open a closed accordion that holds `content`."""
        if not self.part(content).is_visible():
            self.part(panel).locator("> button").click()

    def set_number(self, slider: str, value: float) -> None:
        """Type a number until it stays: on a busy machine the page still fills in the panel just opened."""
        number = self.part(slider).locator("input[type=number]")
        for _ in range(20):
            self.page.wait_for_timeout(500)
            if number.input_value() == str(value):
                return
            number.fill(str(value))
            number.press("Tab")
        raise AssertionError(f"{slider} does not take {value}, it shows {number.input_value()}")

    def result(self, folder: Path) -> Image.Image:
        """Wait for the result and download it, once its pictures no longer push the button down."""
        self.part("download").wait_for()
        self.page.locator(f"#{self.task}-run:enabled").wait_for()
        with self.page.expect_download() as download:
            self.part("download").click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return Image.open(path)

    def message(self) -> str:
        """The next message: one that pops up, which is closed again, or why a run gave no result."""
        said = self.page.locator(f".toast-body, #{self.task}-failure .failure:not([data-read])").first
        said.wait_for()
        # In one step: on a busy machine the message leaves on its own before a click arrives.
        text = said.evaluate(
            """said => { const text = said.innerText, close = said.querySelector('.toast-close');
                         said.dataset.read = 'yes'; if (close) close.click(); return text; }"""
        )
        self.page.locator(".toast-body").first.wait_for(state="detached")
        return text

    def is_on_screen(self, name: str) -> bool:
        """Whether the part lies wholly on the screen as it is scrolled now."""
        return self.part(name).evaluate(
            """part => { const box = part.getBoundingClientRect();
                         return box.top >= 0 && box.bottom <= window.innerHeight && box.height > 0; }"""
        )

    def assert_fits_a_phone(self, *names: str) -> None:
        """Nothing scrolls sideways, and the named parts lie inside the screen and have a thumb's size."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= 390
        for name in names:
            box = self.part(name).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390, name
            assert box["height"] >= 40, name


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """bool [H, W]: where two RGB pictures differ."""
    assert before.size == after.size
    return (np.asarray(before.convert("RGB")) != np.asarray(after.convert("RGB"))).any(axis=2)


def photo_file(folder: Path, width: int, height: int, seed: int = 0) -> Path:
    """A smooth random photo without a face."""
    small = np.random.default_rng(seed).integers(40, 216, (4, 6, 3), dtype=np.uint8)
    path = folder / f"photo-{seed}.png"
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path
