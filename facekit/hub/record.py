"""What a folder that was made of published weights says of its origin; labels of results repeat it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

RECORD = "published.json"


@dataclass(frozen=True)
class Record:
    """Where a converted folder comes from.

    Attributes:
        name: of `facekit.hub.published`.
        origin: the Hub id, page or folder that its files came from.
        revision: commit on the Hub; None for files from elsewhere.
        terms: of the weights.
        made: seconds since 1970.
        digests: SHA-256 of the files, by name.
    """

    name: str
    origin: str
    revision: str | None
    terms: str
    made: float
    digests: dict[str, str]


def read_record(folder: str | os.PathLike) -> Record | None:
    """The record in a folder that was made of published weights; None in any other."""
    try:
        return Record(**json.loads(Path(folder, RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None
