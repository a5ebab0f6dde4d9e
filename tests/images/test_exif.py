"""EXIF blocks of edited photos: no preview of the old picture, the size of the new one, everything else kept."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from PIL.ExifTags import GPS, IFD, Base
from skimage.data import astronaut

from facekit import FaceInpaintPipeline, starter
from facekit.images.exif import MAKER_NOTE, PIXEL_SIZE, with_size, without_previews
from facekit.images.photo import load_image

SHORT, LONG, UNDEFINED, ASCII = 3, 4, 7, 2


def directory(entries: list[tuple[int, int, bytes]], start: int, following: int = 0) -> bytes:
    """One little-endian TIFF directory at offset `start`: tag, type and value bytes of each entry, then its values."""
    sizes = {SHORT: 2, LONG: 4, UNDEFINED: 1, ASCII: 1}
    head, values = struct.pack("<H", len(entries)), b""
    pool = start + 2 + 12 * len(entries) + 4
    for tag, kind, value in sorted(entries):
        head += struct.pack("<HHI", tag, kind, len(value) // sizes[kind])
        if len(value) <= 4:
            head += value.ljust(4, b"\0")
        else:
            head += struct.pack("<I", pool + len(values))
            values += value + b"\0" * (len(value) % 2)
    return head + struct.pack("<I", following) + values


def camera_block(preview: Image.Image) -> bytes:
    """What a camera writes: artist, place, size of the picture, a thumbnail, and a preview in the maker's note."""
    buffer = io.BytesIO()
    preview.save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    long = lambda value: struct.pack("<I", value)  # noqa: E731
    details = [(MAKER_NOTE, UNDEFINED, b"Maker\0" + jpeg), (PIXEL_SIZE[0], LONG, long(512))]
    details += [(PIXEL_SIZE[1], LONG, long(512)), (0x9003, ASCII, b"1969:07:20 20:17:40\0")]
    place = [(GPS.GPSLatitudeRef, ASCII, b"N\0")]

    def main(details_at: int, place_at: int, thumbnail_at: int) -> bytes:
        entries = [(Base.Artist, ASCII, b"A. Photographer\0"), (Base.Orientation, SHORT, b"\1\0")]
        entries += [(IFD.Exif, LONG, long(details_at)), (IFD.GPSInfo, LONG, long(place_at))]
        return directory(entries, 8, thumbnail_at)

    details_at = 8 + len(main(0, 0, 0))
    place_at = details_at + len(directory(details, details_at))
    thumbnail_at = place_at + len(directory(place, place_at))
    jpeg_at = thumbnail_at + len(directory([(513, LONG, long(0)), (514, LONG, long(0))], thumbnail_at))
    thumbnail = [(513, LONG, long(jpeg_at)), (514, LONG, long(len(jpeg)))]
    parts = [
        main(details_at, place_at, thumbnail_at),
        directory(details, details_at),
        directory(place, place_at),
    ]
    return b"Exif\0\0II*\0" + long(8) + b"".join([*parts, directory(thumbnail, thumbnail_at), jpeg])


@pytest.fixture
def portrait() -> Image.Image:
    return Image.fromarray(astronaut())


@pytest.fixture
def block(portrait: Image.Image) -> bytes:
    return camera_block(portrait.resize((160, 160)))


def read(data: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(data)
    return exif


def test_previews_go_and_the_rest_stays(block: bytes) -> None:
    before = read(block)
    assert before.get_ifd(IFD.IFD1) and MAKER_NOTE in before.get_ifd(IFD.Exif), "the block has both previews"
    kept = without_previews(block)
    assert b"\xff\xd8\xff" not in kept
    after = read(kept)
    assert not after.get_ifd(IFD.IFD1) and MAKER_NOTE not in after.get_ifd(IFD.Exif)
    assert after[Base.Artist] == "A. Photographer"
    assert after.get_ifd(IFD.Exif)[0x9003] == "1969:07:20 20:17:40"
    assert after.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] == "N"


def test_the_size_follows_the_picture(block: bytes) -> None:
    kept = without_previews(block)
    assert with_size(kept, 512, 512) == kept
    details = read(with_size(kept, 1024, 768)).get_ifd(IFD.Exif)
    assert [details[tag] for tag in PIXEL_SIZE] == [1024, 768]


@pytest.mark.parametrize("cut", [0, 4, 40, 150])
def test_damaged_blocks_are_left_out(block: bytes, cut: int) -> None:
    assert without_previews(b"garbage!" * 5) is None
    assert without_previews(block[:cut]) is None or b"\xff\xd8\xff" not in without_previews(block[:cut])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_face_that_was_painted_over_is_in_no_preview(
    tmp_path: Path, portrait: Image.Image, block: bytes, suffix: str
) -> None:
    portrait.save(tmp_path / f"photo{suffix}", exif=block)
    mask = Image.new("L", portrait.size)
    ImageDraw.Draw(mask).rectangle((170, 60, 280, 170), fill=255)
    pipe = FaceInpaintPipeline.from_pretrained(starter("face-inpaint"))
    filled = pipe(tmp_path / f"photo{suffix}", mask, num_inference_steps=1).images[0]
    filled.save(tmp_path / f"filled{suffix}", exif=filled.info["exif"])
    written = Image.open(tmp_path / f"filled{suffix}").getexif()
    assert not written.get_ifd(IFD.IFD1) and MAKER_NOTE not in written.get_ifd(IFD.Exif)
    assert written[Base.Artist] == "A. Photographer"


def test_an_unreadable_block_is_said(tmp_path: Path, portrait: Image.Image) -> None:
    portrait.save(tmp_path / "photo.jpg", exif=b"Exif\0\0" + b"garbage!" * 5)
    photo = load_image(tmp_path / "photo.jpg")
    assert "exif" not in photo.info
    assert photo.notes == ("its EXIF block cannot be read and is left out",)
    np.testing.assert_array_equal(photo.pixels.shape, (512, 512, 3))
