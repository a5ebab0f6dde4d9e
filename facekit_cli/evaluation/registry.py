"""Every table and figure of the thesis that has measurements, by name: what fills it, draws it, or makes it elsewhere.

An entry has a name and a title, and is one of three:

    Table      filled from pictures by `facekit evaluate`, see `tables.py`
    Figure     made by a module of its own
    Elsewhere  made by another command, which it names
"""

import re
from dataclasses import dataclass

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.tables import TABLES, Table


@dataclass(frozen=True)
class Figure:
    """A figure that is no table.

    Attributes:
        name: as the command takes it, such as "fig-3.8".
        title: what the thesis shows there.
        module: has `draw(args) -> int`, which gets the options of `facekit evaluate`, refuses with `UsageError` before
            any work, writes into `args.output`, and returns the exit code. Imported when the figure is asked for.
    """

    name: str
    title: str
    module: str


@dataclass(frozen=True)
class Elsewhere:
    """What another command makes.

    Attributes:
        name, title: as in `Figure`.
        made_by: the command, or the page, that makes it.
    """

    name: str
    title: str
    made_by: str


Entry = Table | Figure | Elsewhere

_DRAWN = "facekit_cli.evaluation.figures"
FIGURES = (
    Figure(
        "fig-3.8",
        "FID of inverted images: denoised codes by step, and ground-truth codes",
        f"{_DRAWN}.fig_3_8",
    ),
    Figure("fig-3.9", "Feature maps of SMART layers by dilation and aggregation", f"{_DRAWN}.fig_3_9"),
    Figure("fig-4.22", "Inpainting after each reasoning step, and its residuals", f"{_DRAWN}.fig_4_22"),
    Figure("fig-4.23", "FID by training iteration", f"{_DRAWN}.fig_4_23"),
    Figure(
        "fig-6.13",
        "Inversions of exemplar and warped codes, and edits with and without the latent warper",
        f"{_DRAWN}.fig_6_13",
    ),
    Figure(
        "fig-6.21",
        "Face frontalisation: identity similarity (CSIM) to the faces as they were",
        f"{_DRAWN}.fig_6_21",
    ),
)

_RANKING = "facekit study NAME=FOLDER NAME=FOLDER ... --kind ranking --count 20 --answers DIR"
_CHOICE = "facekit study NAME=FOLDER NAME=FOLDER --kind 2afc --count 20 --answers DIR"
ELSEWHERE = (
    Elsewhere(
        "4.1", "Data sets of inpainting and their splits", "facekit evaluate --datasets, and docs/datasets.md"
    ),
    Elsewhere("4.2", "User study of inpainting: average ranks", f"{_RANKING}, then --summary"),
    Elsewhere(
        "fig-4.10",
        "User study of inpainting: how often each method comes first",
        f"{_RANKING}, then --summary --chart FILE.png",
    ),
    Elsewhere(
        "fig-5.12",
        "Filling after subsets of the exemplar's style codes",
        "facekit exemplar PHOTO --mask MASK --exemplar FACE --exemplar-layers 4-13 --output DIR, once for each subset",
    ),
    Elsewhere(
        "fig-5.15",
        "Mixing the styles of two exemplars by crossover",
        "facekit exemplar PHOTO --mask MASK --exemplar FACE --second-exemplar OTHER --sweep --output DIR",
    ),
    Elsewhere("6.3", "User study of multimodal editing: preferences", f"{_CHOICE}, then --summary"),
)


def _place(entry: Entry) -> tuple[int, bool, int]:
    """Chapter, tables before figures, number."""
    chapter, number = entry.name.removeprefix("fig-").split(".")
    return int(chapter), entry.name.startswith("fig-"), int(number)


_ALL: tuple[Entry, ...] = (*TABLES.values(), *FIGURES, *ELSEWHERE)
ENTRIES: dict[str, Entry] = {entry.name: entry for entry in sorted(_ALL, key=_place)}


def find_entry(text: str) -> Entry:
    """The entry of a name such as "3.1", "Table 3.1", "fig-4.4" or "Figure 4.4".

    Raises:
        UsageError: there is none of that name; says which there are.
    """
    name = re.sub(r"^table[ -]*", "", text.strip().lower())
    name = re.sub(r"^fig(ure|\.)?[ -]*", "fig-", name)
    if name not in ENTRIES:
        raise UsageError(f"there is no table {text!r}; known are {', '.join(ENTRIES)}")
    return ENTRIES[name]
