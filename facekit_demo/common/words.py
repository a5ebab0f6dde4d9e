"""What the library says, in the words of the page: by the kind of a message, without names of Python's arguments."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from facekit.notes import Kind, message_of
from facekit_demo.common.running import sentence

LARGER_FACE = "Try a photo in which the face is larger and looks into the camera."
NO_FACE = f"No face was found in the photo. {LARGER_FACE}"
STOPS = "stops"  # class of what says why a tab's main button has nothing to do, see `MainButton`


def no_face_note(consequence: str, way_out: str = LARGER_FACE) -> str:
    """What stands beside a photo without a face: what that means on the tab, and what to do."""
    return f"**No face was found**, {consequence}. {way_out}".rstrip()


def stopping(note: str) -> str:
    """A note that says why nothing can be done: the main button is off while it stands there."""
    return f'<span class="{STOPS}">{note}</span>'


def page_words(said: str | Exception, words: Mapping[Kind, str], first_face: int = 1) -> str:
    """A note or an error as a sentence of a tab.

    Args:
        said: of the library; notes of a saved session are plain texts.
        words: the tab's own words for some kinds, with the names of the message's values in braces. For all others
            the message speaks, but for advice that names arguments.
        first_face: what the leftmost face is called: 1 for people, 0 for programs, as in Python.
    """
    message = message_of(said)
    if message is None:
        return sentence(ValueError(said) if isinstance(said, str) else said)
    values = {
        key: DRAWINGS.get(value, value) if key == "drawing" else value
        for key, value in message.values.items()
    }
    if isinstance(values.get("face"), int):
        values["face"] += first_face
    own = words.get(message.kind)
    message = replace(message, values=values)
    text = own.format_map(values) if own is not None else message.say(lambda _argument: None)
    return sentence(ValueError(text))


@contextmanager
def in_page_words(words: Mapping[Kind, str]) -> Iterator[None]:
    """Let every ValueError inside speak as `page_words` has it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(page_words(error, words)) from error


# What the page calls what is drawn.
DRAWINGS = {"sketch": "lines", "semantic map": "parts", "colour guidance": "colours"}
