"""What the commands that work on photos share: listing files, devices, writing without half-written files."""

import argparse
import errno
import json
import os
import secrets
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

if TYPE_CHECKING:
    import torch

SUFFIXES = frozenset((".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".mpo", ".png", ".ppm"))
SUFFIXES |= {".tga", ".tif", ".tiff", ".webp"}
DTYPES = ("float32", "bfloat16", "float16")
# A full disk fails every file that follows as well.
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class UsageError(Exception):
    """Wrong arguments: exit code 2, nothing was done."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """`--output`, `--overwrite`, `--skip-existing`, `--json`."""
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="DIR", help="folder for the results"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave out photos whose result exists")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report of every photo")


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """`--device`, `--dtype`."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: the best there is)"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="number type of the networks")


def list_photos(arguments: Sequence[str]) -> list[Path]:
    """Files as they are, and the pictures directly inside folders, by name; each file once.

    Raises UsageError where an argument does not exist or a folder holds no picture.
    """
    photos: list[Path] = []
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            inside = pictures_in(path)
            if not inside:
                raise UsageError(f"the folder {path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
            photos += inside
        elif path.exists():
            photos.append(path)
        else:
            raise UsageError(f"{path} does not exist")
    return list({photo.resolve(): photo for photo in photos}.values())


def pictures_in(folder: Path) -> list[Path]:
    """The files directly inside a folder that end like pictures and are not hidden, by name."""
    files = (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    return sorted(f for f in files if f.is_file())


def plan_outputs(
    photos: Sequence[Path], folder: Path, overwrite: bool, skip_existing: bool
) -> dict[Path, Path]:
    """Where each photo's result goes: `folder/STEM.png` (`.tif` for CMYK), without those to skip.

    Raises:
        UsageError: two photos would share a result, a result would replace a photo that was given, or a
            result exists and neither `overwrite` nor `skip_existing` was said.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder} is a file; name a folder")
    outputs = {photo: folder / (photo.stem + _suffix(photo)) for photo in photos}
    owners: dict[Path, Path] = {}
    for photo, output in outputs.items():
        other = owners.setdefault(output, photo)
        if other != photo:
            raise UsageError(f"{other} and {photo} would both become {output}; run them apart")
    given = {photo.resolve() for photo in photos}
    replaced = [output for output in outputs.values() if output.resolve() in given]
    if replaced:
        raise UsageError(f"{replaced[0]} is one of the photos; choose another --output folder")
    existing = [output for output in outputs.values() if output.exists()]
    if existing and not overwrite and not skip_existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise UsageError(f"{existing[0]}{more} exists already; say --overwrite or --skip-existing")
    return {p: o for p, o in outputs.items() if not (skip_existing and o.exists())}


def _suffix(photo: Path) -> str:
    """PNG keeps every mode that files have but CMYK."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(photo) as image:
                return ".tif" if image.mode == "CMYK" else ".png"
    except Exception:  # whatever is wrong with the file is told when its turn comes
        return ".png"


def pick_device(name: str) -> "torch.device":
    """The torch device of `--device`. Raises UsageError where it is not there."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the device {name!r} cannot be used here: {reason}") from error
    return device


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a file beside `path`, then rename it: `path` is either complete or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture without loss as .png or .tif, with its colour profile, EXIF and resolution."""
    lossless = "TIFF" if path.suffix == ".tif" else "PNG"
    options = {key: image.info[key] for key in ("icc_profile", "exif", "dpi") if image.info.get(key)}
    write_atomically(path, lambda file: image.save(file, format=lossless, **options))


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a report, complete or not at all."""
    write_atomically(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))
