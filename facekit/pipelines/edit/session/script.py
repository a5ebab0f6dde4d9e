"""Edits as JSON: what `EditSession` saves of each edit, and scripts of edits that `facekit edit --script` replays.

A script is an object with a list "edits". Each edit has the arguments of `EditSession.edit`; pictures are named by
their files, beside the script or in folders below it:

    {"edits": [{"mask": "mask.png", "sketch": "lines.png", "attributes": {"smile": 1.5}, "seed": 7},
               {"mask": "hair.png", "semantics": {"hair": true}, "exemplar": "star.jpg"},
               {"object": "hat.png", "place": [240, 90], "width": 180},
               {"mask": "rim", "exemplar": "self"}]}

One with an "object" is pasted, with the arguments of `EditSession.paste` ("object_mask" is its mask); the mask "rim" is
the rim of what was pasted last.

A saved session's `session.json` is such a script, and so are the session's folder and zip.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from facekit.pipelines.edit.session.pasting import check_place
from facekit.pipelines.edit.session.store import MAX_MANIFEST, parse_json, read_session, unpack_pixels
from facekit.pipelines.edit.settings import FRONT, SELF

PICTURES = ("mask", "sketch", "semantics", "color", "exemplar", "pose_from")
PASTED = ("object", "object_mask")  # pictures of a paste
PLACING = {"place": (list, tuple), "width": (int, float)}
RIM_WORD = "rim"
WORDS = (("exemplar", SELF), ("pose_from", FRONT), ("mask", RIM_WORD))
SETTINGS = {
    "prompt": (str,),
    "attributes": (dict,),
    "strengths": (dict,),
    "align_pose": (bool,),
    "faces": (str, list),
    "exemplar_face": (str, int),
    "exemplar_aligned": (bool,),
    "num_images": (int,),
    "choice": (int,),
    "variety": (int, float),
    "truncation_psi": (int, float),
    "noise": (str,),
    "match_tones": (bool,),
    "keep_detail": (bool,),
    "watermark": (bool,),
    "num_inference_steps": (int,),
    "text_options": (dict,),
    "restored": (bool,),
    "seed": (int,),
}
RECORDED = ("result", "notes")  # what a session adds to an edit; a replay makes its own
MAX_EDITS = 1000


def check_settings(settings: Mapping[str, Any], name: str = "edit", pasting: bool = False) -> None:
    """Raise ValueError for settings that no edit has (the message lists the known) or that are of a wrong type.

    With `pasting` they are those of a paste.
    """
    known: Mapping[str, tuple[type, ...]] = PLACING if pasting else SETTINGS
    pictures = PASTED if pasting else PICTURES
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{name} has {key!r}; known are {', '.join((*pictures, *known))}.")
        kinds = known[key]
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        if value is not None and wrong:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{name}: {key} is {value!r}; expected {wanted}.")


def check_edits(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The edits of a script or manifest; all but their pictures are checked.

    Raises:
        ValueError: no list of edits, too many, or one with neither mask nor object or with settings that no edit has.
    """
    edits = document.get("edits")
    if not isinstance(edits, list) or len(edits) > MAX_EDITS:
        raise ValueError(f'{name}: "edits" must be a list of at most {MAX_EDITS} edits.')
    for number, edit in enumerate(edits, start=1):
        label = f"{name}, edit {number}"
        if not isinstance(edit, dict):
            raise ValueError(f"{label} is a {type(edit).__name__} and no object.")
        pasting = edit.get("object") is not None
        if "mask" not in edit and not pasting:
            raise ValueError(f"{label} has no mask.")
        # A session tells of a paste where it changed the photo.
        own = (*PASTED, "mask") if pasting else PICTURES
        settings = {k: v for k, v in edit.items() if k not in (*own, *RECORDED)}
        check_settings(settings, label, pasting)
        if pasting:
            check_place(edit.get("place"), edit.get("width"))
    return edits


def read_script(path: str | Path, max_pixels: int | None = None) -> list[dict[str, Any]]:
    """Arguments for `EditSession.replay`, edit by edit, from a script or a saved session.

    Pictures are paths for a script and arrays for a saved session.

    Raises:
        FileNotFoundError: the script or a file that it names does not exist.
        ValueError: something that is no script, unknown arguments, or a file that is not beside the script or below.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == ".json":
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist.")
        if path.stat().st_size > MAX_MANIFEST:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes; the limit is {MAX_MANIFEST:,}.")
        edits = check_edits(parse_json(path.read_bytes(), str(path)), str(path))

        def picture(name: str) -> Path | np.ndarray:
            return _below(path.parent, name, str(path))
    else:
        if path.is_file() and not is_zipfile(path):
            raise ValueError(
                f"{path} is no script: name a .json file, or a saved session, which is a folder or a .zip."
            )
        manifest, files = read_session(path)
        edits = check_edits(manifest, str(path))

        def picture(name: str) -> Path | np.ndarray:
            if name not in files:
                raise ValueError(f"{path} has no file {name!r}.")
            return unpack_pixels(name, files[name], max_pixels)

    return [
        open_pictures(edit, picture, f"{path}, edit {number}") for number, edit in enumerate(edits, start=1)
    ]


def open_pictures(edit: Mapping[str, Any], picture: Callable[[str], Any], label: str) -> dict[str, Any]:
    """The arguments of an edit.

    Args:
        edit: the edit as JSON has it; what is null is left out.
        picture: opens the file of a name.
        label: how messages call the edit.

    Raises:
        ValueError: a picture that is not named by a text; or whatever `picture` raises.
    """
    opened: dict[str, Any] = {}
    for key, value in edit.items():
        if key in RECORDED or value is None:
            continue
        if key not in (*PICTURES, *PASTED) or (isinstance(value, str) and (key, value) in WORDS):
            opened[key] = value
        elif key == "semantics" and isinstance(value, dict):
            opened[key] = {
                word: mask if mask is True else picture(_name(mask, key, label))
                for word, mask in value.items()
            }
        else:
            opened[key] = picture(_name(value, key, label))
    return opened


def _name(value: Any, key: str, label: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{label}: {key} is {value!r}; expected the name of a file.")
    return value


def _below(folder: Path, name: str, script: str) -> Path:
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ValueError(
            f"{script} names {name!r}, which lies outside its folder. Put the script and its pictures together."
        )
    if not file.is_file():
        raise FileNotFoundError(f"{script} names {name!r}, which does not exist.")
    return file
