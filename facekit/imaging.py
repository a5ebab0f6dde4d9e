"""Any picture a user may hand over -> pixels for work, and the result back in the form that was given.

A `Photo` keeps what must come back: mode, alpha, palette, bit depth, size and colour profile. EXIF
orientation is applied on loading. `Photo.edited` changes the colours of chosen pixels; all others keep their
exact numbers.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from facekit.color_modes import MODES, Palette, alpha_from, rgb_from, to_pillow, write_rgb
from facekit.exif import with_size, without_previews

MAX_PIXELS = 200_000_000
MIN_SIDE = 16
ImageInput = str | os.PathLike | Image.Image | np.ndarray | torch.Tensor

_ARRAY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_KEPT_INFO = ("icc_profile", "exif", "dpi")
_PROGRAMS = ("EPS", "WMF")  # files that Pillow would hand to another program, which runs what they say
_open_lock = threading.Lock()


@dataclass(frozen=True)
class Photo:
    """One upright picture.

    Attributes:
        pixels: `[H, W]` or `[H, W, C]` in the numbers of `mode`; uint8, uint16, int32, bool or float32 in [0,
            1].
        mode: Pillow's name of the channel layout.
        palette: colour table of a "P" picture.
        info: what files carry along: `icc_profile`, `exif` without orientation and previews, `dpi`, `transparency`.
        name: how messages call it.
        notes: remarks for the user about what loading or output changed.
    """

    pixels: np.ndarray
    mode: str
    palette: Palette | None = None
    info: dict[str, Any] = field(default_factory=dict)
    name: str = "image"
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def rgb(self) -> np.ndarray:
        """Colours `[H, W, 3]` at the photo's own depth: uint8, uint16, or float32 in [0, 1]."""
        return rgb_from(self.pixels, self.mode, self.palette)

    @property
    def alpha(self) -> np.ndarray | None:
        """Opacity `[H, W]` at the photo's own depth, None where it has none."""
        return alpha_from(self.pixels, self.mode, self.palette)

    def edited(self, rgb: np.ndarray, where: np.ndarray) -> "Photo":
        """This photo with the colours `rgb` `[H, W, 3]` (number type of `.rgb`) where `where` is True."""
        pixels, palette = write_rgb(self.pixels, self.mode, self.palette, rgb, where)
        return replace(self, pixels=pixels, palette=palette)

    def to_pil(self) -> Image.Image:
        """A Pillow image of the original mode; 16-bit and float colour, which Pillow lacks, become 8-bit."""
        pixels, mode = self.pixels, self.mode
        if mode in _ARRAY_MODES.values() and pixels.dtype != np.uint8:
            if pixels.dtype == np.uint16 and mode == "L":
                mode = "I;16"
            else:
                pixels = as_uint8(pixels)
        image = to_pillow(pixels, mode, self.palette)
        image.info.update(self.info)
        if "exif" in self.info:
            image.info["exif"] = with_size(self.info["exif"], *self.size)
        return image

    def to_numpy(self) -> np.ndarray:
        """float32 `[H, W, C]` in [0, 1]; C is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha)."""
        if self.mode in _ARRAY_MODES.values():
            pixels = self.pixels if self.pixels.ndim == 3 else self.pixels[..., None]
            return as_float(pixels)
        rgb = self.rgb[..., :1] if self.mode in ("1", "I;16", "I") else self.rgb
        alpha = self.alpha
        return as_float(rgb if alpha is None else np.dstack([rgb, alpha]))

    def to_tensor(self) -> torch.Tensor:
        """float32 `[C, H, W]` in [0, 1], channels as in `to_numpy`."""
        return torch.from_numpy(np.ascontiguousarray(self.to_numpy().transpose(2, 0, 1)))


def as_uint8(pixels: np.ndarray) -> np.ndarray:
    """uint8, uint16 or float [0, 1] numbers as uint8, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def as_float(pixels: np.ndarray) -> np.ndarray:
    """uint8, uint16 or float [0, 1] numbers as float32 in [0, 1]; exact enough to be undone by rounding."""
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def from_float(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float [0, 1] numbers in the depth `dtype` (uint8, uint16 or float32), clipped and rounded."""
    values = np.clip(values, 0, 1)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def open_upright(path: str | os.PathLike | Image.Image, name: str, max_pixels: int | None) -> Image.Image:
    """A decoded Pillow image with its EXIF orientation applied, refused before decoding where it is too
    large.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a web address, an empty, corrupt, truncated or animated file, no image at all,
            or more than `max_pixels` pixels.
    """
    image = path if isinstance(path, Image.Image) else _open(path, name)
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise ValueError(
            f"{name} is {width}x{height}, {width * height:,} pixels; the limit is {max_pixels:,}. "
            "Make it smaller, or raise max_pixels."
        )
    # Phones save pictures with a depth map or preview behind them as MPO; its first frame is the photo.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(
            f"{name} is animated or has pages: {frames} frames. Pick a frame, for example with "
            "image.seek(0); image = image.copy()."
        )
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> Exception:
    """What to raise for a file that a decoder gave up on; errors of the disk itself stay what they are."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    broken = "truncated" if "truncated" in str(error).lower() or isinstance(error, EOFError) else "corrupt"
    return ValueError(f"{name} is {broken} and cannot be decoded ({error}). Save it again.")


def _open(path: str | os.PathLike, name: str) -> Image.Image:
    if str(path).startswith(("http://", "https://")):
        raise ValueError(f"{name} is a web address. Download it first and pass the file.")
    file = Path(path).expanduser()
    if not file.exists():
        raise FileNotFoundError(f"{name} does not exist.")
    if file.is_dir():
        raise ValueError(f"{name} is a folder. Pass its files.")
    if file.stat().st_size == 0:
        raise ValueError(f"{name} is empty (0 bytes).")
    # Pillow's own bomb guard is a warning at one size and an error at another, both global: ours replaces it.
    with _open_lock:
        guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file)
        except UnidentifiedImageError as error:
            hint = " (HEIC: export it as JPEG)" if file.suffix.lower() in (".heic", ".heif") else ""
            raise ValueError(
                f"{name} is no image that can be read{hint}. Use JPEG, PNG, WebP or TIFF."
            ) from error
        except Exception as error:
            raise _broken(name, error) from error
        finally:
            Image.MAX_IMAGE_PIXELS = guard
    if image.format in _PROGRAMS:
        raise ValueError(f"{name} is a drawing ({image.format}) and no photo. Export it as PNG.")
    return image


def load_image(image: ImageInput, *, max_pixels: int | None = MAX_PIXELS, name: str | None = None) -> Photo:
    """One picture of any supported kind as a `Photo`.

    Args:
        image: a path; a Pillow image of mode 1, L, LA, P, RGB, RGBA, CMYK, YCbCr, HSV, I;16 or I (16-bit
            range); a numpy array `[H, W]` or `[H, W, 1..4]`, uint8, uint16 or float in [0, 1]; a float tensor
            `[3, H, W]` or `[1, 3, H, W]` in [-1, 1].
        max_pixels: refuse larger pictures (a file's header tells, nothing is decoded). None: no limit.
        name: how messages call it; a path calls itself.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of these kinds.
        ValueError: anything `open_upright` refuses; smaller than 16 pixels on a side; wrong dtype, rank,
            number of channels or range; NaN or infinity.
    """
    name = name or (str(image) if isinstance(image, str | os.PathLike) else "image")
    if isinstance(image, str | os.PathLike | Image.Image):
        photo = _from_pillow(open_upright(image, name, max_pixels), name)
    elif isinstance(image, np.ndarray):
        photo = _from_array(image, name)
    elif isinstance(image, torch.Tensor):
        photo = _from_tensor(image, name)
    else:
        raise TypeError(
            f"{name} is a {type(image).__name__}. Pass a path, Pillow image, numpy array or tensor."
        )
    width, height = photo.size
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{name} is {width}x{height}; at least {MIN_SIDE} pixels on a side are needed.")
    if max_pixels is not None and width * height > max_pixels:
        raise ValueError(f"{name} is {width}x{height}; the limit is {max_pixels:,} pixels. Raise max_pixels.")
    return photo


def load_images(
    images: ImageInput | Sequence[ImageInput], *, max_pixels: int | None = MAX_PIXELS, name: str = "image"
) -> list[Photo]:
    """One picture, a list of them, or a batch (`[B, H, W, C]` array, `[B, 3, H, W]` tensor) as photos.

    `name` is how messages call pictures that are no paths.

    Raises:
        ValueError: an empty list, or whatever `load_image` refuses; messages name the place in the list.
    """
    batched = isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4
    if not batched and not isinstance(images, list | tuple):
        label = None if isinstance(images, str | os.PathLike) else name
        return [load_image(images, max_pixels=max_pixels, name=label)]
    if len(images) == 0:
        raise ValueError(f"{name} is an empty list. Pass at least one picture.")
    photos = []
    for index, image in enumerate(images):
        label = str(image) if isinstance(image, str | os.PathLike) else f"{name} {index}"
        photos.append(load_image(image, max_pixels=max_pixels, name=label))
    return photos


def _from_pillow(image: Image.Image, name: str) -> Photo:
    info = {key: image.info[key] for key in _KEPT_INFO if key in image.info}
    notes: tuple[str, ...] = ()
    if info.get("exif"):
        # What is saved later is no longer this picture, and its thumbnail must not go on showing it.
        info["exif"] = without_previews(info["exif"])
        if info["exif"] is None:
            notes = ("its EXIF block cannot be read and is left out",)
            del info["exif"]
    if image.mode not in MODES and not image.mode.startswith("I;16"):
        raise ValueError(f"{name} has the mode {image.mode}. Convert it: image.convert('RGB').")
    pixels = np.array(image)
    if image.mode.startswith("I;16"):
        return Photo(pixels.astype(np.uint16), "I;16", info=info, name=name, notes=notes)
    if image.mode == "I" and (pixels.min() < 0 or pixels.max() > 65535):
        raise ValueError(
            f"{name} has mode I with values {pixels.min()}..{pixels.max()}; 0..65535 is what can be shown. "
            "Scale it to 16 bits first."
        )
    if image.mode == "CMYK":
        notes += ("CMYK: new pixels are converted without the colour profile, with no black ink",)
    palette = Palette.of(image) if image.mode == "P" else None
    if palette is None and "transparency" in image.info:
        info["transparency"] = image.info["transparency"]  # PNG without alpha: one colour is see-through
    return Photo(pixels, image.mode, palette, info, name, notes)


def _from_array(array: np.ndarray, name: str) -> Photo:
    shape = tuple(array.shape)
    channels = 1 if array.ndim == 2 else shape[-1] if array.ndim == 3 else 0
    if channels not in _ARRAY_MODES:
        hint = (
            " Channels come last: array.transpose(1, 2, 0)." if array.ndim == 3 and shape[0] in (1, 3) else ""
        )
        raise ValueError(f"{name} is an array of shape {shape}; expected [H, W] or [H, W, 1 to 4].{hint}")
    if 0 in shape:
        raise ValueError(f"{name} is an array of shape {shape}, without pixels.")
    if array.dtype.kind == "f":
        check_range(array, 0.0, 1.0, name, "Divide by 255, or pass uint8.")
        array = np.clip(array.astype(np.float32), 0, 1)
    elif array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{name} is an array of {array.dtype}; expected uint8, uint16 or float in [0, 1].")
    notes = ()
    if array.dtype == np.uint16 and channels > 1:
        notes = ('16-bit colour: output_type="pil" gives 8 bits, "np" and "pt" keep all',)
    pixels = array[..., 0] if channels == 1 and array.ndim == 3 else array
    return Photo(np.array(pixels), _ARRAY_MODES[channels], name=name, notes=notes)


def _from_tensor(tensor: torch.Tensor, name: str) -> Photo:
    shape = tuple(tensor.shape)
    if tensor.ndim == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] != 3 or 0 in shape:
        raise ValueError(f"{name} is a tensor of shape {shape}; expected [3, H, W] or [B, 3, H, W].")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} is a tensor of {tensor.dtype}; expected floats in [-1, 1]: x / 127.5 - 1.")
    values = tensor.detach().to("cpu", torch.float32).numpy()
    check_range(values, -1.0, 1.0, name, "For 0..255 use x / 127.5 - 1.")
    return Photo(np.clip(values.transpose(1, 2, 0) * 0.5 + 0.5, 0, 1), "RGB", name=name)


def check_range(values: np.ndarray, low: float, high: float, name: str, hint: str) -> None:
    """Raise ValueError unless all numbers are finite and lie in [low, high], half a percent of slack."""
    smallest, largest = float(values.min()), float(values.max())
    if not np.isfinite(smallest) or not np.isfinite(largest):
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{name} holds {bad} NaN or infinite numbers. Mend them before the call.")
    slack = 0.005 * (high - low)
    if smallest < low - slack or largest > high + slack:
        raise ValueError(
            f"{name} has numbers from {smallest:.3g} to {largest:.3g}, expected [{low:g}, {high:g}]. {hint}"
        )
