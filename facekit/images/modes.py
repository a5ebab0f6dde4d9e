"""Pixels of any Pillow mode to RGB, and new RGB colours back into that mode, at chosen pixels only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

ALPHA_MODES = ("LA", "RGBA")
GRAY_MODES = ("1", "L", "LA", "I;16", "I")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of JFIF, as Pillow weighs


@dataclass(frozen=True)
class Palette:
    """Colour table of a "P" image: raw mode ("RGB" or "RGBA"), its bytes, and tRNS as Pillow keeps it."""

    mode: str
    data: bytes
    transparency: int | bytes | None = None

    @classmethod
    def of(cls, image: Image.Image) -> "Palette":
        """The palette of a "P" image."""
        mode = "RGBA" if image.palette is not None and image.palette.mode == "RGBA" else "RGB"
        clear = image.info.get("transparency")
        return cls(
            mode, bytes(image.getpalette(mode) or b"\0" * len(mode)), clear if fits_mode(clear, "P") else None
        )

    def colors(self) -> np.ndarray:
        """The table as uint8 `[256, 4]`, transparency in the last column, missing entries black."""
        table = np.zeros((256, 4), dtype=np.uint8)
        table[:, 3] = 255
        entries = np.frombuffer(self.data, dtype=np.uint8).reshape(-1, len(self.mode))[:256]
        table[: len(entries), : len(self.mode)] = entries
        if isinstance(self.transparency, int):
            table[self.transparency, 3] = 0
        elif self.transparency is not None:
            alpha = np.frombuffer(self.transparency, dtype=np.uint8)[:256]
            table[: len(alpha), 3] = alpha
        return table

    def with_colors(self, indices: np.ndarray, colors: np.ndarray) -> "Palette":
        """A palette whose entries at `indices` `[N]` show `colors` uint8 `[N, 3]`, opaque."""
        width = len(self.mode)
        entries = np.frombuffer(self.data, dtype=np.uint8).reshape(-1, width)
        table = np.zeros((max(len(entries), int(indices.max()) + 1), width), dtype=np.uint8)
        table[: len(entries)] = entries
        table[indices, :3] = colors
        if width == 4:
            table[indices, 3] = 255
        transparency = self.transparency
        if isinstance(transparency, bytes):
            alpha = bytearray(transparency)
            for index in indices[indices < len(alpha)]:
                alpha[index] = 255
            transparency = bytes(alpha)
        return Palette(self.mode, table.tobytes(), transparency)


def fits_mode(transparency: Any, mode: str) -> bool:
    """Whether a value can be Pillow's `info["transparency"]` of a picture of this mode.

    In mode "P" it is the index of the transparent entry or the opacity of every entry (bytes); in other modes the one
    colour that is transparent, of up to 16 bits a channel.
    """
    if mode == "P" and isinstance(transparency, bytes):
        return True
    channels = transparency if mode == "RGB" and isinstance(transparency, tuple) else (transparency,)
    most = 255 if mode == "P" else 65535
    known = len(channels) == 3 if mode == "RGB" else mode == "P" or (mode in GRAY_MODES and mode != "LA")
    return known and all(isinstance(level, int) and 0 <= level <= most for level in channels)


def to_pillow(pixels: np.ndarray, mode: str, palette: Palette | None = None) -> Image.Image:
    """An image of `mode` from pixels `[H, W]` or `[H, W, C]` in that mode's own numbers."""
    height, width = pixels.shape[:2]
    if mode == "1":
        return Image.fromarray(pixels.astype(np.uint8) * 255).convert("1", dither=Image.Dither.NONE)
    kind = {"I;16": "<u2", "I": "<i4"}.get(mode, "u1")
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels, dtype=kind).tobytes())
    if palette is not None:
        image.putpalette(palette.data, palette.mode)
        if palette.transparency is not None:
            image.info["transparency"] = palette.transparency
    return image


def rgb_from(pixels: np.ndarray, mode: str, palette: Palette | None = None) -> np.ndarray:
    """Pixels of `mode` as RGB `[H, W, 3]`, in the same number type; transparency is left out, not blended.

    `palette` is the colour table of a "P" image, and None in every other mode.
    """
    if palette is not None:
        return palette.colors()[pixels][..., :3]
    if mode in ("CMYK", "YCbCr", "HSV"):
        return np.asarray(to_pillow(pixels, mode).convert("RGB"))
    if mode == "1":
        pixels = pixels.astype(np.uint8) * 255
    elif mode == "I":
        pixels = pixels.astype(np.uint16)
    if mode in GRAY_MODES:
        gray = pixels if pixels.ndim == 2 else pixels[..., 0]
        return np.repeat(gray[..., None], 3, axis=2)
    return pixels[..., :3]


def alpha_from(pixels: np.ndarray, mode: str, palette: Palette | None = None) -> np.ndarray | None:
    """The opacity `[H, W]` in the pixels' number type, or None where the mode has none or all is opaque."""
    if palette is not None:
        table = palette.colors()[:, 3]
        return None if table.min() == 255 else table[pixels]
    return pixels[..., -1] if mode in ALPHA_MODES else None


def write_rgb(
    pixels: np.ndarray, mode: str, palette: Palette | None, rgb: np.ndarray, where: np.ndarray
) -> tuple[np.ndarray, Palette | None]:
    """Give the pixels under `where` new colours; every other number stays as it is.

    Args:
        pixels: `[H, W]` or `[H, W, C]` in the numbers of `mode`; left untouched, a copy comes back.
        mode: a Pillow mode of `MODES`.
        palette: colour table of a "P" image, else None.
        rgb: `[H, W, 3]` in the number type that `rgb_from` gives for this mode.
        where: bool `[H, W]`.

    Returns:
        The new pixels and palette. Alpha is kept, and of the black ink of CMYK what the new colours leave room for.
        "P": entries that no other pixel uses are redefined to suit the new colours; transparent pixels stay so.
        "1" and "P" are dithered.
    """
    pixels = pixels.copy()
    if not where.any():
        return pixels, palette
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    patch, inside, target = rgb[box], where[box], pixels[box]
    if palette is not None:
        return _write_palette(pixels, palette, rgb, where, box)
    if mode == "CMYK":
        target[inside] = _inks(patch[inside], target[inside][:, 3])
        return pixels, palette
    # Large photos that change as a whole: taking pixels by a mask takes seconds.
    chosen = np.s_[:, :] if inside.all() else inside
    if mode in ("YCbCr", "HSV"):
        target[chosen] = np.asarray(to_pillow(patch, "RGB").convert(mode))[chosen]
    elif mode == "1":
        target[chosen] = np.asarray(to_pillow(_gray(patch), "L").convert("1"))[chosen]
    elif mode in GRAY_MODES:
        (target if target.ndim == 2 else target[..., 0])[chosen] = _gray(patch)[chosen]
    else:
        target[..., :3][chosen] = patch[chosen]
    return pixels, palette


def _inks(rgb: np.ndarray, black: np.ndarray) -> np.ndarray:
    """Inks uint8 `[N, 4]` that Pillow shows as the colours `[N, 3]`, with as much of the black `[N]` as they allow."""
    black = np.minimum(black, 255 - rgb.max(axis=1)).astype(np.float32)
    light = np.maximum(255 - black, 1)[:, None]
    return np.rint(np.column_stack([255 - rgb * (255 / light), black])).clip(0, 255).astype(np.uint8)


def _gray(rgb: np.ndarray) -> np.ndarray:
    gray = rgb.astype(np.float32) @ LUMA
    return gray if rgb.dtype.kind == "f" else np.rint(gray).astype(rgb.dtype)


def _write_palette(
    pixels: np.ndarray, palette: Palette, rgb: np.ndarray, where: np.ndarray, box: tuple[slice, slice]
) -> tuple[np.ndarray, Palette]:
    table = palette.colors()
    where = where & (table[pixels, 3] > 0)
    if not where.any():
        return pixels, palette
    used = np.unique(pixels[~where])
    free = np.setdiff1d(np.arange(256), np.append(used, np.flatnonzero(table[:, 3] < 255)))
    if len(free):
        wanted = Image.fromarray(rgb[where][None]).quantize(len(free), Image.Quantize.MEDIANCUT)
        colors = np.array(wanted.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[: len(free)]
        free = free[: len(colors)]
        palette = palette.with_colors(free, colors)
        table = palette.colors()
    # Pillow picks among all 256 entries of a palette image, so unwanted ones show the first candidate's
    # colour.
    candidates = np.concatenate([free, used[table[used, 3] == 255]]).astype(np.uint8)
    if len(candidates) == 0:
        return pixels, palette
    choice = np.full(256, candidates[0], dtype=np.uint8)
    choice[: len(candidates)] = candidates
    chart = Image.new("P", (1, 1))
    chart.putpalette(table[choice, :3].tobytes())
    indices = np.asarray(Image.fromarray(np.ascontiguousarray(rgb[box])).quantize(palette=chart))
    pixels[box][where[box]] = choice[indices][where[box]]
    return pixels, palette
