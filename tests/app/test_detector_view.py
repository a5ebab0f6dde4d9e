"""Points before and after restoring, without a browser."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facekit.faces import Face
from facekit_demo.common.detector_view import POINT, seen_pictures, seen_text

LANDMARKS = np.array([[130.0, 100], [170, 100], [150, 120], [135, 140], [165, 140]])
FACE = Face(0, (110, 80, 190, 160), 1.0, LANDMARKS)
MOVED = replace(FACE, landmarks=LANDMARKS + np.array([4, 0]))
ELSEWHERE = replace(FACE, landmarks=LANDMARKS + np.array([300, 0]))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([], [FACE], "finds no face, afterwards 1 face."),
        ([FACE, ELSEWHERE], [], "finds 2 faces, afterwards no face."),
        ([FACE], [MOVED, ELSEWHERE], "1 face, afterwards 2 faces. The points moved by 10 %"),
        ([FACE], [ELSEWHERE], "finds 1 face, afterwards 1 face."),
    ],
)
def test_what_was_seen_is_said(before, after, words) -> None:
    text = seen_text(before, after)
    assert words in text and ("moved" in text) == ("moved" in words)


def test_points_are_drawn_where_they_are() -> None:
    shown = Image.new("RGB", (400, 200), "white")
    (before, said), (after, _) = seen_pictures(shown, shown, [FACE], [], 1.0)
    assert said == "Before: 1 face" and before.size == after.size
    assert max(before.size) == 480
    marked = (np.asarray(before) == POINT).all(axis=2)
    assert marked.any() and not (np.asarray(after) == POINT).all(axis=2).any()
    # The crop of this face begins at its FFHQ corner and spans 160 pixels; the nose tip lies in its middle column.
    columns = np.nonzero(marked)[1]
    assert abs((columns.min() + columns.max()) / 2 - before.width / 2) < 4


def test_without_faces_both_pictures_are_shown_whole() -> None:
    shown = Image.new("RGB", (800, 600), "white")
    assert [picture.size for picture, _ in seen_pictures(shown, shown, [], [], 1.0)] == [(800, 600)] * 2
