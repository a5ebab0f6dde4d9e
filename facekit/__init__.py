"""facekit: diffusers-style pipelines for editing face photos.

The public names, and what makes diffusers load them, are in `facekit/public.py`.
"""

import sys
from pathlib import Path

__version__ = "0.1.0"

# Torch and diffusers take seconds to import. facekit's commands must answer `--help` and wrong arguments at
# once, so in their processes alone the public names are imported when one of them is first asked for.
_program = sys.argv[0] if sys.argv else ""
_commands = {"facekit", "facekit.batch", "facekit.evaluation"}
if Path(_program).stem == "facekit" or (_program == "-m" and not _commands.isdisjoint(sys.orig_argv)):
    from importlib.util import find_spec

    def __getattr__(name: str) -> object:
        # Python asks for a submodule here before it imports it.
        if name.startswith("_") or find_spec(f"facekit.{name}") is not None:
            raise AttributeError(f"module 'facekit' has no attribute {name!r}")
        from facekit import public

        return getattr(public, name)

else:
    from facekit.public import *  # noqa: F403
