"""The authors' weights on this computer: fetched and converted once into a folder of ours, loaded from there.

FACEKIT_CACHE, or `facekit` beside the Hub's cache
    vspbfr/                 a name of `facekit.hub.published`
        model/              what the converter made, with RECORD in it; complete, or not there at all
        files/              what was fetched from elsewhere than the Hub, which has a cache of its own
        lock                held by the process that fetches or converts
    number-types.json       how fast number types are here, see `facekit.hub.number_type`
    digests.json            SHA-256 of every file as it was first fetched; clearing keeps it
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from huggingface_hub import constants

from facekit.hub.fetching import Tell, download_file, download_files
from facekit.hub.memory import format_bytes, free_memory
from facekit.hub.published import NAMES, Published, find_published
from facekit.hub.record import RECORD, Record, read_record
from facekit.images.files import (
    hash_file,
    remove_parts,
    why_not_writable,
    write_atomically,
    write_folder,
)

VARIABLE = "FACEKIT_CACHE"
_MODEL, _FILES, _LOCK = "model", "files", "lock"
_DIGESTS = "digests.json"
_SNAPSHOTS = "snapshots"

log = logging.getLogger("facekit.hub")


@dataclass(frozen=True)
class Kept:
    """What the cache has of one name.

    Attributes:
        name: of `facekit.hub.published`.
        folder: where it is.
        size: bytes of all that is there.
        record: of the converted model; None where there are only files, or remains of work that was interrupted.
    """

    name: str
    folder: Path
    size: int
    record: Record | None


def cache_folder() -> Path:
    """Where converted weights are kept."""
    place = os.environ.get(VARIABLE, "").strip()
    return Path(place).expanduser() if place else Path(constants.HF_HUB_CACHE).parent / "facekit"


def converted_folder(entry: Published) -> Path | None:
    """The folder of published weights where it is made already; None where it is not."""
    folder = cache_folder() / entry.name / _MODEL
    return folder if read_record(folder) is not None else None


def find_model(source: str | os.PathLike, class_name: str, **options: Any) -> str | os.PathLike:
    """What a pipeline loads for a name: the folder of published weights, made first where need be; else the name.

    Args:
        source: folder, Hub id, or a name of published weights (see `find_published`).
        class_name: of the pipeline.
        options: those of `from_pretrained` that say how to download; others are left alone.

    Raises:
        OSError, ValueError: as in `provide`.
    """
    entry = find_published(os.fspath(source), class_name)
    if entry is None:
        return source
    if options.get("revision") not in (None, entry.revision):
        raise ValueError(
            f"published weights are converted once, from one revision. For another: facekit convert {entry.name} "
            f"{entry.origin} --revision {options['revision']} --output FOLDER"
        )
    wanted = ("token", "cache_dir", "local_files_only", "force_download")
    return str(provide(entry, **{key: options[key] for key in wanted if options.get(key)}))


def provide(
    entry: Published,
    *,
    files: str | os.PathLike | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    changed: bool = False,
    force_download: bool = False,
    tell: Tell | None = None,
    **options: Any,
) -> Path:
    """The model folder of published weights: what is there already, or fetched, checked, converted and kept.

    Two processes that ask at once do the work once. A process that is killed leaves nothing that counts as a model.

    Args:
        files: folder with the authors' files, or the file where there is only one; None fetches them.
        output: folder to write in place of the cache.
        overwrite: replace `output`, or what the cache has.
        changed: accept files that differ from those that were fetched first.
        force_download: fetch and convert anew.
        tell: is told how far the work is, in place of bars on the terminal.
        options: `token`, `cache_dir`, `local_files_only` for files on the Hub.

    Raises:
        MissingPackage: the package that fetches is not installed.
        OSError: files cannot be had or written.
        ValueError: a file is not what it should be, or does not fit into memory.
    """
    place = cache_folder() / entry.name
    anew = overwrite or force_download or files is not None or output is not None
    ready = None if anew else converted_folder(entry)
    if ready is not None:
        return ready
    reason = why_not_writable(place)
    if reason is not None:
        raise OSError(f"{reason}, in {VARIABLE}")
    with _only_one(place, entry):
        ready = None if anew else converted_folder(entry)  # another process may have made it meanwhile
        if ready is not None:
            return ready
        _sweep(place)
        if files is None:
            found, revision = _fetch(entry, place, force_download, tell, options)
            origin = entry.origin
        else:
            found, revision, origin = _find(entry, Path(files)), None, os.fspath(files)
        _check_room(entry, found)
        target = place / _MODEL if output is None else output
        try:
            digests = _check_digests(entry, found, changed)
            record = Record(entry.name, origin, revision, entry.terms, time.time(), digests)

            def write(folder: Path) -> None:
                _convert(entry, found, folder, tell)
                (folder / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n")

            write_folder(target, write, overwrite=True)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) is None:  # the file is at fault, not the disk
                _forget(place, found)
            raise
        _note_digests(entry, digests)
        return target


def kept() -> list[Kept]:
    """What the cache has, by name."""
    found = []
    for name in NAMES:
        folder = cache_folder() / name
        size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
        if size:
            found.append(Kept(name, folder, size, read_record(folder / _MODEL)))
    return found


def clear(name: str) -> int:
    """Remove what the cache has of one name; gives the bytes that are free now.

    Raises OSError while a process fetches or converts it.
    """
    folder = cache_folder() / name
    if not folder.is_dir():
        return 0
    size = sum(each.size for each in kept() if each.name == name)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            for path in folder.iterdir():
                if path.name != _LOCK:  # others may wait for it
                    _remove(path)
    except Timeout as error:
        raise OSError(
            f"another process is fetching or converting {name}; clear it when that is done"
        ) from error
    return size


@contextmanager
def _only_one(place: Path, entry: Published) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s: another process is fetching or converting it; waiting", entry.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(
    entry: Published, place: Path, anew: bool, tell: Tell | None, options: Mapping[str, Any]
) -> tuple[dict[str, Path], str | None]:
    """The authors' files by name, and the commit that they are of on the Hub."""
    if entry.unknown:
        raise OSError(
            f"Where {', '.join(entry.unknown)} of {entry.title} can be fetched is not known here. Fetch it by hand "
            f"from {entry.page} and say `facekit fetch {entry.name} --from FOLDER`, or write its address into a table "
            "that FACEKIT_PUBLISHED names (see docs/using.md)"
        )
    # Twice the size: the files, and the folder that is made of them.
    room = shutil.disk_usage(place).free
    if room < entry.size * 2:
        raise OSError(
            f"{entry.name} needs about {format_bytes(2 * entry.size)} on the disk of {place}, where "
            f"{format_bytes(room)} are free. Make room, or name a folder elsewhere in {VARIABLE} and HF_HOME"
        )
    log.warning(
        "Fetching %s from %s, about %s. Terms: %s. It is kept in %s (see `facekit cache`).",
        entry.title,
        entry.origin,
        format_bytes(entry.size),
        entry.terms,
        place,
    )
    if entry.repo:
        folder = download_files(
            entry.repo, list(entry.sizes), entry.revision, tell=tell, force_download=anew, **options
        )
        commit = folder.name if folder.parent.name == _SNAPSHOTS else None
        return _find(entry, folder), commit
    files = place / _FILES
    if anew:
        _remove(files)
    way_out = f"Or fetch it by hand from {entry.page} and say `facekit fetch {entry.name} --from FOLDER`."
    for name, where in entry.places.items():
        download_file(where, files / name, way_out, tell)
    return _find(entry, files), None


def _find(entry: Published, folder: Path) -> dict[str, Path]:
    """The files by name, in a folder or the one that is named itself."""
    if folder.is_file() and len(entry.needed) == 1:
        return {entry.needed[0]: folder}
    found = {name: folder / name for name in entry.sizes if (folder / name).is_file()}
    missing = [name for name in entry.needed if name not in found]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)} of {entry.title}")
    return found


def _check_digests(entry: Published, found: Mapping[str, Path], changed: bool) -> dict[str, str]:
    """The SHA-256 of each file. ValueError where one differs from that of the table, or of the first fetch."""
    first = _read_digests().get(entry.name, {})
    digests = {}
    for name, path in found.items():
        digests[name] = hash_file(path)
        told = entry.digests.get(name)
        if told is not None and digests[name] != told:
            raise ValueError(
                f"{name} of {entry.name} is not the file that the table names: its SHA-256 is {digests[name]}, the "
                f"table has {told}. Fetch it again, or correct the table"
            )
        if told is None and not changed and first.get(name, digests[name]) != digests[name]:
            raise ValueError(
                f"{name} of {entry.name} is another file than the one that was fetched first: its SHA-256 is "
                f"{digests[name]}, that of the first {first[name]}. If its authors say that they changed it, accept "
                f"it: facekit fetch {entry.name} --accept-changed"
            )
    return digests


def _check_room(entry: Published, found: Mapping[str, Path]) -> None:
    """Refuse a conversion that does not fit into memory. Raises ValueError."""
    largest = max(path.stat().st_size for path in found.values())
    free = free_memory()
    if largest > free:
        raise ValueError(
            f"Converting {entry.name} needs about {format_bytes(largest)} of memory, and {format_bytes(free)} are "
            "free. Close other programs"
        )


def _convert(entry: Published, found: Mapping[str, Path], folder: Path, tell: Tell | None) -> None:
    if tell is not None:
        tell("convert", 0, 0)
    else:
        log.warning("Converting %s, once; this takes a minute or so for large files.", entry.name)
    module, _, function = entry.converter.rpartition(".")
    convert: Callable[..., None] = getattr(import_module(module), function)
    files = list(found.values())
    convert(files[0] if len(entry.sizes) == 1 else files[0].parent, output=folder, **entry.options)


def _sweep(place: Path) -> None:
    """Remove what killed processes left; whoever calls holds the lock."""
    remove_parts(place)
    for replaced in place.glob(".*.old"):  # of `write_folder`
        _remove(replaced)


def _forget(place: Path, found: Mapping[str, Path]) -> None:
    """Remove files of ours that are not what they should be, so that the next call fetches them anew."""
    for path in found.values():
        if path.parent == place / _FILES:
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _read_digests() -> dict[str, dict[str, str]]:
    try:
        return json.loads((cache_folder() / _DIGESTS).read_text())
    except (OSError, ValueError):
        return {}


def _note_digests(entry: Published, digests: dict[str, str]) -> None:
    with FileLock(cache_folder() / f"{_DIGESTS}.lock"):
        known = _read_digests()
        known[entry.name] = known.get(entry.name, {}) | digests
        text = json.dumps(known, indent=2) + "\n"
        write_atomically(cache_folder() / _DIGESTS, lambda file: file.write(text.encode()))
