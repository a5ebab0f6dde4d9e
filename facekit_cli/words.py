"""What the library says, in the words of a command line: options for arguments, no Python."""

import argparse
from collections.abc import Callable
from dataclasses import replace

from facekit.notes import Argument, Kind, Note, message_of
from facekit_cli.errors import UsageError

# Arguments of the pipelines whose options have other names; all others differ in `_` and `-` alone.
OPTIONS = {
    "exemplar_strength": "strength",
    "max_batch_size": "batch_size",
    "num_images": "candidates",
    "num_inference_steps": "steps",
    "strengths": "strength",
    "tile": "background_tile",
    "truncation_psi": "truncation",
}
# Ways out that in Python are a line of code; empty where the command line has none.
ADVICE: dict[Kind, str] = {
    "animated": "Save the one that you want as a picture of its own, for example with: magick 'FILE[0]' frame.png",
    "mode-unknown": "Save it as RGB, for example as PNG",
    "not-finite": "Pass --dtype float32 or bfloat16",
    "beyond-dtype": "Pass --dtype bfloat16 or float32",
    "no-face-parser": "Name a --model that has one",
    "no-directions": "Name a --model that has some",
}


def reword(said: str | Exception, args: argparse.Namespace) -> str:
    """A note or an error with the options that the command of `args` has in place of arguments."""
    if isinstance(said, UsageError):
        return "".join(reword(part, args) for part in said.parts)
    message = message_of(said)
    if message is None:
        return str(said) or type(said).__name__
    values = {key: _name_number_type(value) for key, value in message.values.items()}
    text = replace(message, values=values).say(_option_of(args), ADVICE.get(message.kind))
    if not isinstance(said, Note) and not text.endswith((".", "!", "?")):
        text = f"{text}."
    return f"{message.subject}: {text}" if message.subject else text


def _name_number_type(value: object) -> object:
    """`torch.float16` as `--dtype` calls it; anything else as it is."""
    return str(value).removeprefix("torch.") if type(value).__name__ == "dtype" else value


def _option_of(args: argparse.Namespace) -> Callable[[Argument], str | None]:
    def name(argument: Argument) -> str | None:
        option = OPTIONS.get(argument.name, argument.name)
        if not hasattr(args, option):
            return None
        text = f"--{option.replace('_', '-')}"
        if argument.value is None or argument.value is True:
            return text
        return (
            f"{text} {argument.value:g}" if isinstance(argument.value, float) else f"{text} {argument.value}"
        )

    return name
