"""Where pictures for training come from: folders, Hub datasets (streamed or not), webdataset shards, mixtures."""

import csv
import io
import itertools
import json
import math
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from facekit.hub.cache import folder_cache
from facekit.images.opening import open_picture
from facekit.images.photo import as_uint8, load_image

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"}
# One source, several of equal weight, or several with their weights.
Data = str | list[str] | dict[str, float]
# A picture as rows hold it: a path, a file's bytes, both as the datasets library gives them, or decoded.
Picture = str | os.PathLike | bytes | dict[str, Any] | Image.Image


@dataclass
class ImageSource:
    """Where pictures come from.

    Attributes:
        data: a folder of images (sub-folders count), a Hub dataset id, or webdataset shards (`shards-{000..009}.tar`);
            or a mixture of folders and Hub datasets, a list (equal weights) or a mapping source -> weight. For each
            sample of a mixture a source is drawn by weight, then one of its pictures, with replacement.
        split: split of a Hub dataset, or of a folder laid out as `imagefolder`.
        streaming: read a Hub dataset without downloading it whole. Shards always stream.
        shots: number of pictures to train on (few-shot), chosen by `seed`; None takes all. Not for mixtures.
        exclude: metadata column -> values; rows with one of them are left out, e.g. `{generator: [DALLE3]}`. Sources
            of a mixture that lack the column stay whole.
        image_column: the column that holds the picture.
        seed: by which `shots` are chosen.
        skip_broken: take the picture of the next sample in place of one that cannot be read; else the run ends there.

    Raises:
        ValueError: a mixture names no source or names one twice, has a weight that is no positive number or a source
            that is read as a stream, or is given with `shots`.
    """

    data: Data
    split: str = "train"
    streaming: bool = False
    shots: int | None = None
    exclude: dict[str, list[Any]] = field(default_factory=dict)
    image_column: str = "image"
    seed: int = 0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        if not is_mixture(self.data):
            return
        weights = self.weights
        if not weights:
            raise ValueError("data is an empty mixture: name at least one folder or Hub dataset")
        if len(weights) < len(self.data):
            raise ValueError("data names a source twice: to draw from it more often, give it a weight")
        for source, weight in weights.items():
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"the weight of {source} must be a positive number, got {weight}")
            if self._is_stream(source):
                raise ValueError(f"{source} is read as a stream, from which a mixture cannot draw at random")
        if self.shots is not None:
            raise ValueError(
                "shots choose pictures of one source; a mixture has several: leave one of both out"
            )

    @property
    def weights(self) -> dict[str, float]:
        """Each source and its weight, as given: they need not sum to 1."""
        if isinstance(self.data, dict):
            return {str(source): _weight(source, weight) for source, weight in self.data.items()}
        return {str(source): 1.0 for source in (self.data if is_mixture(self.data) else [self.data])}

    @property
    def is_shards(self) -> bool:
        """Whether the pictures come from webdataset shards."""
        return not is_mixture(self.data) and _names_shards(self.data)

    @property
    def streams(self) -> bool:
        """Whether the pictures can only be read in their order. A mixture never streams."""
        return not is_mixture(self.data) and self._is_stream(self.data)

    def _is_stream(self, source: Any) -> bool:
        return _names_shards(source) or (self.streaming and not Path(source).is_dir())

    def load(self) -> Any:
        """The rows: indexable, or iterable where they stream. Their pictures are not decoded, see `read_picture`.

        Raises:
            ValueError: nothing is left to train on; there are fewer pictures than `shots`; or there is no such split,
                or no such column.
            OSError: the data cannot be found.
        """
        if not is_mixture(self.data):
            return self._select(self._read_undecoded())
        parts = [replace(self, data=source, exclude={}) for source in self.weights]
        opened = [part._read_undecoded() for part in parts]
        for column in self.exclude:
            if not any(column in rows.column_names for rows in opened):
                raise ValueError(f"exclude names the column {column!r}; no source of the mixture has it")
        for part, rows in zip(parts, opened, strict=True):
            part.exclude = {name: self.exclude[name] for name in self.exclude if name in rows.column_names}
        chosen = [part._select(rows) for part, rows in zip(parts, opened, strict=True)]
        return Mixture(chosen, list(self.weights.values()))

    def _read_undecoded(self) -> Any:
        """All rows of a single source, with the files of pictures instead of pictures."""
        rows = self._open()
        if self.is_shards or rows.column_names is None:
            return rows
        if self.image_column not in rows.column_names:
            raise ValueError(
                f"{self.data} has no column {self.image_column!r} for image_column; it has {rows.column_names}"
            )
        import datasets

        return rows.cast_column(self.image_column, datasets.Image(decode=False))

    def _open(self) -> Any:
        """All rows of a single source."""
        if self.is_shards:
            return _read_shards(str(self.data))
        import datasets

        folder = Path(str(self.data))
        if not folder.is_dir():
            return datasets.load_dataset(str(self.data), split=self.split, streaming=self.streams)
        pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
        if not pictures:
            raise ValueError(f"no .jpg, .png or .webp image in {self.data} or its sub-folders")
        if has_splits(folder):
            return datasets.load_dataset(str(folder), split=self.split, cache_dir=folder_cache())
        if self.split != "train":
            raise ValueError(
                f"{folder} has no split {self.split!r}: its pictures lie in no folders train and {self.split}; the "
                "split of all of them is train"
            )
        columns = {"image": [str(path) for path in pictures], **read_metadata(folder, pictures)}
        return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())

    def load_first_pictures(self, count: int) -> list[Picture]:
        """The first `count` pictures, or all where there are fewer, not decoded: those that validations score."""
        rows = self.load()
        if hasattr(rows, "num_rows"):
            return [rows[i][self.image_column] for i in range(min(count, len(rows)))]
        first = enumerate(itertools.islice(rows, count))
        return [pick_picture(row, number, self.image_column) for number, row in first]

    def count(self) -> int | None:
        """How many pictures there are; None where they are read as a stream."""
        return None if self.streams else len(self.load())

    def _select(self, rows: Any) -> Any:
        """What `exclude` and `shots` leave of them."""
        if self.is_shards:
            return rows
        for column, values in self.exclude.items():
            if rows.column_names is not None and column not in rows.column_names:
                raise ValueError(f"exclude names the column {column!r}; the data has {rows.column_names}")
            # `None` is a value like any other here: a picture of unknown origin can be left out too.
            rows = rows.filter(lambda value, values=values: value not in values, input_columns=[column])
        if self.streams:
            return rows if self.shots is None else rows.take(self.shots)
        if self.shots is not None:
            if not 1 <= self.shots <= len(rows):
                raise ValueError(f"shots={self.shots}, but the data has {len(rows)} pictures")
            chosen = np.random.default_rng(self.seed).permutation(len(rows))[: self.shots]
            rows = rows.select(sorted(chosen.tolist()))
        if len(rows) == 0:
            raise ValueError(f"{self.data} ({self.split}) has no picture that `exclude` leaves")
        return rows


def say_count(run: Any, source: ImageSource) -> None:
    """Let a run say how many pictures it trains on; for a stream, whose length is unknown, nothing."""
    count = source.count()
    if count is not None:
        run.say(f"training on {count} picture{'' if count == 1 else 's'}")


class Mixture:
    """Several indexable datasets: as rows one after the other, for `draw` by weight.

    Args:
        parts: their rows.
        weights: how often each is drawn from; they need not sum to 1.
    """

    def __init__(self, parts: list[Any], weights: list[float]) -> None:
        self.parts = parts
        self.shares = np.array(weights) / sum(weights)
        self._starts = np.cumsum([0, *map(len, parts)])

    @property
    def num_rows(self) -> int:
        return int(self._starts[-1])

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[part][index - int(self._starts[part])]

    def draw(self, rng: np.random.Generator) -> int:
        """The index of a random picture of a source chosen by weight."""
        part = int(rng.choice(len(self.parts), p=self.shares))
        return int(self._starts[part] + rng.integers(len(self.parts[part])))


def is_mixture(data: Any) -> bool:
    """Whether `data` names several sources, each by itself."""
    return isinstance(data, (list, tuple, dict))


def _weight(source: Any, weight: Any) -> float:
    try:
        # YAML 1.1 reads 1e-1 as text, and yes as true.
        return math.nan if isinstance(weight, bool) else float(weight)
    except (TypeError, ValueError):
        raise ValueError(f"the weight of {source} must be a positive number, got {weight!r}") from None


def _names_shards(source: Any) -> bool:
    return str(source).endswith(".tar")


def has_splits(folder: Path) -> bool:
    """Whether a folder has splits: its README names them, or sub-folders are called by the usual names."""
    readme = folder / "README.md"
    if readme.is_file() and re.match(r"---\n((?!---).*\n)*?configs:", readme.read_text(errors="replace")):
        return True
    return any(path.is_dir() and path.name.lower() in SPLITS for path in folder.iterdir())


def read_metadata(folder: Path, pictures: list[Path]) -> dict[str, list[Any]]:
    """Columns of plain values from every `metadata.jsonl` and `metadata.csv` of a folder, in the order of the pictures.

    Pictures without a row have None in all of them.

    Raises:
        ValueError: a line is no JSON mapping.
    """
    rows: dict[Path, dict[str, Any]] = {}
    for path in sorted(folder.rglob("metadata.jsonl")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                row = dict(json.loads(line)) if line.strip() else {}
            except (ValueError, TypeError) as error:
                raise ValueError(f"line {number} of {path} is no JSON mapping ({error})") from None
            rows[path.parent / str(row.get("file_name"))] = row
    for path in sorted(folder.rglob("metadata.csv")):
        with path.open(newline="") as file:
            rows |= {path.parent / str(row.get("file_name")): row for row in csv.DictReader(file)}
    names = sorted({name for row in rows.values() for name in row} - {"file_name", "image"})
    columns = {name: [rows.get(path, {}).get(name) for path in pictures] for name in names}
    return {name: values for name, values in columns.items() if _is_plain(values)}


def _is_plain(values: list[Any]) -> bool:
    """Whether all values of a column are of one plain kind, so that rows can be left out by them."""
    kinds = {float if type(value) is int else type(value) for value in values if value is not None}
    return len(kinds) == 1 and kinds <= {str, float, bool}


def _read_shards(pattern: str) -> Any:
    import webdataset

    # The order of shards stays that of the pattern, so that a resumed run can count its way back.
    return webdataset.WebDataset(pattern, shardshuffle=False, nodesplitter=None, empty_check=False)


class BrokenPicture(ValueError):
    """A picture that cannot be read; the message names it."""


def find_file(picture: Picture) -> str:
    """The path of a picture's file, "" where it has none."""
    if isinstance(picture, dict):
        picture = picture.get("path") or ""
    return str(picture) if isinstance(picture, str | os.PathLike) else ""


def read_picture(picture: Picture) -> Image.Image:
    """A picture as the pipelines read it: upright, RGB, 8 bits, without its transparency.

    Raises:
        BrokenPicture: no such file, no picture, or a damaged one.
    """
    if isinstance(picture, Image.Image) and picture.mode == "RGB" and not picture.getexif():
        return picture
    name = find_file(picture) or "picture"
    if isinstance(picture, dict):
        content = picture.get("bytes")
        picture = picture.get("path") if content is None else content
    if not picture:
        raise BrokenPicture(f"{name} is empty: there is no picture.")
    try:
        if isinstance(picture, bytes):
            picture = open_picture(io.BytesIO(picture), name)
        return Image.fromarray(as_uint8(load_image(picture, name=name).rgb))
    except (ValueError, FileNotFoundError) as error:
        raise BrokenPicture(str(error)) from error


def fit_square(
    picture: Picture,
    size: int,
    rng: np.random.Generator | None,
    resample: Image.Resampling = Image.Resampling.LANCZOS,
) -> np.ndarray:
    """Scale a picture so that it covers `size` x `size` pixels, then crop: at random, or in the centre without `rng`.

    Returns:
        uint8 [size, size, 3].

    Raises:
        BrokenPicture: see `read_picture`.
    """
    image = read_picture(picture)
    if image.size != (size, size):
        factor = max(size / image.width, size / image.height)
        image = image.resize(
            (max(size, int(image.width * factor)), max(size, int(image.height * factor))),
            resample,
        )
        free_x, free_y = image.width - size, image.height - size
        x, y = (rng.integers(free_x + 1), rng.integers(free_y + 1)) if rng else (free_x // 2, free_y // 2)
        image = image.crop((int(x), int(y), int(x) + size, int(y) + size))
    return np.asarray(image)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """[H, W, 3] uint8 -> [3, H, W] float in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().div_(127.5).sub_(1.0)


def pick_picture(row: dict[str, Any], number: int, column: str) -> Picture:
    """The picture of row `number` of a stream: in `column` or, in shards, under the ending of its file.

    Raises:
        ValueError: the row has no picture.
    """
    for name in (column, "jpg", "png", "jpeg", "webp"):
        if row.get(name) is not None:
            place = f"{row['__key__']}.{name} in {row['__url__']}" if "__key__" in row else ""
            return name_picture(row[name], place or f"picture {number} of the data")
    raise ValueError(f"a row of the stream has no picture; its columns are {sorted(row)}")


def name_picture(picture: Picture, name: str) -> Picture:
    """The same picture, with `name` for messages where it has no file of its own."""
    if isinstance(picture, bytes):
        return {"path": name, "bytes": picture}
    if isinstance(picture, dict) and not picture.get("path"):
        return picture | {"path": name}
    return picture
