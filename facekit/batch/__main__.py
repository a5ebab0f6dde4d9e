"""`python -m facekit.batch`, alone or under `accelerate launch`."""

import sys

from facekit.batch.command import main

sys.exit(main())
