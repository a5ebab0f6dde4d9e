import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from facekit.faces import Face, align_face, detect_faces


def eye_distance(landmarks: np.ndarray) -> float:
    return float(np.hypot(*(landmarks[1] - landmarks[0])))


def landmark_error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.hypot(*(found - truth).T).mean()) / eye_distance(truth)


def quad_iou(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float32), b.astype(np.float32)
    common, _ = cv2.intersectConvexConvex(a, b)
    return common / (abs(cv2.contourArea(a)) + abs(cv2.contourArea(b)) - common)


def read_rgb(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_astronaut_is_found_once(astronaut, landmarks):
    (face,) = detect_faces(astronaut)
    assert face.index == 0 and face.score > 0.95
    assert landmark_error(face.landmarks, landmarks) < 0.06
    x0, y0, x1, y1 = face.box
    assert (face.landmarks > [x0, y0]).all() and (face.landmarks < [x1, y1]).all()
    with pytest.raises(FrozenInstanceError):
        face.index = 3


@pytest.mark.parametrize("angle", [-25, 20])
def test_landmarks_turn_with_the_photo(astronaut, landmarks, angle):
    turn = cv2.getRotationMatrix2D((256, 256), angle, 1.0)
    turned = cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REFLECT)
    expected = landmarks @ turn[:, :2].T + turn[:, 2]
    (face,) = [
        f for f in detect_faces(turned) if np.hypot(*(f.landmarks[2] - expected[2])) < eye_distance(expected)
    ]
    assert landmark_error(face.landmarks, expected) < 0.08


def test_photo_without_faces():
    assert detect_faces(np.full((300, 400, 3), 127, np.uint8)) == []
    assert detect_faces(data.coffee()) == []
    assert detect_faces(np.zeros((1, 1, 3), np.uint8), faces="largest") == []


def test_aligned_picture_that_touches_its_frame_is_found(astronaut, landmarks):
    aligned = align_face(astronaut, landmarks, 256)
    (face,) = detect_faces(aligned.image)
    assert landmark_error(face.landmarks, aligned.to_aligned(landmarks)) < 0.06


def test_face_at_the_border_is_found_once(astronaut, landmarks):
    for left, top in ((186, 30), (120, 68)):
        (face,) = detect_faces(astronaut[top:260, left:400])
        assert landmark_error(face.landmarks, landmarks - [left, top]) < 0.12


def test_order_and_selection(astronaut):
    head = astronaut[:220, 90:340]
    smaller = cv2.resize(head, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    photo = np.full((220, 700, 3), 90, np.uint8)
    photo[20:152, :150] = smaller
    photo[:, 200:450] = head
    photo[40:172, 500:650] = smaller
    found = detect_faces(photo)
    assert [face.index for face in found] == [0, 1, 2]
    assert [face.landmarks[2, 0] // 230 for face in found] == [0, 1, 2]
    (largest,) = detect_faces(photo, faces="largest")
    assert largest.index == 1
    assert [face.index for face in detect_faces(photo, faces=[2, 0])] == [2, 0]
    assert [face.index for face in detect_faces(photo, min_size=70)] == [0]
    with pytest.raises(ValueError, match=r"face 3 .* 3 faces; choose from 0 to 2"):
        detect_faces(photo, faces=[0, 3])
    with pytest.raises(ValueError, match="no faces"):
        detect_faces(np.zeros((64, 64, 3), np.uint8), faces=[0])


def crowd(width: int, height: int, faces: list[tuple[int, int, int]], portrait: np.ndarray) -> np.ndarray:
    """uint8 `[height, width, 3]`: her head on a soft pattern, (left, top, shorter side of the face's box) each."""
    noise = np.random.default_rng(0).integers(60, 124, (height // 40 + 1, width // 40 + 1, 3), dtype=np.uint8)
    photo = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    for left, top, side in faces:
        head = cv2.resize(
            portrait[:300, 60:400], None, fx=side / 89, fy=side / 89, interpolation=cv2.INTER_AREA
        )
        photo[top : top + head.shape[0], left : left + head.shape[1]] = head
    return photo


def truth_in(faces: list[tuple[int, int, int]], landmarks: np.ndarray) -> list[np.ndarray]:
    """Her landmarks on each face of `crowd`, in photo pixels."""
    return [
        (landmarks - [60, 0] + 0.5) * side / 89 - 0.5 + [left, top]
        for left, top, side in sorted(faces, key=lambda face: face[0])
    ]


def test_small_faces_of_a_large_photo_are_found_once(astronaut, landmarks):
    """Also those on the borders of the parts in which it is searched; large ones stay as they were."""
    smallest = 36
    faces = [(0, 20, smallest), (5100 - 138, 700, smallest), (3000, 1200, 300)]
    # In a slanting row: wherever a border of the parts runs, it runs through some.
    faces += [(400 + 213 * n, 100 + 41 * n, 44) for n in range(12)]
    photo = crowd(5100, 2500, faces, astronaut)
    found = detect_faces(photo)
    expected = truth_in(faces, landmarks)
    assert len(found) == len(faces)
    for face in found:
        errors = [landmark_error(face.landmarks, truth) for truth in expected]
        assert min(errors) < 0.15
        del expected[int(np.argmin(errors))]
    assert [face.index for face in found] == list(range(len(faces)))
    assert [face.box for face in found] == sorted(
        (face.box for face in found), key=lambda box: box[0] + box[2]
    )
    (large,) = [face for face in found if face.box[2] - face.box[0] > 200]
    # Faces of 64 pixels are found in the copy of the whole photo.
    (alone,) = detect_faces(photo, min_size=64)
    assert alone.box == large.box
    np.testing.assert_array_equal(alone.landmarks, large.landmarks)


def test_turned_faces_are_found_where_upright_ones_are_not(astronaut, landmarks):
    for turn in (90, 180, 270):
        # What must be turned clockwise to stand upright was turned counterclockwise.
        photo = np.ascontiguousarray(np.rot90(astronaut[:400], turn // 90))
        height, width = 400, 512
        x, y = landmarks.T
        points = {90: (y, width - 1 - x), 180: (width - 1 - x, height - 1 - y), 270: (height - 1 - y, x)}[
            turn
        ]
        (face,) = detect_faces(photo)
        assert face.turn == turn and face.score > 0.9
        assert landmark_error(face.landmarks, np.stack(points, axis=1)) < 0.06
        assert (face.landmarks > face.box[:2]).all() and (face.landmarks < face.box[2:]).all()
        assert all(face.score < 0.9 for face in detect_faces(photo, turned=False))
        upright = align_face(astronaut[:400], landmarks, 64).image.astype(int)
        assert np.abs(align_face(photo, face, 64).image - upright).mean() < 12, "the crop stands upright"
    assert detect_faces(astronaut)[0].turn == 0


def test_a_detector_of_ones_own_sees_turned_copies_too(astronaut):
    def upright_only(image: np.ndarray) -> list[Face]:
        return detect_faces(image, turned=False, min_score=0.95)

    photo = np.ascontiguousarray(np.rot90(astronaut))
    (own,), (named,) = detect_faces(photo, detector=upright_only), detect_faces(photo)
    assert own.turn == named.turn == 90
    assert landmark_error(own.landmarks, named.landmarks) < 0.02
    np.testing.assert_allclose(own.box, named.box, atol=2)


def test_the_faces_of_a_group_are_all_found_and_the_same_each_time(astronaut):
    head = cv2.resize(astronaut[:230, 120:330], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    photo = np.full((4 * 120, 6 * 110, 3), (90, 110, 130), np.uint8)
    for place in range(24):
        row, column = divmod(place, 6)
        photo[row * 120 + 2 :, column * 110 + 2 :][: head.shape[0], : head.shape[1]] = head
    first, second = detect_faces(photo), detect_faces(photo)
    cells = {(int(face.landmarks[2, 1] // 120), int(face.landmarks[2, 0] // 110)) for face in first}
    assert len(first) == len(cells) == 24
    for one, other in zip(first, second, strict=True):
        assert one.box == other.box and one.score == other.score
        np.testing.assert_array_equal(one.landmarks, other.landmarks)


def test_callable_detector(astronaut, landmarks):
    def detector(image: np.ndarray) -> list[Face]:
        assert image is astronaut
        box = (180.0, 60.0, 270.0, 176.0)
        return [
            Face(9, (300.0, 60.0, 390.0, 176.0), 0.9, landmarks + np.array([120, 0])),
            Face(7, box, 0.8, landmarks),
            Face(8, box, 0.75, landmarks + 1),
            Face(6, box, 0.2, landmarks + np.array([0, 200])),
        ]

    found = detect_faces(astronaut, detector=detector)
    assert [(face.index, face.score) for face in found] == [(0, 0.8), (1, 0.9)], (
        "sorted, doubles and low scores gone"
    )
    with pytest.raises(ValueError, match=r"\[5, 2\]"):
        detect_faces(astronaut, detector=lambda image: [Face(0, (0.0, 0.0, 99.0, 99.0), 1.0, landmarks[:4])])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((64, 64), np.uint8), r"uint8 \[64, 64\]"),
        (np.zeros((64, 64, 4), np.uint8), r"\[64, 64, 4\]"),
        (np.zeros((64, 64, 3), np.float32), "float32"),
        ("photo.png", "got str"),
    ],
)
def test_wrong_images(image, message):
    with pytest.raises(ValueError, match=message):
        detect_faces(image)


@pytest.mark.parametrize(
    "options",
    [
        {"detector": "haar"},
        {"faces": "biggest"},
        {"faces": [0.5]},
        {"faces": 1},
        {"min_size": -1},
        {"min_size": float("nan")},
        {"min_score": 1.5},
    ],
)
def test_wrong_options(astronaut, options):
    with pytest.raises(ValueError):
        detect_faces(astronaut, **options)


@pytest.mark.skipif(importlib.util.find_spec("uniface") is not None, reason="uniface is installed")
def test_optional_detector_without_its_package(astronaut):
    with pytest.raises(ImportError, match=r"facekit\[faces\]"):
        detect_faces(astronaut, detector="retinaface")


@pytest.mark.parametrize("name", ["retinaface", "scrfd"])
def test_optional_detector_without_its_weights(astronaut, name, tmp_path, monkeypatch):
    constants = pytest.importorskip("uniface.constants")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="fetch them once"):
        detect_faces(astronaut, detector=name)
    for weights in (constants.RetinaFaceWeights.MNET_V2, constants.SCRFDWeights.SCRFD_10G_KPS):
        (tmp_path / f"{weights.value}.onnx").write_bytes(b"torn")
    with pytest.raises(OSError, match="damaged"):
        detect_faces(astronaut, detector=name)
    assert len(list(tmp_path.iterdir())) == 2, "nothing was fetched or removed"


def test_threads_do_not_disturb_each_other(astronaut):
    other = np.ascontiguousarray(astronaut[:, ::-1])
    alone = [detect_faces(photo)[0].landmarks for photo in (astronaut, other)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda photo: detect_faces(photo)[0].landmarks, [astronaut, other] * 3))
    for index, found in enumerate(together):
        np.testing.assert_allclose(found, alone[index % 2], atol=0.01)


def test_goals_on_unaligned_tiles(faces_dir):
    """24 of 24; landmarks within 9 % of the eye distance; crop IoU: median above 0.92, never below 0.75."""
    errors, overlaps = [], []
    for line in (faces_dir / "wild.jsonl").read_text().splitlines():
        row = json.loads(line)
        photo, truth = read_rgb(faces_dir / row["file_name"]), np.array(row["landmarks5"])
        near = [
            f for f in detect_faces(photo) if np.hypot(*(f.landmarks[2] - truth[2])) < eye_distance(truth)
        ]
        assert len(near) == 1, row["file_name"]
        errors.append(landmark_error(near[0].landmarks, truth))
        overlaps.append(quad_iou(align_face(photo, near[0]).quad, np.array(row["ffhq_quad"])))
    assert len(errors) == 24
    assert np.mean(errors) < 0.09
    assert np.median(overlaps) > 0.92 and min(overlaps) > 0.75


@pytest.mark.slow
def test_aligned_validation_pictures_are_found(faces_dir):
    paths = sorted((faces_dir / "val").glob("*.jpg"))
    missed = [path.name for path in paths if not detect_faces(read_rgb(path))]
    assert len(paths) == 100 and not missed
