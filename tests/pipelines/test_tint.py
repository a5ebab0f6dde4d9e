"""A photo without colours comes back without colours, from every pipeline, in every tone and depth."""

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from skimage.data import astronaut, cat, coffee, rocket

from facekit.images.photo import load_image
from facekit.images.tint import find_tint
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

LUMA = np.array([0.299, 0.587, 0.114])
SLOPES, STARTS = np.array([1.0, 0.86, 0.67]), np.array([15, 10, 5])


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def gray(picture: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(Image.fromarray(picture).convert("L"))[..., None], 3, axis=2)


def sepia(picture: np.ndarray) -> np.ndarray:
    return np.clip(gray(picture) * SLOPES + STARTS, 0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 6, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def off_sepia(picture: np.ndarray) -> np.ndarray:
    """How far the colours uint8 `[N, 3]` lie off the line of `sepia`, in levels."""
    level = (picture @ LUMA - STARTS @ LUMA) / (SLOPES @ LUMA)
    return np.abs(picture - np.clip(level[:, None] * SLOPES + STARTS, 0, 255)).max(axis=1)


@pytest.fixture(scope="module")
def fills(portrait: np.ndarray, eyes: np.ndarray) -> dict[str, Callable[..., Any]]:
    """The four pipelines as functions of a photo."""
    inpaint, restore = tiny_inpaint_pipeline(), tiny_restore_pipeline(identity=False)
    exemplar, edit = tiny_exemplar_pipeline(), tiny_edit_pipeline()
    example = np.ascontiguousarray(portrait[:, ::-1])
    return {
        "inpaint": lambda photo, **o: inpaint(photo, eyes, generator=seed(), **o),
        "restore": lambda photo, **o: restore(photo, fidelity=0.0, generator=seed(), **o),
        "exemplar": lambda photo, **o: exemplar(
            photo, eyes, example, exemplar_aligned=True, generator=seed(), **o
        ),
        "edit": lambda photo, **o: edit(photo, eyes, generator=seed(), **o),
    }


@pytest.mark.parametrize("aligned", [False, True], ids=["photo", "aligned"])
@pytest.mark.parametrize("name", ["inpaint", "restore", "exemplar", "edit"])
def test_a_photo_without_colours_comes_back_without(
    fills: dict[str, Callable[..., Any]], portrait: np.ndarray, name: str, aligned: bool
) -> None:
    fill = fills[name]
    for plain in (gray(portrait), jpeg(gray(portrait), 80)):
        for watermark in (False, True):
            result = np.asarray(fill(plain, aligned=aligned, watermark=watermark).images[0])
            assert (result != plain).any(axis=-1).mean() > 0.02
            assert (result == result[..., :1]).all()
    deep = gray(portrait).astype(np.uint16) * 257 + 5
    result = np.rint(fill(deep, aligned=aligned, output_type="np").images[0] * 65535).astype(int)
    assert (result != deep).any() and (result == result[..., :1]).all()

    toned = sepia(portrait)
    result = np.asarray(fill(toned, aligned=aligned).images[0])
    changed = (result != toned).any(axis=-1)
    assert changed.mean() > 0.02
    off = off_sepia(result[changed])
    assert off.mean() < 2 and np.percentile(off, 98) < 8

    # Colours stay what they are: the networks' own are far off any tone.
    result = np.asarray(fill(portrait, aligned=aligned).images[0])
    assert np.ptp(result[(result != portrait).any(axis=-1)], axis=-1).max() > 40


def test_the_faces_that_are_returned_have_no_colours_either(portrait: np.ndarray) -> None:
    output = tiny_restore_pipeline(identity=False)(gray(portrait), generator=seed(), return_aligned=True)
    (face,) = output.aligned_outputs[0]
    assert (np.asarray(face) == np.asarray(face)[..., :1]).all()
    output = tiny_inpaint_pipeline()(
        gray(portrait), box_mask((256, 256), (90, 85, 155, 115)), return_steps=True
    )
    assert all((np.asarray(step) == np.asarray(step)[..., :1]).all() for step in output.steps[0])


def test_colours_that_are_painted_into_a_gray_photo_stay(portrait: np.ndarray, eyes: np.ndarray) -> None:
    pipe, plain = tiny_edit_pipeline(), gray(portrait)
    paint = np.zeros((256, 256, 4), dtype=np.uint8)
    paint[95:105, 95:115] = (200, 30, 40, 255)
    result = np.asarray(pipe(plain, eyes, color=paint, generator=seed()).images[0])
    chroma = np.ptp(result, axis=-1)
    assert chroma[97:103, 98:112].mean() > 1
    assert not chroma[:, 130:].any()
    ignored = {"color": paint, "strengths": {"color": 0}}
    for options in (ignored, {"color": gray(paint[..., :3])}, {"color": gray(portrait)}):
        result = np.asarray(pipe(plain, eyes, generator=seed(), **options).images[0])
        assert not np.ptp(result, axis=-1).any()


def tone(picture: Any, hole: np.ndarray | None = None) -> str:
    tint = find_tint(load_image(picture), hole)
    return "colour" if tint is None else "toned" if tint.offsets.any() else "gray"


def test_noise_and_compression_do_not_make_a_photo_colourful() -> None:
    picture = astronaut()
    assert {tone(p) for p in (gray(picture), jpeg(gray(picture), 30), noisy(gray(picture)))} == {"gray"}
    for mode in ("L", "LA", "1", "P", "CMYK"):
        assert tone(Image.fromarray(picture).convert("L").convert(mode)) == "gray"
    small = np.asarray(Image.fromarray(sepia(picture)).resize((200, 200)))
    for toned in (sepia(picture), jpeg(sepia(picture), 30), noisy(sepia(picture)), jpeg(small, 75)):
        assert tone(toned) == "toned"


def scratched(picture: np.ndarray) -> np.ndarray:
    """With white scratches from top to bottom."""
    damaged = picture.copy()
    for start in range(10, 512, 140):
        cv2.line(damaged, (start, 0), (start - 60, 511), (244, 240, 230), 3)
    return damaged


def test_scratches_do_not_make_a_photo_colourful() -> None:
    faded = (50 + astronaut() * 0.6).astype(np.uint8)
    assert tone(scratched(sepia(faded))) == "toned"
    assert (
        tone(scratched(np.asarray(ImageEnhance.Color(Image.fromarray(astronaut())).enhance(0.2)))) == "colour"
    )


def test_a_face_with_a_scratch_across_keeps_the_tone() -> None:
    damaged = sepia(astronaut())
    cv2.line(damaged, (150, 190), (300, 40), (244, 240, 230), 6)
    assert tone(damaged) == "toned"
    result = np.asarray(tiny_restore_pipeline(identity=False)(damaged, generator=seed()).images[0])
    changed = (result != damaged).any(axis=-1)
    own = find_tint(load_image(damaged))
    assert changed.any() and own is not None
    assert own.find_hues(result[changed] / np.float32(255)).mean() < 0.02


def test_colours_however_faint_are_colours() -> None:
    picture = Image.fromarray(astronaut())
    for saturation in (1.0, 0.5, 0.2, 0.1):
        assert tone(ImageEnhance.Color(picture).enhance(saturation)) == "colour"
    assert {tone(p()) for p in (cat, coffee, rocket)} == {"colour"}
    marked = gray(astronaut())
    marked[300:400, 300:420] = (200, 60, 20)
    assert tone(marked) == "colour"


def test_what_a_hole_hides_counts_only_where_nothing_else_tells() -> None:
    scribbled = gray(astronaut())
    scribbled[300:400, 300:420] = (200, 60, 20)
    assert tone(scribbled, box_mask((512, 512), (290, 290, 430, 410))) == "gray"
    wall = np.full((256, 256, 3), 128, dtype=np.uint8)
    wall[60:200, 60:200] = astronaut()[40:180, 150:290]
    assert tone(wall, box_mask((256, 256), (50, 50, 210, 210))) == "colour"


def test_a_small_face_in_colour_before_a_gray_wall_keeps_its_colours(portrait: np.ndarray) -> None:
    """The wall has all grays, and the face is less than 2% of the photo."""
    wall = np.tile((np.arange(1400) % 256).astype(np.uint8), (1400, 1))
    scene = np.repeat(wall[..., None], 3, axis=2)
    face = np.asarray(Image.fromarray(portrait).resize((160, 160)))
    scene[600:760, 600:760] = face
    assert tone(scene) == "gray"
    result = np.asarray(tiny_restore_pipeline(identity=False)(scene, generator=seed()).images[0])
    changed = (result != scene).any(axis=-1)
    assert changed.any() and np.ptp(result[changed], axis=-1).mean() > 10


@pytest.mark.parametrize("share", [0.5, 0.1, 0.04])
@pytest.mark.parametrize("other", [(0.85, 1.0, 1.2), (1.25, 0.92, 0.9)], ids=["blue", "red"])
def test_a_photo_of_two_tones_is_one_in_colour(share: float, other: tuple[float, float, float]) -> None:
    """Sepia above a strip of another tone, as of a blue sky or a postcard coloured in part by hand."""
    photo = sepia(astronaut())
    rows = round(share * len(photo))
    photo[:rows] = np.clip(gray(astronaut())[:rows] * np.array(other), 0, 255)
    assert find_tint(load_image(photo)) is None
    assert find_tint(load_image(sepia(astronaut()))) is not None
