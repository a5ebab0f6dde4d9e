"""What a picture file tells beside its pixels: read into one form whatever the format, written into any.

| key of `Photo.info` | what | JPEG | PNG | TIFF | WebP |
|---|---|---|---|---|---|
| `icc_profile` | colour profile | yes | yes | yes | yes |
| `exif` | EXIF block without orientation and previews | yes | yes | its own tags | yes |
| `xmp` | XMP packet without previews | yes | yes | yes | yes |
| `text` | words by keyword; "Comment" is JPEG's comment | comment | yes | no | no |
| `dpi` | resolution | yes | yes | yes | in EXIF |

Words for which a format has no place stand in EXIF's UserComment. IPTC-IIM, which XMP replaces, is not kept.
A JPEG has room for 65 kB of each: longer words are cut, a larger EXIF block or XMP packet is left out.
"""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from PIL import Image, PngImagePlugin
from PIL.ExifTags import Base

from facekit.images.exif import is_readable, load_exif, with_comment, without_previews
from facekit.images.modes import fits_mode
from facekit.images.origin import Provenance, xmp_packet
from facekit.images.previews import holds_picture
from facekit.images.xmp import clean_packet
from facekit.notes import Note

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
LARGEST_TEXT = 1_000_000  # characters of all words of a file together
MOST_KEYWORD = 79  # characters of a PNG's keyword
COMMENT = "Comment"
TIFF_XMP = 700
PNG_XMP = "XML:com.adobe.xmp"
DPI_LIMIT = 1_000_000  # every resolution is lower, and files have no room for any
SRGB_GAMMA = 1 / 2.2  # as PNG files write it
_JPEG_BLOCK = 65_000  # bytes that fit into one segment of a JPEG
_JPEG_DPI = 65_535


def read_metadata(opened: Image.Image, upright: Image.Image) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Read what an edited copy of a picture keeps beside its pixels.

    Args:
        opened: the decoded picture as its file has it.
        upright: the same with its EXIF orientation applied.

    Returns:
        `info` as in the table at the head of this module, and notes on what is lost. Thumbnails and previews, which
        would show the picture from before the edit, are left out without a note.
    """
    found = dict(upright.info)
    if opened.format == "TIFF" or (not found.get("exif") and "Raw profile type exif" in upright.info):
        found["exif"] = opened.getexif()
    if opened.format == "TIFF" and Base.XResolution not in getattr(opened, "tag_v2", {}):
        found.pop("dpi", None)  # Pillow's stand-in for a resolution that the file does not tell
    found["xmp"] = found.get("xmp") or upright.info.get(PNG_XMP)
    found["text"] = _read_words(opened)
    info, notes = make_safe(found, upright.mode)
    gamma = found.get("gamma")
    if isinstance(gamma, float) and abs(gamma - SRGB_GAMMA) > 0.01 and "icc_profile" not in info:
        what = "its gamma of {gamma:.3g} is not kept: viewers that honour it show the result otherwise"
        notes += (Note("metadata-lost", what, gamma=gamma),)
    return info, notes


def make_safe(found: Mapping[Any, Any], mode: str) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Select from untrusted `info` what may be kept for a picture of this mode.

    Args:
        found: values by the keys of the table at the head of this module; of any type, since anybody may have written
            them.
        mode: Pillow's mode of the picture.

    Returns:
        The values that can be read, without thumbnails and previews, and notes on what was left out.
    """
    typed = drop_mistyped(found, mode)
    info = {key: typed[key] for key in ("icc_profile", "dpi") if typed.get(key)}
    if "transparency" in typed and mode != "P":  # a palette has it
        info["transparency"] = typed["transparency"]
    notes: list[Note] = []
    if found.get("exif"):
        kept = without_previews(found["exif"]) if isinstance(found["exif"], bytes | Image.Exif) else None
        if kept:
            info["exif"] = kept
        elif kept is None:
            notes.append(Note("metadata-lost", "its EXIF block cannot be read and is left out"))
    if found.get("xmp"):
        kept = clean_packet(found["xmp"]) if isinstance(found["xmp"], bytes | str) else None
        if kept is None:
            notes.append(Note("metadata-lost", "its XMP packet cannot be read and is left out"))
        else:
            info["xmp"] = kept
    text, whole = select_words(found["text"]) if isinstance(found.get("text"), Mapping) else ({}, True)
    if text:
        info["text"] = text
    if not whole:
        notes.append(Note("metadata-lost", "it holds too much text, which is left out in part"))
    return info, tuple(notes)


def drop_mistyped(info: Mapping[Any, Any], mode: str) -> dict[Any, Any]:
    """Pillow's `info` of a picture of this mode, without values of a wrong type.

    A PNG may hold a text whose keyword is "exif" or "dpi": Pillow puts it into `info` under that key.
    """
    kept = dict(info)
    for key in ("icc_profile", "exif", "xmp"):
        if not isinstance(kept.get(key), bytes):
            kept.pop(key, None)
    if "transparency" in kept and not fits_mode(kept["transparency"], mode):
        del kept["transparency"]
    dpi = kept.pop("dpi", None)
    if isinstance(dpi, tuple | list) and len(dpi) == 2:
        # 0/0 of a TIFF is NaN, which is below no limit. Whole numbers may be too large for a float.
        numbers = [float(n) for n in dpi if isinstance(n, Real) and not n <= 0 and n < DPI_LIMIT]
        kept |= {"dpi": tuple(numbers)} if len(numbers) == 2 else {}
    return kept


def _read_words(opened: Image.Image) -> Mapping[Any, Any]:
    found = getattr(opened, "text", None) or opened.info.get("text")
    found = dict(found) if isinstance(found, Mapping) else {}
    comment = opened.info.get("comment")
    if comment:
        words = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment
        found.setdefault(COMMENT, words)
    return found


def select_words(found: Mapping[Any, Any]) -> tuple[dict[str, str], bool]:
    """Texts by keyword that any format can hold, none of them a picture in disguise.

    Returns:
        The texts, and False where some did not fit into `LARGEST_TEXT` characters.
    """
    kept, room, whole = {}, LARGEST_TEXT, True
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, str) or holds_picture(value):
            continue
        # Other programs' copies of what is read by its own name, in hexadecimal digits.
        if key == PNG_XMP or key.startswith("Raw profile type"):
            continue
        if not 1 <= len(key) <= MOST_KEYWORD or not key.isprintable() or max(map(ord, key)) > 255:
            continue
        if len(value) > room:
            whole = False
            continue
        room -= len(value)
        kept[key] = value.encode("utf-8", "replace").decode()  # JSON can have halves of characters
    return kept, whole


def save_options(file_format: str, provenance: Provenance | None, info: Mapping[Any, Any]) -> dict[str, Any]:
    """Arguments for `Image.save` that write metadata and provenance into a file.

    Args:
        file_format: Pillow's name, such as "JPEG".
        provenance: the record of origin to write, or None.
        info: values by the keys of the table at the head of this module; those of a wrong type are left out.

    In a JPEG, texts are cut to the room that the EXIF block leaves, and an EXIF block or XMP packet that is too large
    is left out; the record of origin never is.

    Raises:
        ValueError: a format that carries no record of origin.
    """
    packet, text = info.get("xmp"), info.get("text")
    info = drop_mistyped(info, "")
    options: dict[str, Any] = {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    if not is_readable(options.get("exif", b"")):
        del options["exif"]
    if file_format not in FORMATS:
        if provenance is None:
            return options
        raise ValueError(
            f"{file_format} files carry no provenance here. Save as one of {', '.join(FORMATS)}, "
            "or with provenance=None."
        )
    packet = clean_packet(packet) if isinstance(packet, bytes | str) and packet else None
    if provenance is not None:
        theirs, packet = packet, xmp_packet(provenance, packet)
        if file_format == "JPEG" and theirs and len(packet) > _JPEG_BLOCK:
            packet = xmp_packet(provenance)
    text = select_words(text)[0] if isinstance(text, Mapping) else {}
    if file_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        if packet:
            chunks.add_itxt(PNG_XMP, packet.decode())
        for key, value in text.items():
            chunks.add_text(key, value)
        return options | ({"pnginfo": chunks} if chunks.chunks else {})
    room = None
    if file_format == "JPEG":
        room = _JPEG_BLOCK
        if len(options.get("exif", b"")) > room:
            del options["exif"]
        comment = text.pop(COMMENT, None) or info.get("comment") or b""
        comment = comment.encode() if isinstance(comment, str) else comment
        if isinstance(comment, bytes) and comment:
            if len(comment) > room:
                comment = comment[:room].decode("utf-8", "ignore").encode()
            # Pillow's own comment fails beside a long EXIF block: it has one buffer for both.
            options["extra"] = b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment
        options["comment"] = b""
    if text:
        words = "\n".join(value if key == COMMENT else f"{key}: {value}" for key, value in text.items())
        options["exif"] = with_comment(options.get("exif"), words, room)
    if file_format == "TIFF":
        tags = load_exif(options.pop("exif", b""))
        if packet:
            tags[TIFF_XMP] = packet
        return options | ({"exif": tags} if len(tags) else {})
    options |= {"xmp": packet} if packet else {}
    if file_format == "JPEG":
        if max(options.get("dpi", (0,))) > _JPEG_DPI:
            del options["dpi"]
        return {k: v for k, v in options.items() if k != "xmp" or len(v) <= _JPEG_BLOCK}
    return options
