"""Landmarks and emotions before and after restoration."""

import importlib.util

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

import facekit
from facekit import restored_emotions, restored_landmarks
from facekit.faces import Face
from facekit.metrics.errors import WeightsUnavailable
from facekit.pipelines.downstream import POINT, draw_points, name_emotions
from tests.tiny.pipelines import tiny_restore_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return tiny_restore_pipeline(identity=False)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(data.astronaut()[:260, 110:370]))


def test_landmarks_of_both_pictures_are_the_detectors(photo, pipeline) -> None:
    seen = []

    def detector(rgb: np.ndarray) -> list[Face]:
        seen.append(rgb)
        points = np.array([[80.0, 90], [140, 90], [110, 120], [85, 150], [135, 150]]) + len(seen)
        return [Face(0, (60, 50, 160, 180), 1.0, points)]

    found = restored_landmarks(photo, pipeline, detector)
    assert np.array_equal(seen[0], np.asarray(photo))
    assert np.array_equal(seen[1], np.asarray(found.image)) and not np.array_equal(seen[0], seen[1])
    assert found.before[0].shape == (5, 2) and np.array_equal(found.after[0], found.before[0] + 1)


def test_the_bundled_detector_finds_the_face_before(photo, pipeline) -> None:
    found = restored_landmarks(photo, pipeline)
    assert len(found.before) == 1 and found.image.size == photo.size
    left, right = found.before[0][:2]
    assert 30 < right[0] - left[0] < 120 and abs(right[1] - left[1]) < 30


def test_a_photo_without_faces_comes_back_with_the_pipelines_note(pipeline) -> None:
    found = restored_landmarks(Image.new("RGB", (128, 128), "gray"), pipeline)
    assert found.before == found.after == [] and "no face" in found.notes[0]
    said = restored_emotions(
        Image.new("RGB", (128, 128), "gray"), pipeline, lambda faces: pytest.fail("no face")
    )
    assert said.before == said.after == []


def test_the_undamaged_photo_is_looked_at_too(photo, pipeline) -> None:
    """Thesis Fig. 3.10."""
    damaged = photo.filter(ImageFilter.GaussianBlur(2))
    found = restored_landmarks(damaged, pipeline, truth=photo)
    (wanted,), (seen,) = restored_landmarks(photo, pipeline).before, found.truth
    assert np.array_equal(seen, wanted) and not np.array_equal(seen, found.before[0])
    assert restored_landmarks(photo, pipeline).truth is None


@pytest.mark.parametrize("count", [5, 68])
def test_points_are_drawn_on_a_copy(count: int) -> None:
    points = np.random.default_rng(0).uniform(20, 180, (count, 2))
    picture = Image.new("RGB", (200, 200), "white")
    drawn = np.asarray(draw_points(picture, [points]))
    assert (np.asarray(picture) == 255).all()
    hits = [(drawn[round(y), round(x)] == POINT).all() for x, y in points]
    assert np.mean(hits) > 0.7, "few points hide behind the rim of another"


def test_other_landmark_networks_take_part(photo, pipeline) -> None:
    answers = iter([None, np.ones((68, 2))])
    found = restored_landmarks(photo, pipeline, find=lambda rgb: next(answers))
    assert found.before == [] and found.after[0].shape == (68, 2)


def test_emotions_see_the_same_place_of_both_pictures(photo, pipeline) -> None:
    batches = []

    def recogniser(faces: list[np.ndarray]) -> list[str]:
        batches.append(faces)
        return [f"mood {len(batches)}" for _ in faces]

    said = restored_emotions(photo, pipeline, recogniser)
    assert (said.before, said.after) == (["mood 1"], ["mood 2"]) and len(said.faces) == 1
    (before,), (after,) = batches
    assert before.shape == after.shape == (224, 224, 3) and before.dtype == np.uint8
    assert not np.array_equal(before, after)
    whole = restored_emotions(photo, pipeline, recogniser, aligned=True)
    assert whole.faces == [] and len(whole.before) == len(whole.after) == 1


def test_emotions_of_the_undamaged_photo(photo, pipeline) -> None:
    """At the places of the damaged one's faces."""

    def recogniser(faces: list[np.ndarray]) -> list[str]:
        return [f"{face.std():.1f}" for face in faces]

    damaged = photo.filter(ImageFilter.GaussianBlur(2))
    said = restored_emotions(damaged, pipeline, recogniser, truth=photo)
    assert said.truth == name_emotions(np.asarray(photo), said.faces, recogniser) != said.before
    assert restored_emotions(damaged, pipeline, recogniser).truth is None
    whole = restored_emotions(damaged, pipeline, recogniser, truth=photo, aligned=True)
    assert len(whole.truth) == 1
    with pytest.raises(ValueError, match="truth and photo are 20x30 and"):
        restored_emotions(damaged, pipeline, recogniser, truth=Image.new("RGB", (20, 30)))


def test_settings_that_make_several_results_are_refused(photo, pipeline) -> None:
    for function in (restored_landmarks, restored_emotions):
        with pytest.raises(ValueError, match="num_images cannot be set here"):
            function(photo, pipeline, num_images=2)


@pytest.mark.skipif(importlib.util.find_spec("emotiefflib") is not None, reason="emotiefflib is there")
def test_without_the_recogniser_the_message_says_what_to_install(photo, pipeline) -> None:
    with pytest.raises(WeightsUnavailable, match=r"facekit\[emotion\]"):
        restored_emotions(photo, pipeline)


@pytest.mark.skipif(importlib.util.find_spec("face_alignment") is not None, reason="face-alignment is there")
def test_without_fan_the_message_says_what_to_install(photo, pipeline) -> None:
    with pytest.raises(WeightsUnavailable, match=r"facekit\[landmarks\]"):
        restored_landmarks(photo, pipeline, "fan")


def test_both_functions_are_public() -> None:
    assert {"restored_emotions", "restored_landmarks"} <= set(facekit.public.__all__)
