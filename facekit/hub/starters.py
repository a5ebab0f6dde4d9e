"""Where the bundled starter models are."""

from pathlib import Path

STARTERS = {
    "exemplar-inpaint": "exemplar-inpaint-starter-256",
    "face-edit": "face-edit-starter-256",
    "face-inpaint": "face-inpaint-starter-256",
    "face-parser": "face-parser-starter-256",
    "face-prior": "face-prior-starter-256",
    "face-restore": "face-restore-starter-256",
}
ORGANISATION = "facekit"


def starter(task: str) -> str:
    """The starter model of a task, ready for `from_pretrained`.

    Args:
        task: for example "face-inpaint".

    Returns:
        The bundled folder (in `hub_cards/` of a clone, or installed with the package), else the Hub id.

    Raises:
        ValueError: there is no starter of that name.
    """
    if task not in STARTERS:
        raise ValueError(f"There is no starter model {task!r}; known are {', '.join(sorted(STARTERS))}.")
    name = STARTERS[task]
    package = Path(__file__).resolve().parents[1]
    for cards in (package.parent / "hub_cards", package / "hub_cards"):
        if any((cards / name / index).is_file() for index in ("model_index.json", "config.json")):
            return str(cards / name)
    return f"{ORGANISATION}/{name}"
