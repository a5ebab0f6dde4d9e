"""facekit: diffusers-style pipelines for editing face photos.

The public names are in `facekit/public.py`. Torch and diffusers, which take seconds to import, are imported when one
of them is first asked for: `facekit --help`, wrong arguments and the parts that only read pictures answer at once.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from facekit._on_import import watch_imports
from facekit.version import __version__ as __version__

if TYPE_CHECKING:
    from facekit.public import *  # noqa: F403


def __getattr__(name: str) -> object:
    """A public name, imported with all others at the first request."""
    # Python asks for a submodule here before it imports it.
    if (name.startswith("_") and name != "__all__") or find_spec(f"facekit.{name}") is not None:
        raise AttributeError(f"module 'facekit' has no attribute {name!r}")
    from facekit import public

    value = getattr(public, name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    from facekit import public

    return sorted({*globals(), *public.__all__})


watch_imports()
