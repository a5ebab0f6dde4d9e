"""`python -m facekit_cli.evaluation` is `facekit evaluate`: what `accelerate launch -m` can start."""

import sys

from facekit_cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
