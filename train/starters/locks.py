"""Locks on folders: one launch at a time, and no stage trained twice at once."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from train.starters.family import Family, StagePlan


def lock(folder: Path) -> int | None:
    """Lock a folder -> descriptor of the file `lock` in it; None where another process has locked it.

    The lock ends with the last process that has the descriptor, however that process ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def sign(descriptor: int, process: int) -> None:
    """Write into a lock the number of the process that holds it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(process).encode(), 0)


def read_signature(folder: Path) -> str:
    """Read who holds the lock of a folder, in words."""
    return f"process {(folder / 'lock').read_text() or 'unknown'}"


def lock_family(family: Family, plans: Sequence[StagePlan]) -> int:
    """Lock the output of a launch -> descriptor.

    Raises:
        OSError: another launch is at work there, or a stage that one left behind.
    """
    descriptor = lock(family.output)
    if descriptor is None:
        raise OSError(
            f"another launch is at work in {family.output} ({read_signature(family.output)}): wait for it, or stop it"
        )
    for plan in plans:
        if not plan.is_done:
            if (own := lock(plan.folder)) is None:
                raise OSError(describe_running(plan))
            os.close(own)
    sign(descriptor, os.getpid())
    return descriptor


def describe_running(plan: StagePlan) -> str:
    """Say that a stage of an earlier launch is still at work, and the way out."""
    return (
        f"stage {plan.name} is still being trained ({read_signature(plan.folder)}), since an earlier launch was "
        "killed without its stages: wait until it ends, or end it; then the same command goes on "
        f"(see {plan.folder})"
    )
