"""Fig. 6.12: one hole filled under all 32 subsets of sketch, semantic map, colours, exemplar and words."""

import numpy as np

from facekit.conditions.semantics import paint
from facekit_cli.evaluation.participants import Row
from facekit_cli.evaluation.plan import InputSet, Plan
from facekit_cli.evaluation.runner import Pages, Problems
from facekit_cli.evaluation.tables import subsets

Line = list[tuple[str, np.ndarray]]
DRAWN, OTHERS = ("Sk", "Se", "Co"), ("Ex", "Te")
WITHOUT_WORDS = "Sk+Se+Co+Ex+Ma"


def lay(plan: Plan, pages: Pages, problems: Problems, lines: int) -> list[Line]:
    """Labelled pictures, five lines for each picture and participant: what is given, and what comes of its subsets.

    The first line has what is given; the columns below it the subsets of what is drawn, and the lines those of
    exemplar and words. Subsets that could not be made are left out.
    """
    s = plan.sets[0]
    by_participant: dict[str, list[Row]] = {}
    for row in plan.rows:
        if row.participant.kind == "pipeline":
            by_participant.setdefault(row.participant.name, []).append(row)
    block = 1 + 2 ** len(OTHERS)
    places = range(min(max(1, lines // (block * max(1, len(by_participant)))), len(s.indices)))
    result = []
    for place in places:
        for name, rows in by_participant.items():
            made = {row.modalities: row for row in rows if not problems.of(row, s.key)}
            result.append(_given(name, s, place))
            for more in subsets(OTHERS):
                names = ["+".join((*drawn, *more)) for drawn in subsets(DRAWN)]
                found = {name: made.get(f"{name}+Ma" if name else "Ma") for name in names}
                result.append(
                    [
                        (name or "nothing", pages.output(row, s, place))
                        for name, row in found.items()
                        if row is not None
                    ]
                )
    return [line for line in result if line]


def _given(name: str, s: InputSet, place: int) -> Line:
    """What the picture's edits are given; words stand in the label."""
    case = s.case(place, WITHOUT_WORDS)
    hole = np.asarray(case.mask)[..., None] > 0
    strokes = np.where(np.asarray(case.sketch)[..., None] > 0, np.uint8(0), np.uint8(255)).repeat(3, 2)
    shown = {
        "Sk: sketch": strokes,
        "Se: semantic map": paint(np.asarray(case.semantics)),
        "Co: colours": np.asarray(case.color),
    }
    drawn = [(label, np.where(hole, pixels, case.image)) for label, pixels in shown.items()]
    return [
        (f"masked, for {name}", case.image),
        *drawn,
        ("Ex: exemplar", np.asarray(case.exemplar)),
        (f"Te: {_words(s, place)}", _white(s, place)),
        ("original", case.truth),
    ]


def _words(s: InputSet, place: int) -> str:
    try:
        return s.case(place, "Te+Ma").prompt or ""
    except ValueError:
        return "no words"


def _white(s: InputSet, place: int) -> np.ndarray:
    return np.full_like(s.pictures.read(s.indices[place]), 255)
