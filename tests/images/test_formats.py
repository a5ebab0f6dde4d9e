"""The table of formats in docs/using.md, row by row: what goes in, and what each command makes of it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo
from skimage.data import astronaut

from facekit.images.photo import Photo, load_image
from facekit_cli.main import main
from tests.conftest import ROOT
from tests.helpers.deep_files import write_deep_png, write_tiff
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

SIDE = 96
HOLE = box_mask((SIDE, SIDE), (30, 30, 60, 70))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILES = {space: SRGB[:16] + space + SRGB[20:] for space in (b"RGB ", b"GRAY", b"CMYK")}
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF></x:xmpmeta>'
)
NETWORKS = {
    "restore": lambda: tiny_restore_pipeline(identity=False),
    "inpaint": tiny_inpaint_pipeline,
    "exemplar": tiny_exemplar_pipeline,
    "edit": tiny_edit_pipeline,
}
COMMANDS = {
    "restore": ["--aligned"],
    "inpaint": ["--aligned", "--mask", "mask.png", "--steps", "1"],
    "exemplar": ["--aligned", "--mask", "mask.png", "--exemplar", "star.png"],
    "edit": ["--aligned", "--mask", "mask.png"],
}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    photo: str
    result: str
    profile: str
    kept: str


def documented() -> list[Row]:
    """The lines of the table in the document."""
    section = (ROOT / "docs" / "using.md").read_text().partition("## Which photos")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


ROWS = documented()


def portrait() -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(astronaut()[0:192:2, 130:322:2]))


def deep(channels: int) -> np.ndarray:
    """The portrait in 16 bits, none of them empty, `[H, W, C]`."""
    noise = np.random.default_rng(0).integers(0, 257, (SIDE, SIDE, channels))
    rgba = np.asarray(portrait().convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]))
    return (rgba.reshape(SIDE, SIDE, channels).astype(int) * 256 + noise).clip(0, 65535).astype(np.uint16)


def exif(orientation: int = 6) -> bytes:
    block = Image.Exif()
    block[Base.Orientation], block[Base.Artist] = orientation, "A. Photographer"
    return block.tobytes()


def lying(pixels: np.ndarray) -> np.ndarray:
    """Pixels as a file of orientation 6 stores them."""
    return np.ascontiguousarray(np.rot90(pixels))


def saved(file_format: str, mode: str, space: bytes = b"RGB ", **options: Any) -> Callable[[Path], None]:
    """A file by Pillow, lying on its side, with all that the format can tell."""

    def save(path: Path) -> None:
        image = portrait().transpose(Image.Transpose.ROTATE_90).convert(mode)
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        given = {"exif": exif(), "icc_profile": PROFILES[space], "dpi": (300, 300)} | options
        if file_format == "PNG":
            given["pnginfo"] = PngInfo()
            given["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
            given["pnginfo"].add_text("Title", "Grandma, 1950")
        elif file_format == "TIFF":
            tags = Image.Exif()
            tags.load(given.pop("exif"))
            tags[700] = XMP
            given["exif"] = tags
        else:
            given["xmp"] = XMP
        image.save(path, format=file_format, **given)

    return save


def deep_png(channels: int, space: bytes = b"RGB ") -> Callable[[Path], None]:
    def save(path: Path) -> None:
        frame = path.with_suffix(".frame")
        saved("PNG", "L", space)(frame)
        content, place, chunks = frame.read_bytes(), 8, []
        frame.unlink()
        while place < len(content):
            length = int.from_bytes(content[place : place + 4])
            kind = content[place + 4 : place + 8]
            if kind not in (b"IHDR", b"IDAT", b"IEND"):
                chunks.append((kind, content[place + 8 : place + 8 + length]))
            place += 12 + length
        write_deep_png(path, lying(deep(channels)), *chunks)

    return save


def deep_tiff(path: Path) -> None:
    tags = {"orientation": 6, "artist": "A. Photographer", "dpi": 300, "xmp": XMP, "icc": PROFILES[b"RGB "]}
    write_tiff(path, lying(deep(3)), **tags)


def gray_tiff(path: Path) -> None:
    image = Image.fromarray(lying(deep(1)[..., 0]))
    tags = Image.Exif()
    tags[Base.Orientation], tags[Base.Artist], tags[700] = 6, "A. Photographer", XMP
    image.save(path, format="TIFF", exif=tags, icc_profile=PROFILES[b"GRAY"], dpi=(300, 300))


def heic(path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    options = {"exif": exif(1), "xmp": XMP, "icc_profile": PROFILES[b"RGB "]}
    pillow_heif.from_pillow(portrait()).save(path, **options)


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "JPEG, colour": ("jpg", saved("JPEG", "RGB", comment=b"Grandma, 1950")),
    "JPEG, gray": ("jpg", saved("JPEG", "L", b"GRAY", comment=b"Grandma, 1950")),
    "JPEG, CMYK": ("jpg", saved("JPEG", "CMYK", b"CMYK", comment=b"Grandma, 1950")),
    "PNG, colour": ("png", saved("PNG", "RGB")),
    "PNG, colour with alpha": ("png", saved("PNG", "RGBA")),
    "PNG, colour, one see-through": ("png", saved("PNG", "RGB", transparency=(7, 8, 9))),
    "PNG, gray": ("png", saved("PNG", "L", b"GRAY")),
    "PNG, gray with alpha": ("png", saved("PNG", "LA", b"GRAY")),
    "PNG, palette": ("png", saved("PNG", "P")),
    "PNG, black and white": ("png", saved("PNG", "1", b"GRAY")),
    "PNG, 16-bit colour": ("png", deep_png(3)),
    "PNG, 16-bit colour with alpha": ("png", deep_png(4)),
    "PNG, 16-bit gray": ("png", deep_png(1, b"GRAY")),
    "PNG, 16-bit gray with alpha": ("png", deep_png(2, b"GRAY")),
    "TIFF, colour": ("tif", saved("TIFF", "RGB")),
    "TIFF, 16-bit colour": ("tif", deep_tiff),
    "TIFF, 16-bit gray": ("tif", gray_tiff),
    "TIFF, CMYK": ("tif", saved("TIFF", "CMYK", b"CMYK")),
    "WebP, colour": ("webp", saved("WEBP", "RGB", quality=95)),
    "AVIF, colour": ("avif", saved("AVIF", "RGB")),
    "HEIC, colour": ("heic", heic),
    "GIF, palette": ("gif", lambda path: portrait().save(path, comment=b"Grandma, 1950")),
    "BMP, colour": ("bmp", lambda path: portrait().save(path, dpi=(300, 300))),
    "TIFF, floating-point": (
        "tif",
        lambda path: write_tiff(path, np.asarray(portrait()).astype(np.float32) / 255, 3),
    ),
    "GIF, animated": (
        "gif",
        lambda path: portrait().save(path, save_all=True, append_images=[portrait().rotate(90)]),
    ),
}


def name_of(row: Row) -> str:
    return re.sub(r"\W+", "-", row.photo).strip("-")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for every row, in photos/, with mask.png and star.png beside."""
    folder = tmp_path_factory.mktemp("formats")
    (folder / "photos").mkdir()
    for row in ROWS:
        suffix, save = FILES[row.photo]
        if suffix != "heic" or has_heif():
            save(folder / "photos" / f"{name_of(row)}.{suffix}")
    Image.fromarray(HOLE).save(folder / "mask.png")
    portrait().save(folder / "star.png")
    return folder


def has_heif() -> bool:
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def results(photos: Path) -> Callable[[str], Path]:
    """The folder of a command's results, made when it is first asked for."""

    def run(command: str) -> Path:
        out = photos / command
        if not out.exists():
            NETWORKS[command]().save_pretrained(photos / f"{command}-model")
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(photos)
                options = ["--model", f"{command}-model", "--output", command, "--provenance", "metadata"]
                assert main([command, "photos", *COMMANDS[command], *options]) == 1  # some are refused
        return out

    return run


def kept_by(photo: Photo) -> str:
    """The last cell of the table, by what was read from a file."""
    told = {
        "EXIF": b"A. Photographer" in photo.info.get("exif", b""),
        "XMP": b'xmp:Rating="5"' in photo.info.get("xmp", b""),
        "text": "Grandma, 1950" in photo.info.get("text", {}).values()
        or b"G\0r\0a\0n" in photo.info.get("exif", b""),
        "dpi": round(photo.info.get("dpi", (0, 0))[0]) == 300,
        "see-through colour": photo.info.get("transparency") == (7, 8, 9),
    }
    return ", ".join(name for name, there in told.items() if there)


def test_the_table_has_every_file_and_no_other() -> None:
    assert [row.photo for row in ROWS] == list(FILES)


@pytest.mark.parametrize("row", ROWS, ids=name_of)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_goes_in_comes_back_as_the_table_says(
    command: str, row: Row, photos: Path, results: Callable[[str], Path]
) -> None:
    found = list((photos / "photos").glob(f"{name_of(row)}.*"))
    if not found:
        pytest.skip("pillow-heif is not installed")
    written = list(results(command).glob(f"{name_of(row)}.*"))
    if row.result == "refused":
        assert written == []
        return
    (result,) = written
    before, after = load_image(found[0]), load_image(result)
    depth = {"bool": "1 bit", "uint8": "8 bits", "uint16": "16 bits"}[str(after.pixels.dtype)]
    with Image.open(result) as opened:
        assert f"{opened.format}, {after.mode}, {depth}" == row.result
    assert after.info.get("icc_profile") == before.info.get("icc_profile")
    assert ("icc_profile" in after.info) == (row.profile == "yes")
    assert kept_by(after) == row.kept
    assert b"DigitalSourceType" in after.info["xmp"]
    assert (after.mode, after.size, after.pixels.dtype) == (before.mode, before.size, before.pixels.dtype)
    outside = np.zeros_like(HOLE) if command == "restore" else ~HOLE
    np.testing.assert_array_equal(after.rgb[outside], before.rgb[outside])
    assert (after.rgb != before.rgb)[HOLE].any()
    if before.alpha is not None:
        np.testing.assert_array_equal(after.alpha, before.alpha)
