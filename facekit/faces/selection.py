"""Which faces of a photo are meant: "all", "largest", or numbers from left to right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from facekit.faces.detect import Face


def parse_selection(text: str, name: str = "faces") -> str | list[int]:
    """What somebody typed, "all", "largest" or numbers such as "0,2", as `detect_faces` takes it.

    `name` is what messages call it.

    Raises:
        ValueError: none of these.
    """
    if text in ("all", "largest"):
        return text
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} is {text!r}; say all, largest, or numbers such as 0,2") from None


def check_selection(faces: str | Sequence[int]) -> None:
    """Raise ValueError unless `faces` is "all", "largest" or a sequence of indices."""
    wrong = ValueError(f'faces must be "all", "largest" or a list of indices from 0, got {faces!r}')
    if isinstance(faces, str):
        if faces not in ("all", "largest"):
            raise wrong
    elif not isinstance(faces, Sequence) or not all(
        isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in faces
    ):
        raise wrong


def select_faces(found: "Sequence[Face]", faces: str | Sequence[int]) -> "list[Face]":
    """The faces that are asked for, of those that were found from left to right.

    Args:
        found: all faces of the photo, `index` counting from 0.
        faces: "all", "largest", or the indices wanted, in the order wanted.

    Raises:
        ValueError: another word, or an index that the photo does not have.
    """
    check_selection(faces)
    if faces == "all":
        return list(found)
    if isinstance(faces, str):  # "largest"
        return [max(found, key=lambda face: face.area)] if found else []
    missing = [int(index) for index in faces if not 0 <= index < len(found)]
    if missing:
        count = "1 face" if len(found) == 1 else f"{len(found) or 'no'} faces"
        way_out = "try a lower min_size or min_score"
        if found:
            way_out = "choose face 0" if len(found) == 1 else f"choose from 0 to {len(found) - 1}"
        raise ValueError(f"face {missing[0]} was asked for, but the photo has {count}; {way_out}")
    return [found[index] for index in dict.fromkeys(int(index) for index in faces)]
