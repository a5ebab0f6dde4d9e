"""Points before and after restoring, without a browser."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from facekit.faces import Face
from facekit.pipelines.downstream import POINT
from facekit_demo.common.detector_view import emotions_text, seen_pictures, seen_text
from facekit_demo.common.face_view import look_at

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
    sides = [(shown, [FACE], "Before"), (shown, [], "After"), (shown, [FACE], "Original")]
    (before, said), (after, _), (original, told) = seen_pictures(sides, 1.0)
    assert told == "Original: 1 face" and (np.asarray(original) == POINT).all(axis=2).any()
    assert said == "Before: 1 face" and before.size == after.size
    assert max(before.size) == 480
    marked = (np.asarray(before) == POINT).all(axis=2)
    assert marked.any() and not (np.asarray(after) == POINT).all(axis=2).any()
    # The crop of this face begins at its FFHQ corner and spans 160 pixels; the nose tip lies in its middle column.
    columns = np.nonzero(marked)[1]
    assert abs((columns.min() + columns.max()) / 2 - before.width / 2) < 4


def test_without_faces_both_pictures_are_shown_whole() -> None:
    shown = Image.new("RGB", (800, 600), "white")
    sides = [(shown, [], "Before"), (shown, [], "After")]
    assert [picture.size for picture, _ in seen_pictures(sides, 1.0)] == [(800, 600)] * 2


@pytest.fixture
def portrait(tmp_path: Path) -> str:
    path = tmp_path / "portrait.png"
    Image.fromarray(np.ascontiguousarray(data.astronaut()[:260, 110:370])).save(path)
    return str(path)


def test_emotions_stand_in_a_row_for_each_face(portrait: str) -> None:
    crops = []

    def recogniser(faces: list[np.ndarray]) -> list[str]:
        crops.extend(faces)
        return ["Happiness"] * len(faces)

    photo = look_at(portrait)
    text = emotions_text({"Before": photo, "After": photo, "Original": photo}, recogniser)
    assert "| Face | Before | After | Original |" in text
    assert "| 1 | Happiness | Happiness | Happiness |" in text
    assert len(crops) == 3 and crops[0].shape == (224, 224, 3)
    assert emotions_text({"Before": replace(photo, faces=()), "After": replace(photo, faces=())}) == ""


@pytest.mark.skipif(find_spec("emotiefflib") is not None, reason="the extra is installed")
def test_without_the_extra_it_says_what_would_bring_emotions(portrait: str) -> None:
    photo = look_at(portrait)
    assert "pip install 'facekit[emotion]'" in emotions_text({"Before": photo, "After": photo})
