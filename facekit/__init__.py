"""facekit: diffusers-style pipelines for editing face photos.

The public names, and what makes diffusers load them, are in `facekit/public.py`.
"""

import sys
from pathlib import Path

__version__ = "0.1.0"

# Torch and diffusers take seconds to import. The `facekit` command must answer `--help` and wrong arguments
# at once, so in its process alone the public names are imported when one of them is first asked for.
if Path(sys.argv[0] if sys.argv else "").stem == "facekit":

    def __getattr__(name: str) -> object:
        # Every public name is a class; anything else asked for is a submodule or a mistake.
        if not name[:1].isupper():
            raise AttributeError(f"module 'facekit' has no attribute {name!r}")
        from facekit import public

        return getattr(public, name)

else:
    from facekit.public import *  # noqa: F403
