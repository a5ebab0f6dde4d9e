"""What a visitor does on the Exemplar tab."""

from pathlib import Path
from typing import Any

from PIL import Image

from tests.app.visitor import Visitor


class ExemplarPage(Visitor):
    """One visitor's page, open at Exemplar."""

    task, tab = "exemplar", "Exemplar"

    def choose_example_photo(self) -> None:
        """A photo with a painted mask and the first face chosen."""
        self.part("examples").locator("button").first.click()
        self.wait_for_editor(512, 512)

    def row(self, name: str = "faces") -> Any:
        """The faces of a row, once they are there."""
        faces = self.part(name).locator("button.thumbnail-item")
        faces.first.wait_for()
        return faces

    def choose_face(self, number: int, name: str = "faces") -> None:
        """Tap a face of a row, counted from 1, until it is marked."""
        face = self.row(name).nth(number - 1)
        face.click()
        self.page.wait_for_function("face => face.classList.contains('selected')", arg=face.element_handle())

    def upload_face(self, path: Path, name: str = "own") -> None:
        with self.page.expect_file_chooser() as chooser:
            self.part(name).click()
        chooser.value.set_files(path)

    def variations(self, count: int) -> None:
        self.open("more", "count")
        self.set_number("count", count)

    def recover(self, kind: str) -> None:
        """Have a mask proposed and wait until it is on the canvas."""
        self.part(kind).click()
        self.page.wait_for_timeout(500)
        self.part("editor").locator("[data-testid=status-tracker].hide").first.wait_for(state="attached")

    def fill(self) -> None:
        self.part("run").click()

    def next_result(self, folder: Path) -> Image.Image:
        """Fill in, wait until another result is shown, and download it."""
        shown = "[...document.querySelectorAll('#exemplar-result img')].map(image => image.src).join()"
        before = self.page.evaluate(shown)
        self.fill()
        self.page.wait_for_function(f"before => {shown} && {shown} !== before", arg=before)
        return self.result(folder)
