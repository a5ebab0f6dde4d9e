"""Angles of faces from a file: `CelebAMask-HQ-pose-anno.txt` as the data set has it, or CSV (thesis 5.3.2, 6.5.3)."""

import csv
import math
from pathlib import Path

import numpy as np

ANGLES = ("yaw", "pitch", "roll")
FILE_COLUMNS = ("file_name", "file", "name", "image")


def read_poses(file: Path) -> dict[str, np.ndarray]:
    """Yaw, pitch and roll in degrees, float64 [3], by `pose_key` of the pictures' names.

    The data set's text: a line with the number of pictures, a line that names the angles (yaw, pitch, and "raw", as it
    spells roll), then a line for each picture, such as `0.jpg -1.8 4.2 0.3`; the first two may be missing. A file that
    ends in .csv has a head with a column of file names and the columns yaw, pitch and roll.

    Raises:
        ValueError: a line that is none of these, the number of pictures wrong, a picture twice, or none at all.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the poses {file} cannot be read ({error})") from error
    rows = _read_csv(text, file) if file.suffix.lower() == ".csv" else _read_text(text, file)
    poses: dict[str, np.ndarray] = {}
    for place, name, angles in rows:
        key = pose_key(name)
        if key in poses:
            raise ValueError(f"{place}: {name} has angles already")
        try:
            numbers = [float(angle) for angle in angles]
        except ValueError:
            numbers = []
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            raise ValueError(f"{place}: yaw, pitch and roll of {name} must be three numbers, in degrees")
        poses[key] = np.array(numbers)
    if not poses:
        raise ValueError(f"{file} has no poses: a line for each picture, such as 0.jpg -1.8 4.2 0.3")
    return poses


def pose_key(name: str) -> str:
    """What a picture is found by: its name without folder and ending; of a number, without zeros before it.

    CelebAMask-HQ calls its pictures 0.jpg, while other copies of CelebA-HQ have 00000.png.
    """
    stem = Path(name).stem
    return str(int(stem)) if stem.isdecimal() else stem


def _read_text(text: str, file: Path) -> list[tuple[str, str, list[str]]]:
    """Place in the file, name, and the three angles as written, for each picture."""
    rows: list[tuple[str, str, list[str]]] = []
    announced, order = None, list(ANGLES)
    for number, line in enumerate(text.splitlines(), 1):
        fields, place = line.split(), f"{file}, line {number}"
        if not fields:
            continue
        named = [_angle_of(field) for field in fields]
        if not rows and announced is None and len(fields) == 1 and fields[0].isdecimal():
            announced = int(fields[0])
        elif not rows and set(ANGLES) <= set(named):
            order = [name for name in named if name in ANGLES]
        elif len(fields) == 4:
            angles = dict(zip(order, fields[1:], strict=True))
            rows.append((place, fields[0], [angles[name] for name in ANGLES]))
        else:
            raise ValueError(f"{place}: {line[:80]!r} is no picture with yaw, pitch and roll")
    if announced is not None and announced != len(rows):
        raise ValueError(f"{file} announces {announced} pictures and holds {len(rows)}; is it complete?")
    return rows


def _read_csv(text: str, file: Path) -> list[tuple[str, str, list[str]]]:
    lines = list(csv.reader(text.splitlines()))
    head = [_angle_of(field.strip()) for field in lines[0]] if lines else []
    named = [name for name in FILE_COLUMNS if name in head]
    if not named or not set(ANGLES) <= set(head):
        raise ValueError(
            f"{file} must begin with the names of its columns: one of {', '.join(FILE_COLUMNS)}, and yaw, pitch, roll"
        )
    columns = [head.index(name) for name in (named[0], *ANGLES)]
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        if len(line) < len(head):
            raise ValueError(f"{file}, line {number}: it has {len(line)} of {len(head)} columns")
        name, *angles = (line[column].strip() for column in columns)
        rows.append((f"{file}, line {number}", name, angles))
    return rows


def _angle_of(field: str) -> str:
    name = field.lower()
    return "roll" if name == "raw" else name
