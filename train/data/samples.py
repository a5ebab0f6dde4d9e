"""Samples of a training by number: prepared pictures in a fixed order, and batches of them.

The order is a function of the seed alone: sample number p of a run is always the same picture with the same
crop, flip and random stream, however many processes or restarts lie between. Resuming therefore needs one number.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset, IterableDataset
from tqdm import tqdm

from train.data.images import (
    BrokenPicture,
    Mixture,
    Picture,
    fit_square,
    name_picture,
    pick_picture,
    to_tensor,
)

# What a training script adds to each picture, e.g. a mask or a damaged copy: it gets the [H, W, 3] uint8 picture
# and the sample's own random generator, and returns named arrays or tensors.
Extras = Callable[[np.ndarray, np.random.Generator], dict[str, Any]]
MANY_BROKEN = 1000  # pictures of a stream in a row: something is wrong with all of it


@dataclass
class Preparation:
    """What happens to a picture on its way to the network: square crop, mirroring, and what `extras` adds.

    Attributes:
        size: side of the square in pixels.
        seed: of the run; with the number of a sample it seeds the sample's random stream.
        flip: whether half of the pictures are mirrored.
        extras: adds masks, damage and the like.
    """

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


class PictureSource(Protocol):
    """Where samples come from: an `ImageSource`, or anything with such rows.

    Attributes:
        image_column, skip_broken: as those of `ImageSource`.
    """

    image_column: str
    skip_broken: bool

    def load(self) -> Any:
        """The rows: indexable, with their number as `num_rows`, or iterable where they stream."""
        ...


class Prepare(Protocol):
    """Makes a sample from an entry of the image column and the sample's number.

    Attributes:
        seed: of the run.
    """

    seed: int

    def __call__(self, picture: Any, position: int) -> dict[str, Any]: ...


class Samples:
    """Prepared pictures by sample number; what cannot be read ends the run, or is skipped.

    Args:
        source: names the column of the pictures, and says what happens when one is broken.
        rows: what it has loaded.
        prepare: makes a sample from a picture and its number.
    """

    def __init__(self, source: PictureSource, rows: Any, prepare: Prepare) -> None:
        self.rows, self.prepare = rows, prepare
        self.column, self.skip_broken = source.image_column, source.skip_broken

    def prepare_first(self, pictures: Iterator[Picture], most: int, position: int) -> dict[str, Any]:
        """Sample number `position`, made from the first of `pictures` that can be read, of at most `most`.

        Its `skipped` has a line for each picture before that one, with its name and what is wrong with it.

        Raises:
            BrokenPicture: a picture cannot be read, and none is to be skipped; or none of `most` can be read.
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

    def find_index(self, position: int) -> int:
        """The row of sample number `position`."""
        if isinstance(self.rows, Mixture):
            return self.rows.draw(np.random.default_rng([self.prepare.seed, 3, position]))
        epoch, within = divmod(position, len(self.rows))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.prepare.seed, 1, epoch]).permutation(len(self.rows))
        return int(self._order[within])

    def _picture(self, position: int) -> Picture:
        index = self.find_index(position)
        return name_picture(self.rows[index][self.column], f"picture {index} of the data")

    def __getitem__(self, position: int) -> dict[str, Any]:
        following = (self._picture(number) for number in itertools.count(position))
        return self.prepare_first(following, len(self.rows), position)


class StreamedSamples(Samples, IterableDataset):
    """The samples of one process from rows that can only be read from the start; `positions` gives their numbers."""

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
                yield pick_picture(row, number, self.column)
                number, row = next(rows)

        for position in self.positions():
            while number < position:
                number, row = next(rows)
            yield self.prepare_first(following(), MANY_BROKEN, position)


class Positions(Sequence[int]):
    """The sample numbers of process `rank` of `world` from `start` on: blocks of `batch`, dealt out in turn."""

    def __init__(self, start: int, batch: int, rank: int, world: int) -> None:
        self.start, self.batch, self.rank, self.world = start, batch, rank, world

    def __getitem__(self, i: int) -> int:  # type: ignore[override]
        block, within = divmod(i, self.batch)
        return self.start + (block * self.world + self.rank) * self.batch + within

    def __len__(self) -> int:
        return 2**31

    def __iter__(self) -> Iterator[int]:
        return (self[i] for i in itertools.count())


def read_batches(
    source: PictureSource,
    prepare: Prepare,
    *,
    batch_size: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    num_workers: int = 0,
) -> Iterator[dict[str, Any]]:
    """Endless batches of samples for process `rank` of `world`.

    Args:
        source: where the pictures come from.
        prepare: makes a sample from a picture.
        batch_size: samples of one process in a batch.
        start: sample number at which the run goes on: what all processes together have seen so far.
        num_workers: loader processes; a stream takes one at most, since its order is its position.

    Yields:
        `image` [B, 3, size, size] in [-1, 1], `position` [B], and what `prepare` adds.

    Raises:
        BrokenPicture: see `Samples.prepare_first`.
    """
    rows = source.load()
    positions = Positions(start, batch_size, rank, world)
    load = partial(DataLoader, batch_size=batch_size, drop_last=True, worker_init_fn=forget_a_gone_trainer)
    if hasattr(rows, "num_rows"):  # a table, not a stream
        samples: Dataset = IndexedSamples(source, rows, prepare)
        loader = load(samples, sampler=positions, num_workers=num_workers)
    else:
        samples = StreamedSamples(source, rows, prepare, lambda: iter(positions))
        loader = load(samples, num_workers=min(num_workers, 1))
    return _tell_skipped(loader)


def forget_a_gone_trainer(worker: int) -> None:
    """In a loader process: say nothing of a batch whose receiver is gone.

    Ctrl-C may end the trainer while it takes a batch out of shared memory. The thread that hands the batches out,
    Python's own, would report that with a traceback, as `sys.excepthook` does.
    """
    report = sys.excepthook

    def report_all_but_a_gone_trainer(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not isinstance(error, (ConnectionError, EOFError)):
            report(kind, error, trace)

    sys.excepthook = report_all_but_a_gone_trainer


def _tell_skipped(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """The batches of a loader, and on the terminal each picture that was skipped, once."""
    printed: set[str] = set()
    for batch in loader:
        for line in itertools.chain.from_iterable(text.splitlines() for text in batch.pop("skipped")):
            if line not in printed:
                printed.add(line)
                tqdm.write(f"skipped, {len(printed)} so far: {line}", file=sys.stderr)
        yield batch
