"""Where a picture came from, written into its file: an XMP packet with the IPTC's terms, and reading it back.

The property is `Iptc4xmpExt:DigitalSourceType` of the IPTC Photo Metadata Standard 2025.1, its values come from
https://cv.iptc.org/newscodes/digitalsourcetype/; `xmp:CreatorTool` names the software. Model and revision, for which
neither standard has a field of its own, stand in the standard's `Iptc4xmpExt:AISystemUsed` and
`Iptc4xmpExt:AISystemVersionUsed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

from PIL import Image, PngImagePlugin, TiffImagePlugin

Kind = Literal["edited", "generated"]

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SOURCE_TYPES: dict[Kind, str] = {
    "edited": VOCABULARY + "compositeWithTrainedAlgorithmicMedia",
    "generated": VOCABULARY + "trainedAlgorithmicMedia",
}
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
LARGEST_PACKET = 1_000_000  # characters; nobody's packet is longer, and a hostile file's is not parsed
TIFF_XMP = 700
PNG_XMP = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Provenance:
    """How a picture came to be.

    Attributes:
        kind: "edited" where a model changed a part of a picture, "generated" where it made all of it.
        software: name and version, such as "facekit 0.1.0".
        model: name of the model, a Hub id or a folder's name; None where nobody said.
        revision: commit on the Hub, or digest of the weights.
    """

    kind: Kind
    software: str
    model: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_TYPES:
            raise ValueError(f"kind is {self.kind!r}; choose one of {', '.join(map(repr, SOURCE_TYPES))}.")

    @property
    def source_type(self) -> str:
        """The IPTC's address of the kind."""
        return SOURCE_TYPES[self.kind]


def xmp_packet(provenance: Provenance) -> bytes:
    """The packet that stands in a file, UTF-8."""
    for prefix, address in NAMESPACES.items():
        ElementTree.register_namespace(prefix, address)
    root = ElementTree.Element(_name("x", "xmpmeta"))
    about = ElementTree.SubElement(
        ElementTree.SubElement(root, _name("rdf", "RDF")), _name("rdf", "Description")
    )
    about.set(_name("rdf", "about"), "")
    about.set(_name("Iptc4xmpExt", "DigitalSourceType"), provenance.source_type)
    about.set(_name("xmp", "CreatorTool"), provenance.software)
    for field, value in (("AISystemUsed", provenance.model), ("AISystemVersionUsed", provenance.revision)):
        if value is not None:
            about.set(_name("Iptc4xmpExt", field), value)
    body = ElementTree.tostring(root, encoding="unicode")
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{start}\n{body}\n<?xpacket end="w"?>'.encode()


def read_packet(packet: bytes | str | None) -> Provenance | None:
    """What a packet says, by facekit or another program; None where it names none of the two source types.

    Never raises: a packet that is no XML, or too long, says nothing.
    """
    if not packet or len(packet) > LARGEST_PACKET:
        return None
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else packet
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # never part of XMP; entities could grow without bound
        return None
    start, end = text.find("<x:xmpmeta"), text.rfind("</x:xmpmeta>")
    if start >= 0 and end > start:
        text = text[start : end + len("</x:xmpmeta>")]
    try:
        root = ElementTree.fromstring(text.strip("\0\ufeff \n"))
    except (ElementTree.ParseError, ValueError):
        return None
    source = _value(root, "Iptc4xmpExt", "DigitalSourceType") or ""
    name = source.rstrip("/").rsplit("/", 1)[-1]
    kinds = [kind for kind, address in SOURCE_TYPES.items() if address.endswith("/" + name)]
    if not kinds:
        return None
    return Provenance(
        kinds[0],
        _value(root, "xmp", "CreatorTool") or "unknown",
        _value(root, "Iptc4xmpExt", "AISystemUsed"),
        _value(root, "Iptc4xmpExt", "AISystemVersionUsed"),
    )


def packet_of(image: Image.Image) -> bytes | str | None:
    """The XMP packet of an opened file of any format that Pillow reads one from, None without."""
    return image.info.get("xmp") or image.info.get(PNG_XMP)


def save_options(file_format: str, provenance: Provenance | None, info: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for `Image.save` that write the record, if any, and keep colour profile, EXIF and resolution of `info`.

    Raises ValueError for a format that carries none.
    """
    options: dict[str, Any] = {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    if provenance is None:
        return options
    packet = xmp_packet(provenance)
    if file_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt(PNG_XMP, packet.decode())
        return options | {"pnginfo": text}
    if file_format == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags.tagtype[TIFF_XMP] = 1  # bytes
        tags[TIFF_XMP] = packet
        return options | {"tiffinfo": tags}
    if file_format in ("JPEG", "WEBP"):
        return options | {"xmp": packet}
    raise ValueError(
        f"{file_format} files carry no provenance here. Save as one of {', '.join(FORMATS)}, "
        "or with provenance=None."
    )


def _name(prefix: str, name: str) -> str:
    return f"{{{NAMESPACES[prefix]}}}{name}"


def _value(root: ElementTree.Element, prefix: str, name: str) -> str | None:
    """A property written as attribute or as element; of a list its first entry."""
    wanted = _name(prefix, name)
    for element in root.iter():
        if wanted in element.attrib:
            return element.attrib[wanted]
        if element.tag == wanted:
            resource = element.attrib.get(_name("rdf", "resource"))
            text = resource or "".join(element.itertext())
            return text.strip() or None
    return None
