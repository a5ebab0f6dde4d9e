"""Colour of 16 bits a channel, for which Pillow has no modes: read by OpenCV, written as PNG."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import Base

from facekit.images.exif import DIRECTORIES

PNG_COLORS = {"LA": 4, "RGB": 2, "RGBA": 6}  # PNG's number of each mode that can have 16 bits here
SIGNATURE = b"\x89PNG\r\n\x1a\n"
BLOCK_BYTES = 2**24  # packed at once
# What turns a picture upright, by its EXIF orientation.
_TURNS = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


class DeepFile:
    """A file with more than 8 bits a channel that Pillow has opened and not decoded yet.

    Its 16-bit pixels are read by OpenCV and compared with the 8 bits that Pillow decodes: OpenCV does not notice
    truncated files, and reads some layouts in another order.
    """

    def __init__(self, opened: Image.Image) -> None:
        self.opened, self.layout = opened, _layout(opened)
        file: BinaryIO = opened.fp  # type: ignore[attr-defined]  # `is_deep` has seen it: opened files have one
        place = file.tell()
        file.seek(0)
        self.content = file.read()
        file.seek(place)

    def pixels(self, upright: Image.Image) -> tuple[np.ndarray, str] | None:
        """The pixels uint16 `[H, W, C]`, upright, and their mode; None where they do not agree with Pillow's 8 bits.

        Args:
            upright: the picture as Pillow decoded it, with its EXIF orientation applied.
        """
        try:
            read = cv2.imdecode(np.frombuffer(self.content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            return None
        if read is None or read.dtype != np.uint16 or read.ndim != 3 or read.shape[2] not in (3, 4):
            return None
        shown = np.asarray(upright.convert("RGBA") if upright.mode == "LA" else upright)
        pixels = read[..., [2, 1, 0, 3][: shown.shape[2]]] if read.shape[2] >= shown.shape[2] else read
        if self.opened.format != "TIFF":  # those OpenCV turns upright itself
            turn = _TURNS.get(self.opened.getexif().get(Base.Orientation, 1))
            pixels = pixels if turn is None else turn(pixels)
        if pixels.shape != shown.shape or not _agrees(pixels, shown):
            return None
        mode = "LA" if self.layout.startswith("LA") else upright.mode
        return np.ascontiguousarray(pixels[..., [0, 3]] if mode == "LA" else pixels), mode


def is_deep(opened: Image.Image) -> bool:
    """Whether a file, opened and not decoded yet, has more than the 8 bits a channel that Pillow gives of it."""
    if opened.mode not in ("RGB", "RGBA", "LA", "CMYK") or getattr(opened, "fp", None) is None:
        return False
    depth = opened.info.get("bit_depth")  # of HEIC; a PNG may have a word of that name
    return ";16" in _layout(opened) or (isinstance(depth, int) and depth > 8)


def _layout(opened: Image.Image) -> str:
    """How the file stores its channels, in Pillow's words: "RGB;16B"."""
    for _, _, _, arguments in getattr(opened, "tile", ()):
        words = arguments if isinstance(arguments, tuple) else (arguments,)
        deep = opened.format == "PPM" and isinstance(words[-1], int) and words[-1] > 255
        return f"{words[0]};16" if deep else str(words[0])
    return ""


def _agrees(deep: np.ndarray, shown: np.ndarray) -> bool:
    """Whether 16-bit values and 8-bit values show the same, up to one level: readers round differently."""
    return all(
        (np.abs((row >> 8).astype(np.int16) - other) <= 1).all()
        for row, other in zip(deep, shown, strict=True)
    )


def write_png(file: BinaryIO, pixels: np.ndarray, mode: str, options: dict[str, Any]) -> None:
    """Write pixels uint16 `[H, W, C]` of mode LA, RGB or RGBA; `options` are those of `Image.save`.

    Pillow writes a PNG of one pixel with all metadata, whose size and pixels are then replaced: Pillow has no 16-bit
    modes, and OpenCV writes neither gray with alpha nor metadata.
    """
    frame = io.BytesIO()
    Image.new(mode, (1, 1)).save(frame, format="PNG", **options)
    height, width = pixels.shape[:2]
    file.write(SIGNATURE)
    for kind, content in _chunks(frame.getvalue()):
        if kind == b"IHDR":
            content = struct.pack(">IIBB", width, height, 16, PNG_COLORS[mode]) + content[10:]
        for part in _pack(pixels) if kind == b"IDAT" else (content,):
            PngImagePlugin.putchunk(file, kind, part)


def write_tiff(file: BinaryIO, pixels: np.ndarray, mode: str, options: dict[str, Any]) -> None:
    """Write pixels uint16 `[H, W, C]` of mode LA, RGB or RGBA, not compressed; `options` are those of `Image.save`.

    As in `write_png`, Pillow writes all metadata with a picture of one pixel. Gray with opacity becomes RGBA: readers
    know no 16-bit gray with opacity.
    """
    if mode == "LA":
        pixels, mode = pixels[..., [0, 0, 0, 1]], "RGBA"
    frame = io.BytesIO()
    Image.new(mode, (1, 1)).save(frame, format="TIFF", **options)
    with Image.open(frame) as opened:
        exif = opened.getexif()
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in exif.items():
            tags[tag] = exif.get_ifd(tag) or value if tag in DIRECTORIES else value
    height, width, channels = pixels.shape
    rows = max(1, BLOCK_BYTES // (width * channels * 2))
    starts = range(0, height, rows)
    sizes = [min(rows, height - top) * width * channels * 2 for top in starts]
    tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH] = width, height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (16,) * channels
    tags[TiffImagePlugin.ROWSPERSTRIP] = rows
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = tuple(sizes)
    # From the directory's end, as Pillow takes them.
    tags[TiffImagePlugin.STRIPOFFSETS] = tuple(int(place) for place in np.cumsum([0, *sizes[:-1]]))
    tags.save(file)
    for top in starts:
        file.write(np.ascontiguousarray(pixels[top : top + rows], dtype="<u2").tobytes())


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk."""
    place = len(SIGNATURE)
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        yield kind, png[place + 8 : place + 8 + length]
        place += 12 + length


def _pack(pixels: np.ndarray) -> Iterator[bytes]:
    """A PNG's stream of rows, each as differences to the pixel on the left (filter 1).

    The lower bytes are noise: looking for more than runs makes files no smaller and takes four times as long.
    """
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    step = pixels.shape[2] * 2
    rows = max(1, BLOCK_BYTES // (pixels.shape[1] * step))
    for top in range(0, len(pixels), rows):
        block = (
            np.ascontiguousarray(pixels[top : top + rows], dtype=">u2")
            .view(np.uint8)
            .reshape(min(rows, len(pixels) - top), -1)
        )
        filtered = np.ones((block.shape[0], block.shape[1] + 1), dtype=np.uint8)
        filtered[:, 1 : 1 + step] = block[:, :step]
        np.subtract(block[:, step:], block[:, :-step], out=filtered[:, 1 + step :])
        part = packer.compress(filtered.tobytes())
        if part:
            yield part
    yield packer.flush()
