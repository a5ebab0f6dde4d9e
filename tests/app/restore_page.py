"""What a visitor does on the Restore tab."""

from tests.app.visitor import Visitor


class RestorePage(Visitor):
    """One visitor's page, open at Restore."""

    task, tab = "restore", "Restore"

    def found(self) -> str:
        """What the page says about the photo's faces, once it says something new."""
        self.page.wait_for_function(
            """() => { const text = document.querySelector('#restore-found span.prose')?.innerText.trim();
                       const fresh = text && text !== window.lastFound; window.lastFound = text;
                       return fresh; }"""
        )
        return self.part("found").locator("span.prose").inner_text()

    def choose_example(self) -> None:
        self.part("examples").locator("button").first.click()

    def tick(self, number: int, wanted: bool = True) -> None:
        self.part("chosen").get_by_label(f"Face {number}").set_checked(wanted)

    def ticked(self) -> list[bool]:
        boxes = self.part("chosen").locator("input[type=checkbox]")
        boxes.first.wait_for()
        return [boxes.nth(index).is_checked() for index in range(boxes.count())]

    def tap(self, x: float, y: float) -> None:
        """Tap the photo at a share of its width and height."""
        photo = self.part("faces").locator("img")
        photo.evaluate("image => image.decode()")  # until then it has another height
        photo.scroll_into_view_if_needed()
        box = photo.bounding_box()
        photo.click(position={"x": x * box["width"], "y": y * box["height"]})

    def candidates(self, count: int) -> None:
        self.open("more", "count")
        self.set_number("count", count)

    def average(self, wanted: bool) -> None:
        """Tick the mean of a face and its mirror image, or not, and look whether that stays."""
        self.open("more", "average")
        box = self.part("average").locator("input[type=checkbox]")
        self.page.wait_for_timeout(1000)  # on a busy machine the page still fills in the panel just opened
        box.set_checked(wanted)
        assert box.is_checked() == wanted

    def damage(self, severity: float) -> None:
        self.open("damaging", "damage")
        self.set_number("severity", severity)
        self.part("damage").click()

    def restore(self) -> None:
        self.part("run").click()
