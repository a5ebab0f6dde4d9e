"""What a participant is shown: pictures of two or more methods for the same input, in a random order."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from facekit_cli.errors import UsageError
from facekit_cli.photos import list_pictures

Kind = Literal["2afc", "ranking"]


@dataclass(frozen=True)
class Question:
    """One comparison.

    Attributes:
        picture: file name without ending, the same for all methods.
        methods: in the order they are shown, from the left.
    """

    picture: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """The material.

    Attributes:
        kind: "2afc" (which of two?) or "ranking" (best to worst of all).
        question: the text above the pictures.
        files: picture -> method -> file.
        inputs: picture -> what was given, shown beside; may be empty.
        count: questions for each participant; None: all.
        seed: of choice and order, together with the participant's name.
    """

    kind: Kind
    question: str
    files: dict[str, dict[str, Path]]
    inputs: dict[str, Path]
    count: int | None = None
    seed: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods, as they were named."""
        return tuple(next(iter(self.files.values())))

    def questions_for(self, participant: str) -> list[Question]:
        """Questions of a participant: always the same ones, in the same order, for the same name.

        2AFC asks about every pair of methods, equally often; each pair's left and right are drawn anew.
        """
        rng = np.random.default_rng([self.seed, zlib.crc32(participant.encode())])
        groups = [self.methods] if self.kind == "ranking" else list(combinations(self.methods, 2))
        decks = [[self.pictures[i] for i in rng.permutation(len(self.pictures))] for _ in groups]
        questions = [
            Question(deck[place], tuple(group[i] for i in rng.permutation(len(group))))
            for place in range(len(self.pictures))
            for group, deck in zip(groups, decks, strict=True)
        ]
        chosen = questions[: self.count]
        return [chosen[i] for i in rng.permutation(len(chosen))]

    @property
    def pictures(self) -> list[str]:
        """All pictures, by name."""
        return sorted(self.files)


def open_study(
    methods: Sequence[str],
    kind: Kind = "2afc",
    question: str = "Which picture looks more real?",
    inputs: Path | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Study:
    """A study of folders `NAME=FOLDER` of outputs with common file names.

    Raises:
        UsageError: fewer than two methods, a name twice, no such folder, no picture that all have.
    """
    named: dict[str, dict[str, Path]] = {}
    for text in methods:
        name, separator, folder = text.partition("=")
        path = Path(folder if separator else name).expanduser()
        name = name if separator else path.name
        if name in named:
            raise UsageError(f"two methods are called {name}; say NAME=FOLDER")
        named[name] = _files(path)
    if len(named) < 2:
        raise UsageError("a study compares two methods or more: NAME=FOLDER NAME=FOLDER")
    if count is not None and count < 1:
        raise UsageError(f"--count is {count}; it must be 1 or more")
    common = set.intersection(*(set(files) for files in named.values()))
    if not common:
        raise UsageError("no file name is in all the folders; outputs of the same input must be called alike")
    files = {stem: {name: named[name][stem] for name in named} for stem in sorted(common)}
    shown = {} if inputs is None else {s: f for s, f in _files(inputs).items() if s in common}
    return Study(kind, question, files, shown, count, seed)


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    files = {file.stem: file for file in list_pictures(folder)}
    if not files:
        raise UsageError(f"{folder} holds no pictures")
    return files
