"""Writing files whole or not at all, and telling beforehand whether a folder can be written.

A file is written beside its place under another name and renamed when it is complete.
"""

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

# `MARK.TOKEN.part`; earlier versions had the file's own name in place of the mark.
PART = re.compile(r"\.(?P<owner>.+)\.[0-9a-f]{8}\.part")


def part_path(path: Path) -> Path:
    """A name for the incomplete file beside `path`: random, and of 31 bytes however long the name of `path` is."""
    return path.with_name(f".{_mark(path.name)}.{secrets.token_hex(4)}.part")


def _mark(name: str) -> str:
    """A digest of a file's name, by which its incomplete copies are recognised."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a file beside `path`, then rename it: `path` is either complete or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path)
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


def write_folder(folder: Path, write: Callable[[Path], Any], overwrite: bool = False) -> None:
    """Let `write` fill a folder beside `folder`, then rename it: `folder` is complete or as it was.

    Args:
        folder: to be written.
        write: gets the folder to fill; what it raises leaves everything as it was.
        overwrite: replace a folder that is there.

    Raises:
        FileExistsError: `folder` exists, is not an empty folder, and `overwrite` is not set.
    """
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise FileExistsError(f"{folder} exists already; name another folder or allow overwriting")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(folder)
    old = part.with_suffix(".old")
    try:
        part.mkdir()
        write(part)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def remove_parts(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove the incomplete files and folders that a killed process left in a folder.

    Args:
        names: of these only; None: of any.
    """
    if not folder.is_dir():
        return
    owners = None if names is None else {*names, *map(_mark, names)}
    for file in list(folder.iterdir()):
        part = PART.fullmatch(file.name)
        if part and (owners is None or part["owner"] in owners):
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)


def nearest(folder: Path) -> Path:
    """The path itself where it exists, else the nearest path above it that does, be it a folder or a file."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)


def why_not_writable(folder: Path) -> str | None:
    """The reason why no file can be written into a folder, in a sentence with the way out; None where one can.

    The folder need not exist yet.
    """
    place = nearest(folder)
    if not place.is_dir():
        return (
            f"{folder} is a file; name a folder"
            if place == folder
            else f"{folder} lies below the file {place}"
        )
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        return f"{folder}: nothing can be written into {place} ({error.strerror}); name another folder"
    return None
