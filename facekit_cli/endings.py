"""How a command ends when its reader or its user has gone: quietly, with the exit code that shells give."""

import os
import sys
from collections.abc import Callable

INTERRUPTED = 130  # 128 and the number of SIGINT
NO_READER = 141  # 128 and the number of SIGPIPE


def run_to_end(run: Callable[[], int], interrupted: str) -> int:
    """The exit code of `run`; with Ctrl-C it is 130 after the line `interrupted`, and 141 where no one reads what it
    prints any more (`| head -1`)."""
    try:
        try:
            # Names of files may hold what the terminal cannot show.
            if hasattr(sys.stdout, "reconfigure"):
                sys.stdout.reconfigure(errors="backslashreplace")
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter writes what is left when it ends, and would complain once more.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return NO_READER
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":  # of the processes of a launch one speaks
            print(interrupted, file=sys.stderr)
        return INTERRUPTED
