"""On the path of a Space under test: packages that its requirements do not bring cannot be imported."""

import os
import sys


class Missing:
    """Finder that refuses the top-level packages named in SPACE_MISSING."""

    names = frozenset(os.environ["SPACE_MISSING"].split(","))

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in cls.names:
            raise ModuleNotFoundError(f"No module named {name!r} in this Space", name=name)


sys.meta_path.insert(0, Missing)
