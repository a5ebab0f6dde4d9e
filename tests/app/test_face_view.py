"""Faces of the Restore tab without a browser: found, numbered, pointed at; damage of a photo."""

import numpy as np
import pytest
from PIL import Image

from facekit.faces import Face
from facekit.images.photo import load_image
from facekit.notes import Note
from facekit_demo.common.damage import damage_photo, face_side
from facekit_demo.common.face_view import WorkingPhoto, face_at, found_text, numbered
from facekit_demo.common.words import page_words

LANDMARKS = np.array([[30.0, 40], [70, 40], [50, 60], [35, 80], [65, 80]])


def working(*boxes: tuple[float, float, float, float], original: str | None = None) -> WorkingPhoto:
    """A gray photo of 400 x 200 pixels, shown at half its size."""
    faces = tuple(Face(index, box, 1.0, LANDMARKS) for index, box in enumerate(boxes))
    return WorkingPhoto("photo.png", Image.new("RGB", (200, 100), (90, 90, 90)), 0.5, faces, original)


LARGE, OTHER, TINY = (20, 40, 120, 160), (100, 50, 200, 170), (300, 20, 324, 50)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (working(), "No face was found**, so there is nothing to restore. Try a photo"),
        (
            working(original="photo.png"),
            "damaged copy. **No face was found**, so there is nothing to restore. The damage",
        ),
        (working(LARGE), "One face was found."),
        (working(LARGE, OTHER), "2 faces were found. Tick those"),
        (working(TINY, TINY, TINY), "Faces 1, 2 and 3 are too small"),
        (working(LARGE, TINY), "Face 2 is too small"),
    ],
)
def test_what_was_found_is_said(state, words) -> None:
    assert words in found_text(state)


def test_notes_count_faces_from_1_for_people_and_from_0_for_programs() -> None:
    note = Note("face-small", "face {face} is {side} pixels wide", face=0, side=20)
    assert page_words(note, {}) == "Face 1 is 20 pixels wide."
    assert page_words(note, {}, first_face=0) == "Face 0 is 20 pixels wide."
    assert page_words(note, {"face-small": "too small: face {face}"}) == "Too small: face 1."


def test_chosen_faces_are_framed_in_another_colour() -> None:
    state = working(LARGE, OTHER, TINY)
    assert state.restorable == [0, 1]
    both, one = (np.asarray(numbered(state, chosen)) for chosen in ([0, 1], [1]))
    rows, columns = np.nonzero((both != one).any(axis=2))
    # Frame and number of face 0 only, at half the photo's size; the number stands above the frame.
    assert columns.min() >= 8 and columns.max() <= 62 and rows.max() <= 82
    assert (np.asarray(state.shown) == 90).all()


def test_a_point_belongs_to_the_nearest_face_that_is_large_enough() -> None:
    state = working(LARGE, OTHER, TINY)
    assert [face_at(state, point) for point in ((20, 40), (53, 50), (57, 50), (156, 15), (1, 1))] == [
        0,
        0,
        1,
        None,
        None,
    ]


@pytest.mark.parametrize("kind", ["RGB", "L", "I;16", "RGBA", "P"])
def test_damage_keeps_size_mode_and_seed(kind) -> None:
    ramp = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint16)
    picture = (
        Image.fromarray(ramp * 400)
        if kind == "I;16"
        else Image.fromarray(ramp.astype(np.uint8)).convert(kind)
    )
    photo = load_image(picture)
    first, second, other = (damage_photo(photo, 60, 0.5, "thesis", seed) for seed in (1, 1, 2))
    assert first.mode == photo.mode and first.pixels.shape == photo.pixels.shape
    assert first.pixels.dtype == photo.pixels.dtype
    assert (first.rgb == second.rgb).all() and (first.rgb != other.rgb).any()
    assert photo.alpha is None or (first.alpha == photo.alpha).all()
    close = np.abs(first.rgb.astype(float) - photo.rgb).mean() / (257 if kind == "I;16" else 1)
    assert 0 < close < 20  # still the same picture


def test_damage_goes_by_the_largest_face() -> None:
    photo = load_image(Image.new("RGB", (300, 200)))
    assert face_side(photo, []) == 200
    large = LANDMARKS * 2
    faces = [Face(0, LARGE, 1.0, LANDMARKS), Face(1, OTHER, 1.0, large)]
    assert face_side(photo, faces) == pytest.approx(2 * face_side(photo, faces[:1]))


def test_a_photo_too_large_to_damage_is_refused() -> None:
    photo = load_image(Image.new("L", (10_000, 6_000)))
    with pytest.raises(ValueError, match="10000x6000"):
        damage_photo(photo, 100, 0.5, "thesis", 0)
