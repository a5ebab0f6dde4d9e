"""Will a model fit into memory? Reckoned from the heads of its files, before anything is loaded."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types of its own

from facekit.notes import Argument, Refusal

# Bytes of a number, by the names of safetensors.
_WIDTHS = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
}
_LONGEST_HEAD = 100_000_000  # bytes, as in safetensors
_SPARE = 200_000_000  # bytes for the photo, features and all else that a call needs at least
_GROUP = Path("/sys/fs/cgroup")


def needed_memory(folder: str | os.PathLike, width: int | None = None) -> int:
    """Bytes of memory that loading a model folder takes at its peak.

    Args:
        folder: of a pipeline or a network.
        width: bytes of each number as it is loaded: 2 for float16; None: as it is stored. To narrower numbers networks
            are converted one after another, so that one of them is there in both.
    """
    stored, loaded = [], []
    for file in sorted(Path(folder).rglob("*.safetensors")):
        sizes = list(_sizes(file))
        stored.append(sum(count * own for count, own in sizes))
        loaded.append(sum(count * min(own, width or own) for count, own in sizes))
    passing = max((a - b for a, b in zip(stored, loaded, strict=True)), default=0)
    return sum(loaded) + passing


def free_memory() -> int:
    """Bytes that programs can still take: what the system has, or what is left of this group's share of it."""
    free = psutil.virtual_memory().available
    try:
        most, used = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return min(free, most - used + int(kept.get("inactive_file", 0)))
    except (OSError, ValueError):  # no such groups here, or no limit ("max")
        return free


def check_memory(folder: str | os.PathLike, name: str, width: int | None = None) -> None:
    """Refuse a model that does not fit into free memory, before it is loaded. Arguments as in `needed_memory`.

    Raises:
        Refusal: it does not fit; the message has both numbers and the way out.
    """
    needed, free = needed_memory(folder, width) + _SPARE, free_memory()
    if needed <= free:
        return
    half = needed_memory(folder, 2) + _SPARE
    other = "Close other programs, or take a smaller model, such as the bundled starter"
    raise Refusal(
        "memory",
        "the model {model} does not fit into memory: it needs about {needed}, and {free} are free",
        f"{other}; with {{dtype}} it needs {{half}}" if half < needed else other,
        otherwise=other,
        model=name,
        needed=format_bytes(needed),
        free=format_bytes(free),
        half=format_bytes(half),
        dtype=Argument("dtype", "float16"),
    )


def format_bytes(count: float) -> str:
    """A number of bytes for people, such as 2.3 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}" if unit == "GB" else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError


def _sizes(file: Path) -> Iterator[tuple[int, int]]:
    """Of each tensor of a safetensors file: how many numbers, and bytes of each. Nothing of a file that is damaged,
    of which loading has more to say."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            entries = json.loads(opened.read(length)) if length <= _LONGEST_HEAD else {}
        for key, entry in entries.items():
            if key != "__metadata__":
                yield math.prod(entry["shape"]), _WIDTHS.get(entry["dtype"], 1)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
