"""The parser of command lines, and types of their arguments: names of files and models, seeds.

`~` is the home folder wherever a place is named, also behind the `=` of `--output=` and `NAME=`: shells leave it there.
"""

import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import NoReturn

LONGEST_NAME = 255  # bytes, in nearly all file systems
WEB_ADDRESS = r"(?i)[a-z][a-z0-9+.-]*://"


class Parser(ArgumentParser):
    """argparse's, whose errors are two lines: what is wrong, and where to read on."""

    def say(self, error: object) -> None:
        """Print an error."""
        print(f"{self.prog}: error: {error}\nSee: {self.prog} --help", file=sys.stderr)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2; argparse calls it."""
        self.say(message)
        sys.exit(2)


def is_web_address(text: str) -> bool:
    """Whether a text is a URL: of the web, or of a store such as s3://BUCKET/FOLDER."""
    return re.match(WEB_ADDRESS, text) is not None


def file_path(text: str) -> Path:
    """A file or folder. Raises ArgumentTypeError for a web address."""
    return Path(file_name(text))


def file_name(text: str) -> str:
    """The same for arguments that may also be a word."""
    if is_web_address(text):
        raise ArgumentTypeError(f"{text} is a web address; download it and name the file")
    longest = max((len(os.fsencode(part)) for part in Path(text).parts), default=0)
    if longest > LONGEST_NAME:
        raise ArgumentTypeError(f"{text[:20]}... has a name of {longest} bytes; {LONGEST_NAME} are possible")
    return os.path.expanduser(text)


def seed_number(text: str) -> int:
    """A seed, 0 to 2^63 - 1."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise ArgumentTypeError(f"{text} is no seed: whole numbers from 0 to {2**63 - 1}")
    return int(text)


def quality_number(text: str) -> int:
    """A quality, 1 to 100."""
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise ArgumentTypeError(f"{text} is no quality: whole numbers from 1 to 100")
    return int(text)


def store_path(text: str) -> Path | str:
    """A folder, or the URL of one that `fsspec` opens."""
    text = drop_file_scheme(text)
    return text if is_web_address(text) else file_path(text)


def source_name(text: str) -> str:
    """A folder, a file, the URL of either, or the Hub id of a data set."""
    text = drop_file_scheme(text)
    return text if is_web_address(text) else os.path.expanduser(text)


def drop_file_scheme(text: str) -> str:
    """The path of a URL such as file:///home/me/photos; anything else as it is."""
    return re.sub(r"(?i)^(file|local)://", "", text)


def hub_name(text: str) -> str:
    """A folder, or the Hub id of a model or data set. Raises ArgumentTypeError for a web address."""
    if is_web_address(text):
        raise ArgumentTypeError(f"{text} is a web address; say OWNER/NAME as on the Hub, or name a folder")
    return os.path.expanduser(text)


def named_place(text: str) -> str:
    """`NAME=PLACE`, or the place alone. Raises ArgumentTypeError for a web address."""
    name, mark, place = text.partition("=")
    if not mark or name.startswith("~") or "/" in name:
        return file_name(text)
    return name + mark + file_name(place)
