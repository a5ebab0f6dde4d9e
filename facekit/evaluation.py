"""`python -m facekit.evaluation`, as the module was called in version 0.1: it is `facekit_cli.evaluation` now."""

import runpy
import sys

if __name__ == "__main__":
    print(
        "facekit.evaluation is now facekit_cli.evaluation; the old name goes with version 0.3",
        file=sys.stderr,
    )
    runpy.run_module("facekit_cli.evaluation", run_name="__main__", alter_sys=True)
