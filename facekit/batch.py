"""`python -m facekit.batch`, as the module was called in version 0.1: it is `facekit_cli.batch` now."""

import runpy
import sys

if __name__ == "__main__":
    print("facekit.batch is now facekit_cli.batch; the old name goes with version 0.3", file=sys.stderr)
    runpy.run_module("facekit_cli.batch", run_name="__main__", alter_sys=True)
