"""`python -m facekit.evaluation` is `facekit evaluate`: what `accelerate launch -m` can start."""

import sys

from facekit.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
