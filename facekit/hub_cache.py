"""Downloaded files are compared with the digests under which the Hub announced them.

huggingface_hub compares a plain HTTP download's size alone; a wrong byte in the weights would go unseen.
"""

import hashlib
import os
import re
from pathlib import Path

_DIGEST = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def announced_digest(file: Path) -> str | None:
    """Digest of a file in the Hub's cache: there it is a link to `blobs/<digest>`.

    64 hexadecimal digits are the SHA-256 of a large file, 40 the git blob id of a small one. None for any
    other file, so also in a cache on a system without links.
    """
    if not file.is_symlink():
        return None
    target = Path(os.readlink(file))
    return target.name if target.parent.name == "blobs" and _DIGEST.fullmatch(target.name) else None


def actual_digest(file: Path, digits: int) -> str:
    """SHA-256 of a file's content (64 digits) or its git blob id (40 digits)."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    if digits == 40:
        digest.update(b"blob %d\0" % file.stat().st_size)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: digest).hexdigest()


def check_downloads(folder: Path) -> None:
    """Refuse a folder of the Hub's cache that holds a file other than the one announced.

    Files outside a cache have no announced digest and pass. The wrong file leaves the cache, so that loading
    again downloads it anew.

    Raises:
        OSError: a file's content is not what the Hub announced.
    """
    for file in sorted(folder.iterdir()):
        announced = announced_digest(file)
        if announced is None or not file.is_file():
            continue
        actual = actual_digest(file, len(announced))
        if actual == announced:
            continue
        message = f"{file} is damaged: its digest is {actual}, the Hub announced {announced}. "
        try:
            (file.parent / os.readlink(file)).unlink()
            file.unlink()
        except OSError as error:
            raise OSError(f"{message}Load again with force_download=True.") from error
        raise OSError(f"{message}It was removed from the cache; load again to download it anew.")
