"""A facekit command whose process ends itself with SIGKILL while a file is half-written.

`KILL_IN_WRITE=2 python killed_in_a_write.py facekit|batch ARGUMENTS`: in the second write; under a launcher,
and with `--processes N`, in the process of rank 1 only.
"""

import os
import signal
import sys

left = int(os.environ["KILL_IN_WRITE"])
whole_fsync = os.fsync


def fsync_or_die(descriptor: int) -> None:
    global left
    if os.environ.get("RANK", "1") == "1":
        left -= 1
        if left == 0:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    whole_fsync(descriptor)


if __name__ == "__main__":
    os.fsync = fsync_or_die
    if sys.argv[1] == "batch":
        from facekit_cli.batch import launching
        from facekit_cli.batch.command import main

        launching.PROGRAM = (sys.executable, __file__, "batch")
    else:
        from facekit_cli.main import main
    sys.exit(main(sys.argv[2:]))
