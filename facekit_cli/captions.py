"""Texts of pictures, as `facekit evaluate` and `facekit study` read them."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facekit_cli.errors import UsageError

CAPTION_KEYS = ("caption", "text", "overall_caption", "label")  # where a picture's text stands, in this order
TABLES = (".jsonl", ".json", ".csv")


def read_captions(path: Path) -> dict[str, str]:
    """Texts on one line each by the stems of pictures' names; what has no text is left out. Any of

        a folder of NAME.txt, as `--export-inputs` writes them
        a .jsonl file, a line {"file_name": "a.png", "caption": "..."} a picture, or another of `CAPTION_KEYS`
        a .csv file with the columns file_name and caption, or another of them
        a .json file with a list of such objects, or {"a.png": "..."}, or with such an object in place of the text, as
        CelebA-Dialog has them

    Raises:
        UsageError: none of these, or no text in it.
    """
    if not path.is_dir() and path.suffix not in TABLES:
        raise UsageError(f"{path} is neither a folder nor a table of captions ({', '.join(TABLES)})")
    try:
        if path.is_dir():
            texts = {file.stem: read_text(file) for file in sorted(path.glob("*.txt"))}
        else:
            rows = [row for row in _read_rows(path) if isinstance(row.get("file_name"), str)]
            texts = {Path(row["file_name"]).stem: caption_in(row) or "" for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: ", error) from error
    texts = {stem: " ".join(text.split()) for stem, text in texts.items() if text.strip()}
    if not texts:
        what = (
            "texts NAME.txt"
            if path.is_dir()
            else f"entries with file_name and one of {', '.join(CAPTION_KEYS)}"
        )
        raise UsageError(f"{path} has no {what}")
    return texts


def caption_in(said: Mapping[str, Any]) -> str | None:
    """The text among what is said of a picture; None where there is none."""
    found = (said.get(key) for key in CAPTION_KEYS)
    return next((text for text in found if isinstance(text, str) and text.strip()), None)


def read_text(file: Path) -> str:
    """A text file. UsageError for one that is no UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8") from error


def _read_rows(file: Path) -> list[Mapping[str, Any]]:
    text = read_text(file)
    if file.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    rows: Any
    if file.suffix == ".jsonl":
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        rows = json.loads(text)
    if isinstance(rows, dict):
        said = rows.items()
        rows = [{"file_name": name} | (it if isinstance(it, dict) else {"caption": it}) for name, it in said]
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
