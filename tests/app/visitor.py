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
    """One visitor's page, open at the tab whose parts have ids that start with `task`."""

    task: str
    tab: str

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
        self.context.set_default_timeout(WAIT)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(SLOW_FRAMES)
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

    def result(self, folder: Path) -> Image.Image:
        """Wait for the result and download it."""
        with self.page.expect_download() as download:
            self.part("download").click()
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
