"""What a participant is shown: pictures of two or more methods for the same input, in a random order."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from facekit_cli.errors import UsageError
from facekit_cli.study.given import Given, list_files, open_given

Kind = Literal["2afc", "ranking", "best"]
QUESTION = "Which picture looks more real?"


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
        kind: "2afc" (which of two?), "ranking" (best to worst of all) or "best" (the best of all).
        question: the text above the pictures.
        files: picture -> method -> file.
        given: what the methods were given, shown above them; may be empty.
        count: questions for each participant; None: all.
        seed: of choice and order, together with the participant's name.
    """

    kind: Kind
    question: str
    files: dict[str, dict[str, Path]]
    given: tuple[Given, ...] = ()
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
        groups = list(combinations(self.methods, 2)) if self.kind == "2afc" else [self.methods]
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
    question: str = QUESTION,
    inputs: Sequence[str] = (),
    count: int | None = None,
    seed: int = 0,
) -> Study:
    """A study of folders `NAME=FOLDER` of outputs with common file names.

    Args:
        methods, inputs: with `*` for a folder's name, all folders that fit are taken, each a set of pictures of its
            own: `facekit evaluate` writes `outputs/METHOD/SET/NAME.png` and `SET/KIND/NAME.png`.
        inputs: see `open_given`.

    Raises:
        UsageError: fewer than two methods, a name twice, no such folder, no picture that all have, or something given
            that belongs to none of the pictures.
    """
    named: dict[str, dict[str, Path]] = {}
    for text in methods:
        name, separator, folder = text.partition("=")
        path = Path(folder if separator else name).expanduser()
        name = name if separator else path.name
        if name in named:
            raise UsageError(f"two methods are called {name}; say NAME=FOLDER")
        named[name] = list_files(path)
    if len(named) < 2:
        raise UsageError("a study compares two methods or more: NAME=FOLDER NAME=FOLDER")
    if count is not None and count < 1:
        raise UsageError(f"--count is {count}; it must be 1 or more")
    common = set.intersection(*(set(files) for files in named.values()))
    if not common:
        raise UsageError("no file name is in all the folders; outputs of the same input must be called alike")
    files = {stem: {name: named[name][stem] for name in named} for stem in sorted(common)}
    given = tuple(open_given(text, files) for text in inputs)
    captions = [one.caption for one in given]
    twice = next((caption for caption in captions if captions.count(caption) > 1), None)
    if twice is not None:
        raise UsageError(f"two --inputs are called {twice}; say NAME=FOLDER")
    return Study(kind, question, files, given, count, seed)
