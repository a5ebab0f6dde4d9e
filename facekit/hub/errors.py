"""Error messages for failed downloads and uploads: what is wrong and the way out, in one sentence or two."""

import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
PATIENCE = 10  # seconds to wait for an answer of any kind, of all addresses of the Hub together
# huggingface_hub lets errors of its HTTP library through; which library that is depends on its version.
_HTTP_LIBRARIES = frozenset(("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"))
_NO_CONNECTION = {"ConnectError", "ConnectTimeout", "ConnectionError", "NewConnectionError", "PoolTimeout"}
_NO_CONNECTION |= {"ProxyError", "SSLError", "UnsupportedProtocol"}


@contextmanager
def explain_errors(
    repo_id: str | os.PathLike, revision: str | None = None, *, ask: bool = True
) -> Iterator[dict[str, Any]]:
    """Context in which errors of a download become an OSError that says what is wrong; other errors pass unchanged.

    Args:
        repo_id: a folder or Hub id. What is no folder and can be no Hub id is refused before any request.
        revision: branch, tag or commit.
        ask: look first whether the Hub answers.

    Yields:
        Further options for what downloads: the cache alone where the Hub does not answer.
    """
    name = str(repo_id)
    if "/" not in name and not os.path.exists(name):  # a folder or a word was meant
        raise OSError(
            f"There is no folder {name}. Check the name; models on the Hub are called ORG/NAME, the authors' "
            '"published".'
        )
    silence = why_unreachable() if ask and not os.path.exists(name) else None
    try:
        yield {} if silence is None else {"local_files_only": True}
    except Exception as error:
        message = explain(name, revision, error, silence)
        if message is None:
            raise
        raise OSError(message) from error


def explain(
    repo_id: str, revision: str | None, error: BaseException, silence: str | None = None
) -> str | None:
    """The message for an error met while downloading: what is wrong and the way out; None for an unrelated error.

    `silence` is what `why_unreachable` said before; what is not in the cache then is missing for that.
    """
    causes = _causes(error)
    kinds = tuple(type(cause) for cause in causes)
    if any(issubclass(kind, RevisionNotFoundError) for kind in kinds):
        return f"The model {repo_id} has no revision {revision!r}."
    if any(issubclass(kind, GatedRepoError) for kind in kinds):
        return (
            f"The model {repo_id} is gated: its owners let in those who ask. Ask for access at "
            f"{constants.ENDPOINT}/{repo_id}, then {LOG_IN}."
        )
    message = explain_unreachable(error)
    if silence is not None and any(issubclass(kind, LocalEntryNotFoundError) for kind in kinds):
        message = silence
    missing = any(issubclass(kind, RepositoryNotFoundError) for kind in kinds)
    if missing:
        return (
            f"There is no folder and no model {repo_id}, or it is private and you have no access. Check the name; "
            f"for a private model {LOG_IN}."
        )
    if message is not None:
        return f"{message} Or name a folder in which the model lies."
    status = next((c.response.status_code for c in causes if isinstance(c, HfHubHTTPError)), None)
    if status in (401, 403):
        return (
            f"The Hub refuses access to {repo_id} (HTTP status {status}). Check your token's permissions, or "
            f"{LOG_IN}."
        )
    if status == 429 or (status is not None and status >= 500):
        return f"The Hub cannot serve {repo_id} now (HTTP status {status}). Try again later."
    if type(error).__module__.split(".")[0] in _HTTP_LIBRARIES:
        return (
            f"The download of {repo_id} broke off ({error}). What came completely is kept; load again to get "
            "the rest."
        )
    return None


@contextmanager
def explain_push_errors() -> Iterator[None]:
    """Context in which a failed connection during an upload becomes an OSError that says why; others pass unchanged."""
    try:
        yield
    except Exception as error:
        message = explain_unreachable(error)
        if message is None and type(error).__module__.split(".")[0] in _HTTP_LIBRARIES:
            message = f"The connection to the Hub broke off ({error}). Try again."
        if message is None:
            raise
        raise OSError(message) from error


def explain_unreachable(error: BaseException) -> str | None:
    """The message for an error that means that the Hub cannot be reached; None for any other error."""
    causes = _causes(error)
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return (
            "The Hub cannot be reached: offline mode is on, and what is needed is not in the cache. Unset "
            "HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE."
        )
    http = [cause for cause in causes if type(cause).__module__.split(".")[0] in _HTTP_LIBRARIES]
    names = {kind.__name__ for cause in http for kind in type(cause).__mro__}
    # A download that began breaks off by a timeout too; only before it the cache is looked at instead.
    unanswered = "ReadTimeout" in names and any(isinstance(c, LocalEntryNotFoundError) for c in causes)
    if not names & _NO_CONNECTION and not unanswered:
        return None
    return _say_unreachable(http, causes, names)


def why_unreachable() -> str | None:
    """The message where the Hub does not answer; None where it does, or where that is not asked.

    huggingface_hub tries a file six times over half a minute, and prints each. What is behind a proxy cannot be asked
    like this, and in offline mode nothing is.
    """
    url = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or not url.hostname or _proxy_to(url):
        return None
    try:
        _connect(url.hostname, url.port or (443 if url.scheme == "https" else 80))
    except ValueError:  # no port or host can be called so: huggingface_hub says it
        return None
    except OSError as error:
        return _say_unreachable([], [error], {type(error).__name__})
    return None


def _connect(host: str, port: int) -> None:
    """Connect to a host and hang up. Raises OSError where none of its addresses answers within `PATIENCE`."""
    last = time.monotonic() + PATIENCE
    trouble = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.settimeout(max(last - time.monotonic(), 0.1))
            try:
                probe.connect(address)
                return
            except OSError as error:
                trouble = error
    raise trouble


def _say_unreachable(http: list[BaseException], causes: list[BaseException], names: set[str]) -> str:
    place, settings = _way(http)
    return f"The Hub cannot be reached: {place} {_trouble(causes, names)}. Check the network{settings}."


def _causes(error: BaseException) -> list[BaseException]:
    """The error and all that led to it."""
    causes: list[BaseException] = []
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if not any(cause is known for known in causes):
            causes.append(cause)
            waiting += [c for c in (cause.__cause__, cause.__context__) if c is not None]
    return causes


def _trouble(causes: list[BaseException], names: set[str]) -> str:
    """The trouble with a host as the end of a sentence, such as "refuses the connection"."""
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "NameResolutionError" in names:
        return "is a name that no address is known for (DNS)"
    certificate = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return (
            f"shows a certificate that is not trusted here ({certificate.verify_message}; where your company has its "
            "own, name its file in SSL_CERT_FILE)"
        )
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "refuses the connection"
    if any(isinstance(cause, TimeoutError) for cause in causes) or any("Timeout" in name for name in names):
        return "does not answer in time"
    return (
        f"cannot be used ({next((str(c) for c in causes if type(c).__name__ in _NO_CONNECTION), causes[-1])})"
    )


def _way(http: list[BaseException]) -> tuple[str, str]:
    """The host that was asked, or the proxy on the way there; and the settings to look at."""
    url = urlsplit(constants.ENDPOINT)
    for cause in http:
        try:
            url = urlsplit(str(cause.request.url))  # type: ignore[attr-defined]  # caught below where there is none
        except (AttributeError, RuntimeError):  # some of the library's errors know no request
            continue
        break
    host = url.hostname or constants.ENDPOINT
    proxy = _proxy_to(url)
    if proxy is None:
        return host, "" if constants.ENDPOINT == "https://huggingface.co" else " and HF_ENDPOINT"
    address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    # Without the name and password that may stand in it.
    shown = f"{address.hostname}:{address.port}" if address.port else str(address.hostname)
    return f"the proxy {shown}", f" and {url.scheme.upper()}_PROXY"


def _proxy_to(url: SplitResult) -> str | None:
    """The proxy that stands before a host; None where there is none, or where NO_PROXY names the host."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    # With the port, and alone: an IPv6 address stands in brackets beside a port only.
    names = (url.netloc.rpartition("@")[2], url.hostname or "")
    return None if not proxy or any(proxy_bypass(name) for name in names) else proxy
