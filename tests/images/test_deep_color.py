"""16 bits a channel come in and go out; what cannot be kept is said."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facekit import provenance
from facekit.images.photo import Photo, load_image, write_picture
from facekit.provenance import Provenance
from tests.helpers.deep_files import TURNS, png_chunk, write_deep_png, write_tiff
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

RECORD = Provenance("edited", "facekit 0.1.0")
MODES = {2: "LA", 3: "RGB", 4: "RGBA"}


def noise(channels: int, width: int = 40, height: int = 32) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 65536, (height, width, channels), dtype=np.uint16)


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as a file of this orientation keeps them, turned by Pillow channel by channel."""
    if orientation not in TURNS:
        return pixels
    channels = [
        Image.fromarray(channel).transpose(TURNS[orientation]) for channel in np.moveaxis(pixels, 2, 0)
    ]
    return np.dstack([np.asarray(channel) for channel in channels])


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_comes_back_number_by_number(channels: int, tmp_path: Path) -> None:
    given = noise(channels)
    write_deep_png(tmp_path / "a.png", given)
    photo = load_image(tmp_path / "a.png")
    assert (photo.mode, photo.notes) == (MODES[channels], ())
    np.testing.assert_array_equal(photo.pixels, given)
    provenance.save(photo, tmp_path / "b.png", RECORD)
    again = load_image(tmp_path / "b.png")
    np.testing.assert_array_equal(again.pixels, given)
    assert again.mode == photo.mode and provenance.inspect(tmp_path / "b.png").metadata == RECORD
    # As another reader sees it, which turns gray with alpha into colour.
    seen = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(seen[..., 2], given[..., 0])
    with Image.open(tmp_path / "b.png") as opened:
        opened.load()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_all_bits(orientation: int, tmp_path: Path) -> None:
    given = noise(3)
    block = Image.Exif()
    block[0x0112] = orientation
    write_deep_png(tmp_path / "a.png", stored(given, orientation), (b"eXIf", block.tobytes()[6:]))
    write_tiff(tmp_path / "a.tif", stored(given, orientation), orientation=orientation)
    for name in ("a.png", "a.tif"):
        photo = load_image(tmp_path / name)
        np.testing.assert_array_equal(photo.pixels, given)
        assert photo.notes == ()
        write_picture(photo, tmp_path / "b.png", "PNG")
        np.testing.assert_array_equal(load_image(tmp_path / "b.png").pixels, given)


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_packed_tiff_files(compression: int, tmp_path: Path) -> None:
    given = noise(3)
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    cv2.imwrite(str(tmp_path / "a.tif"), given[..., ::-1], options)
    np.testing.assert_array_equal(load_image(tmp_path / "a.tif").pixels, given)


def test_netpbm_files(tmp_path: Path) -> None:
    given = noise(3)
    cv2.imwrite(str(tmp_path / "a.ppm"), given[..., ::-1])
    np.testing.assert_array_equal(load_image(tmp_path / "a.ppm").pixels, given)


def test_an_opened_file_keeps_its_bits(tmp_path: Path) -> None:
    given = noise(3)
    write_deep_png(tmp_path / "a.png", given)
    with Image.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(load_image(opened).pixels, given)


def test_a_see_through_colour_of_sixteen_bits(tmp_path: Path) -> None:
    given = noise(3)
    key = given[3, 5]
    write_deep_png(tmp_path / "a.png", given, (b"tRNS", key.astype(">u2").tobytes()))
    photo = load_image(tmp_path / "a.png")
    assert photo.mode == "RGB" and photo.info["transparency"] == tuple(key.tolist())
    hole = box_mask((32, 40), (10, 10, 20, 20))
    filled = photo.recolor(np.broadcast_to(key, given.shape), hole)
    assert not (filled.pixels[hole] == key).all(1).any(), "a fill is never see-through by accident"
    write_picture(filled, tmp_path / "b.png", "PNG")
    back = load_image(tmp_path / "b.png")
    np.testing.assert_array_equal(back.pixels, filled.pixels)
    assert back.info["transparency"] == photo.info["transparency"]
    photo.to_pil().save(tmp_path / "c.png")


def test_what_pillow_reads_otherwise_comes_in_eight_bits_with_a_note(tmp_path: Path) -> None:
    write_tiff(tmp_path / "ink.tif", noise(4))
    content = (tmp_path / "ink.tif").read_bytes()
    ink = content.replace(
        b"\x06\x01\x03\x00\x01\x00\x00\x00\x02\x00", b"\x06\x01\x03\x00\x01\x00\x00\x00\x05\x00"
    )
    assert ink != content
    (tmp_path / "ink.tif").write_bytes(ink)
    photo = load_image(tmp_path / "ink.tif")
    assert (photo.mode, photo.pixels.dtype) == ("CMYK", np.uint8)
    assert "it has more than 8 bits a channel, of which 8 are read" in photo.notes


def test_a_cut_file_and_one_too_large_are_refused(tmp_path: Path) -> None:
    write_deep_png(tmp_path / "a.png", noise(3))
    content = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match="the limit is 1,000"):
        load_image(tmp_path / "a.png", max_pixels=1_000)
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated"):
        load_image(tmp_path / "a.png")
    head = content[:8] + png_chunk(b"IHDR", (20_000).to_bytes(4) * 2 + b"\x10\2\0\0\0")
    (tmp_path / "a.png").write_bytes(head + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b""))
    with pytest.raises(ValueError, match="400,000,000 pixels; the limit"):
        load_image(tmp_path / "a.png")


def test_floating_point_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", noise(3).astype(np.float32) / 65535, 3)
    with pytest.raises(ValueError, match=r"a TIFF of floating-point numbers.*8 or 16 bits"):
        load_image(tmp_path / "a.tif")


def test_formats_of_eight_bits_are_refused_for_sixteen(tmp_path: Path) -> None:
    photo = load_image(noise(3))
    with pytest.raises(ValueError, match=r"JPEG files get 8 bits a channel here.*Save it as PNG"):
        provenance.save(photo, tmp_path / "a.jpg", RECORD)
    assert not list(tmp_path.iterdir())


CALLS = {
    "restore": lambda photo, **options: tiny_restore_pipeline(False)(photo, aligned=True, **options),
    "inpaint": lambda photo, **options: tiny_inpaint_pipeline()(photo, MASK, aligned=True, **options),
    "exemplar": lambda photo, **options: tiny_exemplar_pipeline()(photo, MASK, STAR, aligned=True, **options),
    "edit": lambda photo, **options: tiny_edit_pipeline()(photo, MASK, aligned=True, **options),
}
MASK = box_mask((64, 64), (10, 10, 30, 40))
STAR = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", CALLS)
def test_every_pipeline_gives_photos_or_says_what_is_lost(name: str, tmp_path: Path) -> None:
    given = noise(3, 64, 64)
    write_deep_png(tmp_path / "a.png", given)
    output = CALLS[name](tmp_path / "a.png", output_type="photo")
    (photo,) = output.images
    assert isinstance(photo, Photo) and photo.pixels.dtype == np.uint16
    assert not any("16-bit" in note for note in output.notes)
    if name != "restore":
        np.testing.assert_array_equal(photo.pixels[~MASK], given[~MASK])
    # More levels than 8 bits have.
    assert len(np.unique(photo.pixels[MASK] % 257)) > 100
    output = CALLS[name](photo, output_type="pil")
    assert output.images[0].mode == "RGB" and any("gives 8 bits" in note for note in output.notes)


def test_heic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"phone.jpg is HEIC, which needs.*facekit\[heic\]"):
        load_image(tmp_path / "phone.jpg")


def test_heic_is_read_upright_with_its_profile(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "A. Photographer"
    file = pillow_heif.from_pillow(picture)
    file.save(tmp_path / "a.heic", exif=exif.tobytes(), quality=100)
    photo = load_image(tmp_path / "a.heic")
    assert photo.size == (32, 64) and b"A. Photographer" in photo.info["exif"] and photo.notes == ()
    with pytest.raises(ValueError, match="the limit is 1,000"):
        load_image(tmp_path / "a.heic", max_pixels=1_000)
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"b\.heic"):
        load_image(tmp_path / "b.heic")


def test_heic_of_ten_bits_is_read_with_a_note(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    deep = pillow_heif.from_bytes("RGB;16", (40, 32), noise(3).tobytes())
    deep.save(tmp_path / "a.heic")
    photo = load_image(tmp_path / "a.heic")
    assert photo.pixels.dtype == np.uint8
    assert photo.notes == ("it has more than 8 bits a channel, of which 8 are read",)
