"""Files of more than 8 bits a channel, and turned ones, written without the code under test."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
# EXIF orientation -> what makes of an upright picture the one that is stored.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_deep_png(path: Path, pixels: np.ndarray, *extra: tuple[bytes, bytes]) -> None:
    """A PNG of pixels uint16 `[H, W]` or `[H, W, C]`; `extra`: kind and content of chunks before the pixels."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks))


def write_tiff(path: Path, pixels: np.ndarray, sample_format: int = 1, **tags: object) -> None:
    """An uncompressed little-endian TIFF of pixels `[H, W, 3]`.

    `tags`: `orientation` (number), `artist` (text), `xmp`, `icc` (bytes), `dpi` (number).
    """
    height, width, channels = pixels.shape
    bits = pixels.dtype.itemsize * 8
    entries = [
        (256, 4, struct.pack("<I", width)),
        (257, 4, struct.pack("<I", height)),
        (258, 3, struct.pack(f"<{channels}H", *[bits] * channels)),
        (259, 3, struct.pack("<H", 1)),
        (262, 3, struct.pack("<H", 2)),
        (273, 4, None),
        (274, 3, struct.pack("<H", tags.get("orientation", 1))),
        (277, 3, struct.pack("<H", channels)),
        (278, 4, struct.pack("<I", height)),
        (279, 4, struct.pack("<I", pixels.nbytes)),
        (339, 3, struct.pack(f"<{channels}H", *[sample_format] * channels)),
    ]
    if "dpi" in tags:
        resolution = struct.pack("<II", tags["dpi"], 1)
        entries += [(282, 5, resolution), (283, 5, resolution), (296, 3, struct.pack("<H", 2))]
    for tag, kind, key in ((700, 1, "xmp"), (34675, 7, "icc")):
        if key in tags:
            entries.append((tag, kind, tags[key]))
    if "artist" in tags:
        entries.append((315, 2, tags["artist"].encode() + b"\0"))
    entries.sort()
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
    start = 8 + 2 + 12 * len(entries) + 4
    pool = b""
    head = struct.pack("<H", len(entries))
    values_size = sum(len(v) + len(v) % 2 for _, _, v in entries if v is not None and len(v) > 4)
    for tag, kind, value in entries:
        value = struct.pack("<I", start + values_size) if value is None else value
        head += struct.pack("<HHI", tag, kind, len(value) // sizes[kind])
        if len(value) <= 4:
            head += value.ljust(4, b"\0")
        else:
            head += struct.pack("<I", start + len(pool))
            pool += value + b"\0" * (len(value) % 2)
    little = pixels.astype(pixels.dtype.newbyteorder("<"))
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + head + b"\0\0\0\0" + pool + little.tobytes())
