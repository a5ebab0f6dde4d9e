"""Downloads of what others published: files of a Hub model, and files by an id of Google's drive or an address."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HFValidationError
from tqdm.auto import tqdm

from facekit.hub.cache import check_downloads
from facekit.hub.errors import explain_errors
from facekit.notes import MissingPackage

# Told how far a piece of work is: "download" or "convert", bytes that are done, and all (0: not known).
Tell = Callable[[str, int, int], None]

TIMEOUT = 60  # seconds without a byte
RETRIES = 2


def download_files(
    repo_id: str,
    names: Sequence[str],
    revision: str | None = None,
    token: str | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> Path:
    """The folder of the Hub's cache with those of the files `names` that the model has.

    Args:
        tell: is told how far the download is, in place of bars on the terminal.
        options: of `snapshot_download`, such as `cache_dir`.

    Raises:
        FileNotFoundError: `repo_id` is no Hub id.
        OSError: there is no such model or no access, the Hub cannot be reached, the download broke off or is damaged.
    """
    if tell is not None:
        options["tqdm_class"] = _bar_that_tells(tell)
    try:
        with explain_errors(repo_id, revision, ask=not options.get("local_files_only")) as further:
            options |= further
            files = list(names)
            folder = snapshot_download(
                repo_id, revision=revision, token=token, allow_patterns=files, **options
            )
    except HFValidationError as error:
        raise FileNotFoundError(f"{repo_id} is no folder, and no Hub id: {error}") from error
    check_downloads(Path(folder))
    return Path(folder)


def download_file(place: str, path: Path, way_out: str, tell: Tell | None = None) -> None:
    """Download one file to `path`, complete or not at all; what came of it is kept beside `path` for the next call.

    Args:
        place: an id of Google's drive, or an http(s) address.
        path: the file to write; nothing is done where it exists.
        way_out: a sentence for messages: what else there is to do.
        tell: is told how far the download is, in place of a bar on the terminal.

    Raises:
        MissingPackage: the package that downloads is not installed.
        OSError: offline mode is on, the file cannot be had, or the download broke off.
    """
    if path.is_file():
        return
    if constants.HF_HUB_OFFLINE:
        raise OSError(f"{path.name} is not here and offline mode is on. Unset HF_HUB_OFFLINE. {way_out}")
    gdown = _import_gdown()
    import requests

    path.parent.mkdir(parents=True, exist_ok=True)
    address = urlsplit(place).scheme in ("http", "https")
    host = urlsplit(place).hostname if address else "Google's drive"
    came: list[int] = []
    try:
        with tqdm(desc=path.name, unit="B", unit_scale=True, disable=tell is not None) as bar:

            def report(done: int, total: int | None) -> None:
                came.append(done)
                bar.total = total
                bar.update(done - bar.n)
                if tell is not None:
                    tell("download", done, total or 0)

            gdown.download(
                **({"url": place} if address else {"id": place}),
                output=str(path),
                quiet=True,
                use_cookies=False,
                resume=True,
                progress=report,
                timeout=TIMEOUT,
                retries=RETRIES,
            )
    except (gdown.exceptions.DownloadError, requests.exceptions.RequestException) as error:
        if not came:  # what lies here already may be what the server cannot go on from
            for part in path.parent.glob(f"{path.name}*.part"):
                with suppress(OSError):
                    part.unlink()
        what = "broke off; load again to get the rest" if came else "is not possible"
        # Also visitors of a page read it; they need not know where files lie.
        reason = " ".join(str(error).replace(f"{path.parent}/", "").split())[:300]
        raise OSError(f"The download of {path.name} from {host} {what} ({reason}). {way_out}") from error


def _import_gdown() -> Any:
    try:
        import gdown
        import gdown.exceptions
    except ImportError as error:
        raise MissingPackage(
            "package-missing",
            "fetching a file from Google's drive or by an address needs the package gdown; install it with "
            "`pip install 'facekit[fetch]'`, or fetch the file by hand and say `facekit fetch NAME --from FOLDER`",
        ) from error
    return gdown


def _bar_that_tells(tell: Tell) -> type[tqdm]:
    """A class of progress bars, for huggingface_hub, that shows nothing and tells of bytes."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # Of files that come in chunks it has two bars of bytes: what came, and what was put together.
            self.tells = kwargs.get("unit") == "B"
            super().__init__(*args, **kwargs | {"disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            if self.tells and self.n:
                tell("download", int(self.n), int(self.total or 0))
            return None

    return Bar
