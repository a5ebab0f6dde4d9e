"""The files of a saved edit session: JSON, PNG and safetensors in a folder or zip, opened without trust.

Nothing is unpacked to disk and nothing in the files is run: names are matched against a pattern, sizes are bounded
before a byte is read or a pixel decoded, every file's SHA-256 must be the listed one, and `session.json` carries a
digest of itself. That finds damage and hand-made changes; it is no signature, anyone can compute the digests anew.
"""

import hashlib
import io
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy
from PIL import Image

from facekit.images.files import write_atomically, write_folder
from facekit.notes import Argument, Refusal

MANIFEST = "session.json"
FORMAT, VERSION = "facekit-edit-session", 1
NAMES = re.compile(r"photo\.(png|safetensors)|edits/[1-9][0-9]{0,3}/[a-z_]{1,20}\.(png|safetensors)")
MAX_FILES, MAX_BYTES, MAX_MANIFEST = 20_000, 2**30, 16 * 2**20
_PNG_MODES = {2: "L", (3, 2): "LA", (3, 3): "RGB", (3, 4): "RGBA"}


def pack_pixels(stem: str, pixels: np.ndarray) -> tuple[str, bytes]:
    """Numbers `[H, W]` or `[H, W, C]` as a file that gives them back exactly: its name and content.

    8-bit numbers become a PNG that holds them as they are (bool as 0 and 255), all others safetensors.
    """
    if pixels.dtype == bool:
        pixels = np.where(pixels, 255, 0).astype(np.uint8)
    mode = _PNG_MODES.get(2 if pixels.ndim == 2 else (pixels.ndim, pixels.shape[-1]))
    if pixels.dtype == np.uint8 and mode is not None:
        file = io.BytesIO()
        height, width = pixels.shape[:2]
        image = Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
        image.save(file, format="PNG", compress_level=3)
        return f"{stem}.png", file.getvalue()
    return f"{stem}.safetensors", safetensors.numpy.save({"pixels": np.ascontiguousarray(pixels)})


def unpack_pixels(name: str, content: bytes, max_pixels: int | None) -> np.ndarray:
    """What `pack_pixels` packed; bool comes back as uint8. ValueError for anything else, or too many pixels."""
    if name.endswith(".png"):
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                width, height = image.size
                _check_count(name, width * height, max_pixels)
                if image.mode not in _PNG_MODES.values():
                    raise ValueError(f"it has the mode {image.mode}")
                return np.array(image)
        except Exception as error:  # Pillow's decoders raise many kinds
            raise ValueError(f"{name} is no picture of an edit session ({error}).") from error
    try:
        tensors = safetensors.numpy.load(content)
    except Exception as error:
        raise ValueError(f"{name} is no safetensors file ({error}).") from error
    pixels = tensors.get("pixels")
    if pixels is None or len(tensors) > 1 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ValueError(f"{name} does not hold one array of pixels.")
    _check_count(name, pixels.shape[0] * pixels.shape[1], max_pixels)
    return pixels


def _check_count(name: str, count: int, max_pixels: int | None) -> None:
    if max_pixels is not None and count > max_pixels:
        raise Refusal(
            "too-large",
            "{name} has {count:,} pixels; the limit is {most:,}",
            "Raise {limit}",
            name=name,
            count=count,
            most=max_pixels,
            limit=Argument("max_pixels"),
        )


def _digest(manifest: dict[str, Any]) -> str:
    bare = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_session(path: Path, manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    """Write a session as a zip where `path` ends in .zip, else as a folder; complete or not at all.

    Raises:
        ValueError: `path` is something else than an earlier session.
    """
    manifest = manifest | {"format": FORMAT, "version": VERSION}
    manifest["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    # As it will be read: tuples are lists there.
    manifest = json.loads(json.dumps(manifest, allow_nan=False))
    manifest["digest"] = _digest(manifest)
    files = {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode(), **files}
    zipped = path.suffix.lower() == ".zip"
    if path.exists() and (path.is_dir() == zipped or (path.is_dir() and not _is_session_folder(path))):
        raise ValueError(f"{path} exists and is no edit session. Choose another name.")

    def pack(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is packed already
            for name, content in files.items():
                archive.writestr(name, content)

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    if zipped:
        write_atomically(path, pack)
    else:
        write_folder(path, fill, overwrite=True)


def _is_session_folder(path: Path) -> bool:
    return (path / MANIFEST).is_file() or not any(path.iterdir())


def read_session(path: Path, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a session: its manifest, and the content of its files by name, all checked.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is no session, was changed or damaged, or is larger than the limit.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    files = _from_folder(path, max_bytes) if path.is_dir() else _from_zip(path, max_bytes)
    if MANIFEST not in files:
        raise ValueError(f"{path} is no edit session: it has no {MANIFEST}.")
    manifest = parse_json(files.pop(MANIFEST), str(path))
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise ValueError(
            f"{path} is of the format {manifest.get('format')!r}, version {manifest.get('version')!r}; this "
            f"facekit reads {FORMAT}, version {VERSION}."
        )
    if manifest.get("digest") != _digest(manifest):
        raise ValueError(f"{path}: {MANIFEST} was changed after it was saved.")
    listed = manifest.get("sha256")
    if not isinstance(listed, dict) or set(listed) != set(files):
        raise ValueError(f"{path}: files were added or taken away after it was saved.")
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != listed[name]:
            raise ValueError(f"{path}: {name} was changed after it was saved.")
    return manifest, files


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object. ValueError for anything else, and for NaN and infinity."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        parsed = json.loads(content.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: the JSON cannot be read ({error}).") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{name}: the JSON holds a {type(parsed).__name__} and no object.")
    return parsed


def _limit(name: str) -> int:
    return MAX_MANIFEST if name == MANIFEST else MAX_BYTES


def _gather(
    path: Path, entries: list[tuple[str, int, Callable[[int], bytes]]], max_bytes: int
) -> dict[str, bytes]:
    """Read entries, each a name, its announced size, and a function that reads at most a number of bytes.

    ValueError beyond the limits, and for names that no session has.
    """
    if len(entries) > MAX_FILES:
        raise ValueError(f"{path} holds {len(entries):,} files; {MAX_FILES:,} are the limit.")
    total = sum(size for _, size, _ in entries)
    if total > max_bytes:
        raise ValueError(f"{path} holds {total:,} bytes; the limit is {max_bytes:,}.")
    files: dict[str, bytes] = {}
    for name, size, read in entries:
        if name != MANIFEST and not NAMES.fullmatch(name):
            raise ValueError(f"{path} holds {name!r}, which is no file of an edit session.")
        if name in files:
            raise ValueError(f"{path} holds {name} twice.")
        if size > _limit(name):
            raise ValueError(f"{path}: {name} has {size:,} bytes; the limit is {_limit(name):,}.")
        content = read(size + 1)
        if len(content) != size:
            raise ValueError(f"{path}: {name} is not as long as announced.")
        files[name] = content
    return files


def _from_folder(path: Path, max_bytes: int) -> dict[str, bytes]:
    entries = []
    for folder, folders, names in os.walk(path, followlinks=False):
        for name in (*folders, *names):
            file = Path(folder, name)
            mode = file.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            relative = file.relative_to(path).as_posix()
            if not stat.S_ISREG(mode):
                raise ValueError(f"{path}: {relative} is a link or no plain file.")
            entries.append((relative, file.lstat().st_size, _reader(file)))
            if len(entries) > MAX_FILES:
                raise ValueError(f"{path} holds more than {MAX_FILES:,} files.")
    return _gather(path, entries, max_bytes)


def _reader(file: Path) -> Callable[[int], bytes]:
    def read(most: int) -> bytes:
        with open(file, "rb") as opened:
            return opened.read(most)

    return read


def _from_zip(path: Path, max_bytes: int) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = []
            for info in archive.infolist():
                if info.is_dir():
                    continue
                if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{path}: {info.filename!r} is encrypted or packed in an unknown way.")
                entries.append((info.filename, info.file_size, _unpacker(archive, info)))
            return _gather(path, entries, max_bytes)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no edit session: {error}.") from error


def _unpacker(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def read(most: int) -> bytes:
        with archive.open(info) as opened:
            return opened.read(most)

    return read
