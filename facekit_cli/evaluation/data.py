"""The pictures of an evaluation: a folder, or a split of it, read at one size."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from facekit.images.photo import as_uint8, load_image
from facekit_cli.errors import UsageError
from facekit_cli.photos import list_pictures


@dataclass(frozen=True, eq=False)
class Pictures:
    """A collection.

    Attributes:
        name: head of its columns where there are several.
        folder: where the pictures lie.
        files: the pictures, by name.
        size: side S they are read at.
        metadata: lines of `metadata.jsonl` by stem; empty where there is none.
        maps: semantic maps (gray, class numbers) by stem.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]
    size: int
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    maps: dict[str, Path] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> np.ndarray:
        """Picture `index`, uint8 [S, S, 3]."""
        return _kept_square(self.files[index], self.size)

    def labels(self, index: int) -> np.ndarray | None:
        """Its semantic map, uint8 [S, S], class numbers of `CLASS_NAMES`; None where there is none."""
        file = self.maps.get(self.files[index].stem)
        if file is None:
            return None
        labels = np.asarray(Image.open(file))
        if labels.ndim != 2:
            raise ValueError(f"{file} must be a gray picture of class numbers, not {list(labels.shape)}")
        return cv2.resize(labels, (self.size, self.size), interpolation=cv2.INTER_NEAREST)

    def said(self, index: int) -> dict[str, Any]:
        """What the metadata says of picture `index`."""
        return self.metadata.get(self.files[index].stem, {})


def read_square(file: Path, size: int) -> np.ndarray:
    """A picture as uint8 [size, size, 3], resized whole as the thesis does; read-only."""
    pixels = as_uint8(load_image(file).rgb)
    if pixels.shape[:2] != (size, size):
        shrinks = min(pixels.shape[:2]) > size
        pixels = cv2.resize(
            pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        )
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    return pixels


_kept_square = lru_cache(maxsize=256)(read_square)  # many sets of inputs begin with the same pictures


def open_pictures(
    argument: str,
    split: str | None,
    size: int,
    count: int | None = None,
    captions: Mapping[str, str] | None = None,
) -> Pictures:
    """A collection from `FOLDER` or `NAME=FOLDER`.

    Args:
        argument: the folder; its pictures lie in it or in its subfolder `split`.
        split: name of the subfolder; where it is not there the folder itself is read.
        size: side of the pictures.
        count: only the first so many, by name.
        captions: texts by stem, which prevail over those of the metadata.

    Raises:
        UsageError: no such folder, no pictures, or two of one stem.
    """
    name, separator, path = argument.partition("=")
    root = Path(path if separator else argument).expanduser()
    if not root.is_dir():
        raise UsageError(f"--data {root} is no folder")
    folder = root / split if split and (root / split).is_dir() else root
    files = list_pictures(folder)[:count]
    if not files:
        splits = sorted(child.name for child in root.iterdir() if child.is_dir())
        there = f"; there are the folders {', '.join(splits)}: say --split" if splits else ""
        raise UsageError(f"{folder} holds no pictures{there}")
    if len({file.stem for file in files}) < len(files):
        raise UsageError(f"two pictures in {folder} differ only in their ending")
    said = _metadata(folder)
    for stem, text in (captions or {}).items():
        said[stem] = said.get(stem, {}) | {"caption": text}
    return Pictures(
        name if separator else root.name,
        folder,
        tuple(files),
        size,
        said,
        _semantic_maps(root, folder.name),
    )


def reference_files(argument: str | None, data: Sequence[Pictures]) -> dict[str, list[Path]]:
    """Real pictures for the unpaired FID of each collection: `--reference`, or `train` beside the split."""
    if argument is not None:
        files = list_pictures(Path(argument)) if Path(argument).is_dir() else []
        if not files:
            raise UsageError(f"--reference {argument} is no folder of pictures")
        return {pictures.name: files for pictures in data}
    found = {}
    for pictures in data:
        train = pictures.folder.parent / "train"
        if train.is_dir() and train != pictures.folder:
            found[pictures.name] = list_pictures(train)
    return {name: files for name, files in found.items() if files}


def _metadata(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "metadata.jsonl"
    if not file.is_file():
        return {}
    lines = (json.loads(line) for line in file.read_text().splitlines() if line.strip())
    return {Path(line["file_name"]).stem: line for line in lines if "file_name" in line}


def _semantic_maps(root: Path, split: str) -> dict[str, Path]:
    for folder in (root / "semantic" / split, root / "semantic"):
        files = list_pictures(folder) if folder.is_dir() else []
        if files:
            return {file.stem: file for file in files}
    return {}
