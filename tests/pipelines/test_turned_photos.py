"""Photos that lie on their side or stand on their head, without a word about it in the file."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from facekit.pipelines.edit.session.record import describe_face, face_from
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

PIPELINES = {
    "restore": tiny_restore_pipeline,
    "inpaint": tiny_inpaint_pipeline,
    "exemplar": tiny_exemplar_pipeline,
    "edit": tiny_edit_pipeline,
}


@pytest.mark.parametrize("name", PIPELINES)
def test_faces_of_a_turned_photo_are_worked_on_as_upright_ones_are(name: str) -> None:
    """The result is the upright photo's result, turned; a note says so."""
    pipeline, photo = PIPELINES[name](), np.ascontiguousarray(astronaut()[:360])
    mask = box_mask(photo.shape, (190, 85, 255, 115))
    run = _caller(pipeline, name, photo)
    upright = run(photo, mask)
    assert upright.faces[0][0].turn == 0 and not any("upright" in note for note in upright.notes)
    expected = np.asarray(upright.images[0]).astype(int)
    for turn, words in (
        (90, "90 degrees clockwise"),
        (180, "180 degrees"),
        (270, "90 degrees counterclockwise"),
    ):
        turned, hole = (np.ascontiguousarray(np.rot90(array, turn // 90)) for array in (photo, mask))
        output = run(turned, hole)
        assert [face.turn for face in output.faces[0]] == [turn]
        assert f"the photo is not upright: its faces were found in a copy turned by {words}" in output.notes
        result = np.asarray(output.images[0])
        if name != "restore":
            np.testing.assert_array_equal(result[~hole], turned[~hole])
        changed = (expected != photo).any(axis=-1)
        back = np.rot90(result, -turn // 90).astype(int)
        assert np.abs(back - expected)[changed].mean() < 0.2 * np.abs(expected - photo)[changed].mean()


def _caller(pipeline: Any, name: str, exemplar: np.ndarray) -> Callable[[np.ndarray, np.ndarray], Any]:
    def run(photo: np.ndarray, mask: np.ndarray) -> Any:
        given = {} if name == "restore" else {"mask": mask}
        given |= {"exemplar": exemplar} if name == "exemplar" else {}
        return pipeline(photo, generator=torch.Generator().manual_seed(0), **given)

    return run


def test_an_exemplar_may_be_turned() -> None:
    photo = np.ascontiguousarray(astronaut()[:360])
    pipeline = tiny_exemplar_pipeline()
    found = [pipeline.encode_exemplar(picture).faces[0] for picture in (photo, np.rot90(photo).copy())]
    assert np.abs(found[0].image - found[1].image).mean() < 0.01
    assert found[0].notes == [] or all("upright" not in note for note in found[0].notes)
    assert "the exemplar is not upright: its faces were found in a copy turned by 90 degrees clockwise" in (
        found[1].notes
    )


def test_a_session_keeps_how_its_faces_lie() -> None:
    photo = np.rot90(astronaut()[:360]).copy()
    (face,) = tiny_edit_pipeline().edit_session(photo).faces
    assert face.turn == 90 and face_from(describe_face(face), 0).turn == 90
    with pytest.raises(ValueError, match="turn is wrong"):
        face_from(describe_face(face) | {"turn": 45}, 0)
