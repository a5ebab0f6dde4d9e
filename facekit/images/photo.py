"""Any picture a user may hand over -> pixels for work, and the result back in the form that was given.

A `Photo` keeps what must come back: mode, alpha, palette, bit depth, size and colour profile. EXIF
orientation is applied on loading. `Photo.recolor` changes the colours of chosen pixels; all others keep their
exact numbers.
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np
from PIL import Image

from facekit.images import deep_color
from facekit.images.exif import with_size
from facekit.images.formats import BY_NAME, FORMATS, FileFormat, encoding, why_too_large
from facekit.images.metadata import COMMENT, drop_mistyped, read_metadata, save_options
from facekit.images.modes import ALPHA_MODES, MODES, Palette, alpha_from, rgb_from, to_pillow, write_rgb
from facekit.images.opening import MaskInput, decode_upright, is_tensor, open_header
from facekit.images.origin import Provenance
from facekit.notes import Argument, Note, Refusal

if TYPE_CHECKING:  # whoever has no tensors need not wait for torch
    import torch

MAX_PIXELS = 200_000_000
MIN_SIDE = 16

_ARRAY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
PNG_MODES = FORMATS["png"].modes
# What the colour profile of each space can belong to.
_PROFILE_SPACES = {b"RGB ": ("RGB", "RGBA", "P"), b"GRAY": ("1", "L", "LA", "I;16", "I"), b"CMYK": ("CMYK",)}


@dataclass(frozen=True)
class Photo:
    """One upright picture.

    Attributes:
        pixels: `[H, W]` or `[H, W, C]` in the numbers of `mode`; uint8, uint16, int32, bool or float32 in [0,
            1].
        mode: Pillow's name of the channel layout.
        palette: colour table of a "P" picture.
        info: what files carry along, see `facekit.images.metadata`; also `transparency`, the one colour that is
            see-through.
        name: how messages call it.
        notes: remarks for the user about what loading or output changed.
    """

    pixels: np.ndarray
    mode: str
    palette: Palette | None = None
    info: dict[str, Any] = field(default_factory=dict)
    name: str = "image"
    notes: tuple[Note, ...] = ()

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

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits a channel in a mode of which Pillow has only 8."""
        return self.pixels.dtype == np.uint16 and self.mode in deep_color.PNG_COLORS

    def recolor(self, rgb: np.ndarray, where: np.ndarray) -> "Photo":
        """This photo with the colours `rgb` `[H, W, 3]` (number type of `.rgb`) where `where` is True.

        Floating colours are clipped to [0, 1]: resampling may shoot over.
        """
        rgb = np.clip(rgb, 0, 1) if rgb.dtype.kind == "f" else rgb
        pixels, palette = write_rgb(self.pixels, self.mode, self.palette, rgb, where)
        edited = replace(self, pixels=pixels, palette=palette)
        return edited._without_key(where & ~self._key()) if "transparency" in self.info else edited

    def enlarge(self, rgb: np.ndarray) -> "Photo":
        """This photo in the size of `rgb` `[H, W, 3]` (number type of `.rgb`), which are its colours from now on.

        Mode, depth, profile and transparency stay; but see `to_smooth_mode`.
        """
        base, size = self.to_smooth_mode(), (rgb.shape[1], rgb.shape[0])
        rgb = np.clip(rgb, 0, 1) if rgb.dtype.kind == "f" else rgb
        pixels = np.zeros((*rgb.shape[:2], *base.pixels.shape[2:]), base.pixels.dtype)
        if base.mode in (*ALPHA_MODES, "CMYK"):  # opacity and black ink are not among the colours
            pixels[..., -1] = from_float(resize(as_float(base.pixels[..., -1]), size), pixels.dtype)
        pixels, _ = write_rgb(pixels, base.mode, None, rgb, np.ones(pixels.shape[:2], dtype=bool))
        large = replace(base, pixels=pixels)
        if "transparency" not in base.info:
            return large
        key = cv2.resize(base._key().astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        pixels[key] = base.info["transparency"]
        return large._without_key(~key)

    def to_smooth_mode(self) -> "Photo":
        """The photo in a mode that has values between its own: "L" for "1", "RGB" or "RGBA" for "P"."""
        if self.mode not in ("1", "P"):
            return self
        pixels, info = self.rgb, dict(self.info)
        if self.mode == "1":
            if "transparency" in info:
                info["transparency"] *= 255
            return replace(self, pixels=pixels[..., 0], mode="L", info=info)
        mode = "RGB" if self.alpha is None else "RGBA"
        pixels = pixels if self.alpha is None else np.dstack([pixels, self.alpha])
        return replace(self, pixels=pixels, mode=mode, palette=None)

    def to_rgb_mode(self) -> "Photo":
        """This photo's colours alone, for files that have no room for its mode; a profile of another mode goes."""
        info = {k: v for k, v in self.info.items() if k != "transparency"}
        return replace(
            self, pixels=self.rgb, mode="RGB", palette=None, info=drop_foreign_profile(info, "RGB")
        )

    def fit(self, kind: FileFormat) -> "Photo":
        """This photo as far as a file format holds it, see `name_losses`; the photo itself where it holds all."""
        photo = self.to_smooth_mode() if self.mode in ("1", "P") and self.mode not in kind.modes else self
        if "transparency" in photo.info and "P" not in kind.modes:
            photo = photo._with_alpha()
        if photo.mode in ALPHA_MODES and not kind.transparent:
            photo = photo._over_white()
        if not kind.deep and photo.pixels.dtype not in (np.uint8, bool):
            shown = photo.pixels.astype(np.uint16) if photo.mode == "I" else photo.pixels
            photo = replace(
                photo, pixels=as_uint8(shown), mode="L" if photo.mode in ("I", "I;16") else photo.mode
            )
        if photo.mode not in kind.modes:
            alpha = photo.alpha
            photo = photo.to_rgb_mode()
            if alpha is not None:
                photo = replace(photo, pixels=np.dstack([photo.pixels, alpha]), mode="RGBA")
        if photo is self:
            return self
        return replace(photo, info=drop_foreign_profile(photo.info, photo.mode))

    def _with_alpha(self) -> "Photo":
        """This photo with an opacity in place of the one colour that is see-through."""
        pixels = self.pixels.astype(np.uint16) if self.mode == "I" else self.pixels
        top = np.iinfo(pixels.dtype).max
        alpha = np.where(self._key(), 0, top).astype(pixels.dtype)
        info = {key: value for key, value in self.info.items() if key != "transparency"}
        return replace(
            self, pixels=np.dstack([pixels, alpha]), mode="RGBA" if self.mode == "RGB" else "LA", info=info
        )

    def _over_white(self) -> "Photo":
        """This photo laid over white."""
        opacity = as_float(self.pixels[..., -1:])
        pixels = from_float(as_float(self.pixels[..., :-1]) * opacity + (1 - opacity), self.pixels.dtype)
        mode = "L" if self.mode == "LA" else "RGB"
        return replace(self, pixels=pixels[..., 0] if mode == "L" else pixels, mode=mode)

    def find_visible(self) -> np.ndarray:
        """bool `[H, W]`, where something can be seen: neither wholly see-through nor of the see-through colour."""
        alpha = self.alpha
        seen = np.ones(self.pixels.shape[:2], dtype=bool) if alpha is None else alpha > 0
        return seen & ~self._key() if "transparency" in self.info else seen

    def _key(self) -> np.ndarray:
        """bool `[H, W]`, where the pixels have the one colour that is see-through."""
        same = self.pixels == np.asarray(self.info["transparency"], dtype=np.int64)
        return same.all(axis=2) if same.ndim == 3 else same

    def _without_key(self, where: np.ndarray) -> "Photo":
        """This photo, opaque where `where` is True: what has the see-through colour there is moved by one level.

        Black and white has no other level, and keeps it.
        """
        hit = where & self._key()
        if self.mode != "1":
            self.pixels[hit] ^= 1
        return self

    def collect_notes(self, output_type: str) -> list[Note]:
        """Notes on loading, and on what a result of this type ("pil", "photo", "np", "pt") cannot hold."""
        if output_type != "pil" or not self.is_deep:
            return list(self.notes)
        lost = Note(
            "depth-reduced",
            "16-bit colour: {type} gives 8 bits",
            '"photo", "np" and "pt" keep all',
            type=Argument("output_type", "pil"),
        )
        return [*self.notes, lost]

    @property
    def file_info(self) -> dict[str, Any]:
        """`info` for a file of this photo: an EXIF block that tells of the size tells of this one."""
        info = dict(self.info)
        if "exif" in info:
            info["exif"] = with_size(info["exif"], *self.size)
        return info

    def to_pil(self) -> Image.Image:
        """A Pillow image of the original mode; 16-bit and float colour, which Pillow lacks, become 8-bit.

        Its `info` is that of the photo, with the comment as Pillow's JPEG reader calls it.
        """
        pixels, mode, info = self.pixels, self.mode, self.file_info
        if mode in _ARRAY_MODES.values() and pixels.dtype != np.uint8:
            if pixels.dtype == np.uint16 and mode == "L":
                mode = "I;16"
            else:
                pixels = as_uint8(pixels)
                info.pop("transparency", None)  # a colour of 16 bits
        image = to_pillow(pixels, mode, self.palette)
        image.info.update(info)
        if COMMENT in info.get("text", ()):
            image.info["comment"] = info["text"][COMMENT].encode()
        return image

    def to_numpy(self) -> np.ndarray:
        """float32 `[H, W, C]` in [0, 1]; C is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha)."""
        if self.mode in _ARRAY_MODES.values():
            pixels = self.pixels if self.pixels.ndim == 3 else self.pixels[..., None]
            return as_float(pixels)
        rgb = self.rgb[..., :1] if self.mode in ("1", "I;16", "I") else self.rgb
        alpha = self.alpha
        return as_float(rgb if alpha is None else np.dstack([rgb, alpha]))

    def to_tensor(self) -> "torch.Tensor":
        """float32 `[C, H, W]` in [0, 1], channels as in `to_numpy`."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.to_numpy().transpose(2, 0, 1)))


ImageInput = MaskInput | Photo


def write_picture(
    picture: Photo | Image.Image,
    file: BinaryIO | str | os.PathLike,
    file_format: str,
    provenance: Provenance | None = None,
    **options: Any,
) -> None:
    """Write a picture with all that its `info` tells and, if any, the record of its origin.

    Args:
        picture: a photo, which keeps its depth, or a Pillow image.
        file: open for writing, or a path.
        file_format: Pillow's name of it.
        provenance: see `facekit.provenance.describe`.
        options: for `Image.save`, such as `quality=90`.

    Files with loss get a quality of 95, and a JPEG of quality 90 and more the colour of every pixel (4:4:4), unless
    `options` say otherwise.

    Raises:
        ValueError: more than the format holds, 16-bit colour or transparency (see `Photo.fit`); a picture that is too
            large for it; a format that carries no record.
    """
    kind = BY_NAME.get(file_format)
    if kind is not None:
        too_large = why_too_large(kind, *picture.size)
        if too_large:
            raise ValueError(f"{too_large}.")
        if picture.mode in ("LA", "RGBA", "PA") and not kind.transparent:
            raise ValueError(
                f"{file_format} files hold no transparency. Save it as PNG, WebP or TIFF, or lay it over a colour."
            )
        options = (
            encoding(kind, options.get("quality") if isinstance(options.get("quality"), int) else None)
            | options
        )
    if isinstance(picture, Photo):
        if picture.is_deep:
            if kind is None or not kind.deep:
                raise ValueError(
                    f"{file_format} files get 8 bits a channel here, and {picture.name} has 16. Save it as PNG or TIFF."
                )
            told = save_options(file_format, provenance, picture.file_info) | options
            if "transparency" in picture.info:
                told["transparency"] = picture.info["transparency"]
            write = deep_color.write_png if file_format == "PNG" else deep_color.write_tiff
            with open(file, "wb") if isinstance(file, str | os.PathLike) else nullcontext(file) as opened:
                write(opened, picture.pixels, picture.mode, told)
            return
        picture = picture.to_pil()
    told = save_options(file_format, provenance, picture.info)
    typed = drop_mistyped(picture.info, picture.mode)
    if typed.keys() != picture.info.keys():  # Pillow goes by what is there, of whatever kind it is
        picture = picture.copy()
        picture.info = typed
    picture.save(file, format=file_format, **told | options)


def same_pixels(one: Photo, other: Photo) -> bool:
    """Whether two photos of one mode show the same, number by number."""
    return np.array_equal(one.pixels, other.pixels) and one.palette == other.palette


def drop_foreign_profile(info: dict[str, Any], mode: str) -> dict[str, Any]:
    """`info` without a colour profile that says of itself that it is of another mode's colours."""
    space = info.get("icc_profile", b"")[16:20]
    if mode in _PROFILE_SPACES.get(space, (mode,)):
        return info
    return {key: value for key, value in info.items() if key != "icc_profile"}


def resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 or float32 `[H, W]` or `[H, W, C]` to (width, height): area means when shrinking, cubic when enlarging."""
    height, width = values.shape[:2]
    if (width, height) == tuple(size):
        return values
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def scale_photo(photo: np.ndarray, side: int) -> np.ndarray:
    """A photo `[H, W, C]`, uint8 or float32, scaled so that its shorter side is `side`."""
    factor = side / min(photo.shape[:2])
    return resize(
        photo, (max(side, round(photo.shape[1] * factor)), max(side, round(photo.shape[0] * factor)))
    )


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


def from_float(values: np.ndarray, dtype: np.dtype | type[np.generic]) -> np.ndarray:
    """float [0, 1] numbers in the depth `dtype` (uint8, uint16 or float32), clipped and rounded."""
    values = np.clip(values, 0, 1)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    return np.rint(values * np.iinfo(np.dtype(dtype)).max).astype(dtype)


def load_image(image: ImageInput, *, max_pixels: int | None = MAX_PIXELS, name: str | None = None) -> Photo:
    """One picture of any supported kind as a `Photo`.

    Args:
        image: a path; a Pillow image of mode 1, L, LA, P, RGB, RGBA, CMYK, YCbCr, HSV, I;16 or I (16-bit
            range); a numpy array `[H, W]` or `[H, W, 1..4]`, uint8, uint16 or float in [0, 1]; a float tensor
            `[1..4, H, W]` or `[1, 1..4, H, W]` in [0, 1], as `output_type="pt"` gives it; a `Photo`, which comes
            back as it is.
        max_pixels: refuse larger pictures (a file's header tells, nothing is decoded). None: no limit.
        name: how messages call it; a path calls itself.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of these kinds.
        ValueError: anything `facekit.images.opening` refuses; smaller than 16 pixels on a side; wrong dtype, rank,
            number of channels or range; NaN or infinity.
    """
    name = name or (str(image) if isinstance(image, str | os.PathLike) else "image")
    if isinstance(image, str | os.PathLike | Image.Image):
        photo = _from_pillow(open_header(image, name, max_pixels), name)
    elif isinstance(image, Photo):
        photo = image
    elif isinstance(image, np.ndarray):
        photo = _from_array(image, name)
    elif is_tensor(image):
        photo = _from_tensor(image, name)
    else:
        raise TypeError(
            f"{name} is a {type(image).__name__}. Pass a path, Pillow image, numpy array or tensor."
        )
    width, height = photo.size
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{name} is {width}x{height}; at least {MIN_SIDE} pixels on a side are needed.")
    if max_pixels is not None and width * height > max_pixels:
        raise Refusal(
            "too-large",
            "{name} is {width}x{height}; the limit is {most:,} pixels",
            "Make it smaller, or raise {limit}",
            otherwise="Make it smaller",
            name=name,
            width=width,
            height=height,
            most=max_pixels,
            limit=Argument("max_pixels"),
        )
    return photo


def load_images(
    images: ImageInput | Sequence[ImageInput], *, max_pixels: int | None = MAX_PIXELS, name: str = "image"
) -> list[Photo]:
    """One picture, a list of them, or a batch (`[B, H, W, C]` array, `[B, C, H, W]` tensor) as photos.

    `name` is how messages call pictures that are no paths.

    Raises:
        ValueError: an empty list, or whatever `load_image` refuses; messages name the place in the list.
    """
    several: Sequence[ImageInput]
    if isinstance(images, list | tuple):
        several = images
    elif (isinstance(images, np.ndarray) or is_tensor(images)) and images.ndim == 4:
        several = list(images)
    else:
        label = None if isinstance(images, str | os.PathLike) else name
        return [load_image(images, max_pixels=max_pixels, name=label)]  # type: ignore[arg-type]  # refuses the rest
    if len(several) == 0:
        raise ValueError(f"{name} is an empty list. Pass at least one picture.")
    photos = []
    for index, image in enumerate(several):
        label = str(image) if isinstance(image, str | os.PathLike) else f"{name} {index}"
        photos.append(load_image(image, max_pixels=max_pixels, name=label))
    return photos


def _from_pillow(opened: Image.Image, name: str) -> Photo:
    deep = deep_color.DeepFile(opened) if deep_color.is_deep(opened) else None
    image = decode_upright(opened, name)
    info, notes = read_metadata(opened, image)
    if image.mode not in MODES and not image.mode.startswith("I;16"):
        raise Refusal(
            "mode-unknown",
            "{name} has the mode {mode}",
            "Convert it: image.convert('RGB')",
            name=name,
            mode=image.mode,
        )
    if deep is not None:
        found = deep.pixels(image)
        if found is not None:
            return Photo(*found, info=info, name=name, notes=notes)
        info.pop("transparency", None)  # a colour of 16 bits
        notes += (Note("depth-reduced", "it has more than 8 bits a channel, of which 8 are read"),)
    pixels = np.array(image)
    if image.mode.startswith("I;16"):
        return Photo(pixels.astype(np.uint16), "I;16", info=info, name=name, notes=notes)
    if image.mode == "I" and (pixels.min() < 0 or pixels.max() > 65535):
        raise ValueError(
            f"{name} has mode I with values {pixels.min()}..{pixels.max()}; 0..65535 is what can be shown. "
            "Scale it to 16 bits first."
        )
    if image.mode == "CMYK":
        notes += (Note("colours-converted", "CMYK: new pixels are converted without the colour profile"),)
    palette = Palette.of(image) if image.mode == "P" else None
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
        check_range(array, 0.0, 1.0, name, "Use x / 255 for 0..255, (x + 1) / 2 for [-1, 1].")
        array = np.clip(array.astype(np.float32), 0, 1)
    elif array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{name} is an array of {array.dtype}; expected uint8, uint16 or float in [0, 1].")
    pixels = array[..., 0] if channels == 1 and array.ndim == 3 else array
    return Photo(np.array(pixels), _ARRAY_MODES[channels], name=name)


def _from_tensor(tensor: "torch.Tensor", name: str) -> Photo:
    shape = tuple(tensor.shape)
    if tensor.ndim == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] not in _ARRAY_MODES or 0 in shape:
        raise ValueError(
            f"{name} is a tensor of shape {shape}; expected [C, H, W] or [B, C, H, W] with 1 to 4 channels."
        )
    if not tensor.is_floating_point():
        raise ValueError(f"{name} is a tensor of {tensor.dtype}; expected floats in [0, 1]: x / 255.")
    return _from_array(tensor.detach().to("cpu").float().permute(1, 2, 0).numpy(), name)


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
