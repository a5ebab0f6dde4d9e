"""The section with a detector's points on the Restore tab, in a real browser against the real server."""

import numpy as np
from PIL import Image
from skimage import data

from tests.app.restore_page import RestorePage


def test_points_of_both_pictures_are_shown_and_go_with_the_photo(visit, tmp_path) -> None:
    path = tmp_path / "portrait.png"
    Image.fromarray(np.ascontiguousarray(data.astronaut()[:260, 110:370])).save(path)
    visitor = visit(RestorePage)
    visitor.choose_photo(path)
    assert not visitor.part("detector").is_visible()
    visitor.restore()
    visitor.part("detector").locator("> button").click()
    visitor.part("detect").click()
    visitor.part("detected").get_by_text("Before restoring the detector finds 1 face").wait_for()
    pictures = visitor.part("detector").locator("img")
    pictures.nth(1).wait_for()
    assert pictures.count() == 2
