"""What a session keeps of its photo and of each edit, and how it is written as JSON and files and read again."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from facekit.conditions.semantics import CLASS_NAMES, UNLABELLED
from facekit.faces import Face
from facekit.faces.detect import TURNS
from facekit.images.metadata import make_safe
from facekit.images.modes import MODES, Palette
from facekit.images.photo import MIN_SIDE, Photo
from facekit.pipelines.edit.session.script import PASTED, PICTURES, RECORDED
from facekit.pipelines.edit.session.store import pack_pixels, unpack_pixels
from facekit.pipelines.edit.settings import FRONT, SELF

# Kinds of numbers of a photo of each mode; channels follow from the mode's name, but for gray and palettes.
_KINDS = {"I;16": ("uint16",), "I": ("int32",), "1": ("bool",), "L": ("uint8", "uint16", "float32")}
_DEEP = ("uint8", "uint16", "float32")
_CHANNELS = {"LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "HSV": 3}


@dataclass
class Patch:
    """What an edit changed: the pixels of a box before and after, in the photo's own numbers.

    Attributes:
        top, left: corner of the box.
        before, after: `[h, w]` or `[h, w, C]`.
        palettes: colour tables before and after, of a "P" photo.
    """

    top: int
    left: int
    before: np.ndarray
    after: np.ndarray
    palettes: tuple[Palette | None, Palette | None] = (None, None)

    @classmethod
    def between(cls, old: Photo, new: Photo) -> "Patch":
        """What differs between two photos of the same size."""
        changed = old.pixels != new.pixels
        changed = changed.any(axis=2) if changed.ndim == 3 else changed
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = np.s_[0:0, 0:0]
        if len(rows):
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        top, left = int(box[0].start), int(box[1].start)
        return cls(top, left, old.pixels[box].copy(), new.pixels[box].copy(), (old.palette, new.palette))

    def put(self, photo: Photo, back: bool = False) -> Photo:
        """The photo after the edit, or with `back` the one before."""
        pixels = photo.pixels.copy()
        height, width = self.after.shape[:2]
        box = np.s_[self.top : self.top + height, self.left : self.left + width]
        pixels[box] = self.before if back else self.after
        return replace(photo, pixels=pixels, palette=self.palettes[0 if back else 1])


@dataclass
class EditStep:
    """One edit of a session.

    Attributes:
        pictures: mask, guidance and references as arrays: "mask" and "sketch" bool `[H, W]`, "semantics" labels
            uint8 `[H, W]` (255 = no class), "color" uint8 `[H, W, 4]`, "exemplar" and "pose_from" faces uint8
            `[S, S, 3]`, or the words "self" and "front". Of a paste "object" uint8 `[h, w, 4]`, and as "mask" where it
            changed the photo.
        settings: the other arguments, with the seed that was used.
        notes: the pipeline's notes.
        patches: for each candidate, what it changed; after loading only that of the chosen one.
    """

    pictures: dict[str, np.ndarray | str]
    settings: dict[str, Any]
    notes: Sequence[str] = field(default_factory=list)
    patches: dict[int, Patch] = field(default_factory=dict)

    @property
    def choice(self) -> int:
        """Which candidate was taken."""
        return self.settings.get("choice") or 0

    @property
    def patch(self) -> Patch:
        """What the chosen candidate changed."""
        return self.patches[self.choice]


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def describe_palette(palette: Palette | None) -> dict[str, Any] | None:
    """A colour table as JSON."""
    if palette is None:
        return None
    clear = palette.transparency
    return {
        "mode": palette.mode,
        "data": _encode(palette.data),
        "transparency": _encode(clear) if isinstance(clear, bytes) else clear,
    }


def palette_from(entry: dict[str, Any] | None) -> Palette | None:
    """The colour table that `describe_palette` described. ValueError for anything else."""
    if entry is None:
        return None
    mode, data = entry["mode"], base64.b64decode(entry["data"], validate=True)
    if mode not in ("RGB", "RGBA") or not data or len(data) > 1024 or len(data) % len(mode):
        raise ValueError("the palette is wrong")
    clear = entry["transparency"]
    if isinstance(clear, str):
        clear = base64.b64decode(clear, validate=True)
    elif clear is not None and (type(clear) is not int or not 0 <= clear < 256):
        raise ValueError("the palette's transparency is wrong")
    return Palette(mode, data, clear)


def describe_photo(photo: Photo) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A photo as JSON and the file of its pixels."""
    name, content = pack_pixels("photo", photo.pixels)
    info: dict[str, Any] = {}
    for key in ("icc_profile", "exif", "xmp"):
        if isinstance(photo.info.get(key), bytes):
            info[key] = _encode(photo.info[key])
    if photo.info.get("text"):
        info["text"] = photo.info["text"]
    for key in ("dpi", "transparency"):
        value = photo.info.get(key)
        if value is not None and not isinstance(value, bytes):
            info[key] = [float(v) for v in value] if key == "dpi" else value
    entry = {"file": name, "mode": photo.mode, "kind": str(photo.pixels.dtype), "info": info}
    return entry | {"palette": describe_palette(photo.palette), "name": photo.name}, {name: content}


def photo_from(entry: dict[str, Any], files: dict[str, bytes], max_pixels: int | None) -> Photo:
    """The photo that `describe_photo` described. ValueError (or KeyError, TypeError) for anything else."""
    mode, kind = entry["mode"], entry["kind"]
    if mode not in MODES or kind not in _KINDS.get(
        mode, _DEEP if mode in ("LA", "RGB", "RGBA") else ("uint8",)
    ):
        raise ValueError(f"a photo of mode {mode!r} and kind {kind!r} is not known")
    pixels = _check_kind(unpack_pixels(entry["file"], files[entry["file"]], max_pixels), kind)
    shape = pixels.shape[2:] if pixels.ndim == 3 else ()
    if shape != ((_CHANNELS[mode],) if mode in _CHANNELS else ()) or min(pixels.shape[:2]) < MIN_SIDE:
        raise ValueError("the photo's pixels do not fit its mode")
    found = dict(entry["info"])
    for key in found.keys() & {"icc_profile", "exif", "xmp"}:
        found[key] = base64.b64decode(found[key], validate=True)
    for key in found.keys() & {"dpi", "transparency"}:
        found[key] = tuple(found[key]) if isinstance(found[key], list) else found[key]
    info, notes = make_safe(found, mode)
    palette = palette_from(entry["palette"])
    if (palette is not None) != (mode == "P"):
        raise ValueError("the photo's palette does not fit its mode")
    return Photo(pixels, mode, palette, info, str(entry["name"])[:200], notes)


def _check_kind(pixels: np.ndarray, kind: str) -> np.ndarray:
    """Unpacked numbers, of the kind that they had (bool was packed as 0 and 255). ValueError for any other."""
    if kind == "bool" and pixels.dtype == np.uint8:
        return pixels > 127
    if str(pixels.dtype) != kind:
        raise ValueError(f"pixels are {pixels.dtype} and not {kind}")
    if pixels.dtype.kind == "f" and not (
        np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1
    ):
        raise ValueError("pixels lie outside [0, 1]")
    return pixels


def describe_face(face: Face) -> dict[str, Any]:
    """A face as JSON."""
    box, landmarks = [float(n) for n in face.box], np.asarray(face.landmarks, dtype=float).tolist()
    described = {"box": box, "score": float(face.score), "landmarks": landmarks}
    return described | ({"turn": face.turn} if face.turn else {})


def face_from(entry: dict[str, Any], index: int) -> Face:
    """The face that `describe_face` described. ValueError (or KeyError, TypeError) for anything else."""
    landmarks = np.array(entry["landmarks"], dtype=np.float64)
    box = tuple(float(number) for number in entry["box"])
    score = float(entry["score"])
    turn = entry.get("turn", 0)
    numbers = (*box, score, *landmarks.ravel())
    if landmarks.shape != (5, 2) or len(box) != 4 or not all(map(math.isfinite, numbers)):
        raise ValueError("a face is wrong")
    if turn not in (0, *TURNS):
        raise ValueError("a face's turn is wrong")
    return Face(index, box, score, landmarks, turn)


def describe_step(step: EditStep, number: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """An edit as JSON and its files; the JSON is an edit of a script too."""
    edit, files = dict(step.settings), {}
    for key, picture in step.pictures.items():
        if isinstance(picture, str):
            edit[key] = picture
        else:
            edit[key], content = pack_pixels(f"edits/{number}/{key}", picture)
            files[edit[key]] = content
    patch = step.patch
    result: dict[str, Any] = {"top": patch.top, "left": patch.left, "file": None}
    if patch.after.size:
        result["file"], content = pack_pixels(f"edits/{number}/result", patch.after)
        files[result["file"]] = content
    result["palette"] = describe_palette(patch.palettes[1])
    return edit | {"result": result, "notes": list(step.notes)}, files


def step_from(
    edit: dict[str, Any], files: dict[str, bytes], photo: Photo, max_pixels: int | None
) -> EditStep:
    """The edit that `describe_step` described, of this photo.

    Raises:
        ValueError (or KeyError, TypeError): anything else, also a result that changes pixels outside the mask.
    """
    height, width = photo.pixels.shape[:2]
    pictures: dict[str, np.ndarray | str] = {}
    for key in (*PICTURES, "object"):
        value = edit.get(key)
        if value is None:
            continue
        if (key, value) in (("exemplar", SELF), ("pose_from", FRONT)):
            pictures[key] = value
            continue
        picture = unpack_pixels(value, files[value], max_pixels)
        if key in ("mask", "sketch"):
            picture = _check_kind(picture, "bool")
        expected: dict[str, tuple[int, ...]] = dict.fromkeys(("mask", "sketch", "semantics"), (height, width))
        expected["color"] = (height, width, 4)
        expected["object"] = (*picture.shape[:2], 4)
        fits = picture.shape == expected.get(key, (*picture.shape[:1] * 2, 3))
        if not fits or picture.dtype != (bool if key in ("mask", "sketch") else np.uint8):
            raise ValueError(f"{value} does not fit")
        if key == "semantics" and ((picture >= len(CLASS_NAMES)) & (picture != UNLABELLED)).any():
            raise ValueError(f"{value} has unknown labels")
        pictures[key] = picture

    result = edit["result"]
    top, left = result["top"], result["left"]
    after = photo.pixels[:0, :0]
    if result["file"] is not None:
        unpacked = unpack_pixels(result["file"], files[result["file"]], max_pixels)
        after = _check_kind(unpacked, str(photo.pixels.dtype))
    inside = type(top) is int and type(left) is int and top >= 0 and left >= 0
    if not inside or top + after.shape[0] > height or left + after.shape[1] > width:
        raise ValueError("a result lies outside the photo")
    box = np.s_[top : top + after.shape[0], left : left + after.shape[1]]
    before = photo.pixels[box].copy()
    if before.shape != after.shape:
        raise ValueError("a result does not fit the photo")
    mask = pictures.get("mask")
    if not isinstance(mask, np.ndarray):
        raise ValueError("an edit has no mask")
    changed = before != after
    changed = changed.any(axis=2) if changed.ndim == 3 else changed
    if (changed & ~mask[box]).any():
        raise ValueError("a result changes pixels outside its mask")
    palette = palette_from(result["palette"])
    if (palette is None) != (photo.palette is None):
        raise ValueError("a result's palette does not fit the photo")
    settings = {k: v for k, v in edit.items() if k not in (*PICTURES, *PASTED, *RECORDED) and v is not None}
    choice = settings.get("choice", 0)
    patch = Patch(top, left, before, after, (photo.palette, palette))
    return EditStep(pictures, settings, [str(note) for note in edit.get("notes", [])], {choice: patch})
