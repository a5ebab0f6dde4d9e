"""Calls of `facekit evaluate` on small pictures."""

import json
from pathlib import Path

from facekit_cli.main import main

SIZE = 64


def evaluate(*arguments: object) -> int:
    """`facekit evaluate` on 64-pixel pictures, on the CPU."""
    return main(["evaluate", *(str(a) for a in arguments), "--size", str(SIZE), "--device", "cpu"])


def read_report(folder: Path) -> dict:
    """The table's JSON."""
    return json.loads((folder / "table.json").read_text())
