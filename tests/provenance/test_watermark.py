"""The invisible mark: only where an edit was, faint, found again after what happens to pictures, absent elsewhere."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit.provenance.watermark import detect, mark


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A sharp photo of a face, 256 x 256."""
    return np.ascontiguousarray(astronaut()[0:256, 100:356])


def region(name: str) -> np.ndarray:
    x, y = np.meshgrid((np.arange(256) + 0.5) / 128 - 1, (np.arange(256) + 0.5) / 128 - 1)
    return {"face": x**4 + y**4 < 1, "half": x > 0, "mouth": (x * 3.2) ** 2 + ((y - 0.45) * 5.5) ** 2 < 1}[
        name
    ]


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(first.astype(float) - second).mean())


@pytest.mark.parametrize("name", ["face", "half", "mouth"])
def test_only_the_region_changes_and_hardly(face: np.ndarray, name: str) -> None:
    where, before = region(name), face.copy()
    marked = mark(face, where)
    np.testing.assert_array_equal(face, before)
    np.testing.assert_array_equal(marked[~where], face[~where])
    assert (marked != face).any(-1)[where].mean() > 0.7
    assert psnr(marked, face) > 40


def test_separate_regions_are_marked_as_each_alone(face: np.ndarray) -> None:
    """A photo of several faces costs no more than the faces: nothing between them is looked at."""
    photo = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    photo[40:296, 50:306] = photo[600:856, 900:1156] = face
    first, second = np.zeros((2, 900, 1200), dtype=bool)
    first[40:296, 50:306] = second[600:856, 900:1156] = region("face")
    both = mark(photo, first | second)
    for where in (first, second):
        np.testing.assert_array_equal(both[where], mark(photo, where)[where])
    np.testing.assert_array_equal(both[~(first | second)], photo[~(first | second)])
    assert detect(both).found


@pytest.mark.parametrize("name", ["face", "half", "mouth"])
@pytest.mark.parametrize("factor", [1, 0.8, 1.2])
def test_found_again_also_when_resized(face: np.ndarray, name: str, factor: float) -> None:
    found = detect(resized(mark(face, region(name)), factor))
    assert found.found and found.score >= found.threshold
    # The window lies over the region: that is where the mark is.
    left, top, right, bottom = (round(value / factor) for value in found.box)
    assert region(name)[top:bottom, left:right].mean() > 0.3


@pytest.mark.parametrize("name", ["face", "half"])
def test_found_again_after_jpeg(face: np.ndarray, name: str) -> None:
    marked = mark(face, region(name))
    assert detect(jpeg(marked)).found
    assert detect(jpeg(resized(marked, 0.8))).found


def test_untouched_photos_are_not_taken_for_marked(face: np.ndarray) -> None:
    whole = astronaut()
    rng = np.random.default_rng(0)
    pictures = [face, face[:, ::-1], whole, jpeg(face), resized(face, 1.2), resized(whole, 0.4)]
    pictures += [rng.integers(0, 256, (200, 300, 3), dtype=np.uint8), np.full((64, 64, 3), 128, np.uint8)]
    for picture in pictures:
        found = detect(np.ascontiguousarray(picture))
        assert not found.found, found


@pytest.mark.slow
def test_a_part_of_a_wide_photo_keeps_the_rest(face: np.ndarray) -> None:
    photo = np.tile(face, (3, 5, 1))
    where = np.zeros(photo.shape[:2], bool)
    where[300:440, 900:1040] = True
    where[20:150, 10:160] = True
    marked = mark(photo, where)
    np.testing.assert_array_equal(marked[~where], photo[~where])
    for part in (np.s_[300:440, 900:1040], np.s_[20:150, 10:160]):
        alone = photo.copy()
        alone[part] = marked[part]
        assert detect(alone).found, part
    assert not detect(photo).found


@pytest.mark.parametrize("depth", ["gray", "uint16", "float32", "tiny"])
def test_other_kinds_of_pictures(face: np.ndarray, depth: str) -> None:
    given = {
        "gray": np.repeat(face[..., 1:2], 3, axis=2),
        "uint16": face.astype(np.uint16) * 257,
        "float32": face.astype(np.float32) / 255,
        "tiny": resized(face, 0.5),
    }[depth]
    marked = mark(given, np.ones(given.shape[:2], bool))
    assert marked.dtype == given.dtype and marked.shape == given.shape
    assert detect(marked).found
    if depth == "gray":
        assert (marked == marked[..., :1]).all()


def test_nothing_to_mark_and_wrong_shapes(face: np.ndarray) -> None:
    np.testing.assert_array_equal(mark(face, np.zeros((256, 256), bool)), face)
    with pytest.raises(ValueError, match=r"mask \[H, W\]"):
        mark(face, np.ones((255, 256), bool))
    with pytest.raises(ValueError, match=r"needs a picture"):
        detect(face[..., 0])


def test_marking_again_does_not_pile_up(face: np.ndarray) -> None:
    """A second edit beside the first leaves the first mark as it is."""
    left, right = region("half"), ~region("half")
    once = mark(face, left)
    twice = mark(once, right)
    np.testing.assert_array_equal(twice[left], once[left])
    assert detect(twice).score > detect(once).score
