"""`python -m facekit_cli` is the `facekit` command."""

import sys

from facekit_cli.main import main

sys.exit(main())
