"""What files tell: kept from any format to any, without what shows the old picture, and safe to read."""

import base64
import io
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from facekit import provenance
from facekit.images.exif import load_exif, with_comment
from facekit.images.origin import read_packet, xmp_packet
from facekit.images.photo import Photo, load_image
from facekit.images.xmp import LARGEST_PACKET, NAMESPACES, clean_packet
from facekit.provenance import Provenance
from tests.helpers.deep_files import png_chunk

RECORD = Provenance("edited", "facekit 0.1.0", "org/model", "0123abc")
DC = "http://purl.org/dc/elements/1.1/"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def packet(properties: str = "", attributes: str = "") -> bytes:
    """A packet of another program, with elements and attributes of one description."""
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="{NAMESPACES["x"]}" x:xmptk="T">'
        f'<rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}"><rdf:Description rdf:about="uuid:1" xmlns:dc="{DC}" '
        f'xmlns:xmp="{NAMESPACES["xmp"]}" xmlns:tiff="{NAMESPACES["tiff"]}" xmlns:e="{NAMESPACES["Iptc4xmpExt"]}" '
        'xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/" xmlns:GImage="http://ns.google.com/photos/1.0/image/" '
        f'{attributes}><dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© Me 2020</rdf:li></rdf:Alt></dc:rights>'
        f'{properties}</rdf:Description></rdf:RDF></x:xmpmeta>{" " * 2000}<?xpacket end="w"?>'
    ).encode()


def thumbnail() -> str:
    """A small JPEG in base64, as XMP has it."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8))


def test_our_record_joins_the_packet_of_others() -> None:
    old = packet(
        f"<e:DigitalSourceType>{VOCABULARY}digitalCapture</e:DigitalSourceType>",
        'xmp:Rating="4" xmp:CreatorTool="Camera" e:AISystemUsed="other"',
    )
    new = xmp_packet(Provenance("edited", "facekit 0.1.0"), clean_packet(old))
    assert read_packet(new) == Provenance("edited", "facekit 0.1.0")
    text = new.decode()
    assert 'xmp:Rating="4"' in text and "© Me 2020" in text and "<dc:rights>" in text, "prefixes stay, too"
    assert "digitalCapture" not in text and "Camera" not in text and "other" not in text
    about = {
        node.get(f"{{{NAMESPACES['rdf']}}}about")
        for node in ElementTree.fromstring(new).iter(f"{{{NAMESPACES['rdf']}}}Description")
    }
    assert about == {"uuid:1"}, "all descriptions of a packet are about one thing"
    again = xmp_packet(RECORD, clean_packet(new))
    assert read_packet(again) == RECORD and again.count(b"DigitalSourceType=") == 1


@pytest.mark.parametrize(
    ("properties", "attributes"),
    [
        (
            "<xmp:Thumbnails><rdf:Alt><rdf:li><xmpGImg:image>{}</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>",
            "",
        ),
        ("<GImage:Data>{}</GImage:Data>", ""),
        ("", 'GImage:Data="{}" GImage:Mime="image/jpeg"'),
        ("<dc:preview>&#xA;{}</dc:preview>", ""),
        ("<dc:preview><![CDATA[{}]]></dc:preview>", ""),
        ("<!--{}-->", ""),
        ("<dc:title>a<?preview {}?></dc:title>", ""),
        ("", 'dc:source="data:image/png;base64,{}"'),
        ("<tiff:Orientation>6</tiff:Orientation>", 'tiff:ImageWidth="40"'),
    ],
)
def test_previews_turn_and_size_leave_a_packet(properties: str, attributes: str) -> None:
    secret = thumbnail()
    old = packet(properties.format(secret), attributes.format(secret))
    kept = clean_packet(old).decode()
    assert "© Me 2020" in kept
    assert secret[:40] not in kept and "tiff:Orientation" not in kept and "ImageWidth=" not in kept


@pytest.mark.parametrize("rows", ["\n", "<!-- -->", "]]><![CDATA["])
def test_base64_in_short_lines_leaves_a_packet(rows: str) -> None:
    secret = thumbnail()
    lines = [secret[start : start + 16] for start in range(0, len(secret), 16)]
    body = f"<![CDATA[{rows.join(lines)}]]>" if "CDATA" in rows else rows.join(lines)
    kept = clean_packet(packet(f"<dc:preview>{body}</dc:preview>")).decode()
    assert "© Me 2020" in kept and lines[1] not in kept


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1"])
def test_a_picture_in_words_of_exif_goes(encoding: str, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[Base.Artist] = "A. Photographer"
    tags[Base.XPComment] = thumbnail().encode(encoding)
    tags[Base.XPTitle] = "Camera data: image/jpeg, Grandma".encode("utf-16-le")
    tags[IFD.Exif] = {Base.UserComment: b"UNICODE\0" + f"data:image/png;{thumbnail()}".encode(encoding)}
    picture().save(tmp_path / "a.jpg", exif=tags)
    kept = load_exif(load_image(tmp_path / "a.jpg").info["exif"])
    assert set(kept) == {Base.Artist, Base.XPTitle}


def test_hostile_packets_are_left_out_with_a_note(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    deep = packet("<dc:a>" * 20_000 + "</dc:a>" * 20_000)
    hostile = {
        "entities": laughs.encode() + packet("<dc:title>&b;</dc:title>").partition(b"?>")[2],
        "large": packet("x" * LARGEST_PACKET),
        "many": packet("<dc:a/>" * 60_000),
        "attributes": packet("", " ".join(f'a{number}=""' for number in range(90_000))),
        "deep": deep,
        "cut": packet()[:300],
        "binary": b"\xff\xfe\0",
    }
    for name, content in hostile.items():
        assert clean_packet(content) is None, name
        picture().save(tmp_path / "a.webp", xmp=content, lossless=True)
        photo = load_image(tmp_path / "a.webp")
        assert "xmp" not in photo.info
        assert photo.notes == ("its XMP packet cannot be read and is left out",), name
        provenance.save(photo, tmp_path / "b.png", RECORD)
        assert provenance.inspect(tmp_path / "b.png").metadata == RECORD


def given_files(folder: Path) -> dict[str, Path]:
    """One picture in each format, with artist, resolution, words and rights where the format has a place for them."""
    block = Image.Exif()
    block[Base.Artist], block[Base.ImageDescription] = "A. Photographer", "Family 1950"
    words = PngInfo()
    words.add_text("parameters", "a photo, Steps: 20")
    words.add_text("Comment", "Grandma, 1950")
    words.add_itxt("XML:com.adobe.xmp", packet().decode())
    common = {"exif": block.tobytes(), "dpi": (300, 300)}
    picture().save(folder / "a.jpg", **common, xmp=packet(), comment=b"Grandma, 1950")
    picture().save(folder / "a.png", **common, pnginfo=words)
    picture().save(folder / "a.webp", exif=block.tobytes(), xmp=packet(), lossless=True)
    block[700] = packet()
    picture().save(folder / "a.tif", exif=block, dpi=(300, 300))
    return {suffix: folder / f"a.{suffix}" for suffix in ("jpg", "png", "webp", "tif")}


@pytest.mark.parametrize("out", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("given", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("record", [RECORD, None], ids=["labelled", "plain"])
def test_what_a_file_tells_reaches_any_format(
    given: str, out: str, record: Provenance | None, tmp_path: Path
) -> None:
    photo = load_image(given_files(tmp_path)[given])
    provenance.save(photo, tmp_path / f"out.{out}", record)
    back = load_image(tmp_path / f"out.{out}")
    assert "© Me 2020" in back.info["xmp"].decode() and back.notes == ()
    assert read_packet(back.info["xmp"]) == record
    exif = load_exif(back.info["exif"])
    assert (exif[Base.Artist], exif[Base.ImageDescription]) == ("A. Photographer", "Family 1950")
    told = str(back.info.get("text", "")) + exif.get_ifd(IFD.Exif).get(Base.UserComment, b"").decode(
        "utf-16-le"
    )
    assert ("Grandma, 1950" in told) == (given in ("jpg", "png"))
    assert ("a photo, Steps: 20" in told) == (given == "png")
    if given != "webp" and out != "webp":
        assert back.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_pillow_result_carries_what_the_file_told(tmp_path: Path) -> None:
    photo = load_image(given_files(tmp_path)["png"])
    image = photo.to_pil()
    assert load_image(image).info == photo.info
    provenance.save(image, tmp_path / "b.jpg", None)
    with Image.open(tmp_path / "b.jpg") as opened:
        assert opened.info["comment"] == b"Grandma, 1950"


def test_words_are_bounded_and_hold_no_picture(tmp_path: Path) -> None:
    words = PngInfo()
    words.add_text("Title", "kept")
    words.add_text("chara", '{"avatar": "data:image/png;base64,AAAA"}')
    words.add_text("Raw profile type 8bim", "\n8bim\n8\n00ff00ff\n")
    words.add_text("long", "x" * 900_000, zip=True)
    words.add_text("longer", "y" * 900_000, zip=True)
    picture().save(tmp_path / "a.png", pnginfo=words)
    photo = load_image(tmp_path / "a.png")
    assert set(photo.info["text"]) == {"Title", "long"}
    assert photo.notes == ("it holds too much text, which is left out in part",)


def test_layers_and_previews_of_a_tiff_go(tmp_path: Path) -> None:
    file = io.BytesIO()
    picture().save(file, "JPEG")
    tags = Image.Exif()
    tags[Base.Artist], tags[34377], tags[37724] = (
        "A. Photographer",
        b"8BIM" + file.getvalue(),
        file.getvalue(),
    )
    picture().save(tmp_path / "a.tif", exif=tags)
    provenance.save(load_image(tmp_path / "a.tif"), tmp_path / "b.tif", RECORD)
    assert b"\xff\xd8\xff" in (tmp_path / "a.tif").read_bytes()
    assert b"\xff\xd8\xff" not in (tmp_path / "b.tif").read_bytes()
    with Image.open(tmp_path / "b.tif") as opened:
        assert opened.tag_v2[Base.Artist] == "A. Photographer"


def test_a_profile_stays_with_its_own_colours() -> None:
    cmyk = Photo(np.zeros((16, 16, 4), np.uint8), "CMYK", info={"icc_profile": bytes(16) + b"CMYK"})
    assert "icc_profile" not in cmyk.to_rgb_mode().info
    rgb = Photo(np.zeros((16, 16, 4), np.uint8), "RGBA", info={"icc_profile": bytes(16) + b"RGB "})
    assert "icc_profile" in rgb.to_rgb_mode().info


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "word", ["dpi", "icc_profile", "transparency", "xmp", "exif", "text", "Raw profile type exif"]
)
@pytest.mark.parametrize("mode", ["RGB", "P", "L", "RGBA"])
def test_words_named_like_keys_of_pillow_are_words(
    mode: str, word: str, compressed: bool, tmp_path: Path
) -> None:
    words = PngInfo()
    words.add_text(word, "300 words", zip=compressed)
    shown = picture().convert(mode)
    shown.save(tmp_path / "a.png", pnginfo=words)
    photo = load_image(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.rgb, np.asarray(shown.convert("RGB")))
    assert photo.info == ({} if word.startswith("Raw") else {"text": {word: "300 words"}})
    with Image.open(tmp_path / "a.png") as opened:
        for given in (photo, opened, photo.to_pil()):
            for suffix in ("png", "tif", "webp", *(("jpg",) if mode in ("RGB", "L") else ())):
                provenance.save(given, tmp_path / f"b.{suffix}", RECORD)
                assert provenance.inspect(tmp_path / f"b.{suffix}").metadata == RECORD


def test_a_damaged_block_of_a_png_keeps_no_picture_from_being_read(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png", exif=b"Exif\0\0" + b"garbage!" * 5)
    photo = load_image(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.rgb, np.asarray(picture()))
    assert photo.notes == ("its EXIF block cannot be read and is left out",) and "exif" not in photo.info
    with Image.open(tmp_path / "a.png") as opened:
        for suffix in ("png", "jpg", "tif", "webp"):
            provenance.save(opened, tmp_path / f"b.{suffix}", RECORD)
            assert load_image(tmp_path / f"b.{suffix}").notes == ()


def test_a_word_keeps_no_picture_from_being_turned(tmp_path: Path) -> None:
    block, words = Image.Exif(), PngInfo()
    block[Base.Orientation] = 6
    words.add_text("xmp", "a word")
    picture().save(tmp_path / "a.png", exif=block, pnginfo=words)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png").rgb, np.rot90(np.asarray(picture()), -1))


@pytest.mark.parametrize("resolution", [(0, 0), (5, 0), (2**32 - 1, 1)])
def test_a_resolution_that_is_none_is_left_out(resolution: tuple[int, int], tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tif", dpi=(300, 300))
    content = (tmp_path / "a.tif").read_bytes()
    known = struct.pack("<II", 300, 1)
    assert content.count(known) == 2
    (tmp_path / "b.tif").write_bytes(content.replace(known, struct.pack("<II", *resolution)))
    photo = load_image(tmp_path / "b.tif")
    assert "dpi" not in photo.info and load_image(tmp_path / "a.tif").info["dpi"] == (300, 300)
    for suffix in ("png", "jpg", "tif", "webp"):
        provenance.save(photo, tmp_path / f"c.{suffix}", RECORD)
        assert provenance.inspect(tmp_path / f"c.{suffix}").metadata == RECORD


def test_long_words_leave_the_block_of_a_jpeg(tmp_path: Path) -> None:
    block = Image.Exif()
    block[Base.Artist] = "A. Photographer"
    told = {"exif": block.tobytes(), "text": {"parameters": "Schön " * 20_000, "Comment": "Grandma"}}
    provenance.save(Photo(np.asarray(picture()), "RGB", info=told), tmp_path / "a.jpg", RECORD)
    back = load_image(tmp_path / "a.jpg")
    exif = load_exif(back.info["exif"])
    assert exif[Base.Artist] == "A. Photographer"
    assert (
        exif.get_ifd(IFD.Exif)[Base.UserComment][8:].decode("utf-16-le").startswith("parameters: Schön Schön")
    )
    assert 64_000 < len(back.info["exif"]) <= 65_000
    assert back.info["text"] == {"Comment": "Grandma"}


@pytest.mark.parametrize("there", [0, 15_000, 32_300])
def test_a_long_comment_of_a_jpeg_stands_beside_a_long_block(there: int, tmp_path: Path) -> None:
    block = Image.Exif()
    block[Base.Artist] = "A. Photographer"
    exif = with_comment(block.tobytes(), "x" * there)
    told = {"exif": exif, "text": {"Comment": "ü" * 40_000, "Title": "Grandma"}}
    provenance.save(Photo(np.asarray(picture()), "RGB", info=told), tmp_path / "a.jpg", RECORD)
    back = load_image(tmp_path / "a.jpg")
    assert load_exif(back.info["exif"])[Base.Artist] == "A. Photographer"
    assert back.info["text"] == {"Comment": "ü" * 32_500}


def test_a_tiff_without_resolution_gets_none(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tif")
    assert "dpi" not in load_image(tmp_path / "a.tif").info
    picture().save(tmp_path / "b.tif", dpi=(300, 300))
    assert load_image(tmp_path / "b.tif").info["dpi"] == (300, 300)


@pytest.mark.parametrize(("gamma", "told"), [(100_000, True), (45_455, False)])
def test_a_gamma_that_is_not_kept_is_told(tmp_path: Path, gamma: int, told: bool) -> None:
    picture().save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    start, chunk = 8 + 25, png_chunk(b"gAMA", gamma.to_bytes(4))  # behind the signature and IHDR
    (tmp_path / "a.png").write_bytes(content[:start] + chunk + content[start:])
    assert any("its gamma of 1 is not kept" in note for note in load_image(tmp_path / "a.png").notes) == told
