"""Recognising pictures inside metadata: a thumbnail or preview would still show what was painted over."""

import re
from typing import Any

_FILE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")  # JPEG and PNG as they are
_BASE64 = re.compile(r"/9j/[24][A-Za-z0-9+/]{20}|iVBORw0KGgo")  # the same in base64
_ADDRESS = "data:image/"


def holds_picture(value: Any) -> bool:
    """Whether a value of metadata holds a picture: as bytes, as base64 or as a `data:` address.

    Only text, of 8 or 16 bits a letter, and bytes can.
    """
    if isinstance(value, bytes):
        if _FILE.search(value):
            return True
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return False
    letters = value.replace(
        "\0", ""
    )  # what UTF-16 puts between the letters of base64, in either order of its bytes
    # Lines of base64 may be short.
    return _ADDRESS in letters or _BASE64.search("".join(letters.split())) is not None
