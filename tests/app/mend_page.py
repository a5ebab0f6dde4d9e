"""What a visitor does on the Old photo tab."""

from tests.app.visitor import Visitor


class MendPage(Visitor):
    """One visitor's page, open at Old photo."""

    task, tab = "mend", "Old photo"

    def choose_example(self) -> None:
        self.part("examples").locator("button").first.click()
        self.page.wait_for_selector("#mend-editor canvas")

    def tick(self, step: str, wanted: bool) -> None:
        self.part("what").get_by_label(step).set_checked(wanted)

    def mend(self) -> None:
        self.part("run").click()
