"""Where the photos of a batch come from: a folder with its sub-folders, or a data set read by `datasets`."""

import hashlib
import io
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from PIL import Image

from facekit.hub.cache import folder_cache
from facekit_cli.errors import UsageError
from facekit_cli.photos import name_results, why_no_picture


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

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder, self.output = folder, output.resolve()
        self.left_out: dict[str, str] = {}
        self.name = str(folder.resolve())
        if self.folder.resolve() == self.output:
            raise UsageError(f"the results would lie among the photos of {folder}; name another --output")

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


def open_source(name: str, split: str | None, column: str | None, output: Path) -> Source:
    """A folder unless `split` or `column` say that it is to be read as a data set. Raises UsageError."""
    folder = Path(name).expanduser()
    if folder.is_file():
        raise UsageError(
            f"{name} is a file; facekit restore takes files, a batch takes a folder or a data set"
        )
    if folder.is_dir() and split is None and column is None:
        return FolderSource(folder, output)
    return DatasetSource(str(folder) if folder.is_dir() else name, split, column)
