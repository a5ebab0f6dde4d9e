"""Labels of pictures or codes: rows of a JSON-lines file, and their columns."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_labels(path: str | Path) -> list[dict[str, Any]]:
    """Read the rows of a file of JSON lines.

    Raises:
        ValueError: a line is no JSON object, or there is none.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: no JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: a JSON object with columns is expected")
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def read_column(rows: list[dict[str, Any]], name: str) -> Tensor:
    """Read the values [M] of a column, NaN where a row has none.

    Raises:
        ValueError: no row has one, or there is one that is neither a number nor true or false.
    """
    values = [row.get(name) for row in rows]
    if all(value is None for value in values):
        known = sorted({key for row in rows for key in row})
        raise ValueError(f"no row has a value in the column {name!r}; columns: {', '.join(known)}")
    wrong = next((v for v in values if v is not None and not isinstance(v, (bool, int, float))), None)
    if wrong is not None:
        raise ValueError(f"the column {name!r} holds {wrong!r}; numbers, true, false and null are expected")
    return torch.tensor([float("nan") if value is None else float(value) for value in values])
