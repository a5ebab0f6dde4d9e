"""Where a picture came from, written into its file: an XMP packet with the IPTC's terms, and reading it back.

The property is `Iptc4xmpExt:DigitalSourceType` of the IPTC Photo Metadata Standard 2025.1, its values come from
https://cv.iptc.org/newscodes/digitalsourcetype/; `xmp:CreatorTool` names the software. Model and revision, for which
neither standard has a field of its own, stand in the standard's `Iptc4xmpExt:AISystemUsed` and
`Iptc4xmpExt:AISystemVersionUsed`. The terms of a model's weights have no field anywhere; they stand in
`facekit:ModelTerms`.
"""

from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from facekit.images import xmp
from facekit.images.xmp import NAMESPACES, Name

Kind = Literal["edited", "generated"]

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SOURCE_TYPES: dict[Kind, str] = {
    "edited": VOCABULARY + "compositeWithTrainedAlgorithmicMedia",
    "generated": VOCABULARY + "trainedAlgorithmicMedia",
}
SOURCE_TYPE = Name("Iptc4xmpExt", "DigitalSourceType")
CREATOR_TOOL = Name("xmp", "CreatorTool")
MODEL = Name("Iptc4xmpExt", "AISystemUsed")
REVISION = Name("Iptc4xmpExt", "AISystemVersionUsed")
TERMS = Name("facekit", "ModelTerms")


@dataclass(frozen=True)
class Provenance:
    """How a picture came to be.

    Attributes:
        kind: "edited" where a model changed a part of a picture, "generated" where it made all of it.
        software: name and version, such as "facekit 0.1.0".
        model: name of the model, a Hub id or a folder's name; None where nobody said.
        revision: commit on the Hub, or digest of the weights.
        terms: of published weights; None for others.
    """

    kind: Kind
    software: str
    model: str | None = None
    revision: str | None = None
    terms: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_TYPES:
            raise ValueError(f"kind is {self.kind!r}; choose one of {', '.join(map(repr, SOURCE_TYPES))}.")

    @property
    def source_type(self) -> str:
        """The IPTC's address of the kind."""
        return SOURCE_TYPES[self.kind]


def xmp_packet(provenance: Provenance, before: bytes | None = None) -> bytes:
    """The XMP packet to write into a file, UTF-8: the one from before the edit with our record in place of its own.

    Args:
        provenance: our record.
        before: what `facekit.images.xmp.clean_packet` made of the file's packet; None where it had none.
    """
    record = {
        SOURCE_TYPE: provenance.source_type,
        CREATOR_TOOL: provenance.software,
        MODEL: provenance.model,
        REVISION: provenance.revision,
        TERMS: provenance.terms,
    }
    told = {name: value for name, value in record.items() if value is not None}
    return xmp.merge(before, told, replaced=record)


def read_packet(packet: bytes | str | None) -> Provenance | None:
    """Read the record of origin from an XMP packet, written by facekit or by another program.

    Returns:
        The record; None where the packet names neither of the two source types, is no XML, or is too large.
    """
    if not packet:
        return None
    try:
        root = ElementTree.fromstring(xmp.extract_xml(packet))
    except (ElementTree.ParseError, ValueError):
        return None
    source = _value(root, SOURCE_TYPE) or ""
    name = source.rstrip("/").rsplit("/", 1)[-1]
    kinds = [kind for kind, address in SOURCE_TYPES.items() if address.endswith("/" + name)]
    if not kinds:
        return None
    return Provenance(
        kinds[0],
        _value(root, CREATOR_TOOL) or "unknown",
        _value(root, MODEL),
        _value(root, REVISION),
        _value(root, TERMS),
    )


def _value(root: ElementTree.Element, name: Name) -> str | None:
    """The value of a property, which may be written as attribute or as element; the first entry of a list."""
    wanted = f"{{{NAMESPACES[name.prefix]}}}{name.local}"
    for element in root.iter():
        if wanted in element.attrib:
            return element.attrib[wanted]
        if element.tag == wanted:
            resource = element.attrib.get(f"{{{NAMESPACES['rdf']}}}resource")
            text = resource or "".join(element.itertext())
            return text.strip() or None
    return None
