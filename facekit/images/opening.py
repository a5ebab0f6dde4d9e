"""Pictures as they are handed over: untrusted files are opened header first, refused with advice, decoded upright.

HEIC is read where the package pillow-heif is installed; nothing else knows of it.
"""

import os
import sys
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeGuard, Union

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base

from facekit.images.metadata import drop_mistyped
from facekit.notes import Argument, Refusal

if TYPE_CHECKING:  # whoever has no tensors need not wait for torch
    import torch

MaskInput = Union[str, os.PathLike, Image.Image, np.ndarray, "torch.Tensor"]
_PROGRAMS = ("EPS", "WMF")  # files that Pillow would hand to another program, which runs what they say
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SAMPLE_FORMAT, _FLOATING = 339, 3  # a TIFF's tag for the kind of numbers, and its value for floating ones
# Phones save pictures with a preview or depth map behind them in these; the first one is the photo.
_WITH_COMPANIONS = ("MPO", "HEIF")
# What turns a picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_open_lock = threading.Lock()


def open_header(path: str | os.PathLike | Image.Image, name: str, max_pixels: int | None) -> Image.Image:
    """A picture whose size and kind are known and whose pixels are not decoded yet.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a web address, an empty, corrupt or animated file, no image at all, or more than
            `max_pixels` pixels.
    """
    image = path if isinstance(path, Image.Image) else _open(path, name)
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise Refusal(
            "too-large",
            "{name} is {width}x{height}, {pixels:,} pixels; the limit is {most:,}",
            "Make it smaller, or raise {limit}",
            otherwise="Make it smaller",
            name=name,
            width=width,
            height=height,
            pixels=width * height,
            most=max_pixels,
            limit=Argument("max_pixels"),
        )
    frames = 1 if image.format in _WITH_COMPANIONS else getattr(image, "n_frames", 1)
    if frames > 1:
        raise Refusal(
            "animated",
            "{name} is animated or has pages: {frames} frames",
            "Pick a frame, for example with image.seek(0); image = image.copy()",
            name=name,
            frames=frames,
        )
    return image


def decode_upright(image: Image.Image, name: str) -> Image.Image:
    """The pixels of what `open_header` opened, with its EXIF orientation applied; see `drop_mistyped` for its `info`.

    Raises:
        ValueError: a corrupt or truncated file.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise _broken(name, error) from error
    upright = _turn_upright(image)
    upright.info = drop_mistyped(upright.info, upright.mode)
    return upright


def is_tensor(value: object) -> TypeGuard["torch.Tensor"]:
    """Whether something is a tensor; torch is not imported for it, since who made a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def read_array(picture: MaskInput, name: str, max_pixels: int | None) -> np.ndarray:
    """The values of a mask, sketch or map as an array `[H, W]` or `[H, W, C]`, whatever they mean.

    Args:
        picture: a path or a Pillow image, which is turned upright: palettes and unusual colour spaces become RGB, and
            a colour that is marked as transparent becomes alpha, the last channel; an array, which comes back as it
            is; a tensor `[H, W]`, `[1, H, W]` or `[1, 1, H, W]`.
        name: how messages call it.
        max_pixels: refuse larger files and images before they are decoded; None lifts the limit.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of these kinds.
        ValueError: anything `open_header` and `decode_upright` refuse, or a tensor of another shape.
    """
    if isinstance(picture, str | os.PathLike | Image.Image):
        return _pillow_array(decode_upright(open_header(picture, name, max_pixels), name))
    if is_tensor(picture):
        return _tensor_array(picture, name)
    if isinstance(picture, np.ndarray):
        return picture
    raise TypeError(
        f"{name} is a {type(picture).__name__}. Pass a path, Pillow image, numpy array or tensor."
    )


def _pillow_array(image: Image.Image) -> np.ndarray:
    clear = "transparency" in image.info
    if image.mode in ("PA", "La", "RGBa") or (clear and image.mode in ("P", "RGB")):
        image = image.convert("RGBA")
    elif clear and image.mode == "L":
        image = image.convert("LA")
    elif image.mode in ("P", "CMYK", "YCbCr", "HSV"):
        image = image.convert("RGB")
    return np.asarray(image)


def _tensor_array(tensor: "torch.Tensor", name: str) -> np.ndarray:
    shape = tuple(tensor.shape)
    if tensor.ndim < 2 or any(length != 1 for length in shape[:-2]):
        raise ValueError(f"{name} is a tensor of shape {shape}; expected [H, W], [1, H, W] or [1, 1, H, W].")
    tensor = tensor.detach().to("cpu").reshape(shape[-2:])
    return (
        tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    ).numpy()  # numpy has no bfloat16


def _turn_upright(image: Image.Image) -> Image.Image:
    """A copy, turned as far as the file says so; damage to what it tells beside its pixels takes nothing from them."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow raises what the damage leads it to
        pass
    try:
        turn = _TURNS.get(image.getexif().get(Base.Orientation, 1))  # what it read before the damage
    except Exception:
        turn = None
    return image.copy() if turn is None else image.transpose(turn)


def open_picture(file: Path | BinaryIO, name: str) -> Image.Image:
    """A picture's header, of a file or of its bytes.

    Raises:
        ValueError: no picture, or of a kind that cannot be read.
    """
    try:
        return _open_unguarded(file)
    except UnidentifiedImageError as error:
        head = _head(file)
        if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
            _register_heif(name)
            with suppress(UnidentifiedImageError):
                return _open_unguarded(file)
        if head.startswith(_TIFF_STARTS):
            raise ValueError(
                f"{name} is a TIFF of {_tiff_numbers(file)}, which cannot be read. Save it with 8 or 16 bits a channel."
            ) from error
        raise ValueError(f"{name} is no image that can be read. Use JPEG, PNG, WebP or TIFF.") from error
    except Exception as error:
        raise _broken(name, error) from error


def _open(path: str | os.PathLike, name: str) -> Image.Image:
    if str(path).startswith(("http://", "https://")):
        raise ValueError(f"{name} is a web address. Download it first and pass the file.")
    file = Path(path).expanduser()
    if not file.exists():
        raise FileNotFoundError(f"{name} does not exist.")
    if file.is_dir():
        raise ValueError(f"{name} is a folder. Pass its files.")
    if file.stat().st_size == 0:
        raise ValueError(f"{name} is empty (0 bytes). Copy or download it again.")
    image = open_picture(file, name)
    if image.format in _PROGRAMS:
        raise ValueError(f"{name} is a drawing ({image.format}) and no photo. Export it as PNG.")
    return image


def _open_unguarded(file: Path | BinaryIO) -> Image.Image:
    # Pillow's own bomb guard is a warning at one size and an error at another, both global: ours replaces it.
    with _open_lock:
        guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = guard


def _head(file: Path | BinaryIO, length: int = 12) -> bytes:
    if isinstance(file, Path):
        with open(file, "rb") as opened:
            return opened.read(length)
    file.seek(0)
    head = file.read(length)
    file.seek(0)
    return head


def _register_heif(name: str) -> None:
    """Let Pillow read HEIC from now on. ValueError without pillow-heif."""
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError(
            f"{name} is HEIC, which needs the package pillow-heif: pip install 'facekit[heic]'. "
            "Or export it as JPEG."
        ) from error
    pillow_heif.register_heif_opener()


def _tiff_numbers(file: Path | BinaryIO) -> str:
    """What a TIFF that Pillow does not read holds, as far as its first directory tells."""
    try:
        with open(file, "rb") if isinstance(file, Path) else nullcontext(file) as content:
            tags = TiffImagePlugin.ImageFileDirectory_v2(content.read(8))
            content.seek(tags.next)
            tags.load(content)
        if _FLOATING in tags.get(_SAMPLE_FORMAT, ()):
            return "floating-point numbers"
    except Exception:  # Pillow raises what the damage leads it to
        pass
    return "an unusual kind"


def _broken(name: str, error: Exception) -> Exception:
    """What to raise for a file that a decoder gave up on; errors of the disk itself stay what they are."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    broken = "truncated" if "truncated" in str(error).lower() or isinstance(error, EOFError) else "corrupt"
    return ValueError(f"{name} is {broken} and cannot be decoded ({error}). Save it again.")
