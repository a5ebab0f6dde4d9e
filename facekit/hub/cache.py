"""Downloaded files are compared with the digests under which the Hub announced them; local folders need no cache.

huggingface_hub compares a plain HTTP download's size alone; a wrong byte in the weights would go unseen.
"""

import hashlib
import os
import re
import tempfile
from functools import cache
from pathlib import Path

from facekit.images.files import why_not_writable

# How servers write an ETag that is a digest: plain, quoted, weak, or with the name of the function.
_DIGEST = re.compile(
    r'(?:W/)?"?(?:\{\w+\{)?(?P<digits>[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})\}{0,2}"?', re.IGNORECASE
)
# By the number of hexadecimal digits: what the Hub announces comes first, mirrors of it have forms of their own.
_FORMS = {32: ("md5",), 40: ("git blob", "sha1"), 64: ("sha256",)}
_HUB_LENGTHS = {40, 64}


def read_announced_digest(file: Path) -> str | None:
    """Digest of a file in the Hub's cache: there it is a link to `blobs/<digest>` of the same repository.

    64 hexadecimal digits are the SHA-256 of a large file, 40 the git blob id or SHA-1 of a small one, 32 an MD5.
    None for any other file, so also in a cache on a system without links.
    """
    if not file.is_symlink():
        return None
    target = file.parent / os.readlink(file)
    snapshots = (parent for parent in file.absolute().parents if parent.name == "snapshots")
    if target.parent.resolve() not in {(parent.parent / "blobs").resolve() for parent in snapshots}:
        return None
    written = _DIGEST.fullmatch(target.name)
    return written["digits"].lower() if written else None


def compute_digests(file: Path, length: int) -> list[str]:
    """Digests of a file's content that have `length` hexadecimal digits, in the order of `_FORMS`."""
    digests = []
    for form in _FORMS[length]:
        digest = hashlib.new("sha1" if form == "git blob" else form, usedforsecurity=False)
        if form == "git blob":
            digest.update(b"blob %d\0" % file.stat().st_size)
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, digest.copy).hexdigest())
    return digests


def check_downloads(folder: Path) -> None:
    """Refuse a folder of the Hub's cache that holds a file other than the one announced.

    Files outside a cache have no announced digest and pass. So do those whose digest matches none of the known
    forms while no other file's does: their server announces something else than digests of the content. A wrong
    file leaves the cache, so that loading again downloads it anew.

    Raises:
        OSError: a file's content is not what the Hub announced.
    """
    told: set[int] = set()
    wrong: list[tuple[Path, str, str]] = []
    for file in sorted(folder.iterdir()):
        announced = read_announced_digest(file)
        if announced is None or not file.is_file():
            continue
        actual = compute_digests(file, len(announced))
        if announced in actual:
            told |= {len(announced)} | _HUB_LENGTHS
        else:
            wrong.append((file, actual[0], announced))
    for file, found, announced in wrong:
        if len(announced) not in told:
            continue
        message = f"{file} is damaged: its digest is {found}, the Hub announced {announced}. "
        try:
            (file.parent / os.readlink(file)).unlink()
            file.unlink()
        except OSError as error:
            raise OSError(f"{message}Load again with force_download=True.") from error
        raise OSError(f"{message}It was removed from the cache; load again to download it anew.")


@cache
def _passing_folder() -> tempfile.TemporaryDirectory:
    """A folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="facekit-datasets-")


def folder_cache() -> str | None:
    """The `cache_dir` with which the datasets library can index a local folder.

    None: in its own cache. Where that cannot be written, for example below a read-only `HF_HOME`: a folder that is
    removed when the process ends.
    """
    import datasets

    if why_not_writable(Path(datasets.config.HF_DATASETS_CACHE)) is None:
        return None
    return _passing_folder().name
