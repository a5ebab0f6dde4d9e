"""Any photo through an edit and a file: outside the mask nothing changes, size and mode come back.

Photos, masks and files are drawn by hypothesis; the seed is fixed, so that each run draws the same.
"""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from facekit.images.formats import FORMATS, FileFormat
from facekit.images.origin import read_packet
from facekit.images.photo import Photo, as_float, load_image, write_picture
from facekit.provenance import Provenance, add_watermark
from tests.tiny.pipelines import tiny_inpaint_pipeline

FIXED = {"deadline": None, "derandomize": True, "database": None}
RECORDS = (None, Provenance("edited", "facekit 0.1.0", "org/model"))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SPACES = {"CMYK": b"CMYK", "1": b"GRAY", "L": b"GRAY", "LA": b"GRAY", "I;16": b"GRAY"}
KINDS = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "LA 16", "RGB 16", "RGBA 16"]
sides = st.integers(16, 70)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def photos(draw: st.DrawFn) -> Photo:
    """A photo of any kind that files hold, noisy or flat, with and without profile, words and see-through colour."""
    kind = draw(st.sampled_from(KINDS))
    width, height, rng = draw(sides), draw(sides), np.random.default_rng(draw(seeds))
    mode = kind.removesuffix(" 16")
    channels = {"LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode)
    shape = (height, width) if channels is None else (height, width, channels)
    top = 65535 if "16" in kind else 255
    low, high = sorted((draw(st.integers(0, top)), draw(st.integers(0, top))))
    pixels = rng.integers(low, high + 1, shape).astype(np.uint16 if "16" in kind else np.uint8)
    if kind == "1":
        pixels = pixels % 2 == 1
    info: dict[str, Any] = {}
    if draw(st.booleans()):
        info["icc_profile"] = SRGB[:16] + SPACES.get(mode, b"RGB ") + SRGB[20:]
    if draw(st.booleans()) and kind != "CMYK":
        letters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
        info["text"] = {"Title": draw(st.text(letters, min_size=1))}
    if mode in ("L", "RGB", "I;16") and draw(st.booleans()):
        key = pixels[rng.integers(height), rng.integers(width)]
        info["transparency"] = tuple(key.tolist()) if mode == "RGB" else int(key)
    if kind != "P":
        return Photo(pixels, mode, info=info)
    count = draw(st.integers(1, 256))
    palette = Image.fromarray((pixels % count).astype(np.uint8)).convert("P")
    palette.putpalette(rng.integers(0, 256, 3 * count, dtype=np.uint8).tobytes())
    clear = draw(st.none() | st.integers(0, count - 1) | st.binary(min_size=1, max_size=count))
    if clear is not None:
        palette.info["transparency"] = clear
    palette.info |= info
    return load_image(palette)


@st.composite
def masks(draw: st.DrawFn, height: int, width: int) -> np.ndarray:
    """bool `[H, W]`: nothing, all, one pixel, a box or noise."""
    kind, rng = (
        draw(st.sampled_from(["none", "all", "pixel", "box", "noise"])),
        np.random.default_rng(draw(seeds)),
    )
    mask = np.full((height, width), kind == "all")
    if kind == "pixel":
        mask[rng.integers(height), rng.integers(width)] = True
    elif kind == "box":
        top, left = rng.integers(height - 1), rng.integers(width - 1)
        mask[top : rng.integers(top, height) + 1, left : rng.integers(left, width) + 1] = True
    elif kind == "noise":
        mask = rng.random((height, width)) < 0.3
    return mask


def through_a_file(photo: Photo, record: Provenance | None) -> Photo:
    file = io.BytesIO()
    write_picture(photo, file, "TIFF" if photo.mode == "CMYK" else "PNG", record)
    return load_image(Image.open(file))


def check_same(after: Photo, before: Photo, mask: np.ndarray) -> None:
    """Mode, depth, size and what the file tells; outside the mask every number, of palettes every colour."""
    assert (after.mode, after.size, after.pixels.dtype) == (before.mode, before.size, before.pixels.dtype)
    for key in ("icc_profile", "text", "transparency"):
        assert after.info.get(key) == before.info.get(key)
    shown = (lambda p: p.rgb) if before.mode == "P" else (lambda p: p.pixels)
    np.testing.assert_array_equal(shown(after)[~mask], shown(before)[~mask])
    if before.alpha is not None:
        # A palette's new colours are opaque; what was not to be seen is not to be seen.
        kept = ~mask | (before.alpha == 0) if before.mode == "P" else slice(None)
        alpha = np.full_like(before.alpha, 255) if after.alpha is None else after.alpha
        np.testing.assert_array_equal(alpha[kept], before.alpha[kept])


@settings(max_examples=100, **FIXED)
@given(st.data())
def test_an_edit_and_a_file_change_nothing_outside_the_mask(data: st.DataObject) -> None:
    photo = data.draw(photos())
    rgb = photo.rgb
    mask = data.draw(masks(*rgb.shape[:2]))
    new = np.random.default_rng(1).integers(0, np.iinfo(rgb.dtype).max + 1, rgb.shape).astype(rgb.dtype)
    check_same(through_a_file(photo, None), photo, np.zeros_like(mask))
    edited = photo.recolor(new, mask)
    check_same(edited, photo, mask)
    if photo.mode in ("RGB", "RGBA") and "transparency" not in photo.info:
        np.testing.assert_array_equal(edited.rgb[mask], new[mask])
    marked = add_watermark(edited, photo)
    check_same(marked, photo, mask)
    back = through_a_file(marked, data.draw(st.sampled_from(RECORDS)))
    check_same(back, photo, mask)
    check_same(back, marked, np.zeros_like(mask))


@settings(max_examples=60, **FIXED)
@given(st.data())
def test_enlarged_photos_hold_together(data: st.DataObject) -> None:
    photo, factor = data.draw(photos()), data.draw(st.sampled_from([1, 2, 3]))
    large = photo.enlarge(photo.rgb.repeat(factor, 0).repeat(factor, 1))
    kept = photo.to_smooth_mode()
    assert (large.mode, large.pixels.dtype) == (kept.mode, kept.pixels.dtype)
    assert large.size == (factor * photo.size[0], factor * photo.size[1])
    check_same(through_a_file(large, None), large, np.zeros(large.pixels.shape[:2], dtype=bool))


def over_white(photo: Photo) -> np.ndarray:
    """What a photo shows on a white page, float `[H, W, 3]` in [0, 1]."""
    alpha = photo.alpha
    if "transparency" in photo.info:
        key = np.atleast_1d(photo.info["transparency"])
        pixels = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[..., None]
        alpha = np.where((pixels == key).all(-1), 0, 255).astype(np.uint8)
    opacity = 1.0 if alpha is None else as_float(alpha)[..., None]
    return as_float(photo.rgb) * opacity + (1 - opacity)


@settings(max_examples=60, **FIXED)
@given(st.data(), st.sampled_from(list(FORMATS.values())))
def test_every_format_takes_what_it_holds_of_any_photo(data: st.DataObject, kind: FileFormat) -> None:
    photo = data.draw(photos())
    fitting, file = photo.fit(kind), io.BytesIO()
    assert fitting.mode in kind.modes
    if (
        photo.mode in kind.modes
        and "transparency" not in photo.info
        and (kind.deep or photo.pixels.dtype == np.uint8)
    ):
        assert fitting is photo
    step = 1e-5 if kind.deep and photo.rgb.dtype == np.uint16 else 0.6 / 255
    if kind.transparent and not kind.deep and photo.pixels.dtype == np.uint16:
        step = 1.1 / 255  # colour and opacity are both rounded
    assert abs(over_white(fitting) - over_white(photo)).max() <= step
    write_picture(fitting, file, kind.name, RECORDS[1])
    opened = Image.open(file)
    back = load_image(opened)
    assert opened.format == kind.name and back.size == photo.size
    assert read_packet(back.info["xmp"]) == RECORDS[1]
    assert back.info.get("icc_profile") == fitting.info.get("icc_profile")
    if not kind.lossy:
        np.testing.assert_array_equal(over_white(back), over_white(fitting))
        assert back.rgb.dtype == fitting.rgb.dtype


@settings(max_examples=60, **FIXED)
@given(st.data(), st.integers(1, 8), st.sampled_from(["PNG", "TIFF", "WEBP", "JPEG"]))
def test_a_turned_file_is_read_upright(data: st.DataObject, orientation: int, file_format: str) -> None:
    width, height, rng = data.draw(sides), data.draw(sides), np.random.default_rng(data.draw(seeds))
    mode = data.draw(st.sampled_from(["RGB", "L"] if file_format == "JPEG" else ["RGB", "RGBA"]))
    noise = rng.integers(0, 256, (height, width, len(Image.new(mode, (1, 1)).getbands())), dtype=np.uint8)
    upright = Image.fromarray(noise.squeeze(), mode)
    block = Image.Exif()
    block[Base.Orientation], block[Base.Artist] = orientation, "A. Photographer"
    turns = [
        None,
        None,
        0,
        3,
        1,
        5,
        2,
        6,
        4,
    ]  # Pillow's number of the turn that a file of each orientation undoes
    stored = upright if turns[orientation] is None else upright.transpose(Image.Transpose(turns[orientation]))
    file = io.BytesIO()
    lossless = {"quality": 100, "subsampling": 0} if file_format == "JPEG" else {}
    lossless |= {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    stored.save(file, format=file_format, exif=block, **lossless)
    photo = load_image(Image.open(file))
    assert photo.size == (width, height) and b"A. Photographer" in photo.info["exif"] and photo.notes == ()
    close = 8 if file_format == "JPEG" else 0
    assert abs(photo.pixels.reshape(noise.shape).astype(int) - noise).max() <= close


@settings(max_examples=25, **FIXED)
@given(st.data())
def test_a_pipeline_changes_nothing_outside_the_mask(pipeline: Any, data: st.DataObject) -> None:
    photo = data.draw(photos())
    mask = data.draw(masks(*photo.pixels.shape[:2]))
    given_mask = data.draw(st.sampled_from([mask, mask.astype(np.uint8) * 255, mask.astype(np.float32)]))
    options = {"region": "image", "num_inference_steps": 1, "watermark": data.draw(st.booleans())}
    output = pipeline(photo, given_mask, output_type="photo", **options)
    (filled,) = output.images
    check_same(filled, photo, mask)
    check_same(through_a_file(filled, RECORDS[1]), photo, mask)
    assert not any("8 bits" in note for note in output.notes)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_inpaint_pipeline()
