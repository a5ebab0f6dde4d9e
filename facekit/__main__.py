"""`python -m facekit` is the `facekit` command."""

import runpy

if __name__ == "__main__":
    runpy.run_module("facekit_cli", run_name="__main__", alter_sys=True)
