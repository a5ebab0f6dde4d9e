"""Photos with people: which faces are filled, and what is said when none is."""

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from facekit import FaceInpaintPipeline
from facekit.faces import align_face, detect_faces
from tests.helpers.masks import box_mask

EYES = (190, 85, 255, 115)  # left, top, right, bottom on the portrait


def test_only_faces_under_the_mask_are_filled(
    pipe: FaceInpaintPipeline, couple: np.ndarray, eyes: np.ndarray
) -> None:
    right = np.concatenate([np.zeros_like(eyes), eyes[:, ::-1]], axis=1)
    seen = []
    output = pipe(
        couple,
        right,
        callback_on_step_end=lambda _p, _s, _t, tensors: seen.append(tensors["image"].shape[0]),
    )
    assert [face.index for face in output.faces[0]] == [1] and seen == [1, 1, 1]
    changed = (np.asarray(output.images[0]) != couple).any(axis=-1)
    assert not changed[~right].any() and changed[right].mean() > 0.9
    both = np.concatenate([eyes, eyes[:, ::-1]], axis=1)
    output = pipe(couple, both)
    assert [face.index for face in output.faces[0]] == [0, 1]
    changed = (np.asarray(output.images[0]) != couple).any(axis=-1)
    assert not changed[~both].any() and changed[both].mean() > 0.9


def test_a_perfect_face_returns_to_its_place(pipe: FaceInpaintPipeline, portrait: np.ndarray) -> None:
    """The callback puts the true face in: the photo then comes back nearly as it was, at the right spot."""
    mask = box_mask(portrait.shape, (95, 90, 150, 110))
    with_face = pipe(portrait, np.ones((256, 256), dtype=bool) & mask)
    face = with_face.faces[0][0]
    truth = torch.from_numpy(align_face(portrait, face, 64).image).permute(2, 0, 1)[None] / 127.5 - 1
    result = pipe(portrait, mask, callback_on_step_end=lambda *_: {"image": truth}).images[0]
    error = np.abs(np.asarray(result).astype(int) - portrait)[mask].mean()
    shifted = np.abs(np.roll(np.asarray(result).astype(int), 6, axis=1) - portrait)[mask].mean()
    assert error < 12 and error < 0.6 * shifted


def test_what_the_mask_covers_beyond_the_faces_is_filled_too(pipe: FaceInpaintPipeline) -> None:
    photo = np.ascontiguousarray(astronaut())
    mask = box_mask(photo.shape, EYES) | box_mask(photo.shape, (20, 400, 120, 480))
    output = pipe(photo, mask)
    changed = (np.asarray(output.images[0]) != photo).any(axis=-1)
    assert not changed[~mask].any() and changed[mask].mean() > 0.9
    assert len(output.faces[0]) == 1
    assert output.notes == [
        '80% of the mask lies outside the filled faces\' crops: filled as with region="image"'
    ]


def test_a_face_behind_a_scribble_is_found(pipe: FaceInpaintPipeline, portrait: np.ndarray) -> None:
    """Bars hide the face from the detector; painted over in the colours around them it shows again."""
    photo, mask = portrait.copy(), np.zeros(portrait.shape[:2], dtype=bool)
    for left in range(60, 190, 16):
        mask[50:190, left : left + 7] = True
    photo[mask] = (255, 0, 255)
    assert detect_faces(photo) == []
    output = pipe(photo, mask)
    assert len(output.faces[0]) == 1
    left, top, right, bottom = output.faces[0][0].box
    assert abs((left + right) / 2 - 125) < 20 and abs((top + bottom) / 2 - 120) < 20


def test_no_face_is_refused_with_the_way_out(pipe: FaceInpaintPipeline) -> None:
    noise_photo = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r'no face was found\. Use region="image"'):
        pipe(noise_photo, box_mask(noise_photo.shape, (50, 50, 90, 90)))


def test_a_mask_beside_the_faces_is_refused_with_the_way_out(pipe: FaceInpaintPipeline) -> None:
    photo = np.ascontiguousarray(astronaut())
    with pytest.raises(ValueError, match=r'mask does not touch the face\. Use region="image"'):
        pipe(photo, box_mask(photo.shape, (20, 400, 120, 480)))


def test_more_faces_chosen_than_there_are_is_refused(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="face 3 was asked for, but the photo has 1 face"):
        pipe(portrait, eyes, faces=[0, 3])


def test_the_largest_face_alone(pipe: FaceInpaintPipeline, couple: np.ndarray, eyes: np.ndarray) -> None:
    both = np.concatenate([eyes, eyes[:, ::-1]], axis=1)
    output = pipe(couple, both, faces="largest")
    assert len(output.faces[0]) == 1
    assert any("outside the filled faces' crops" in note for note in output.notes)
