"""What a visitor does on the Edit tab."""

import contextlib
from pathlib import Path

from PIL import Image

from tests.app.visitor import Visitor


class EditPage(Visitor):
    """One visitor's page, open at Edit."""

    task, tab = "edit", "Edit"

    def choose_example_photo(self) -> None:
        """A photo with a painted mask."""
        self.part("examples").locator("button").first.click()
        self.wait_for_editor(512, 512)

    def wait_for_editor(self, width: int, height: int, name: str = "editor") -> float:
        """As on other tabs; the mask's panel is opened first."""
        if name == "editor" and self.part("masking").is_visible():
            self.open("masking", name)
        return super().wait_for_editor(width, height, name)

    def paint(self, start: tuple[float, float], end: tuple[float, float], name: str = "editor") -> None:
        """As on other tabs; the mask's panel is opened first."""
        if name == "editor":
            self.open("masking", name)
        super().paint(start, end, name)

    def open_canvas(self, panel: str, name: str) -> None:
        """Open a panel with a canvas and wait until the photo is on it."""
        self.open(panel, name)
        self.wait_for_editor(512, 512, name)

    def places_of_heads(self) -> dict[str, list[float]]:
        """Of the heads of the board's panels, by what they say: where they are, seen from the first."""
        return self.page.evaluate(
            """() => {
                 const heads = [...document.querySelectorAll('#edit-board > * > .label-wrap')];
                 const boxes = heads.map(head => head.getBoundingClientRect());
                 return Object.fromEntries(heads.map((head, place) => [
                   head.innerText, [boxes[place].left - boxes[0].left, boxes[place].top - boxes[0].top]]));
               }"""
        )

    def start_parts(self) -> str:
        """Have the photo's parts put on the canvas; gives a picture of the canvas."""
        self.part("start").click()
        self.page.wait_for_timeout(500)
        self.part("semantics").locator("[data-testid=status-tracker].hide").first.wait_for(state="attached")

    def choose_object(self, path: Path) -> None:
        """Choose the picture of an object until it stays: on a busy machine the page still empties the panel just
        opened, and whoever presses the button before it has would put nothing in.
        """
        from playwright.sync_api import TimeoutError as NotSeen  # only browsers' tests need the package

        self.open("pasting", "object")
        # The name alone is there while the file is still on its way.
        arrived = self.part("object").locator(".file-preview").get_by_text(path.name[:5])
        for _ in range(10):
            self.part("object").locator("input[type=file]").set_input_files(path)
            with contextlib.suppress(NotSeen):
                arrived.first.wait_for(timeout=20_000)
                self.page.wait_for_timeout(1000)
            if arrived.count():
                return
        raise AssertionError(f"{path.name} does not stay in the panel")

    def _history(self) -> str:
        """What the history shows, as one text."""
        steps = "[...document.querySelectorAll('#edit-history button')]"
        return f"{steps}.map(step => step.className + step.innerText).join()"

    def act(self, name: str) -> None:
        """Press a button that changes the history, and wait until it has."""
        before = self.page.evaluate(self._history())
        self.part(name).click()
        # Not in every frame: reading the text lays the page out anew, and two canvases keep it busy already.
        self.page.wait_for_function(f"before => {self._history()} !== before", arg=before, polling=500)

    def go_to(self, place: int) -> None:
        """Tap a step of the history, 0 is the photo, until it is marked."""
        step = self.part("history").locator("button.thumbnail-item").nth(place)
        step.click()
        self.page.wait_for_function("step => step.classList.contains('selected')", arg=step.element_handle())

    def edited(self, folder: Path) -> Image.Image:
        """Edit and download the result."""
        self.act("run")
        return self.result(folder)
