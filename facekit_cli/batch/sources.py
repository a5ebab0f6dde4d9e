"""Where the photos of a batch come from: a folder with its sub-folders, here or in a store; a list; or a data set."""

import codecs
import hashlib
import io
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from PIL import Image

from facekit.hub.cache import folder_cache
from facekit_cli.arguments import WEB_ADDRESS, drop_file_scheme, is_web_address
from facekit_cli.batch.stores import open_remote
from facekit_cli.errors import UsageError
from facekit_cli.photos import check_apart, name_results, why_no_picture, why_no_picture_name

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

LIST = ".txt"


class Item(NamedTuple):
    """One photo: its `key` in the source, and the path of its results in OUT without number and suffix."""

    key: str
    stem: str


class Source(Protocol):
    """A list of photos that every process sees alike."""

    name: str
    left_out: dict[str, str]  # what is no photo, and why; complete when `items` was called

    def items(self, taken: dict[str, str]) -> list[Item]:
        """All photos in order; those in `taken` (key -> stem) keep their stem."""

    def open(self, item: Item) -> tuple[Path | Image.Image, Item]:
        """The photo, not decoded yet, and the item with its final stem. ValueError or OSError if it is broken."""


def seed_of(key: str, seed: int) -> int:
    """A photo's own seed, a function of its key and the run's seed alone; 0 to 2^63 - 1."""
    digest = hashlib.sha256(f"{seed}/{key}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class FolderSource:
    """The pictures of a folder and its sub-folders, without hidden ones and without OUT; key: relative path.

    Links to folders are not followed.
    """

    def __init__(self, folder: Path, output: Path | str) -> None:
        self.folder = folder
        self.output = output.resolve() if isinstance(output, Path) else None  # a URL lies nowhere here
        self.left_out: dict[str, str] = {}
        self.name = str(folder.resolve())
        if isinstance(output, Path):
            check_apart([folder], output, "--output")

    def items(self, taken: dict[str, str]) -> list[Item]:
        """By path. `a.jpg` becomes `a`; where `a.png` lies beside it, they become `a.jpg` and `a.png`."""
        keys = []
        for place, folders, files in os.walk(self.folder, onerror=self._leave_out_unreadable):
            here = Path(place)
            for name in list(folders):
                if (here / name).resolve() == self.output:
                    folders.remove(name)
                elif name.startswith("."):
                    folders.remove(name)
                    self.left_out[self._key(here / name)] = "hidden"
                elif (here / name).is_symlink():
                    self.left_out[self._key(here / name)] = "links to folders are not followed"
            for name in files:
                reason = why_no_picture(here / name)
                if reason is None:
                    keys.append(self._key(here / name))
                else:
                    self.left_out[self._key(here / name)] = reason
        if not keys:
            raise UsageError(f"the folder {self.folder} and its sub-folders hold no pictures")
        stems = name_results(keys, taken)
        return [Item(key, stems[key]) for key in sorted(keys)]

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _leave_out_unreadable(self, error: OSError) -> None:
        self.left_out[self._key(Path(error.filename))] = f"cannot be read ({error.strerror})"

    def open(self, item: Item) -> tuple[Path, Item]:
        """The photo's path."""
        return self.folder / item.key, item


class RemoteSource:
    """The pictures below a URL that `fsspec` opens, without hidden ones and without OUT; key: relative path.

    Raises UsageError where nothing here opens the URL.
    """

    def __init__(self, url: str, output: Path | str) -> None:
        self.files, self._root = open_remote(url)
        self.name = url.rstrip("/")
        self.left_out: dict[str, str] = {}
        self._results = None  # the beginning of the keys of results that lie here
        if isinstance(output, str):
            files, root = open_remote(output)
            if type(files) is type(self.files) and f"{root}/".startswith(f"{self._root}/"):
                self._results = f"{root}/".removeprefix(f"{self._root}/")
        if self._results == "":
            raise UsageError(f"the results would lie among the photos of {url}; name another --output")

    def items(self, taken: dict[str, str]) -> list[Item]:
        """By path, as of `FolderSource`. Raises UsageError where there are none, or the place cannot be read."""
        try:
            found = self.files.find(self._root)
        except Exception as error:  # each package has errors of its own
            raise UsageError(f"{self.name} cannot be read: ", error) from error
        keys = []
        for name in (path.removeprefix(self._root).removeprefix("/") for path in found):
            # An empty file with such a name stands for a folder in some stores.
            if (
                not name
                or name.endswith("/")
                or (self._results is not None and name.startswith(self._results))
            ):
                continue
            reason = self._why_no_picture(name)
            if reason is None:
                keys.append(name)
            else:
                self.left_out[name] = reason
        if not keys:
            raise UsageError(f"there are no pictures below {self.name}")
        stems = name_results(keys, taken)
        return [Item(key, stems[key]) for key in sorted(keys)]

    def open(self, item: Item) -> tuple[Image.Image, Item]:
        """The picture, read."""
        return _open_remote_picture(self.files, f"{self._root}/{item.key}", item.key), item

    @staticmethod
    def _why_no_picture(name: str) -> str | None:
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts):
            return "a folder of its path has no name that a result could have"
        if any(part.startswith(".") for part in parts):
            return "hidden"
        return why_no_picture_name(PurePosixPath(name))


class ListSource:
    """The pictures that a text file names, one a line: paths, relative to the file's folder or whole, and URLs.

    Keys are the lines. What is millions of files in a store need not be listed there then, and is divided by dividing
    the file, which the main process alone reads.

    Args:
        file: its path, or its URL.
    """

    def __init__(self, file: str) -> None:
        self.name = file if is_web_address(file) else str(Path(file).resolve())
        self.left_out: dict[str, str] = {}
        self._folder = self.name.rpartition("/")[0] if is_web_address(file) else str(Path(self.name).parent)

    def items(self, taken: dict[str, str]) -> list[Item]:
        """In the order of the list, each once.

        Results lie below OUT as the photos lie below the list's folder; those of whole paths and of URLs by all of the
        path.

        Raises:
            UsageError: the file cannot be read, names nothing, or has a line whose results would have no place of their
                own below OUT.
        """
        keys = list(dict.fromkeys(filter(None, map(str.strip, self._read().splitlines()))))
        owners: dict[str, str] = {}
        wrong: dict[str, str] = {}
        for key in keys:
            place = self._place(key)
            if ".." in PurePosixPath(key).parts or not PurePosixPath(place).name:
                wrong[key] = "it leads to no place below --output; name the photo by its whole path"
            elif owners.setdefault(place, key) != key:
                wrong[key] = (
                    f"its results would lie where those of {owners[place]} do; name it in a list of its own"
                )
        if wrong:
            line, reason = next(iter(wrong.items()))
            more = f" ({len(wrong)} such lines)" if len(wrong) > 1 else ""
            raise UsageError(f"the list {self.name}, line {line!r}{more}: {reason}")
        if not owners:
            raise UsageError(f"the list {self.name} names no pictures")
        stems = name_results(owners, {self._place(key): stem for key, stem in taken.items()})
        return [Item(key, stems[place]) for place, key in owners.items()]

    def open(self, item: Item) -> tuple[Path | Image.Image, Item]:
        """The photo's path, or the picture where it lies in a store."""
        name = drop_file_scheme(item.key)
        if not is_web_address(name) and not os.path.expanduser(name).startswith("/"):
            name = f"{self._folder}/{name}"
        if not is_web_address(name):
            return Path(name).expanduser(), item
        files, path = open_remote(name)
        return _open_remote_picture(files, path, item.key), item

    def _read(self) -> str:
        try:
            if is_web_address(self.name):
                files, path = open_remote(self.name)
                content = files.cat_file(path)
            else:
                content = Path(self.name).read_bytes()
        except UsageError:
            raise
        except Exception as error:  # each package has errors of its own
            raise UsageError(f"the list {self.name} cannot be read: ", error) from error
        # Editors of Windows mark their files.
        kind = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return content.decode(kind, errors="surrogateescape" if kind == "utf-8-sig" else "replace")

    @staticmethod
    def _place(key: str) -> str:
        """Where the results of a line lie below OUT, but for their ending."""
        path = re.sub(WEB_ADDRESS, "", os.path.expanduser(drop_file_scheme(key)))
        return PurePosixPath(path).as_posix().lstrip("/")


def _open_remote_picture(files: "AbstractFileSystem", path: str, name: str) -> Image.Image:
    """A picture of a store, not decoded yet. Raises ValueError or OSError."""
    from facekit.images.opening import open_picture

    return open_picture(io.BytesIO(files.cat_file(path)), name)


class DatasetSource:
    """The rows of a data set; key: eight digits of the row's index.

    Args:
        name: Hub id, or a folder that `datasets` reads (for example as imagefolder).
        split: the split, `train` by default; slices such as `train[:100]` too.
        column: the column with the pictures; the only one by default.

    Raises:
        UsageError: `datasets` is not installed, there is no such data set or split, or the column is not clear.
    """

    def __init__(self, name: str, split: str | None, column: str | None) -> None:
        try:
            import datasets
        except ImportError as error:
            raise UsageError(
                f"{name} is no folder; to read it as a data set the package datasets is needed: "
                "pip install datasets"
            ) from error
        self.left_out: dict[str, str] = {}
        local = Path(name).is_dir()
        self.name = f"{Path(name).resolve() if local else name} split {split or 'train'}"
        try:
            cache = folder_cache() if local else None
            rows = datasets.load_dataset(name, split=split or "train", cache_dir=cache)
        except Exception as error:  # it lets errors of its many readers through
            missing = "" if local else f"{name} is no folder here, and "
            raise UsageError(f"{missing}the data set cannot be loaded: ", error) from error
        images = [key for key, kind in rows.features.items() if isinstance(kind, datasets.Image)]
        if column is None and len(images) != 1:
            found = f"columns with pictures: {', '.join(images)}" if images else "no column with pictures"
            raise UsageError(f"the data set {name} has {found}; say which with --image-column")
        self.column = column or images[0]
        if self.column not in images:
            raise UsageError(f"the data set {name} has no column of pictures {self.column!r}, but {images}")
        # As stored: one broken picture must not end the run, and sizes are checked before decoding.
        self._feature = datasets.Image()
        self._rows = rows.select_columns([self.column]).cast_column(self.column, datasets.Image(decode=False))

    def items(self, taken: dict[str, str]) -> list[Item]:
        """By index; file names, where rows have them, are added when the row is read."""
        if not len(self._rows):
            raise UsageError(f"the data set {self.name} has no rows")
        return [Item(key, key) for key in (f"{index:08d}" for index in range(len(self._rows)))]

    def open(self, item: Item) -> tuple[Path | Image.Image, Item]:
        """The picture of a row; the stem is `INDEX-NAME` where the row knows a file name."""
        from facekit.images.opening import open_picture

        value: dict[str, Any] | None = self._rows[int(item.key)][self.column]
        if not value:
            raise ValueError(f"row {item.key} has no picture")
        path, content = value.get("path"), value.get("bytes")
        if path:
            name = re.sub(r"[^\w.-]+", "_", PurePosixPath(path.replace("\\", "/")).stem)[:80]
            name = name.encode(errors="ignore")[:160].decode(errors="ignore")  # of names in bytes
            item = Item(item.key, f"{item.key}-{name}" if name else item.key)
        if content is not None:
            return open_picture(io.BytesIO(content), f"row {item.key}"), item
        if path and Path(path).is_file():
            return Path(path), item
        return self._feature.decode_example(value), item


def open_source(name: str, split: str | None, column: str | None, output: Path | str) -> Source:
    """A folder or a list, here or in a store, or a data set; `split` or `column` say that it is one.

    Raises UsageError.
    """
    folder, is_list = Path(name).expanduser(), name.lower().endswith(LIST)
    if (is_web_address(name) or (is_list and folder.is_file())) and (split is not None or column is not None):
        raise UsageError(f"{name} is no data set: leave out --split and --image-column")
    if is_web_address(name):
        if not is_list and name.lower().startswith(("http://", "https://")):
            raise UsageError(
                f"{name} is a web address; say OWNER/NAME for a data set of the Hub, or name a list of photos (.txt)"
            )
        return ListSource(name) if is_list else RemoteSource(name, output)
    if folder.is_file():
        if is_list:
            return ListSource(str(folder))
        raise UsageError(
            f"{name} is a file; facekit restore takes files, a batch takes a folder, a list of photos (.txt), "
            "or a data set"
        )
    if folder.is_dir() and split is None and column is None:
        return FolderSource(folder, output)
    return DatasetSource(str(folder) if folder.is_dir() else name, split, column)
