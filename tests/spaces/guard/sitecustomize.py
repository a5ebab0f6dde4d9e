"""On the path of a Space under test: packages that its requirements do not bring cannot be found."""

import os
import sys
from typing import Any


class Hiding:
    """A finder that does not find the top-level packages named in SPACE_MISSING."""

    names = frozenset(os.environ["SPACE_MISSING"].split(","))

    def __init__(self, finder: Any) -> None:
        self.finder = finder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        # None and no error: programs ask by `importlib.util.find_spec` whether a package is there.
        if name.partition(".")[0] in self.names:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
