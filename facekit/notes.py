"""Notes and refusals as data: what they are about, the values in them, and the words that Python users read.

Programs with words of their own, options or buttons in place of arguments, go by `kind` and `values`, or have the
advice said with their names of the arguments (`Message.say`). They never look into a sentence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal[
    # a picture's file
    "animated",
    "mode-unknown",
    "too-large",
    "depth-reduced",
    "transparency-lost",
    "format-changed",
    "colours-converted",
    "metadata-lost",
    # how a mask or drawing was read
    "reading",
    "resized",
    # the mask
    "mask-empty",
    "mask-covers-all",
    "mask-large",
    "mask-under-transparency",
    "mask-beside-faces",
    "mask-beyond-faces",
    # damage
    "damage-none",
    "damage-too-large",
    # faces
    "no-face",
    "no-face-in-reference",
    "several-faces-in-reference",
    "face-small",
    "face-not-alignable",
    "face-in-profile",
    "photo-turned",
    "aligned-not-square",
    "reference-small",
    "reference-is-photo",
    "fill-soft",
    "enlarged-mode",
    # drawings
    "drawing-empty",
    "drawing-outside",
    "drawing-partly-outside",
    # the model
    "detector-missing",
    "background-missing",
    "restorer-missing",
    "no-sketch-channel",
    "no-face-parser",
    "no-directions",
    "not-finite",
    "beyond-dtype",
    "memory",
    "package-missing",
    "prompt",
    "setting",
]


@dataclass(frozen=True)
class Argument:
    """An argument of the Python interface that a message names, with the value to pass where there is one."""

    name: str
    value: Any = None

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        value = f"{self.value:g}" if isinstance(self.value, float) else repr(self.value)
        return f'{self.name}="{self.value}"' if isinstance(self.value, str) else f"{self.name}={value}"


@dataclass(frozen=True)
class Message:
    """What is to be said, apart from the words for it.

    Attributes:
        kind: what it is about.
        what: a sentence without its full stop, with the names of `values` in braces.
        advice: the way out, alike; may be empty.
        values: what stands in the sentences: numbers, names, and each `Argument` that they mention.
        subject: the picture that it is about, as messages call it; empty where that is plain.
        otherwise: the way out for readers who have nothing like an argument that `advice` mentions; may be empty.
    """

    kind: Kind
    what: str
    advice: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    otherwise: str = ""

    def say(self, name: Callable[[Argument], str | None] = str, advice: str | None = None) -> str:
        """The message in words, without its subject.

        Args:
            name: what the reader calls an argument; None where he has nothing like it, and then `otherwise` stands
                in place of advice that mentions it.
            advice: in place of the message's own; empty for none.
        """
        words = {
            key: name(value) if isinstance(value, Argument) else value for key, value in self.values.items()
        }
        advice = self.advice if advice is None else advice
        if any(word is None and f"{{{key}}}" in advice for key, word in words.items()):
            advice = self.otherwise
        words = {key: str(self.values[key]) if word is None else word for key, word in words.items()}
        return ". ".join(sentence.format_map(words) for sentence in (self.what, advice) if sentence)


class Note(str):
    """A remark for the user: a text that knows what it is about.

    Attributes:
        message: what it says.
        photo: the place of its photo among those of the call; None where there is one photo, or none.
    """

    message: Message
    photo: int | None

    def __new__(cls, kind: Kind, what: str, advice: str = "", **values: Any) -> "Note":
        return cls.of(Message(kind, what, advice, values))

    @classmethod
    def of(cls, message: Message, photo: int | None = None) -> "Note":
        """A note of a message, about the photo in this place."""
        text = message.say()
        note = super().__new__(cls, f"{message.subject}: {text}" if message.subject else text)
        note.message, note.photo = message, photo
        return note

    @property
    def kind(self) -> Kind:
        """What it is about."""
        return self.message.kind

    @property
    def alone(self) -> "Note":
        """The same note without the name of its photo."""
        return Note.of(replace(self.message, subject=""), self.photo)

    def about(self, subject: str, photo: int | None = None) -> "Note":
        """The same note beside those of other pictures, with the name of its own in front."""
        return Note.of(replace(self.message, subject=subject), photo)

    def __reduce__(self) -> tuple[Any, ...]:
        return Note.of, (self.message, self.photo)


class _Spoken(Exception):
    """What the errors of this module share: a message, and its words for Python users as the error's text."""

    message: Message

    def __init__(
        self, kind: Kind, what: str, advice: str = "", subject: str = "", otherwise: str = "", **values: Any
    ) -> None:
        self.message = message = Message(kind, what, advice, values, subject, otherwise)
        text = message.say()
        text = text if text.endswith((".", "!", "?")) or not advice else f"{text}."
        super().__init__(f"{subject}: {text}" if subject else text)

    def __reduce__(self) -> tuple[Any, ...]:
        return _speak, (type(self), self.message)


def _speak(error: type[_Spoken], message: Message) -> _Spoken:
    return error(
        message.kind, message.what, message.advice, message.subject, message.otherwise, **message.values
    )


class Refusal(_Spoken, ValueError):
    """An input or setting that cannot work; says what, why, and the way out.

    Attributes:
        message: what it says.
    """


class MissingPackage(_Spoken, ImportError):
    """A package that a choice needs is not installed; otherwise as `Refusal`."""


class MissingFile(_Spoken, FileNotFoundError):
    """A file that a choice needs is not there; otherwise as `Refusal`."""


def message_of(said: object) -> Message | None:
    """What a note or an error of this module says; None for any other text or error."""
    return said.message if isinstance(said, Note | _Spoken) else None
