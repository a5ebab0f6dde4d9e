"""Holes that reach beyond a face's crop: the crop's edge must not show in them."""

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from facekit import ExemplarInpaintPipeline, FaceEditPipeline, FaceInpaintPipeline
from facekit.faces import AlignedFace, align_face, detect_faces
from tests.conftest import ROOT
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_exemplar_pipeline, tiny_inpaint_pipeline

STARTERS = {
    "inpaint": (FaceInpaintPipeline, "face-inpaint-starter-256"),
    "exemplar": (ExemplarInpaintPipeline, "exemplar-inpaint-starter-256"),
    "edit": (FaceEditPipeline, "face-edit-starter-256"),
}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """uint8 `[512, 512, 3]` with one face, whose crop is turned by 3 degrees."""
    return np.ascontiguousarray(astronaut())


def steps_across_the_edge(picture: np.ndarray, aligned: AlignedFace, hole: np.ndarray) -> np.ndarray:
    """Differences [N] between 1.5 photo pixels inside and outside of the crop's edge, where the hole crosses it.

    In levels, of the strongest channel, averaged over 9 pixels along the edge.
    """
    size, gap = aligned.size, 1.5 * np.hypot(*aligned.matrix[:, 0])
    along, steps = np.linspace(0, size - 1, size), []
    for flip in (False, True):
        for edge, outwards in ((-0.5, -1), (size - 0.5, 1)):
            values, inside = [], np.ones(size, dtype=bool)
            for across in (edge - gap * outwards, edge + gap * outwards):
                line = np.stack([along, np.full(size, across)], axis=1)
                points = aligned.to_photo(line[:, ::-1] if flip else line).astype(np.float32)
                x, y = points[:, :1], points[:, 1:]
                inside &= cv2.remap(hole.astype(np.float32), x, y, cv2.INTER_LINEAR)[:, 0] == 1
                values.append(cv2.remap(picture.astype(np.float32), x, y, cv2.INTER_LINEAR)[:, 0])
            change = cv2.blur(values[1] - values[0], (1, 9))
            steps.append(np.abs(change).max(axis=1)[inside])
    return np.concatenate(steps)


@pytest.mark.parametrize("name", STARTERS)
def test_the_crops_edge_does_not_show_in_a_hole(photo: np.ndarray, name: str) -> None:
    """What changes across the edge is no more than what the photo itself shows there."""
    kind, folder = STARTERS[name]
    pipeline = kind.from_pretrained(ROOT / "hub_cards" / folder)
    pipeline.set_progress_bar_config(disable=True)
    guide = {"exemplar": np.ascontiguousarray(photo[:, ::-1])} if name == "exemplar" else {}
    aligned = align_face(photo, detect_faces(photo)[0], 256)
    for box in ((120, 0, 330, 90), (60, 20, 230, 260), (210, 120, 400, 300)):
        mask = box_mask(photo.shape, box)
        output = pipeline(photo, mask, generator=torch.Generator().manual_seed(0), **guide)
        result = np.asarray(output.images[0])
        np.testing.assert_array_equal(result[~mask], photo[~mask])
        own, found = (steps_across_the_edge(picture, aligned, mask) for picture in (photo, result))
        assert len(found) > 200
        assert found.mean() < 1.2 * own.mean(), box
        assert np.median(found) < np.median(own) + 4, box


@pytest.mark.parametrize("name", ["inpaint", "exemplar"])
def test_what_a_hole_hid_does_not_show_near_the_crops_edge(photo: np.ndarray, name: str) -> None:
    """Other content under the mask gives the same pixels wherever the hole is filled."""
    pipeline = tiny_inpaint_pipeline() if name == "inpaint" else tiny_exemplar_pipeline()
    guide = {"exemplar": np.ascontiguousarray(photo[:, ::-1])} if name == "exemplar" else {}
    (face,) = detect_faces(photo)
    crop, mask = align_face(photo, face, 64), box_mask(photo.shape, (60, 20, 230, 260))
    filled = mask if name == "inpaint" else mask & crop.covers((0, 0, 512, 512))
    other = photo.copy()
    other[filled] = (0, 255, 0)
    results = []
    for picture in (photo, other):
        source = torch.Generator().manual_seed(0)
        output = pipeline(
            picture,
            mask,
            detector=lambda seen: [face] if seen.shape == photo.shape else [],
            generator=source,
            **guide,
        )
        results.append(np.asarray(output.images[0]))
    np.testing.assert_array_equal(results[0][filled], results[1][filled])
