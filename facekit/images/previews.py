"""Pictures hidden in metadata: thumbnails and previews go on showing what was painted over."""

import re
from typing import Any

_FILE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")  # JPEG and PNG as they are
_BASE64 = re.compile(r"/9j/[24][A-Za-z0-9+/]{20}|iVBORw0KGgo")  # the same in base64
_ADDRESS = "data:image/"


def holds_picture(value: Any) -> bool:
    """Whether text or bytes, which may be text of 8 or 16 bits a letter, have a picture in them; numbers never do."""
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
