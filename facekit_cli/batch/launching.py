"""`--processes N`: the batch starts so many processes of itself on this machine, without a launcher."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from facekit_cli.errors import UsageError

PROGRAM = (sys.executable, "-m", "facekit_cli.batch")
LAUNCHED = "FACEKIT_BATCH_LAUNCHED"  # environment variable of the processes that are started


def launch(processes: int, argv: Sequence[str]) -> int:
    """Run the batch in so many processes, of which each gets its share of the cores.

    Args:
        processes: 1 or more.
        argv: the command line; `--processes` in it is not looked at by those that are started.

    Returns:
        The exit code of the first one, which says how the whole run went; 1 where another one failed.

    Raises:
        UsageError: a launcher has started this process itself.
    """
    if "WORLD_SIZE" in os.environ:
        raise UsageError(
            "this process is one of a launch already; say its number there, and leave --processes out"
        )
    threads = max(1, (os.cpu_count() or 1) // processes)
    common = {
        LAUNCHED: "1",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_find_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    running = [
        subprocess.Popen(
            [*PROGRAM, *argv],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]

    def end(*given: object) -> None:
        for process in running:
            if process.poll() is None:
                process.terminate()

    before = signal.signal(signal.SIGTERM, end)
    try:
        codes = _wait(running, end)
    finally:
        signal.signal(signal.SIGTERM, before)
    return codes[0] if codes[0] > 0 else int(any(codes))


def _wait(running: Sequence[subprocess.Popen], end: Callable[[], None]) -> list[int]:
    """The exit codes of all; where one is lost the others, which would wait for it, are ended and write their records.

    With 2 all end by themselves: the command was wrong.
    """
    lost = False
    while any(process.poll() is None for process in running):
        with suppress(KeyboardInterrupt):  # Ctrl-C reached them as well, and they say so
            if not lost and any(process.returncode not in (None, 0, 2) for process in running):
                lost = True
                end()
            time.sleep(0.1)
    return [process.returncode for process in running]


def _find_port() -> int:
    """A free port, by which the processes find each other."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
