"""What a picture file tells beside its pixels: read into one form whatever the format, written into any.

| key of `Photo.info` | what | JPEG | PNG | TIFF | WebP |
|---|---|---|---|---|---|
| `icc_profile` | colour profile | yes | yes | yes | yes |
| `exif` | EXIF block without orientation and previews | yes | yes | its own tags | yes |
| `xmp` | XMP packet without previews | yes | yes | yes | yes |
| `text` | words by keyword; "Comment" is JPEG's comment | comment | yes | no | no |
| `dpi` | resolution | yes | yes | yes | in EXIF |

Words for which a format has no place stand in EXIF's UserComment. IPTC-IIM, which XMP replaces, is not kept.
"""

from collections.abc import Mapping
from typing import Any

from PIL import Image, PngImagePlugin

from facekit.exif import loaded, with_comment, without_previews
from facekit.previews import holds_picture
from facekit.provenance_metadata import Provenance, xmp_packet
from facekit.xmp import cleaned

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
LARGEST_TEXT = 1_000_000  # characters of all words of a file together
MOST_KEYWORD = 79  # characters of a PNG's keyword
COMMENT = "Comment"
TIFF_XMP = 700
PNG_XMP = "XML:com.adobe.xmp"
_JPEG_BLOCK = 65_000  # bytes that fit into one segment of a JPEG


def read_metadata(opened: Image.Image, upright: Image.Image) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Of a decoded picture, and the same turned upright, what goes on with an edited copy; and notes on what cannot.

    What shows the old picture (thumbnails, previews) is left out without a note.
    """
    info = {key: upright.info[key] for key in ("icc_profile", "dpi") if upright.info.get(key)}
    notes: list[str] = []
    block: bytes | Image.Exif | None = upright.info.get("exif")
    if opened.format == "TIFF" or (not block and "Raw profile type exif" in upright.info):
        block = opened.getexif()
    if block:
        kept = without_previews(block)
        if kept:
            info["exif"] = kept
        elif kept is None:
            notes.append("its EXIF block cannot be read and is left out")
    packet = upright.info.get("xmp") or upright.info.get(PNG_XMP)
    if packet:
        kept = cleaned(packet) if isinstance(packet, bytes | str) else None
        if kept is None:
            notes.append("its XMP packet cannot be read and is left out")
        else:
            info["xmp"] = kept
    text, whole = _read_words(opened)
    if text:
        info["text"] = text
    if not whole:
        notes.append("it holds too much text, which is left out in part")
    return info, tuple(notes)


def _read_words(opened: Image.Image) -> tuple[dict[str, str], bool]:
    found = getattr(opened, "text", None) or opened.info.get("text")
    found = dict(found) if isinstance(found, Mapping) else {}
    comment = opened.info.get("comment")
    if comment:
        words = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment
        found.setdefault(COMMENT, words)
    return bounded_words(found)


def bounded_words(found: Mapping[Any, Any]) -> tuple[dict[str, str], bool]:
    """The words by keyword that any file may have, without pictures in them, and whether these are all that fit."""
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
        kept[key] = str(value)
    return kept, whole


def save_options(file_format: str, provenance: Provenance | None, info: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for `Image.save` that write what `info` (see the head of this module) and the record, if any, tell.

    Raises ValueError for a format that carries no record.
    """
    options: dict[str, Any] = {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    if file_format not in FORMATS:
        if provenance is None:
            return options
        raise ValueError(
            f"{file_format} files carry no provenance here. Save as one of {', '.join(FORMATS)}, "
            "or with provenance=None."
        )
    packet = cleaned(info["xmp"]) if info.get("xmp") else None
    if provenance is not None:
        theirs, packet = packet, xmp_packet(provenance, packet)
        if file_format == "JPEG" and theirs and len(packet) > _JPEG_BLOCK:
            packet = xmp_packet(provenance)
    text = dict(info.get("text") or {})
    if file_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        if packet:
            chunks.add_itxt(PNG_XMP, packet.decode())
        for key, value in text.items():
            chunks.add_text(key, value)
        return options | ({"pnginfo": chunks} if chunks.chunks else {})
    if file_format == "JPEG" and COMMENT in text:
        options["comment"] = text.pop(COMMENT).encode()[:_JPEG_BLOCK]
    if text:
        words = "\n".join(value if key == COMMENT else f"{key}: {value}" for key, value in text.items())
        options["exif"] = with_comment(options.get("exif"), words)
    if file_format == "TIFF":
        tags = loaded(options.pop("exif", b""))
        if packet:
            tags[TIFF_XMP] = packet
        return options | ({"exif": tags} if len(tags) else {})
    options |= {"xmp": packet} if packet else {}
    if file_format == "JPEG":
        return {k: v for k, v in options.items() if k not in ("exif", "xmp") or len(v) <= _JPEG_BLOCK}
    return options
