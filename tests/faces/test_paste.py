import subprocess
import sys

import cv2
import numpy as np
import pytest

from facekit.faces import align_face, paste_faces


@pytest.fixture(scope="module")
def aligned(astronaut, landmarks):
    return align_face(astronaut, landmarks, 256)


def disc(size: int = 256, radius: int = 60) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return np.hypot(x, y) < radius


@pytest.mark.parametrize("size", [64, 256, 700])
def test_unedited_face_changes_nothing(astronaut, landmarks, size):
    aligned = align_face(astronaut, landmarks, size)
    np.testing.assert_array_equal(paste_faces(astronaut, [(aligned, aligned.image)]), astronaut)
    as_float = aligned.image.astype(np.float32) / 255
    np.testing.assert_array_equal(paste_faces(astronaut, [(aligned, as_float)]), astronaut)
    np.testing.assert_array_equal(paste_faces(astronaut, [(aligned, aligned.image)] * 2), astronaut)


def test_region_without_a_mask(astronaut, aligned):
    lighter = np.clip(aligned.image.astype(int), 0, 225).astype(np.uint8) + np.uint8(30)
    photo = np.minimum(astronaut, 225)
    out = paste_faces(photo, [(aligned, lighter)])
    assert out is not photo and not np.shares_memory(out, photo)
    change = out.astype(int) - photo
    inside = aligned.unwarp(np.ones((256, 256), np.uint8), "nearest").astype(bool)
    assert not change[~inside].any(), "bit-identical outside the crop"
    middle = aligned.unwarp(disc(radius=90), "nearest")
    assert np.abs(change[middle] - 30).mean() < 1
    # No square: the corners of the crop stay, and the edge is a slope.
    for corner in aligned.to_photo(np.array([[6, 6], [249, 6], [6, 249], [249, 249]])).round().astype(int):
        assert not change[corner[1], corner[0]].any()
    steps = np.abs(np.diff(change[:, :, 1], axis=1))[:, 1:-1]
    assert np.percentile(steps[inside[:, 2:-1]], 99.5) <= 8


def test_constant_change_has_no_colour_shift(upright):
    photo = np.random.default_rng(0).integers(20, 200, (500, 500, 3), dtype=np.uint8)
    aligned = align_face(photo, upright((250, 250), 300), 256)
    edited = aligned.image + np.array([40, 0, 9], np.uint8)
    out = paste_faces(photo, [(aligned, edited)])
    change = out.astype(int) - photo
    assert (change[200:300, 200:300] == [40, 0, 9]).all()
    assert change.min() >= 0 and (change.max(axis=(0, 1)) == [40, 0, 9]).all()


@pytest.mark.parametrize("mode", ["difference", "replace"])
@pytest.mark.parametrize("feather", [0, None, 0.05])
def test_mask_bounds_the_change(astronaut, aligned, mode, feather):
    mask = disc()
    edited = 255 - aligned.image
    region = aligned.unwarp(mask, "nearest")
    for given in (
        mask,
        mask.astype(np.uint8),
        mask.astype(np.uint8) * 255,
        mask.astype(np.float32)[:, :, None],
    ):
        out = paste_faces(astronaut, [(aligned, edited, given)], mode=mode, feather=feather)
        np.testing.assert_array_equal(out[~region], astronaut[~region])
        assert (out[region] != astronaut[region]).any(axis=1).mean() > 0.9
    on_photo = paste_faces(astronaut, [(aligned, edited, region)], mode=mode, feather=feather)
    np.testing.assert_array_equal(on_photo, out)
    if mode == "replace":
        core = cv2.erode(region.astype(np.uint8), np.ones((25, 25))).astype(bool)
        expected = aligned.unwarp(edited)
        assert np.abs(out[core].astype(int) - expected[core]).max() <= 1


def test_replaced_hole_keeps_nothing_of_the_old_content(astronaut, landmarks):
    scribbled = astronaut.copy()
    cv2.line(scribbled, (205, 120), (245, 125), (0, 255, 0), 1)
    aligned = align_face(scribbled, landmarks, 64)
    hole = np.zeros((512, 512), bool)
    hole[110:135, 195:255] = True
    flat = np.full((64, 64, 3), 180, np.uint8)
    out = paste_faces(scribbled, [(aligned, flat, hole)], mode="replace")
    assert (out[113:132, 198:252] == 180).all()
    np.testing.assert_array_equal(out[~hole], scribbled[~hole])


def test_empty_mask_and_no_edits(astronaut, aligned):
    empty = np.zeros((256, 256), bool)
    np.testing.assert_array_equal(paste_faces(astronaut, [(aligned, 255 - aligned.image, empty)]), astronaut)
    np.testing.assert_array_equal(paste_faces(astronaut, []), astronaut)


def test_crop_that_leaves_the_photo(astronaut, landmarks):
    photo = astronaut[80:, 190:]
    aligned = align_face(photo, landmarks - [190, 80], 256)
    out = paste_faces(photo, [(aligned, np.zeros_like(aligned.image), np.ones((256, 256), bool))])
    # The photo's frame is no edge of the region: no feather along it.
    assert out[20:60, 0].mean() < 0.15 * photo[20:60, 0].mean()
    np.testing.assert_array_equal(paste_faces(photo, [(aligned, aligned.image)]), photo)


def test_overlapping_faces(upright):
    photo = np.full((400, 700, 3), 100, np.uint8)
    far = align_face(photo, upright((250, 190), 220), 128)
    near = align_face(photo, upright((400, 200), 320), 256)
    red, blue = (
        np.full((128, 128, 3), (200, 100, 100), np.uint8),
        np.full((256, 256, 3), (100, 100, 200), np.uint8),
    )
    out = paste_faces(photo, [(far, red), (near, blue)])
    np.testing.assert_array_equal(out, paste_faces(photo, [(near, blue), (far, red)]))
    assert (np.abs(out[190, 250].astype(int) - (200, 100, 100)) <= 3).all()
    assert (np.abs(out[200, 400].astype(int) - (100, 100, 200)) <= 3).all()
    # Shares add up to one: never more of both than of one.
    red_share, blue_share = (out[:, :, 0].astype(int) - 100) / 100, (out[:, :, 2].astype(int) - 100) / 100
    assert (red_share + blue_share).max() <= 1.02 and (out[:, :, 1] == 100).all()
    between = out[195, 255:395].astype(int)
    assert np.abs(np.diff(between, axis=0)).max() <= 8, "soft change from one face to the other"
    # An unedited neighbour does not undo an edit.
    alone = paste_faces(photo, [(far, red), (near, near.image)])
    assert (np.abs(alone[190, 250].astype(int) - (200, 100, 100)) <= 3).all()


def test_a_crops_edge_inside_another_crop_does_not_show(upright):
    """Two crops whose corners overlap, under one hole: one fill changes into the other without a line."""
    photo, hole = np.full((400, 500, 3), 100, np.uint8), np.zeros((400, 500), bool)
    hole[100:380, 60:420] = True
    left, right = (align_face(photo, upright(centre, 200), 128) for centre in ((150, 200), (300, 270)))
    fills = [np.full((128, 128, 3), colour, np.uint8) for colour in ((200, 100, 100), (100, 100, 200))]
    out = paste_faces(
        photo, [(left, fills[0], hole), (right, fills[1], hole)], mode="replace", mask_space="photo"
    )
    # Along the left crop's right-hand edge, from 12 pixels below the right crop's upper one.
    assert np.abs(np.diff(out[182:290, 200:300].astype(int), axis=1)).max() <= 16


def test_gray_photo(astronaut, landmarks):
    gray = astronaut[:, :, 1]
    for photo in (gray, gray[:, :, None]):
        aligned = align_face(photo, landmarks, 256)
        colour = np.dstack([aligned.image] * 3)
        np.testing.assert_array_equal(paste_faces(photo, [(aligned, colour)]), photo)
        out = paste_faces(photo, [(aligned, 255 - colour, disc())])
        assert out.shape == photo.shape and (out != photo).any()
        np.testing.assert_array_equal(out, paste_faces(photo, [(aligned, 255 - aligned.image, disc())]))


def test_16_bit_photo_keeps_its_depth(landmarks):
    photo = np.random.default_rng(0).integers(2000, 60000, (512, 512, 3), dtype=np.uint16)
    aligned = align_face(photo, landmarks, 256)
    np.testing.assert_array_equal(paste_faces(photo, [(aligned, aligned.image)]), photo)
    out = paste_faces(photo, [(aligned, aligned.image + np.uint16(37))])
    change = out.astype(int) - photo
    assert (
        out.dtype == np.uint16
        and (change[110:150, 210:240] == 37).all()
        and set(np.unique(change)) <= set(range(38))
    )
    white = paste_faces(photo, [(aligned, np.full((256, 256, 3), 255, np.uint8), disc())], mode="replace")
    assert (white[115:140, 215:235] == 65535).all()


def test_float_photo(astronaut, landmarks):
    photo = astronaut.astype(np.float32) / 255
    aligned = align_face(photo, landmarks, 256)
    out = paste_faces(photo, [(aligned, aligned.image + np.float32(0.1))])
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[120, 225] - photo[120, 225], 0.1, atol=1e-4)


def test_alpha_is_untouched(astronaut, landmarks):
    alpha = np.random.default_rng(0).integers(0, 256, (512, 512, 1), dtype=np.uint8)
    for photo in (np.dstack([astronaut, alpha]), np.dstack([astronaut[:, :, :1], alpha])):
        aligned = align_face(photo, landmarks, 256)
        out = paste_faces(photo, [(aligned, 255 - aligned.image)])
        np.testing.assert_array_equal(out[:, :, -1:], alpha)
        assert (out[..., :-1] != photo[..., :-1]).any()


def test_wrong_inputs(astronaut, aligned):
    good = aligned.image
    cases = [
        ([(aligned, good[:100])], {}, "edited face must be"),
        ([(aligned, good.astype(np.int32))], {}, "uint8, uint16 or floating"),
        ([(aligned, good.astype(np.float32))], {}, r"lie in \[0, 1\]"),
        ([(aligned, np.full((256, 256, 3), np.nan))], {}, "NaN"),
        ([(aligned, good, np.ones((100, 100)))], {}, "a mask must be"),
        ([(aligned, good, np.full((256, 256), np.nan))], {}, "floating mask"),
        ([(aligned, good, np.full((256, 256), 300))], {}, "integer mask"),
        ([(aligned, good, np.ones((256, 256)))], {"mask_space": "photo"}, "a mask must be"),
        ([(aligned, good)], {"mode": "blend"}, "mode"),
        ([(aligned, good)], {"feather": 2}, "feather"),
        ([(aligned, good)], {"mask_space": "face"}, "mask_space"),
    ]
    for edits, options, message in cases:
        with pytest.raises(ValueError, match=message):
            paste_faces(astronaut, edits, **options)
    with pytest.raises(ValueError, match="was cut from a photo of"):
        paste_faces(astronaut[:300], [(aligned, good)])


def test_mask_space_must_be_said_when_sizes_agree(astronaut, landmarks):
    aligned = align_face(astronaut, landmarks, 512)
    mask = disc(512)
    with pytest.raises(ValueError, match="mask_space"):
        paste_faces(astronaut, [(aligned, aligned.image, mask)])
    for space in ("aligned", "photo"):
        paste_faces(astronaut, [(aligned, aligned.image, mask)], mask_space=space)


HUGE = """
import resource
import cv2, numpy as np
from skimage import data
from facekit.faces import align_face, detect_faces, paste_faces
detect_faces(data.astronaut())
photo = np.full((10_000, 10_000, 3), 120, np.uint8)
head = cv2.resize(data.astronaut()[:220, 90:340], None, fx=20, fy=20, interpolation=cv2.INTER_CUBIC)
photo[2000 : 2000 + len(head), 1000 : 1000 + head.shape[1]] = head
del head
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
(face,) = detect_faces(photo, faces="largest")
aligned = align_face(photo, face, 256)
print(peak() - before)
out = paste_faces(photo, [(aligned, 255 - aligned.image)])
print(peak() - before)
assert (out != photo).any() and (out[:, 9000:] == 120).all()
"""


@pytest.mark.slow
def test_100_megapixel_photo_costs_one_copy():
    """Beyond the photo and the returned copy (286 MB each), memory is bounded, mostly by the detector."""
    run = subprocess.run(
        [sys.executable, "-c", HUGE], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    aligning, pasting = (float(line) for line in run.stdout.split())
    assert aligning < 250 and pasting < 287 + 250, run.stdout
