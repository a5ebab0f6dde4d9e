"""XMP packets of untrusted files: remove what describes the old picture, add our properties, keep the rest.

A packet is RDF in XML. Packets with entities, which could grow without bound, are refused, and so are packets larger
than any real one. Names keep the prefixes that the file gave them.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from facekit.images.previews import holds_picture

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "facekit": "urn:facekit:metadata",
}
LARGEST_PACKET = 1_000_000  # characters; nobody's packet is longer, and a hostile file's is not parsed
MOST_NODES = 50_000  # elements, their ends and attributes together
_XMLNS = "http://www.w3.org/2000/xmlns/"
_EMPTY = (
    f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}"><rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}"></rdf:RDF></x:xmpmeta>'
)


class Name(NamedTuple):
    """The name of a property: a prefix of `NAMESPACES` and a local name, as in `xmp:CreatorTool`."""

    prefix: str
    local: str


# Previews; orientation and size of the old picture; the note that more of the packet lies elsewhere in the old file.
_STALE = (
    Name("xmp", "Thumbnails"),
    Name("tiff", "Orientation"),
    Name("tiff", "ImageWidth"),
    Name("tiff", "ImageLength"),
    Name("exif", "PixelXDimension"),
    Name("exif", "PixelYDimension"),
    Name("xmpNote", "HasExtendedXMP"),
)
# Second pictures: embedded ones, depth maps and what lies behind the photo in its file.
_PICTURES = (
    "http://ns.adobe.com/xap/1.0/g/img/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/dd/1.0/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/",
)


def clean_packet(packet: bytes | str) -> bytes | None:
    """Copy a packet without comments, previews, orientation and size of the old picture.

    Returns:
        The packet in UTF-8; None where it cannot be read.
    """
    try:
        document = _parse(packet)
        _remove_stale(document)
        return _pack(document)
    except (ExpatError, ValueError, RecursionError):
        return None


def merge(packet: bytes | None, properties: Mapping[Name, str], replaced: Collection[Name]) -> bytes:
    """Add properties to a packet.

    Args:
        packet: what `clean_packet` gave; None starts a new one.
        properties: values by name.
        replaced: names whose present values are removed.

    Returns:
        The packet in UTF-8.
    """
    document = _parse(packet or _EMPTY)
    (rdf, *_) = document.getElementsByTagNameNS(NAMESPACES["rdf"], "RDF")
    own = {(NAMESPACES[name.prefix], name.local) for name in replaced}
    about = ""
    for description in [node for node in rdf.childNodes if node.nodeType == node.ELEMENT_NODE]:
        about = about or description.getAttributeNS(NAMESPACES["rdf"], "about")
        for attribute in list(description.attributes.values()):
            if (attribute.namespaceURI, attribute.localName) in own:
                description.removeAttributeNode(attribute)
        for node in list(description.childNodes):
            if (node.namespaceURI, node.localName) in own:
                description.removeChild(node)
    ours = document.createElementNS(NAMESPACES["rdf"], "rdf:Description")
    for prefix in ("rdf", *sorted({name.prefix for name in properties})):
        ours.setAttributeNS(_XMLNS, f"xmlns:{prefix}", NAMESPACES[prefix])
    ours.setAttributeNS(NAMESPACES["rdf"], "rdf:about", about)
    for name, value in properties.items():
        ours.setAttributeNS(NAMESPACES[name.prefix], f"{name.prefix}:{name.local}", value)
    rdf.insertBefore(ours, rdf.firstChild)
    return _pack(document)


def extract_xml(packet: bytes | str) -> str:
    """The XML of a packet, without what surrounds its root element.

    Raises:
        ValueError: it is too large, has entities, or is not UTF-8.
    """
    text = packet.decode("utf-8") if isinstance(packet, bytes) else packet
    if len(text) > LARGEST_PACKET or text.count("<") + text.count("=") > MOST_NODES:
        raise ValueError("the packet is too large")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # never part of XMP
        raise ValueError("the packet has entities")
    start, end = text.find("<x:xmpmeta"), text.rfind("</x:xmpmeta>")
    if start >= 0 and end > start:
        text = text[start : end + len("</x:xmpmeta>")]
    return text.strip("\0\ufeff \n")


def _parse(packet: bytes | str) -> minidom.Document:
    document = minidom.parseString(extract_xml(packet).encode())
    if not document.getElementsByTagNameNS(NAMESPACES["rdf"], "RDF"):
        raise ValueError("the packet has no RDF")
    return document


def _pack(document: minidom.Document) -> bytes:
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    root = document.getElementsByTagName("*")[0]
    return f'{start}\n{root.toxml()}\n<?xpacket end="w"?>'.encode()


def _remove_stale(document: minidom.Document) -> None:
    stale = {(NAMESPACES[name.prefix], name.local) for name in _STALE}

    def gone(node: minidom.Node, value: str) -> bool:
        known = (node.namespaceURI, node.localName) in stale or node.namespaceURI in _PICTURES
        return known or holds_picture(value)

    for element in document.getElementsByTagName("*"):
        for node in list(element.childNodes):
            if node.nodeType in (node.COMMENT_NODE, node.PROCESSING_INSTRUCTION_NODE):
                element.removeChild(node)
        # CDATA sections are texts, too.
        text = "".join(node.data for node in element.childNodes if isinstance(node, minidom.Text))
        if gone(element, text):
            if element.parentNode is None or element is document.documentElement:
                raise ValueError("the packet is a picture")
            element.parentNode.removeChild(element)
            continue
        for attribute in list(element.attributes.values()):
            if gone(attribute, attribute.value):
                element.removeAttributeNode(attribute)
