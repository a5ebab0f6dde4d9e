"""How long a run will take, told before it: from the last runs in this process, at first from a rough rate."""

import math
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image

from facekit_demo.common.models import model_title
from facekit_demo.common.running import default_device, model_source

# Of starters, of the whole call with its settings as they come: seconds, and more for each megapixel, on two
# processor cores. Of a published model the first guess is too low.
ROUGH = {
    "restore": (2.0, 0.5),
    "inpaint": (1.5, 0.4),
    "exemplar": (3.0, 0.6),
    "edit": (2.0, 0.6),
    "mend": (6.0, 0.3),
}
OTHERWISE = (3.0, 0.6)
ON_GPU = 0.3  # of those seconds
KEPT_RUNS = 5  # of each size; one slow run among them says nothing
DEVICES = {"cpu": "the processor", "cuda": "the graphics card", "mps": "the graphics card"}

# Task, model and size of the photo in doublings of a megapixel -> seconds of the last runs.
_runs: dict[tuple[str, str, int], deque[float]] = defaultdict(lambda: deque(maxlen=KEPT_RUNS))
_writing = Lock()


@contextmanager
def timed_run(task: str, size: tuple[int, int], model: str | None = None) -> Iterator[None]:
    """Remember how long what is inside took on a photo of `size` by a model (see `model_source`), unless it fails."""
    began = time.monotonic()
    yield
    with _writing:
        _runs[_key(task, size, model)].append(time.monotonic() - began)


def expected_seconds(task: str, size: tuple[int, int], model: str | None = None) -> float:
    """How long a run of the tab on a photo of `size` takes: the median of the last ones, or a rough guess."""
    with _writing:
        runs = list(_runs.get(_key(task, size, model), ()))
    if runs:
        return statistics.median(runs)
    base, rate = ROUGH.get(task, OTHERWISE)
    return (base + rate * math.prod(size) / 1e6) * (1.0 if default_device() == "cpu" else ON_GPU)


def expectation(task: str, path: str | None, model: str | None = None) -> str:
    """A line for people: model, device and seconds for the photo at `path`; empty where there is none."""
    size = _size_of(path)
    if size is None:
        return ""
    seconds, name = expected_seconds(task, size, model), model_title(model_source(task, model))
    return f"Takes about {_rounded(seconds)} on {DEVICES[default_device()]} (model {name})."


def _rounded(seconds: float) -> str:
    if seconds >= 90:
        return f"{seconds / 60:.0f} minutes"
    whole = max(1, round(seconds) if seconds < 10 else 5 * round(seconds / 5))
    return f"{whole} second{'s' * (whole > 1)}"


def _key(task: str, size: tuple[int, int], model: str | None) -> tuple[str, str, int]:
    return task, model_source(task, model), round(math.log2(max(math.prod(size), 1) / 1e6))


def _size_of(path: str | None) -> tuple[int, int] | None:
    """Of the file's head alone; None where it is no picture that can be told from it."""
    if not path:
        return None
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
