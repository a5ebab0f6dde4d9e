"""What the pipelines say, in the words of a command line: options for arguments, no Python."""

import argparse
import re

# Arguments of the pipelines whose options have other names; all others differ in `_` and `-` alone.
OPTIONS = {
    "exemplar_strength": "strength",
    "max_batch_size": "batch_size",
    "num_images": "candidates",
    "num_inference_steps": "steps",
    "strengths": "strength",
    "torch_dtype": "dtype",
    "truncation_psi": "truncation",
}
# What has no counterpart, and what to say instead.
PYTHON = (
    (
        r"Pick a frame\b.*\bimage\.seek.*",
        "Save the one that you want as a picture of its own, for example with: magick 'FILE[0]' frame.png",
    ),
    (r"Convert it: image\.convert\('RGB'\)", "Save it as RGB, for example as PNG"),
    (r"\btorch\.(?=b?float)", ""),
    (r"\bLoad (?:the pipeline|it) with (?=(?:torch_)?dtype=)", "Say "),
    (r",? or pass \w+= to from_pretrained", ""),
    (r",? or pass token=", ""),
)
# Advice that needs an argument; without an option for it nothing is left to say.
ADVICE = r",? or raise {0}\b| Raise {0}\."


def own_words(text: str, args: argparse.Namespace) -> str:
    """A message with the options that the command of `args` has in place of arguments."""
    for python, words in PYTHON:
        text = re.sub(python, words, text, flags=re.DOTALL)
    if not hasattr(args, "max_pixels"):
        text = re.sub(ADVICE.format("max_pixels"), "", text)
    options = {name: name for name in vars(args)} | OPTIONS
    for name, option in options.items():
        if hasattr(args, option):
            text = _with_option(text, name, f"--{option.replace('_', '-')}")
    return re.sub(r"\b([Pp])ass (?=--)", lambda found: "Say " if found[1] == "P" else "say ", text)


def _with_option(text: str, name: str, option: str) -> str:
    argument = rf"(?<![\w/.-]){re.escape(name)}"  # not as a part of a file's name
    text = re.sub(rf"{argument}=True\b", option, text)
    text = re.sub(rf"{argument}=(['\"]?)([\w.-]*\w)\1", rf"{option} \2", text)
    return re.sub(rf"{argument}(?![\w/=-]|\.\w)", option, text) if "_" in name else text
