"""`python -m facekit_cli.batch`, alone or under `accelerate launch`."""

import sys

from facekit_cli.batch.command import main

sys.exit(main())
