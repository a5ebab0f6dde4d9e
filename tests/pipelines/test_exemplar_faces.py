"""Photos with people as photo and as exemplar, and masks that are proposed from landmarks."""

import numpy as np
import pytest
from skimage.data import astronaut

from facekit import ExemplarInpaintPipeline
from facekit.faces import align_face, detect_faces
from facekit.pipelines.exemplar.occlusion import draw_occlusion_mask
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_exemplar_pipeline


@pytest.fixture(scope="module")
def pipe() -> ExemplarInpaintPipeline:
    return tiny_exemplar_pipeline()


def changed_pixels(result: object, photo: np.ndarray) -> np.ndarray:
    return (np.asarray(result) != photo).any(axis=-1)


def test_the_exemplar_is_cut_as_the_photo_is(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    output = pipe(portrait, eyes, example, return_exemplars=True)
    expected = align_face(example, detect_faces(example)[0], 64).image
    np.testing.assert_array_equal(np.asarray(output.exemplars[0]), expected)
    assert [face.index for face in output.faces[0]] == [0]
    # The same pixels of the aligned faces: those under the mask.
    hole = np.asarray(output.exemplar_crops[0][0])[..., 3] > 0
    assert 0.005 < hole.mean() < 0.2 and hole[24:36].any() and not hole[50:].any()
    aligned = pipe(portrait, eyes, expected, exemplar_aligned=True, return_exemplars=True)
    np.testing.assert_array_equal(np.asarray(aligned.exemplars[0]), expected)


def test_every_face_under_the_mask_is_filled(
    pipe: ExemplarInpaintPipeline, couple: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    both = np.concatenate([eyes, eyes[:, ::-1]], axis=1)
    output = pipe(couple, both, example)
    assert [face.index for face in output.faces[0]] == [0, 1]
    changed = changed_pixels(output.images[0], couple)
    assert not changed[~both].any() and changed[both].mean() > 0.9
    right = np.concatenate([np.zeros_like(eyes), eyes[:, ::-1]], axis=1)
    output = pipe(couple, right, example, num_images=2)
    assert [face.index for face in output.faces[0]] == [1] and len(output.images) == 2


def test_what_lies_beyond_the_faces_stays(pipe: ExemplarInpaintPipeline, example: np.ndarray) -> None:
    photo = np.ascontiguousarray(astronaut())
    face, far = box_mask(photo.shape, (190, 85, 255, 115)), box_mask(photo.shape, (20, 400, 120, 480))
    output = pipe(photo, face | far, example)
    changed = changed_pixels(output.images[0], photo)
    assert changed[face].mean() > 0.9 and not changed[~face].any()
    assert output.notes == ["80% of the mask lies outside the filled faces' crops: left as it was"]
    with pytest.raises(ValueError, match="mask does not touch the face"):
        pipe(photo, far, example)


def test_exemplars_without_a_face_or_with_several(
    pipe: ExemplarInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    couple: np.ndarray,
    example: np.ndarray,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"exemplar shows no face\. Choose another picture"):
        pipe(portrait, eyes, noise)
    with pytest.raises(ValueError, match="exemplar 1 shows no face"):
        pipe(portrait, eyes, [example, noise])
    with pytest.raises(ValueError, match=r"exemplar shows 2 faces\. Say which: exemplar_face="):
        pipe(portrait, eyes, couple)
    with pytest.raises(ValueError, match="second exemplar shows no face"):
        pipe(portrait, eyes, example, second_exemplar=noise)
    with pytest.raises(ValueError, match="face 2 was asked for, but the photo has 2"):
        pipe(portrait, eyes, couple, exemplar_face=2)
    wide = pipe(portrait, eyes, noise[:100], exemplar_aligned=True)
    assert any(
        note.startswith("the exemplar is 200x100, and an aligned face is square") for note in wide.notes
    )
    left, right = (pipe.encode_exemplar(couple, face=i) for i in (0, 1))
    assert len(left) == 1 and not np.array_equal(left.faces[0].image, right.faces[0].image)
    assert pipe.encode_exemplar(couple, face="largest").codes.shape == (1, 8, 16)


@pytest.mark.parametrize("kind", ["glasses", "lower_face"])
def test_guided_recovery(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, couple: np.ndarray, example: np.ndarray, kind: str
) -> None:
    (mask,) = pipe.propose_masks(portrait, kind)
    face = detect_faces(portrait)[0]
    eye, other_eye, nose, left, right = np.rint(face.landmarks).astype(int)
    hidden, seen = (
        ((eye, other_eye), (left, right)) if kind == "glasses" else ((nose, left, right), (eye, other_eye))
    )
    assert all(mask[y, x] for x, y in hidden) and not any(mask[y, x] for x, y in seen)
    assert 0.01 < mask.mean() < 0.15

    output = pipe(portrait, exemplar=example, recover=kind)
    changed = changed_pixels(output.images[0], portrait)
    assert not changed[~mask].any() and changed[mask].mean() > 0.9
    # What the user adds is filled too; of two faces the one that is meant.
    brush = box_mask(portrait.shape, (60, 20, 80, 40))
    more = changed_pixels(pipe(portrait, brush, example, recover=kind).images[0], portrait)
    assert not more[~(mask | brush)].any() and more[brush].mean() > 0.9
    output = pipe(couple, exemplar=example, recover=kind, faces=[1])
    assert [face.index for face in output.faces[0]] == [1]
    assert not changed_pixels(output.images[0], couple)[:, :256].any()


def test_proposals_without_a_detector(pipe: ExemplarInpaintPipeline, portrait: np.ndarray) -> None:
    aligned = align_face(portrait, detect_faces(portrait)[0], 256)
    landmarks = aligned.to_aligned(aligned.face.landmarks)
    for kind in ("glasses", "lower_face"):
        (canonical,) = pipe.propose_masks(aligned.image, kind, aligned=True)
        found = draw_occlusion_mask(kind, landmarks, (256, 256))
        assert (canonical & found).sum() > 0.7 * (canonical | found).sum()
    with pytest.raises(ValueError, match="no face was found, so no mask can be proposed"):
        pipe.propose_masks(np.zeros((64, 64, 3), np.uint8), "glasses")
    # From the side, where the eyes nearly meet, glasses do not shrink to nothing.
    side = np.array([[100.0, 100], [104, 100], [90, 120], [98, 140], [104, 140]])
    assert draw_occlusion_mask("glasses", side, (200, 200)).sum() > 60 * 30
