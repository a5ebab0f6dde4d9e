"""What opens or looks at a photo of a visitor, and gives way to the photo that was chosen after it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(eq=False)
class Latest:
    """Which photo a visitor chose last; what is still under way for an earlier one is of no use.

    Attributes:
        name: of its file, which Gradio may have copied to another folder; None where there is none.
        number: how many were chosen or taken away so far.
        refused: the number of one that is to be taken away again; 0 for none.
    """

    name: str | None = None
    number: int = 0
    refused: int = 0

    def choose(self, path: str | None) -> None:
        """Another photo is there, or, with None, no file of one."""
        self.name, self.number = path and Path(path).name, self.number + 1

    def unless_late(self, work: Callable[[], list[Any]]) -> list[Any] | None:
        """What `work` gives for the photo; None where another one was chosen meanwhile, also if the work failed.

        Raises what `work` raises; the photo is to be taken away again then.
        """
        number = self.number
        try:
            updates = work()
        except Exception:
            if self.number != number:
                return None
            self.refused = number
            raise
        return updates if self.number == number else None

    def only_at(self, path: str | None, work: Callable[[], list[Any]]) -> list[Any] | None:
        """What `work` gives for the photo at `path`; None where another was chosen before or meanwhile."""
        return self.unless_late(work) if self.is_at(path) else None

    def is_at(self, path: str | None) -> bool:
        """Whether the photo at `path` is the one that was chosen last."""
        return path is not None and Path(path).name == self.name
