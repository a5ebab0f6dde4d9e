"""Pictures and their label maps, changed together."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.conditions.semantics import MIRRORED
from train.data.images import ImageSource, fit_square, read_picture, to_tensor
from train.parser.config import ParserConfig

UNLABELLED = -1  # in these int16 maps, which losses leave out; files have 255


@dataclass
class Pair:
    """Files of a picture and its map, and how far the map is trusted (0..1)."""

    picture: Path
    labels: Path
    score: float

    def read(self, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The picture, uint8 `[H, W, 3]`, and its map, int16 `[H, W]`, -1 where unlabelled.

        With `size` the middle square of both, scaled to that side.

        Raises:
            ValueError: the map has another size than the picture, or is no one-channel picture.
        """
        picture, labels = read_picture(self.picture), Image.open(self.labels)
        if labels.mode not in ("L", "P") or labels.size != picture.size:
            raise ValueError(
                f"{self.labels}: a label map has one 8-bit channel and its picture's size "
                f"{picture.size}; this one is {labels.mode} {labels.size}"
            )
        indices = Image.fromarray(np.asarray(labels))
        if size is not None:
            side = min(picture.size)
            box = [(length - side) // 2 for length in picture.size]
            indices = indices.crop((*box, box[0] + side, box[1] + side))
            indices = indices.resize((size, size), Image.Resampling.NEAREST)
            picture = Image.fromarray(fit_square(picture, size, None))
        values = np.asarray(indices).astype(np.int16)
        values[values >= len(MIRRORED)] = UNLABELLED
        return np.asarray(picture), values


class PairSource:
    """The pictures of a split whose maps are good enough, as `train.data.samples.read_batches` reads them.

    Raises:
        ValueError: no picture is left, one has no score, or they come as a stream.
        OSError: a map or the file of scores is missing.
    """

    image_column = "pair"

    def __init__(self, config: ParserConfig, data: str, split: str, exclude: dict[str, list[Any]]) -> None:
        root = Path(data)
        source = ImageSource(
            data,
            split,
            exclude=exclude,
            image_column=config.image_column,
            seed=config.seed,
            shots=config.shots,
        )
        if source.streams:
            raise ValueError(
                f"label maps are found by a picture's place in a folder; {data} is read as a stream"
            )
        rows = source.load()
        folder = Path(config.labels) if config.labels is not None else root / "semantic"
        scores = read_scores(config.scores, root / "semantic.jsonl")
        self.skip_broken = config.skip_broken
        self.pairs = []
        for row in rows:
            within = find_place(root, Path(row[config.image_column]["path"]))
            score = 1.0
            if scores is not None:
                if within.as_posix() not in scores:
                    raise ValueError(f"{within.as_posix()} has no score; say --scores none to trust all maps")
                score = scores[within.as_posix()]
            if score >= config.min_score:
                self.pairs.append(Pair(root / within, find_map(folder, within), score))
        if not self.pairs:
            raise ValueError(f"no map of {data} ({split}) has a score of {config.min_score} or more")

    num_rows = property(lambda self: len(self.pairs))

    def load(self) -> "PairSource":
        return self

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Pair]:
        return {self.image_column: self.pairs[index]}


def find_place(root: Path, picture: Path) -> Path:
    """Find a picture's path within the folder `root`, where the datasets library may name a copy of the same data.

    Raises:
        OSError: it is not there.
    """
    for start in range(1, len(picture.parts)):
        within = Path(*picture.parts[start:])
        if (root / within).is_file():
            return within
    raise OSError(f"{picture} is not in {root}")


def read_scores(given: str | None, usual: Path) -> dict[str, float] | None:
    """The scores of maps by file name, of the file `given`, else of `usual`; None where all maps are trusted."""
    if given == "none" or (given is None and not usual.exists()):
        return None
    lines = (Path(given) if given is not None else usual).read_text().splitlines()
    return {row["file_name"]: float(row["score"]) for row in map(json.loads, lines)}


def find_map(folder: Path, picture: Path) -> Path:
    """The map's file of a picture, by the picture's path within the data or its name alone. Raises OSError."""
    for candidate in (folder / picture.with_suffix(".png"), folder / f"{picture.stem}.png"):
        if candidate.is_file():
            return candidate
    raise OSError(f"no label map {folder / picture.with_suffix('.png')} for {picture}")


class PairPreparation:
    """Makes a sample of a pair, mirrored, moved and recoloured at random.

    Its parts: `image` [3, S, S] in [-1, 1], `labels` int64 [S, S] (-1 where unlabelled), `score`, `position`.
    """

    def __init__(self, size: int, config: ParserConfig) -> None:
        self.size, self.config, self.seed = size, config, config.seed

    def __call__(self, pair: Pair, position: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, position])
        pixels, labels = pair.read()
        if self.config.flip and rng.random() < 0.5:
            pixels, labels = mirror(pixels, labels)
        pixels, labels = self.move(pixels, labels, rng)
        pixels = recolour(pixels, rng, self.config.colour)
        if rng.random() < self.config.blur:
            pixels = soften(pixels, rng)
        return {
            "image": to_tensor(pixels),
            "labels": torch.from_numpy(labels.astype(np.int64)),
            "score": np.float32(pair.score),
            "position": position,
        }

    def move(
        self, pixels: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Transform both by the same random similarity, to the training size; what it uncovers is unlabelled."""
        config = self.config
        height, width = labels.shape
        factor = config.scale ** rng.uniform(-1, 1) * self.size / min(height, width)
        turn = rng.uniform(-config.turn, config.turn)
        shift = rng.uniform(-config.shift, config.shift, 2) * self.size
        # Twice the size for the picture, which is then averaged down: sharp, without aliasing.
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, factor)
        matrix[:, 2] += (self.size - 1) / 2 - np.array([width - 1, height - 1]) / 2 + shift
        doubled = matrix * 2
        doubled[:, 2] += 0.5
        picture = cv2.warpAffine(
            pixels, doubled, (2 * self.size,) * 2, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        moved = cv2.warpAffine(
            labels, matrix, (self.size,) * 2, flags=cv2.INTER_NEAREST, borderValue=UNLABELLED
        )
        return cv2.resize(picture, (self.size,) * 2, interpolation=cv2.INTER_AREA), moved


def mirror(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror picture and map; left parts become right ones."""
    swapped = np.array([*MIRRORED, UNLABELLED], np.int16)[labels]  # -1 takes the last
    return np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(swapped[:, ::-1])


def recolour(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Change gamma, contrast, saturation, tint and light of a picture uint8 `[H, W, 3]` at random; `strength` 0..1."""
    x = pixels.astype(np.float32) / 255
    x = x ** np.float32(np.exp(strength * rng.uniform(-0.4, 0.4)))
    mean = x.mean()
    x = mean + (x - mean) * np.float32(1 + strength * rng.uniform(-0.4, 0.4))
    grey = x.mean(2, keepdims=True)
    saturation = 0 if rng.random() < 0.05 * strength else 1 + strength * rng.uniform(-0.5, 0.5)
    x = grey + (x - grey) * np.float32(saturation)
    x = x * (1 + strength * rng.uniform(-0.15, 0.15, 3)).astype(np.float32)
    x = x + np.float32(strength * rng.uniform(-0.15, 0.15))
    return np.rint(x.clip(0, 1) * 255).astype(np.uint8)


def soften(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur a picture uint8 `[H, W, 3]` by a sigma of up to a sixtieth of its height, then add a little noise.

    So look small photos, and faces that networks made.
    """
    sigma = rng.uniform(0.3, max(pixels.shape[0] / 60, 0.4))
    x = cv2.GaussianBlur(pixels, (0, 0), sigma).astype(np.float32)
    x += rng.normal(0, rng.uniform(0, 6), x.shape)
    return np.rint(x.clip(0, 255)).astype(np.uint8)


def weigh_classes(source: PairSource, balance: float, largest: float, sample: int = 300) -> Tensor:
    """The weight of each class `[C]`, by its share of the pixels of some maps; the mean over pixels is 1.

    Args:
        balance, largest: see `train.parser.config.ParserConfig`.
        sample: number of maps that are counted, spread over all.
    """
    counts = np.zeros(len(MIRRORED))
    for index in np.linspace(0, len(source) - 1, min(sample, len(source))).astype(int):
        labels = source.pairs[index].read()[1]
        counts += np.bincount(labels[labels >= 0], minlength=len(counts))
    share = np.maximum(counts / counts.sum(), 1e-9)
    weights = np.minimum(share**-balance, largest * share.max() ** -balance)
    return torch.from_numpy(weights / (weights * share).sum()).float()
