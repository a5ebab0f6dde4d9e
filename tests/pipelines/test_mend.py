"""`PhotoMendPipeline`: each step can be seen and switched off, and all else of a photo stays as it was."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from facekit import FaceInpaintPipeline, PhotoMendPipeline, starter
from facekit.images.photo import load_image
from facekit.images.tint import find_tint
from facekit.pipelines.mend.contrast import measure_range, stretch_contrast
from facekit.pipelines.mend.fill import MOST_TILES, fill_damage, fill_tiles, find_thin, flow_in, plan_tiles
from facekit.pipelines.mend.find import LONGEST, PART, find_damage, size_of_copy
from tests.helpers.masks import box_mask
from tests.tiny.networks import tiny_damage_finder
from tests.tiny.pipelines import tiny_inpaint_pipeline, tiny_mend_pipeline, tiny_restore_pipeline


@pytest.fixture(scope="module")
def mend() -> PhotoMendPipeline:
    return tiny_mend_pipeline()


@pytest.fixture(scope="module")
def scratched(portrait: np.ndarray) -> np.ndarray:
    """The portrait with a bright line beside the face, and one across it."""
    photo = (portrait * 0.7).astype(np.uint8)
    for start, end in (((5, 250), (60, 20)), ((90, 60), (150, 150))):
        cv2.line(photo, start, end, (255, 255, 250), 4)
    return photo


@pytest.fixture(scope="module")
def scratches(scratched: np.ndarray) -> np.ndarray:
    return (scratched == (255, 255, 250)).all(-1)


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def call(mend: PhotoMendPipeline, photo: Any, **options: Any) -> Any:
    return mend(photo, **{"generator": seed(), "output_type": "photo"} | options)


def test_one_call_does_all_and_shows_every_step(
    mend: PhotoMendPipeline, scratched: np.ndarray, scratches: np.ndarray
) -> None:
    told: list[tuple[str, int, int]] = []
    output = call(mend, scratched, contrast=1.0, return_steps=True, tell=lambda *step: told.append(step))
    (steps,), (mask,), (faces,) = output.steps, output.masks, output.faces
    assert list(steps) == ["fill", "faces", "contrast"] and len(faces) == 1
    assert (mask & scratches).sum() > 0.8 * scratches.sum() and mask.mean() < 0.2
    filled, restored, stretched = (step.rgb for step in steps.values())
    assert ((filled != scratched).any(-1) <= mask).all()
    assert (filled != restored).any() and np.array_equal(stretched, output.images[0].rgb)
    before, after = measure_range(restored), measure_range(stretched)
    assert np.ptp(after) > np.ptp(before) + 0.1
    names = [step for step, *_ in told]
    assert list(dict.fromkeys(names)) == ["find", "fill", "faces", "contrast"]


def test_outside_damage_and_faces_every_pixel_stays(
    mend: PhotoMendPipeline, scratched: np.ndarray, scratches: np.ndarray
) -> None:
    output = call(mend, scratched, damage=scratches, restore_faces=False)
    changed = (output.images[0].rgb != scratched).any(-1)
    assert not changed[~scratches].any() and changed[scratches].mean() > 0.9
    whole = call(mend, scratched, damage=scratches)
    left, top, right, bottom = (int(n) for n in whole.faces[0][0].box)
    far = np.ones_like(scratches)
    far[max(0, top - 100) : bottom + 100, max(0, left - 80) : right + 80] = False
    assert far.any() and np.array_equal(whole.images[0].rgb[far & ~scratches], scratched[far & ~scratches])


def test_every_step_can_be_left_out(mend: PhotoMendPipeline, scratched: np.ndarray) -> None:
    kept = call(mend, scratched, damage=None, restore_faces=False, return_steps=True)
    assert np.array_equal(kept.images[0].rgb, scratched) and not kept.masks[0].any()
    assert kept.parts == [[]] and kept.steps == [{}]
    faces = call(mend, scratched, damage=None, return_steps=True)
    assert list(faces.steps[0]) == ["faces"] and faces.parts == [["restore"]]
    contrast = call(mend, scratched, damage=None, restore_faces=False, contrast=0.5, return_steps=True)
    assert list(contrast.steps[0]) == ["contrast"] and contrast.parts == [[]]


def test_a_photo_without_damage_goes_on_with_a_note(mend: PhotoMendPipeline) -> None:
    calm = np.full((80, 120, 3), 90, np.uint8)
    output = call(mend, calm, contrast=0.0)
    assert [note.kind for note in output.notes] == ["damage-none", "no-face"]
    assert np.array_equal(output.images[0].rgb, calm)


@pytest.mark.parametrize("tone", ["gray", "sepia"])
def test_a_photo_without_colours_stays_without(
    mend: PhotoMendPipeline, scratched: np.ndarray, scratches: np.ndarray, tone: str
) -> None:
    level = cv2.cvtColor(scratched, cv2.COLOR_RGB2GRAY)[..., None]
    slopes, starts = (1, 0) if tone == "gray" else (np.array([1.0, 0.86, 0.67]), np.array([15, 10, 5]))
    photo = np.clip(level * slopes + starts, 0, 255).round().astype(np.uint8)
    photo = np.repeat(photo, 3, axis=2) if photo.shape[2] == 1 else photo
    # A stain in colour is no colour of the photo.
    stain = box_mask(photo.shape, (180, 150, 220, 190))
    photo[stain] = (180, 120, 30)
    output = call(mend, photo, damage=scratches | stain, contrast=0.7)
    tint = find_tint(load_image(photo), scratches | stain)
    assert tint is not None and tint.fits(output.images[0].rgb.reshape(-1, 3).astype(np.float32) / 255)


def test_colours_stay_colours(mend: PhotoMendPipeline, scratched: np.ndarray) -> None:
    assert find_tint(call(mend, scratched, contrast=1.0).images[0]) is None


def test_a_mask_of_more_than_half_is_refused_before_any_work(
    mend: PhotoMendPipeline, scratched: np.ndarray
) -> None:
    told: list[Any] = []
    most = box_mask(scratched.shape, (0, 0, 256, 140))
    with pytest.raises(
        ValueError, match=r"covers 5\d(\.\d+)?% of the photo.*Mark only what is damaged"
    ) as caught:
        call(mend, [scratched] * 2, damage=["find", most], tell=lambda *step: told.append(step))
    assert caught.value.message.kind == "damage-too-large" and not told
    with pytest.raises(ValueError, match="3 masks of damage for 1 photos"):
        call(mend, scratched, damage=[None] * 3)
    with pytest.raises(ValueError, match="100x50"):
        call(mend, scratched, damage=np.zeros((50, 100), bool))
    assert [n.kind for n in call(mend, scratched, damage=np.zeros((256, 256), bool)).notes] == ["mask-empty"]


def test_what_looks_damaged_all_over_is_left(scratched: np.ndarray) -> None:
    network = tiny_damage_finder()
    network.head[0].bias.data.fill_(1)
    mend = PhotoMendPipeline(network, tiny_inpaint_pipeline(), tiny_restore_pipeline(identity=False))
    output = call(mend, scratched, restore_faces=False)
    assert [note.kind for note in output.notes] == ["damage-too-large"]
    assert np.array_equal(output.images[0].rgb, scratched)


@pytest.mark.parametrize("contrast", [-0.1, 1.5, float("nan"), True, "much"])
def test_a_contrast_that_is_no_share_is_refused(mend: PhotoMendPipeline, contrast: Any) -> None:
    with pytest.raises(ValueError, match=r"contrast is .*; it must lie between 0"):
        mend("no-such-file.png", contrast=contrast)


def test_faces_are_averaged_with_their_mirror_images_on_demand(
    mend: PhotoMendPipeline, scratched: np.ndarray
) -> None:
    own, once, twice = (
        call(mend, scratched, generator=seed(1), self_ensemble=averages).images[0].rgb
        for averages in (None, False, True)
    )
    assert np.array_equal(own, once) and not np.array_equal(once, twice)
    with pytest.raises(ValueError, match="self_ensemble is 2; it must be True or False"):
        mend("no-such-file.png", self_ensemble=2)


def test_a_photo_is_mended_the_same_alone_and_among_others(
    mend: PhotoMendPipeline, scratched: np.ndarray
) -> None:
    other = np.ascontiguousarray(scratched[:, ::-1])
    both = call(mend, [scratched, other], generator=[seed(1), seed(2)])
    for photo, number, found in zip((scratched, other), (1, 2), both.images, strict=True):
        alone = call(mend, photo, generator=seed(number)).images[0]
        assert np.abs(alone.rgb.astype(int) - found.rgb).max() <= 1


def test_deep_colour_and_transparency_come_back(mend: PhotoMendPipeline, scratched: np.ndarray) -> None:
    deep = np.dstack([scratched, np.full((256, 256), 200, np.uint8)]).astype(np.uint16) * 257
    result = call(mend, deep, contrast=0.5).images[0]
    assert result.pixels.dtype == np.uint16 and (result.alpha == 200 * 257).all()


def test_the_finder_sees_a_panorama_in_parts() -> None:
    photo = np.full((64, 3 * PART, 3), 90, np.uint8)
    places = (300, PART - 20, 2 * PART + 5)
    for left in places:
        photo[20:40, left : left + 2] = 255
    for turned in (photo, np.ascontiguousarray(photo.transpose(1, 0, 2))):
        found = find_damage(tiny_damage_finder(), turned)
        found = found if found.shape[0] == 64 else found.T
        assert found[25:35, list(places)].all() and found.mean() < 0.01


def test_a_strip_of_any_length_is_seen_in_a_bounded_copy() -> None:
    assert size_of_copy(4000, 3000, 512) == (683, 512) and size_of_copy(300, 400, 512) == (512, 683)
    assert size_of_copy(16, 200_000, 512) == (1, LONGEST)
    width, height = size_of_copy(200_000, 500, 512)
    assert width == LONGEST and 40 <= height <= 42
    assert find_damage(tiny_damage_finder(), np.full((16, 100_000, 3), 90, np.uint8)).shape == (16, 100_000)


def test_damage_at_the_frame_is_filled(scratched: np.ndarray) -> None:
    """OpenCV leaves the first row and column of a picture alone."""
    hole = np.zeros(scratched.shape[:2], bool)
    hole[:, 100:104] = hole[60:63] = True
    photo = scratched.copy()
    photo[hole] = 255
    for kind in (np.uint8, np.uint16, np.float32):
        white = 1.0 if kind is np.float32 else np.iinfo(kind).max
        filled = flow_in((photo / 255 * white).astype(kind), hole)
        assert filled.dtype == kind and filled[hole].max() < 0.95 * white
        assert np.array_equal(filled[~hole], (photo / 255 * white).astype(kind)[~hole]) or kind is np.float32


def test_contrast_leaves_other_colours_and_what_is_not_seen() -> None:
    gray = np.linspace(90, 160, 128 * 128).reshape(128, 128, 1).repeat(3, 2).round().astype(np.uint8)
    stamped = gray.copy()
    stamped[:10, :10] = (200, 40, 40)
    tint = find_tint(load_image(stamped))
    assert tint is not None
    stretched = stretch_contrast(stamped, 1.0, tint)
    red, green, blue = stretched[5, 5].astype(int)
    assert red > 200 and green < 60 and blue < 60
    picture = Image.fromarray(gray[..., 0])
    picture.info["transparency"] = 120
    photo = load_image(picture)
    key = gray[..., 0] == 120
    assert np.array_equal(photo.find_visible(), ~key)
    result = call(tiny_mend_pipeline(), photo, damage=None, restore_faces=False, contrast=1.0).images[0]
    assert (result.pixels[key] == 120).all() and (result.pixels[~key] != 120).all()


def test_every_step_carries_the_mark(
    mend: PhotoMendPipeline, scratched: np.ndarray, scratches: np.ndarray
) -> None:
    options = {"damage": scratches, "restore_faces": False, "return_steps": True, "contrast": 0.5}
    plain, marked = (call(mend, scratched, watermark=w, **options).steps[0] for w in (False, True))
    assert list(plain) == list(marked) == ["fill", "contrast"]
    for name in plain:
        assert not np.array_equal(plain[name].pixels, marked[name].pixels)


def test_many_thin_scratches_over_a_large_scan_are_few_tiles() -> None:
    hole = np.zeros((3000, 4000), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        points = rng.integers(0, (4000, 3000), (2, 2))
        cv2.line(hole, *(tuple(int(n) for n in point) for point in points), 255, 6)
    groups = plan_tiles(hole > 0, 256)
    assert 0 < sum(map(len, groups)) <= MOST_TILES
    covered = np.zeros(hole.shape, bool)
    for tile in (tile for group in groups for tile in group):
        covered[tile.box.slices] |= tile.own[tile.box.slices]
        assert tile.box.side <= tile.side <= 2048
    assert np.array_equal(covered, hole > 0)


def test_thick_damage_is_seen_from_further_away() -> None:
    hole = box_mask((600, 600), (10, 10, 200, 200))
    hole[400:404] = True
    sides = {tile.side for group in plan_tiles(hole, 64) for tile in group}
    assert min(sides) == 64 and max(sides) >= 512


def test_tiles_change_their_own_part_alone(scratched: np.ndarray, scratches: np.ndarray) -> None:
    own = scratches.copy()
    own[:, 80:] = False
    filled = fill_tiles(tiny_inpaint_pipeline(), load_image(scratched), scratches, own, seed()).rgb
    changed = (filled != scratched).any(-1)
    assert not changed[~own].any() and changed[own].mean() > 0.9


def test_tiles_do_not_depend_on_batches(scratched: np.ndarray) -> None:
    hole = np.zeros(scratched.shape[:2], bool)
    for top, left in ((22, 22), (22, 214), (214, 22)):
        hole[top : top + 5, left : left + 5] = True
    assert max(map(len, plan_tiles(hole, 64))) > 1, "some are filled at once"
    alone, together = (
        fill_tiles(
            tiny_inpaint_pipeline(), load_image(scratched), hole, hole, seed(), max_batch_size=most
        ).rgb
        for most in (1, 8)
    )
    assert np.abs(alone.astype(int) - together).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_thin_damage_needs_no_network(scratched: np.ndarray, scratches: np.ndarray, dtype: type) -> None:
    white = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    photo = load_image((scratched / 255 * white).astype(dtype))
    wide = box_mask(scratched.shape, (180, 180, 230, 230))
    assert np.array_equal(find_thin(scratches | wide), scratches)
    later = wide.copy()
    later[:205] = False
    hole = scratches | wide
    filled, by_network = fill_damage(tiny_inpaint_pipeline(), photo, hole, hole & ~later, seed())
    assert by_network
    changed = (filled.rgb != photo.rgb).any(-1)
    assert not changed[later | ~hole].any() and changed[hole & ~later].mean() > 0.9
    # The line is gone: what flowed in is as dark as what is around.
    assert filled.rgb[scratches].mean() < 0.6 * white
    assert not fill_damage(tiny_inpaint_pipeline(), photo, scratches, scratches, seed())[1]


def test_contrast_stretches_every_channel_alike_and_bounds_the_gain() -> None:
    faded = np.linspace(100, 150, 256 * 256).reshape(256, 256, 1).repeat(3, 2).round().astype(np.uint8)
    whole = stretch_contrast(faded, 1.0)
    assert 195 <= np.ptp(whole) <= 205  # four times is the most
    half = stretch_contrast(faded, 0.5)
    assert np.abs(half.astype(int) - (faded.astype(int) + whole) / 2).max() <= 1.5
    assert np.array_equal(stretch_contrast(faded, 0.0), faded)
    plain = np.full((20, 20, 3), 128, np.uint8)
    assert np.abs(stretch_contrast(plain, 1.0).astype(int) - 128).max() <= 3


def test_the_saved_model_names_its_parts(tmp_path: Path, scratched: np.ndarray) -> None:
    tiny_inpaint_pipeline().save_pretrained(tmp_path / "inpaint")
    PhotoMendPipeline(tiny_damage_finder(), str(tmp_path / "inpaint")).save_pretrained(tmp_path / "mend")
    assert sorted(p.name for p in (tmp_path / "mend").iterdir()) == ["damage_finder", "model_index.json"]
    loaded = PhotoMendPipeline.from_pretrained(tmp_path / "mend", dtype=torch.bfloat16)
    assert (
        loaded.config["inpaint"] == str(tmp_path / "inpaint") and loaded.config["restore"] == "face-restore"
    )
    assert loaded.inpaint_pipeline.dtype == torch.bfloat16
    assert loaded.inpaint_pipeline.residual_inpainter.config.sample_size == 64
    given = PhotoMendPipeline.from_pretrained(
        tmp_path / "mend", restore=tiny_restore_pipeline(identity=False)
    )
    assert given.restore_pipeline.restorer.config.sample_size == 64
    given.to(torch.bfloat16)
    assert given.restore_pipeline.restorer.dtype == torch.bfloat16
    missing = PhotoMendPipeline(tiny_damage_finder(), inpaint=str(tmp_path / "nothing"))
    with pytest.raises((OSError, ValueError), match="nothing"):
        missing(scratched, restore_faces=False)


def test_a_saved_model_calls_starters_by_their_names(tmp_path: Path) -> None:
    inpaint = FaceInpaintPipeline.from_pretrained(starter("face-inpaint"))
    PhotoMendPipeline(tiny_damage_finder(), inpaint=inpaint).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["inpaint"] == "face-inpaint"


def test_the_command_s_default_parts_are_the_starters() -> None:
    mend = PhotoMendPipeline(tiny_damage_finder())
    assert mend.config["inpaint"] == "face-inpaint" and Path(starter("face-inpaint")).is_dir()
    assert mend.inpaint_pipeline.residual_inpainter.config.sample_size == 256


def test_a_palette_keeps_its_mode(mend: PhotoMendPipeline, scratched: np.ndarray) -> None:
    picture = Image.fromarray(scratched).quantize(64)
    assert call(mend, picture, contrast=0.5, output_type="pil").images[0].mode == "P"
