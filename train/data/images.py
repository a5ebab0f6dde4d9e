"""Images for training: from folders, Hub datasets (streamed or not) or webdataset shards, in a fixed order.

The order is a function of the seed alone: sample number p of a run is always the same picture with the same
crop, flip and random stream, however many processes or restarts lie between. Resuming therefore needs one number.
"""

import csv
import io
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset
from tqdm import tqdm

from facekit.hub.cache import folder_cache
from facekit.images.opening import open_picture
from facekit.images.photo import as_uint8, load_image

# What a training script adds to each picture, e.g. a mask or a damaged copy: it gets the [H, W, 3] uint8 picture
# and the sample's own random generator, and returns named arrays or tensors.
Extras = Callable[[np.ndarray, np.random.Generator], dict[str, Any]]

# One source, several of equal weight, or several with their weights.
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"}
Data = str | list[str] | dict[str, float]
# A picture as rows hold it: a path, a file's bytes, both as the datasets library gives them, or decoded.
Picture = str | os.PathLike | bytes | dict[str, Any] | Image.Image
MANY_BROKEN = 1000  # pictures of a stream, one after the other: it is no accident then


@dataclass
class ImageSource:
    """Where pictures come from.

    Attributes:
        data: a folder of images (sub-folders count), a Hub dataset id, or webdataset shards (`shards-{000..009}.tar`);
            or a mixture of folders and Hub datasets, a list (equal weights) or a mapping source -> weight. Each sample
            of a mixture draws its source by weight, then one of its pictures, with replacement.
        split: split of a Hub dataset, or of a folder laid out as `imagefolder`.
        streaming: read a Hub dataset without downloading it whole. Shards always stream.
        shots: train on so many pictures only (few-shot), chosen by `seed`; `None` takes all. Not for mixtures.
        exclude: metadata column -> values; rows with one of them are left out, e.g. `{generator: [DALLE3]}`. Sources
            of a mixture that lack the column stay whole.
        image_column: the column that holds the picture.
        skip_broken: have the picture of the next sample stand in for one that cannot be read; else the run ends there.

    Raises:
        ValueError: a mixture names no source or one twice, has a weight that is no positive number, or a source read
            as a stream, or is to give `shots`.
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
        return not is_mixture(self.data) and _names_shards(self.data)

    @property
    def streams(self) -> bool:
        """Whether the pictures can only be read in their order. A mixture never streams."""
        return not is_mixture(self.data) and self._is_stream(self.data)

    def _is_stream(self, source: Any) -> bool:
        return _names_shards(source) or (self.streaming and not Path(source).is_dir())

    def load(self) -> Any:
        """The dataset: indexable, or iterable when it streams. Its pictures are not decoded, see `read_picture`.

        Raises:
            ValueError: when nothing is left to train on, or an excluded column or that of the pictures does not exist.
            OSError: when the data cannot be found.
        """
        if not is_mixture(self.data):
            return self._select(self._undecoded())
        parts = [replace(self, data=source, exclude={}) for source in self.weights]
        opened = [part._undecoded() for part in parts]
        for column in self.exclude:
            if not any(column in rows.column_names for rows in opened):
                raise ValueError(f"exclude names the column {column!r}; no source of the mixture has it")
        for part, rows in zip(parts, opened, strict=True):
            part.exclude = {name: self.exclude[name] for name in self.exclude if name in rows.column_names}
        chosen = [part._select(rows) for part, rows in zip(parts, opened, strict=True)]
        return Mixture(chosen, list(self.weights.values()))

    def _undecoded(self) -> Any:
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
        columns = {"image": [str(path) for path in pictures], **metadata_columns(folder, pictures)}
        return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())

    def first_pictures(self, count: int) -> list[Picture]:
        """The first `count` pictures, or all where there are fewer: what validations score, from streams as well."""
        rows = self.load()
        if hasattr(rows, "num_rows"):
            return [rows[i][self.image_column] for i in range(min(count, len(rows)))]
        first = enumerate(itertools.islice(rows, count))
        return [streamed_picture(row, number, self.image_column) for number, row in first]

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
    """Have a run say how many pictures it trains on."""
    count = source.count()
    if count is not None:
        run.say(f"training on {count} picture{'' if count == 1 else 's'}")


class Mixture:
    """Several indexable datasets: one after the other by index, by weight where samples are drawn."""

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
    """Whether a folder says which of its pictures belong to which split: in its README, or by its sub-folders."""
    readme = folder / "README.md"
    if readme.is_file() and re.match(r"---\n((?!---).*\n)*?configs:", readme.read_text(errors="replace")):
        return True
    return any(path.is_dir() and path.name.lower() in SPLITS for path in folder.iterdir())


def metadata_columns(folder: Path, pictures: list[Path]) -> dict[str, list[Any]]:
    """Columns of plain values out of every `metadata.jsonl` and `metadata.csv`, in the order of the pictures.

    Pictures without a row have None in all of them. ValueError for a line that is no JSON mapping.
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
    """Whether a column holds values of one plain kind: what rows can be left out by."""
    kinds = {float if type(value) is int else type(value) for value in values if value is not None}
    return len(kinds) == 1 and kinds <= {str, float, bool}


def _read_shards(pattern: str) -> Any:
    import webdataset

    # The order of shards stays that of the pattern, so that a resumed run can count its way back.
    return webdataset.WebDataset(pattern, shardshuffle=False, nodesplitter=None, empty_check=False)


class BrokenPicture(ValueError):
    """A picture that cannot be read; the message names it."""


def name_of(picture: Picture) -> str:
    """The file of a picture, "" where it has none."""
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
    name = name_of(picture) or "picture"
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
    """Scale so that the picture covers `size` x `size`, then crop: at random, or in the centre without `rng`.

    uint8 [size, size, 3]. Raises what `read_picture` does.
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


@dataclass
class Preparation:
    """What happens to a picture on its way to the network; `extras` adds masks, damage and the like."""

    size: int
    seed: int
    flip: bool = True
    extras: Extras | None = None

    def __call__(self, picture: Picture, position: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, position])
        pixels = fit_square(picture, self.size, rng)
        if self.flip and rng.random() < 0.5:
            pixels = cv2.flip(pixels, 1)
        sample: dict[str, Any] = {"image": to_tensor(pixels), "position": position}
        if self.extras is not None:
            sample |= self.extras(pixels, rng)
        return sample


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """[H, W, 3] uint8 -> [3, H, W] float in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().div_(127.5).sub_(1.0)


class PictureSource(Protocol):
    """What samples are drawn from: `ImageSource`, or anything with such rows.

    Attributes:
        image_column, skip_broken: as those of `ImageSource`.
    """

    image_column: str
    skip_broken: bool

    def load(self) -> Any:
        """Rows: indexable, with their number as `num_rows`, or iterable when they stream."""
        ...


class Prepare(Protocol):
    """What makes a sample of an entry of the image column and the sample's number."""

    seed: int

    def __call__(self, picture: Any, position: int) -> dict[str, Any]: ...


class Samples:
    """Prepared pictures by sample number; what cannot be read ends the run, or is skipped.

    Args:
        source: names the column, and says what to do about broken pictures.
        prepare: gets the picture of a sample and its number.
    """

    def __init__(self, source: PictureSource, rows: Any, prepare: Prepare) -> None:
        self.rows, self.prepare = rows, prepare
        self.column, self.skip_broken = source.image_column, source.skip_broken

    def prepare_first(self, pictures: Iterator[Picture], most: int, position: int) -> dict[str, Any]:
        """Sample number `position`: of the first picture of at most `most` that can be read.

        `skipped` names those before it, and what is wrong with them, a line each.

        Raises:
            BrokenPicture: it cannot be read and is not to be skipped; or none of `most` can.
        """
        skipped: list[str] = []
        for picture in itertools.islice(pictures, most):
            try:
                return self.prepare(picture, position) | {"skipped": "\n".join(skipped)}
            except BrokenPicture as error:
                if not self.skip_broken:
                    raise BrokenPicture(
                        f"{error} Mend or remove it, or have such pictures skipped: skip_broken: true."
                    ) from error
                skipped.append(str(error))
        raise BrokenPicture(f"none of {most} pictures can be read; the last one: {skipped[-1]}")


class IndexedSamples(Samples, Dataset):
    """Sample number p of an endless run over an indexable dataset.

    Each epoch is a permutation of its own. A mixture has no epochs: each sample is drawn by itself.
    """

    def __init__(self, source: PictureSource, rows: Any, prepare: Prepare) -> None:
        super().__init__(source, rows, prepare)
        self._epoch, self._order = -1, np.arange(len(rows))

    def index_of(self, position: int) -> int:
        if isinstance(self.rows, Mixture):
            return self.rows.draw(np.random.default_rng([self.prepare.seed, 3, position]))
        epoch, within = divmod(position, len(self.rows))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.prepare.seed, 1, epoch]).permutation(len(self.rows))
        return int(self._order[within])

    def _picture(self, position: int) -> Picture:
        index = self.index_of(position)
        return _named(self.rows[index][self.column], f"picture {index} of the data")

    def __getitem__(self, position: int) -> dict[str, Any]:
        following = (self._picture(number) for number in itertools.count(position))
        return self.prepare_first(following, len(self.rows), position)


class StreamedSamples(Samples, IterableDataset):
    """The positions of one process over a dataset that can only be read from its start."""

    def __init__(
        self, source: PictureSource, rows: Any, prepare: Prepare, positions: Callable[[], Iterator[int]]
    ) -> None:
        super().__init__(source, rows, prepare)
        self.positions = positions

    def _numbered_rows(self) -> Iterator[tuple[int, Any]]:
        count = itertools.count()
        while True:
            before = None
            for row in self.rows:
                before = next(count)
                yield before, row
            if before is None:
                raise ValueError("the stream holds no picture")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = self._numbered_rows()
        number, row = next(rows)

        def following() -> Iterator[Picture]:
            """The picture that the stream stands at, and those after it."""
            nonlocal number, row
            while True:
                yield streamed_picture(row, number, self.column)
                number, row = next(rows)

        for position in self.positions():
            while number < position:
                number, row = next(rows)
            yield self.prepare_first(following(), MANY_BROKEN, position)


def streamed_picture(row: dict[str, Any], number: int, column: str) -> Picture:
    """The picture of row `number` of a stream, in `column` or, in shards, under the ending of its file."""
    for name in (column, "jpg", "png", "jpeg", "webp"):
        if row.get(name) is not None:
            place = f"{row['__key__']}.{name} in {row['__url__']}" if "__key__" in row else ""
            return _named(row[name], place or f"picture {number} of the data")
    raise ValueError(f"a row of the stream has no picture; its columns are {sorted(row)}")


def _named(picture: Picture, name: str) -> Picture:
    """A picture that has a name for messages even where it has no file of its own."""
    if isinstance(picture, bytes):
        return {"path": name, "bytes": picture}
    if isinstance(picture, dict) and not picture.get("path"):
        return picture | {"path": name}
    return picture


class Positions(Sequence[int]):
    """The sample numbers of one process from `start` on: blocks of `batch` dealt out to the processes in turn."""

    def __init__(self, start: int, batch: int, rank: int, world: int) -> None:
        self.start, self.batch, self.rank, self.world = start, batch, rank, world

    def __getitem__(self, i: int) -> int:  # type: ignore[override]
        block, within = divmod(i, self.batch)
        return self.start + (block * self.world + self.rank) * self.batch + within

    def __len__(self) -> int:
        return 2**31

    def __iter__(self) -> Iterator[int]:
        return (self[i] for i in itertools.count())


def training_batches(
    source: PictureSource,
    prepare: Prepare,
    *,
    batch_size: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    num_workers: int = 0,
) -> Iterator[dict[str, Any]]:
    """Endless batches for process `rank` of `world`.

    Args:
        start: sample number at which the run goes on: what all processes together have seen so far.
        num_workers: loader processes; a stream takes one at most, since its order is its position.

    Yields:
        `image` [B, 3, size, size] in [-1, 1], `position` [B], and what `prepare.extras` adds.
    """
    rows = source.load()
    positions = Positions(start, batch_size, rank, world)
    if hasattr(rows, "num_rows"):  # a table, not a stream
        samples: Dataset = IndexedSamples(source, rows, prepare)
        loader = DataLoader(samples, batch_size, sampler=positions, num_workers=num_workers, drop_last=True)
    else:
        samples = StreamedSamples(source, rows, prepare, lambda: iter(positions))
        loader = DataLoader(samples, batch_size, num_workers=min(num_workers, 1), drop_last=True)
    return _telling_skipped(loader)


def _telling_skipped(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """The batches of a loader, and on the terminal each picture that was skipped, once."""
    told: set[str] = set()
    for batch in loader:
        for line in itertools.chain.from_iterable(text.splitlines() for text in batch.pop("skipped")):
            if line not in told:
                told.add(line)
                tqdm.write(f"skipped, {len(told)} so far: {line}", file=sys.stderr)
        yield batch
