"""The three networks that find faces, over one pyramid."""

import numpy as np
import pytest

from facekit.faces import cascade, detect_faces
from facekit.faces.cascade import find_faces


def test_a_face_is_found_with_its_landmarks(astronaut, landmarks):
    found = find_faces(astronaut, 40)
    best = int(np.argmax(found.scores))
    assert found.scores[best] > 0.95
    assert np.hypot(*(found.landmarks[best] - landmarks).T).max() < 6
    left, top, right, bottom = found.boxes[best]
    assert abs(left - 180) < 12 and abs(right - 270) < 12 and abs(top - 62) < 12 and abs(bottom - 177) < 12


def test_sizes_bound_what_is_found(astronaut):
    sides = [box[2] - box[0] for box in find_faces(astronaut, 60, 120).boxes]
    assert sides and all(40 < side < 170 for side in sides)
    assert not len(find_faces(astronaut, 20, 40).boxes)
    assert not len(find_faces(astronaut, 250).boxes)
    assert not len(find_faces(astronaut[:8, :8], 20).boxes)


def test_strips_give_what_the_whole_gives(astronaut, monkeypatch):
    whole = find_faces(astronaut, 20)
    monkeypatch.setattr(cascade, "STRIP_PIXELS", 6000)
    parts = find_faces(astronaut, 20)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_squares_beyond_the_frame_are_black_there():
    picture = np.full((40, 60, 3), 200, np.uint8)
    boxes = np.array([[-12.0, 8, 12, 32], [48, 8, 72, 32], [100, 100, 124, 124]])
    cut, pictures = cascade._cut([picture], boxes, 24)
    np.testing.assert_array_equal(cut, boxes)
    assert pictures[0, :, :12].max() == 0 and pictures[0, :, 12:].min() == 200
    assert pictures[1, :, 12:].max() == 0 and pictures[1, :, :12].min() == 200
    assert pictures[2].max() == 0


def test_of_boxes_in_one_place_the_surest_stays():
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [3, 3, 7, 7], [30, 30, 40, 40]])
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert sorted(cascade._drop_doubles(boxes, scores, 0.5)) == [1, 2, 3]
    assert sorted(cascade._drop_doubles(boxes, scores, 0.5, np.array([0, 1, 0, 0]))) == [0, 1, 2, 3]
    assert cascade._drop_inner(boxes, scores).tolist() == [1, 3]


@pytest.mark.parametrize(("share", "dark"), [(0.15, 20), (0.15, 180), (0.3, 100)])
def test_faint_photos_are_seen_with_contrast(astronaut, landmarks, share, dark):
    """As in a dark or a faded print, whose gray levels lie close together."""
    (face,) = detect_faces((astronaut * share + dark).astype(np.uint8))
    assert face.score > 0.9
    assert np.hypot(*(face.landmarks - landmarks).T).mean() < 4


def test_a_photo_without_contrast_gives_no_faces():
    noise = np.random.default_rng(0).integers(127, 130, (400, 600, 3), dtype=np.uint8)
    assert detect_faces(noise) == []
