"""Images for training: from a folder, a Hub dataset (streamed or not) or webdataset shards, in a fixed order.

The order is a function of the seed alone: sample number p of a run is always the same picture with the same
crop, flip and random stream, however many processes or restarts lie between. Resuming therefore needs one number.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

# What a training script adds to each picture, e.g. a mask or a damaged copy: it gets the [H, W, 3] uint8 picture
# and the sample's own random generator, and returns named arrays or tensors.
Extras = Callable[[np.ndarray, np.random.Generator], dict[str, Any]]


@dataclass
class ImageSource:
    """Where pictures come from.

    Attributes:
        data: a folder of images (sub-folders count), a Hub dataset id, or webdataset shards (`shards-{000..009}.tar`).
        split: split of a Hub dataset, or of a folder laid out as `imagefolder`.
        streaming: read a Hub dataset without downloading it whole. Shards always stream.
        shots: train on so many pictures only (few-shot), chosen by `seed`; `None` takes all.
        exclude: metadata column -> values; rows with one of them are left out, e.g. `{generator: [DALLE3]}`.
        image_column: the column that holds the picture.
    """

    data: str
    split: str = "train"
    streaming: bool = False
    shots: int | None = None
    exclude: dict[str, list[Any]] = field(default_factory=dict)
    image_column: str = "image"
    seed: int = 0

    @property
    def is_shards(self) -> bool:
        return str(self.data).endswith(".tar")

    def load(self) -> Any:
        """The dataset: indexable, or iterable when it streams.

        Raises:
            ValueError: when nothing is left to train on, or an excluded column does not exist.
            OSError: when the data cannot be found.
        """
        if self.is_shards:
            return _read_shards(self.data)
        import datasets

        local = Path(self.data).is_dir()
        if local and not any(
            path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"} for path in _files(self.data)
        ):
            raise ValueError(f"no .jpg, .png or .webp image in {self.data} or its sub-folders")
        rows = datasets.load_dataset(str(self.data), split=self.split, streaming=self.streaming and not local)
        for column, values in self.exclude.items():
            if rows.column_names is not None and column not in rows.column_names:
                raise ValueError(f"exclude names the column {column!r}; the data has {rows.column_names}")
            # `None` is a value like any other here: a picture of unknown origin can be left out too.
            rows = rows.filter(lambda value, values=values: value not in values, input_columns=[column])
        if self.streaming and not local:
            return rows if self.shots is None else rows.take(self.shots)
        if self.shots is not None:
            if not 1 <= self.shots <= len(rows):
                raise ValueError(f"shots={self.shots}, but the data has {len(rows)} pictures")
            chosen = np.random.default_rng(self.seed).permutation(len(rows))[: self.shots]
            rows = rows.select(sorted(chosen.tolist()))
        if len(rows) == 0:
            raise ValueError(f"{self.data} ({self.split}) has no picture that `exclude` leaves")
        return rows


def _files(folder: str) -> Iterator[Path]:
    return (path for path in Path(folder).rglob("*") if path.is_file())


def _read_shards(pattern: str) -> Any:
    import webdataset

    # The order of shards stays that of the pattern, so that a resumed run can count its way back.
    return webdataset.WebDataset(pattern, shardshuffle=False, nodesplitter=None, empty_check=False).decode(
        "pilrgb"
    )


def fit_square(
    image: Image.Image,
    size: int,
    rng: np.random.Generator | None,
    resample: Image.Resampling = Image.Resampling.LANCZOS,
) -> np.ndarray:
    """Scale so that the picture covers `size` x `size`, then crop: at random, or in the centre without `rng`."""
    image = image.convert("RGB")
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

    def __call__(self, image: Image.Image, position: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, position])
        pixels = fit_square(image, self.size, rng)
        if self.flip and rng.random() < 0.5:
            pixels = cv2.flip(pixels, 1)
        sample: dict[str, Any] = {"image": to_tensor(pixels), "position": position}
        if self.extras is not None:
            sample |= self.extras(pixels, rng)
        return sample


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """[H, W, 3] uint8 -> [3, H, W] float in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().div_(127.5).sub_(1.0)


class IndexedSamples(Dataset):
    """Sample number p of an endless run over an indexable dataset; each epoch is its own permutation."""

    def __init__(self, rows: Any, image_column: str, prepare: Preparation) -> None:
        self.rows, self.image_column, self.prepare = rows, image_column, prepare
        self._epoch, self._order = -1, np.arange(len(rows))

    def index_of(self, position: int) -> int:
        epoch, within = divmod(position, len(self.rows))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.prepare.seed, 1, epoch]).permutation(len(self.rows))
        return int(self._order[within])

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.prepare(self.rows[self.index_of(position)][self.image_column], position)


class StreamedSamples(IterableDataset):
    """The positions of one process over a dataset that can only be read from its start."""

    def __init__(
        self, rows: Any, image_column: str, prepare: Preparation, positions: Callable[[], Iterator[int]]
    ) -> None:
        self.rows, self.image_column, self.prepare, self.positions = rows, image_column, prepare, positions

    def _pictures(self) -> Iterator[tuple[int, Any]]:
        count = itertools.count()
        while True:
            before = None
            for row in self.rows:
                before = next(count)
                yield before, row
            if before is None:
                raise ValueError("the stream holds no picture")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        pictures = self._pictures()
        for position in self.positions():
            number, row = next(pictures)
            while number < position:
                number, row = next(pictures)
            image = (
                row.get(self.image_column)
                or row.get("jpg")
                or row.get("png")
                or row.get("jpeg")
                or row.get("webp")
            )
            if image is None:
                raise ValueError(f"a row of the stream has no picture; its columns are {sorted(row)}")
            yield self.prepare(image, position)


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
    source: ImageSource,
    prepare: Preparation,
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
        samples: Dataset = IndexedSamples(rows, source.image_column, prepare)
        loader = DataLoader(samples, batch_size, sampler=positions, num_workers=num_workers, drop_last=True)
    else:
        samples = StreamedSamples(rows, source.image_column, prepare, lambda: iter(positions))
        loader = DataLoader(samples, batch_size, num_workers=min(num_workers, 1), drop_last=True)
    return iter(loader)
