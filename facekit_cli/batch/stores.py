"""Where a batch's results and records lie: in a folder here, or where a URL says that `fsspec` opens (`s3://BUCKET/DAY`).

Names of files are relative to that place, with `/`.
"""

import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol, TextIO

from facekit.images.files import remove_parts, write_atomically
from facekit_cli.arguments import is_web_address
from facekit_cli.errors import UsageError
from facekit_cli.photos import check_writable, why_too_long

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Lines of a log that are uploaded together, and after how many seconds fewer are. What a kill loses is done again.
LINES, SECONDS = 200, 60.0
LONGEST_KEY = 1024  # bytes, of S3 and Google's store, without the bucket
LONGEST_BESIDE = "100-truth-prompt.png"  # of what lies in a folder beside a result
CONNECTIONS = 16  # to a store at once, for many small files
PACKAGES = {"s3": " (pip install s3fs)", "gs": " (pip install gcsfs)"}


class Log(Protocol):
    """A file of lines to which one process adds."""

    def write(self, line: str) -> None:
        """Add a line, which has its end."""

    def close(self) -> None:
        """What was added is there for all to read."""


class Store(Protocol):
    """A place for files."""

    name: str

    def check(self, folders: Collection[str] = ()) -> None:
        """Refuse a place, or folders in it, where no file can be written. Raises UsageError."""

    def prepare(self, folder: str) -> None:
        """Make a folder, where the place has such things."""

    def list_names(self, folder: str = "") -> set[str]:
        """The names of what lies directly in a folder; none where there is no such folder."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file."""

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """The content of many small files, in this order; empty where one is not there."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are no error."""

    def save(self, names: Sequence[str], write: Callable[[list[Path]], None]) -> None:
        """Let `write` fill paths that end in these names, and what lies beside them; they are there when it returns."""

    def why_too_long(self, names: Sequence[str], beside: Callable[[Path], Path] | None) -> str | None:
        """Why results cannot have these names; None where they can. `beside`: a folder next to each."""

    def open_log(self, name: str) -> Log:
        """A log, of which `list_names` shows one or several files that begin with `name` and a hyphen or a dot."""

    def remove_parts(self) -> None:
        """Remove what killed processes left half-written."""

    def clear_temporary(self) -> None:
        """Remove what killed processes left on this machine; before any process of the run saves."""

    def lock(self, name: str, exclusive: bool) -> None:
        """Hold the place until `unlock` or a kill, alone or with the others of a run, where it can be held.

        Raises UsageError where another run holds it.
        """

    def unlock(self) -> None:
        """Let go of it."""


def open_store(place: Path | str) -> Store:
    """The store at a path, or at a URL. Raises UsageError where nothing here opens such a URL."""
    return RemoteStore(place) if isinstance(place, str) and is_web_address(place) else LocalStore(Path(place))


class LocalStore:
    """A folder, also one of a network that all machines see."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder)
        self._lock: int | None = None

    def check(self, folders: Collection[str] = ()) -> None:
        """As `Store.check`."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--output {self.folder} is a file; name a folder")
        check_writable(sorted({self.folder, *(self.folder / name for name in folders)}), "--output")

    def prepare(self, folder: str) -> None:
        """As `Store.prepare`."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)

    def list_names(self, folder: str = "") -> set[str]:
        """As `Store.list_names`."""
        place = self.folder / folder
        return set(os.listdir(place)) if place.is_dir() else set()

    def read(self, name: str) -> bytes | None:
        """As `Store.read`."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """As `Store.read_all`."""
        return (self.read(name) or b"" for name in names)

    def write(self, name: str, content: bytes) -> None:
        """As `Store.write`."""
        write_atomically(self.folder / name, lambda file: file.write(content))

    def remove(self, names: Iterable[str]) -> None:
        """As `Store.remove`."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def save(self, names: Sequence[str], write: Callable[[list[Path]], None]) -> None:
        """As `Store.save`; `write` fills the files themselves."""
        write([self.folder / name for name in names])

    def why_too_long(self, names: Sequence[str], beside: Callable[[Path], Path] | None) -> str | None:
        """As `Store.why_too_long`, by the file system's own limit."""
        return why_too_long([self.folder / name for name in names], beside)

    def open_log(self, name: str) -> Log:
        """A file `NAME.jsonl` that each line is written to at once."""
        return LocalLog(self.folder / f"{name}.jsonl")

    def remove_parts(self) -> None:
        """As `Store.remove_parts`."""
        for folder, _, _ in os.walk(self.folder):
            remove_parts(Path(folder))

    def clear_temporary(self) -> None:
        """As `Store.clear_temporary`: there is nothing elsewhere."""

    def lock(self, name: str, exclusive: bool) -> None:
        """As `Store.lock`. Without effect before its folder is there, and where the file system has no locks."""
        try:
            import fcntl
        except ImportError:
            return
        path = self.folder / name
        if not path.parent.is_dir():
            return
        if self._lock is None:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another run is at work in {self.name}; wait for its end or stop it") from error
        except OSError:
            pass

    def unlock(self) -> None:
        """As `Store.unlock`."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None


class LocalLog:
    """A file that a process of an earlier run may have begun."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = open(path, "a", encoding="utf-8")

    def write(self, line: str) -> None:
        """As `Log.write`; the line is in the file at once."""
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        """As `Log.close`."""
        self._file.close()


class RemoteStore:
    """A place that `fsspec` opens. Files become visible whole; there are no locks: see to it that one run writes there.

    Made for object stores, which have no folders. Errors of a package that are none of Python's become OSError.

    Args:
        url: for example `s3://BUCKET/FOLDER`, `gs://BUCKET/FOLDER`, `memory://FOLDER`. Keys and end points are those of
            the environment, as of the package that opens it.

    Raises:
        UsageError: no package is installed that opens such URLs, or the keys are missing.
    """

    def __init__(self, url: str) -> None:
        self.files, self._root = open_remote(url)
        self.name = url.rstrip("/")
        mark = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        self._temporary = Path(tempfile.gettempdir(), f"facekit-batch-{mark}")

    def check(self, folders: Collection[str] = ()) -> None:
        """As `Store.check`: a file of chance name is written among the records, and removed."""
        name = self._path(f".facekit-batch/check-{secrets.token_hex(8)}")
        try:
            self.files.pipe_file(name, b"facekit")
        except Exception as error:  # each package has errors of its own
            raise UsageError(f"--output {self.name}: nothing can be written there: ", error) from error
        try:
            self.files.rm_file(name)
        except Exception as error:
            message = f"--output {self.name}: files can be written there and not removed, which merging records needs: "
            raise UsageError(message, error) from error

    def prepare(self, folder: str) -> None:
        """As `Store.prepare`: there is nothing to do."""

    def list_names(self, folder: str = "") -> set[str]:
        """As `Store.list_names`; without the empty file that stands for the folder itself in some stores."""
        self.files.invalidate_cache()
        here = self._path(folder).rstrip("/")
        with _as_os_error(self.name):
            try:
                found = self.files.ls(here, detail=False)
            except FileNotFoundError:
                return set()
        return {PurePosixPath(path).name for path in found if path.strip("/") != here.strip("/")}

    def read(self, name: str) -> bytes | None:
        """As `Store.read`."""
        with _as_os_error(self.name):
            try:
                return self.files.cat_file(self._path(name))
            except FileNotFoundError:
                return None

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """As `Store.read_all`, several at once."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            yield from (content or b"" for content in pool.map(self.read, names))

    def write(self, name: str, content: bytes) -> None:
        """As `Store.write`."""
        with _as_os_error(self.name):
            self.files.pipe_file(self._path(name), content)

    def remove(self, names: Iterable[str]) -> None:
        """As `Store.remove`, several at once."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for _ in pool.map(self._remove, names):
                pass

    def save(self, names: Sequence[str], write: Callable[[list[Path]], None]) -> None:
        """As `Store.save`: files of a temporary folder are uploaded, these last."""
        self._temporary.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._temporary) as folder:
            paths = [Path(folder, name) for name in names]
            write(paths)
            files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
            for path in sorted(files, key=lambda path: path in paths):
                with _as_os_error(self.name):
                    self.files.put_file(str(path), self._path(path.relative_to(folder).as_posix()))

    def why_too_long(self, names: Sequence[str], beside: Callable[[Path], Path] | None) -> str | None:
        """As `Store.why_too_long`, by the limit of object stores, and by that of the files before they are uploaded."""
        longest = max(names, key=lambda name: len(os.fsencode(name)))
        last = longest if beside is None else f"{beside(Path(longest)).as_posix()}/{LONGEST_BESIDE}"
        size = max(
            len(os.fsencode(self._path(name).strip("/").partition("/")[2])) for name in (longest, last)
        )
        if size > LONGEST_KEY:
            return f"its result {longest[:20]}... would have a key of {size} bytes, and {LONGEST_KEY} are possible"
        return why_too_long([self._temporary / name for name in names], beside)

    def open_log(self, name: str) -> Log:
        """Files `NAME-CHANCE-NUMBER.jsonl`, each written once: no process of any run writes another's."""
        return RemoteLog(self, name)

    def remove_parts(self) -> None:
        """As `Store.remove_parts`: files are whole or not there."""

    def clear_temporary(self) -> None:
        """As `Store.clear_temporary`."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def lock(self, name: str, exclusive: bool) -> None:
        """As `Store.lock`: it cannot be held."""

    def unlock(self) -> None:
        """As `Store.unlock`."""
        with suppress(OSError):  # where there is none, or another process is still at work in it
            self._temporary.rmdir()

    def _remove(self, name: str) -> None:
        with _as_os_error(self.name), suppress(FileNotFoundError):
            self.files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")


@contextmanager
def _as_os_error(place: str) -> Iterator[None]:
    """Name the place in an error that is none of Python's, and make it one."""
    try:
        yield
    except (OSError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise OSError(f"{place}: {error}") from error


class RemoteLog:
    """Lines that wait here, and are uploaded in files of up to `LINES`, or of what came in `SECONDS`."""

    def __init__(self, store: RemoteStore, name: str) -> None:
        self._store, self._name = store, f"{name}-{secrets.token_hex(4)}"
        self._lines: list[str] = []
        self._number, self._since = 0, time.monotonic()

    def write(self, line: str) -> None:
        """As `Log.write`."""
        self._lines.append(line)
        if len(self._lines) >= LINES or time.monotonic() - self._since >= SECONDS:
            self.close()

    def close(self) -> None:
        """As `Log.close`; may be written to afterwards."""
        if self._lines:
            content = "".join(self._lines).encode()
            self._store.write(f"{self._name}-{self._number:06d}.jsonl", content)
        self._number += bool(self._lines)
        self._lines, self._since = [], time.monotonic()


def open_remote(url: str) -> "tuple[AbstractFileSystem, str]":
    """What opens a URL, and the path in it, without a `/` at the end.

    Raises UsageError: no package is installed that opens such URLs, or it cannot begin.
    """
    import fsspec

    try:
        files, path = fsspec.url_to_fs(url)
    except ImportError as error:
        advice = PACKAGES.get(url.partition("://")[0].lower(), "")
        raise UsageError(f"{url} cannot be opened: {error}{advice}") from error
    except Exception as error:  # each package has errors of its own
        raise UsageError(f"{url} cannot be opened: ", error) from error
    return files, path.rstrip("/")
