"""Where the bundled starter models are."""

from pathlib import Path

from facekit.methods import SHARED_STARTERS, methods

ORGANISATION = "facekit"
STARTER = "starter"  # what users call the starter of the method that they use


def starters() -> dict[str, str]:
    """Every model that has a starter -> its folder in `hub_cards/`, other folder, or Hub id (`Method.starter`)."""
    return {method.model: method.starter for method in methods()} | SHARED_STARTERS


def starter(task: str) -> str:
    """The starter model of a task, ready for `from_pretrained`.

    Args:
        task: for example "face-inpaint".

    Returns:
        The bundled folder (in `hub_cards/` of a clone, or installed with the package), else the folder or Hub id that a
        method from outside names, else the Hub id.

    Raises:
        ValueError: there is no starter of that name.
    """
    known = starters()
    if task not in known:
        raise ValueError(f"There is no starter model {task!r}; known are {', '.join(sorted(known))}.")
    place = known[task]
    package = Path(__file__).resolve().parents[1]
    for cards in (package.parent / "hub_cards", package / "hub_cards"):
        folder = cards / Path(place).name
        if any((folder / index).is_file() for index in ("model_index.json", "config.json")):
            return str(folder)
    return place if "/" in place or Path(place).is_absolute() else f"{ORGANISATION}/{place}"
