"""A Hub that cannot be reached, or that refuses: what is wrong and why is said wherever something is fetched."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from PIL import Image

from facekit import FaceParser, FaceRestorePipeline
from facekit.hub import errors
from facekit.hub.errors import explain, why_unreachable
from tests.conftest import ROOT
from tests.hub.stand_in import HubStandIn
from tests.hub.test_loading import Client, LoadError

REPO = "facekit/anything"
# The HTTP library that this version of huggingface_hub works with.
http = sys.modules[HfHubHTTPError.__mro__[1].__module__.split(".")[0]]
PROXY = "user:secret@127.0.0.1"
NO_PROXIES = {f"{name}_proxy": "" for name in ("http", "https", "all")}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    with HubStandIn() as hub:
        yield hub


@pytest.fixture(scope="module")
def closed() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def ways(closed: int) -> dict[str, tuple[dict[str, str], str]]:
    """Environments in which the Hub is out of reach, and what must be said."""
    return {
        "dead proxy": (
            {"HF_ENDPOINT": "http://hub.invalid", "http_proxy": f"http://{PROXY}:{closed}"},
            rf"the proxy 127\.0\.0\.1:{closed} refuses the connection\. Check the network and HTTP_PROXY",
        ),
        "no such host": (
            {"HF_ENDPOINT": "http://hub.invalid"},
            r"hub\.invalid is a name that no address is known for \(DNS\)\. Check the network and HF_ENDPOINT",
        ),
        "refused": (
            {"HF_ENDPOINT": f"http://127.0.0.1:{closed}"},
            r"127\.0\.0\.1 refuses the connection",
        ),
        "offline": ({"HF_HUB_OFFLINE": "1"}, "offline mode is on"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", ["dead proxy", "no such host", "refused", "offline"])
def test_why_the_hub_cannot_be_reached(hub: HubStandIn, closed: int, tmp_path: Path, way: str) -> None:
    environment, reason = ways(closed)[way]
    client = Client(hub, tmp_path / "home", **NO_PROXIES | environment)
    try:
        # Behind a proxy huggingface_hub tries a single file six times over half a minute.
        single = () if way == "dead proxy" else ("network", "evaluate", "parser")
        for loader in ("pipeline", "convert", *single):
            with pytest.raises(LoadError, match=f"The Hub cannot be reached: .*{reason}") as error:
                client.load(loader, REPO, tmp_path / "cache")
            assert {"OSError", "UsageError"} & set(error.value.kinds)
            assert "stacktrace" not in str(error.value) and "secret" not in str(error.value)
    finally:
        client.close()


@pytest.mark.parametrize("kind", [FaceRestorePipeline, FaceParser])
def test_a_word_is_no_hub_id_and_is_not_asked_for(
    kind: type, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed}")
    with pytest.raises(
        OSError, match=r"There is no folder runs\. Check the name; models on the Hub are called"
    ):
        kind.from_pretrained("runs")


@pytest.mark.parametrize("seconds", [{"timeout": 0.2}, {"timeout": None, "read": 0.2}])
def test_a_host_that_takes_connections_and_never_answers(seconds: dict[str, float | None]) -> None:
    # The error that the library under huggingface_hub raises, and the one in which it is wrapped.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        port = silent.getsockname()[1]
        with pytest.raises(Exception, match="timed out") as met:
            http.Client(trust_env=False, timeout=http.Timeout(**seconds)).get(f"http://127.0.0.1:{port}/")
    try:
        raise LocalEntryNotFoundError("not here") from met.value
    except LocalEntryNotFoundError as error:
        assert "127.0.0.1 does not answer in time" in explain(REPO, None, error)
    assert "broke off" in explain(REPO, None, met.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((401, "GatedRepo"), "is gated"),
        ((403, "GatedRepo"), "is gated"),
        ((404, "RepoNotFound"), "There is no folder and no model"),
        ((403, ""), r"refuses access to facekit/anything \(HTTP status 403\)"),
        ((503, ""), r"cannot serve facekit/anything now \(HTTP status 503\)"),
    ],
)
def test_what_the_hub_refuses(
    hub: HubStandIn, reached: Client, tmp_path: Path, refusal: tuple[int, str], reason: str
) -> None:
    hub.refusal = refusal
    for loader in ("pipeline", "convert"):
        with pytest.raises(LoadError, match=reason) as error:
            reached.load(loader, REPO, tmp_path)
        assert "OSError" in error.value.kinds and "stacktrace" not in str(error.value)


@pytest.fixture(scope="module")
def reached(hub: HubStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(hub, tmp_path_factory.mktemp("home"), **NO_PROXIES)
    yield client
    client.close()


@pytest.mark.slow
def test_commands_say_it_in_one_line(closed: int, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64)).save(photo)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | NO_PROXIES
    environment |= {"HF_ENDPOINT": "http://hub.invalid", "HF_HOME": str(tmp_path / "home")}
    environment |= {"http_proxy": f"http://{PROXY}:{closed}", "HF_TOKEN": "hf_any"}
    for options, code in (
        (["restore", str(photo), "--output", str(tmp_path / "out"), "--model", "a/b"], 2),
        (["push", str(ROOT / "hub_cards" / "face-parser-starter-256"), "--repo", "a/b"], 1),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "facekit", *options],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=200,
        )
        last = [line for line in done.stderr.splitlines() if not line.startswith("See: ")][-1]
        assert done.returncode == code, done.stderr
        assert f"The Hub cannot be reached: the proxy 127.0.0.1:{closed} refuses the connection" in last
        assert "Traceback" not in done.stderr and "secret" not in last


@pytest.mark.parametrize("endpoint", ["hub.invalid", "http://hub.invalid:abc", "http://"])
def test_an_address_that_is_none_is_left_to_huggingface_hub(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert why_unreachable() is None


@pytest.mark.parametrize(
    ("kept_apart", "asked"),
    [("127.0.0.1", True), ("127.0.0.1:{port}", True), ("127.0.0.1:1", False), ("elsewhere.invalid", False)],
)
def test_a_hub_that_is_kept_apart_from_the_proxy_is_asked(
    kept_apart: str, asked: bool, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed}")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", kept_apart.format(port=closed))
    assert (why_unreachable() is not None) == asked


def test_a_host_that_is_silent_costs_one_wait_whatever_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as full:  # it takes no more connections, and answers none
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        known = socket.getaddrinfo(*full.getsockname(), type=socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: 3 * known)
        monkeypatch.setattr(errors, "PATIENCE", 0.5)
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:{1}".format(*full.getsockname()))
        began = time.monotonic()
        said = why_unreachable()
        took = time.monotonic() - began
        for each in waiting:
            each.close()
    assert said is not None and "does not answer in time" in said
    assert took < 1.4  # one patience, and a glance at the addresses that are left
