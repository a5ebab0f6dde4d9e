"""What is shown above the methods' pictures: pictures, label maps and words that they were given, or the truth."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from facekit_cli.captions import read_captions, read_text
from facekit_cli.errors import UsageError
from facekit_cli.photos import list_pictures

Found = TypeVar("Found")


@dataclass(frozen=True)
class Given:
    """One thing that is given, for each picture that has it.

    Attributes:
        caption: what stands below it.
        files: picture -> file; empty for words.
        words: picture -> text; empty for pictures.
        maps: the files are maps of class numbers, to be painted in colours.
    """

    caption: str
    files: dict[str, Path]
    words: dict[str, str]
    maps: bool = False

    def __contains__(self, picture: str) -> bool:
        return picture in self.files or picture in self.words


def open_given(text: str, pictures: Iterable[str]) -> Given:
    """What `CAPTION=PLACE`, or the place alone, gives of these pictures.

    Args:
        text: the place is a folder of pictures or of .txt files with the pictures' names, or a table of captions, see
            `facekit_cli.captions.read_captions`. Without CAPTION the place's name.
        pictures: their names, SET/NAME where there are sets. What has no set is shown in all of them.

    Raises:
        UsageError: no such place, one of another kind, or nothing in it belongs to a picture.
    """
    name, separator, place = text.partition("=")
    path = Path(place if separator else name).expanduser()
    caption = name if separator else path.stem
    files: dict[str, Path] = {}
    words: dict[str, str] = {}
    if path.is_file():
        words = _pick(read_captions(path), pictures)
    else:
        written = _list_all(path, "*.txt")
        if written:
            words = _pick({name: read_text(file).strip() for name, file in written.items()}, pictures)
        else:
            files = _pick(list_files(path), pictures)
    if not files and not words:
        raise UsageError(f"nothing in {path} has the name of a picture, {next(iter(pictures))} for example")
    return Given(caption, files, words, _hold_labels(files.values()))


def list_files(path: Path) -> dict[str, Path]:
    """Pictures by name without ending, by SET/NAME where `*` stands for the set in the path. UsageError for none."""
    found = _list_all(path)
    if not found:
        raise UsageError(f"{path} holds no pictures")
    return found


def _list_all(path: Path, pattern: str | None = None) -> dict[str, Path]:
    return {
        f"{key}/{file.stem}".lstrip("/"): file
        for key, folder in _find_folders(path).items()
        for file in (list_pictures(folder) if pattern is None else sorted(folder.glob(pattern)))
    }


def _find_folders(path: Path) -> dict[str, Path]:
    """The folders that a path with stars means, by what the stars stand for; without stars the path itself, by ""."""
    if "*" not in path.parts:
        if not path.is_dir():
            raise UsageError(f"{path} is no folder")
        return {"": path}
    first = path.parts.index("*")
    root, wanted = Path(*path.parts[:first]), path.parts[first:]
    found = {}
    for folder in sorted(root.glob("/".join(wanted))):
        if folder.is_dir():
            parts = zip(folder.relative_to(root).parts, wanted, strict=True)
            found["/".join(part for part, want in parts if want == "*")] = folder
    if not found:
        raise UsageError(f"no folder fits {path}")
    return found


def _pick(found: Mapping[str, Found], pictures: Iterable[str]) -> dict[str, Found]:
    """Of each picture what is found under its whole name, else under its name without the set."""
    chosen = {}
    for picture in pictures:
        for name in (picture, picture.rpartition("/")[2]):
            if name in found:
                chosen[picture] = found[name]
                break
    return chosen


def _hold_labels(files: Iterable[Path]) -> bool:
    """Whether gray pictures hold class numbers, which would look black: nothing but these, and more than 0 and 255."""
    seen: set[int] = set()
    for file in files:
        with Image.open(file) as image:
            if image.mode != "L":
                return False
            seen |= set(np.unique(np.asarray(image)).tolist())
    if not seen - {0, 255}:  # masks and sketches; the next import takes seconds
        return False
    from facekit.conditions.semantics import NUM_CLASSES, UNLABELLED

    return seen <= {*range(NUM_CLASSES), UNLABELLED}


def open_picture(file: Path, maps: bool) -> Image.Image:
    """A picture in RGB; maps of class numbers in the colours of the palette."""
    with Image.open(file) as image:
        if not maps:
            return image.convert("RGB")
        from facekit.conditions.semantics import paint

        return Image.fromarray(paint(np.asarray(image)))
