import cv2
import numpy as np
import pytest

from facekit.faces import Face, align_face, ffhq_quad
from facekit.faces.geometry import sample_nearest


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b.astype(float)) ** 2))))


def test_quad_formula():
    # Eyes 100 apart, mouth 100 below: both terms by hand, 2.0 * 100 > 1.8 * 100.
    points = np.array([[100.0, 200], [200, 200], [150, 250], [120, 300], [180, 300]])
    expected = np.array([[-50, 10], [-50, 410], [350, 410], [350, 10]])
    np.testing.assert_allclose(ffhq_quad(points), expected)
    # Mouth 150 below: 1.8 * 150 = 270.
    points[3:, 1] = 350
    np.testing.assert_allclose(ffhq_quad(points)[0], [150 - 270, 215 - 270])


def test_whole_pixel_crop_is_a_copy(upright):
    photo = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    aligned = align_face(photo, upright((299.5, 259.5), 256), 256)
    np.testing.assert_allclose(aligned.matrix, [[1, 0, -172], [0, 1, -132]], atol=1e-9)
    np.testing.assert_array_equal(aligned.image, photo[132:388, 172:428])
    assert aligned.box[0] <= 172 and aligned.box[2] >= 428


def test_points_go_there_and_back(astronaut, landmarks):
    aligned = align_face(astronaut, Face(0, (0, 0, 1, 1), 1.0, landmarks), 200)
    assert aligned.face is not None and aligned.size == 200 and aligned.image.shape == (200, 200, 3)
    np.testing.assert_allclose(aligned.to_photo(aligned.to_aligned(landmarks)), landmarks, atol=1e-9)
    centre = ffhq_quad(landmarks).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(aligned.to_aligned(centre), [[99.5, 99.5]], atol=1e-9)
    eyes = aligned.to_aligned(landmarks[:2])
    assert abs(eyes[0, 1] - eyes[1, 1]) < 3 and eyes[0, 0] < 99.5 < eyes[1, 0]


@pytest.mark.parametrize("angle", [17, -90, 180])
def test_alignment_undoes_rotation(astronaut, landmarks, angle):
    turn = cv2.getRotationMatrix2D((224, 150), angle, 1.0)
    turned = cv2.warpAffine(astronaut, turn, (512, 512), flags=cv2.INTER_CUBIC)
    points = landmarks @ turn[:, :2].T + turn[:, 2]
    a, b = align_face(astronaut, landmarks, 128), align_face(turned, points, 128)
    assert psnr(a.image[16:-16, 16:-16], b.image[16:-16, 16:-16]) > 34


@pytest.mark.parametrize("ratio", [2.1, 2.7, 6.0, 13.3])
def test_shrinking_does_not_alias(ratio, upright):
    side = int(128 * ratio) + 200
    photo = np.zeros((side, side), np.uint8)
    photo[:, ::2] = 255
    aligned = align_face(photo, upright((side / 2, side / 2), 128 * ratio), 128)
    # Stripes at the finest scale must turn gray; plain linear sampling leaves a standard deviation above 60.
    assert aligned.image.std() < 12 and abs(aligned.image.mean() - 127.5) < 2


def test_shrunken_face_matches_area_average(astronaut, landmarks):
    big = cv2.resize(astronaut, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    a = align_face(astronaut, landmarks, 128).image
    b = align_face(big, (landmarks + 0.5) * 6 - 0.5, 128).image
    assert psnr(a, b) > 32


def test_crop_that_leaves_the_photo(astronaut, landmarks):
    left, top = 160, 40
    whole = align_face(astronaut, landmarks, 256)
    cut = align_face(astronaut[top:, left:], landmarks - [left, top], 256)
    np.testing.assert_allclose(whole.quad, cut.quad + np.array([left, top]), atol=1e-9)
    inside = cut.warp(np.ones(cut.photo_shape, np.uint8)).astype(bool)
    assert 0.4 < inside.mean() < 0.9
    deep = cv2.erode(inside.astype(np.uint8), np.ones((9, 9))).astype(bool)
    # What the photo has is not touched by the border's blur.
    assert np.abs(cut.image[deep].astype(int) - whole.image[deep]).max() <= 1
    # The border goes on without a step.
    edge = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))).astype(bool)
    steps = np.abs(np.diff(cut.image.astype(int), axis=1)).max(axis=2)
    assert np.percentile(steps[edge[:, 1:]], 90) < 60
    assert cut.image[~inside].std() > 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_dtypes_are_kept(astronaut, landmarks, dtype):
    scale = {np.uint8: 1, np.uint16: 257}.get(dtype, 1 / 255)
    photo = (astronaut * np.float64(scale)).astype(dtype)
    aligned = align_face(photo, landmarks, 128)
    assert aligned.image.dtype == dtype
    reference = align_face(astronaut, landmarks, 128).image
    np.testing.assert_allclose(aligned.image.astype(np.float64) / scale, reference, atol=1.0)


def test_gray_and_alpha(astronaut, landmarks):
    gray = astronaut[:, :, 1]
    reference = align_face(astronaut, landmarks, 128).image
    np.testing.assert_array_equal(align_face(gray, landmarks, 128).image, reference[:, :, 1])
    np.testing.assert_array_equal(align_face(gray[:, :, None], landmarks, 128).image, reference[:, :, 1])
    with_alpha = np.dstack([gray, np.zeros_like(gray)])
    np.testing.assert_array_equal(align_face(with_alpha, landmarks, 128).image, reference[:, :, 1])
    rgba = np.dstack([astronaut, np.zeros_like(gray)])
    np.testing.assert_array_equal(align_face(rgba, landmarks, 128).image, reference)


def test_masks_and_maps_follow(astronaut, landmarks):
    aligned = align_face(astronaut, landmarks, 256)
    mask = np.zeros((512, 512), bool)
    nose = landmarks[2].round().astype(int)
    mask[nose[1] - 6 : nose[1] + 7, nose[0] - 6 : nose[0] + 7] = True
    warped = aligned.warp(mask)
    assert warped.dtype == bool and warped.shape == (256, 256)
    rows, columns = np.nonzero(warped)
    np.testing.assert_allclose([columns.mean(), rows.mean()], aligned.to_aligned(nose[None])[0], atol=1)
    np.testing.assert_allclose(warped.sum(), 13**2 * np.linalg.det(aligned.matrix[:, :2]), rtol=0.05)

    labels = np.random.default_rng(0).integers(0, 19, (512, 512))
    assert aligned.warp(labels).dtype == labels.dtype
    assert set(np.unique(aligned.warp(labels * 7))) <= set(range(0, 19 * 7, 7))
    soft = aligned.warp(mask.astype(np.float32), "linear")
    assert 0 <= soft.min() and soft.max() <= 1 and ((soft > 0) & (soft < 1)).any()
    assert aligned.warp(mask, "linear").dtype == np.float32
    assert (aligned.warp(np.dstack([mask] * 3))[:, :, 1] == warped).all()

    back = aligned.unwarp(warped, "nearest")
    assert back.shape == mask.shape and (back ^ mask).sum() < 40
    picture = aligned.unwarp(aligned.image)
    inside = aligned.unwarp(np.ones((256, 256), np.uint8), "nearest").astype(bool)
    assert picture.shape == astronaut.shape and not picture[~inside].any()
    assert psnr(picture[inside], astronaut[inside]) > 30


@pytest.mark.parametrize("side", [1500, 3000])
@pytest.mark.parametrize("degrees", [0, 12, 33, 45, 61, 90, 170])
def test_turned_crops_of_any_size_are_laid_back(upright, side: int, degrees: int) -> None:
    """The box of a turned crop has corners, whole tiles of it, that the crop leaves free."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([side / 2, side / 2])
    points = (upright(centre, 0.7 * side) - centre) @ turn.T + centre
    aligned = align_face(np.full((side, side), 90, np.uint8), points, 64)
    labels = np.random.default_rng(0).integers(1, 19, (64, 64)).astype(np.uint8)
    whole = sample_nearest(labels, aligned.matrix, side, side)
    outside = ~aligned.covers((0, 0, side, side))
    whole[outside] = 0
    np.testing.assert_array_equal(aligned.unwarp(labels, "nearest"), whole)
    assert not aligned.unwarp(labels)[outside].any()


def test_fine_sketch_survives_shrinking(upright):
    photo = np.full((1400, 1400), 200, np.uint8)
    aligned = align_face(photo, upright((700, 700), 1200), 128)
    stroke = np.zeros((1400, 1400), np.float32)
    stroke[700, 200:1200] = 1
    touched = (aligned.warp(stroke, "linear") > 0).any(axis=0)
    assert touched[12:-12].all()


def test_wrong_inputs(astronaut, landmarks):
    with pytest.raises(ValueError, match="five"):
        align_face(astronaut, landmarks[:4])
    with pytest.raises(ValueError, match="five finite"):
        align_face(astronaut, landmarks * np.nan)
    with pytest.raises(ValueError, match="coincide"):
        align_face(astronaut, np.ones((5, 2)))
    with pytest.raises(ValueError, match="outside the 512 x 512 photo"):
        align_face(astronaut, landmarks + 2000)
    for size in (8, 256.0, True, 9000):
        with pytest.raises(ValueError, match="size"):
            align_face(astronaut, landmarks, size)
    for photo in (astronaut.astype(np.int64), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 5), np.uint8), "x"):
        with pytest.raises(ValueError, match="photo"):
            align_face(photo, landmarks)
    aligned = align_face(astronaut, landmarks)
    with pytest.raises(ValueError, match="512, 512"):
        aligned.warp(np.zeros((100, 100)))
    with pytest.raises(ValueError, match="interpolation"):
        aligned.warp(np.zeros((512, 512)), "cubic")
    with pytest.raises(ValueError, match="256, 256"):
        aligned.unwarp(np.zeros((100, 100)))
