"""The real demo in its own process, with tiny random models and no way to the network; a real browser."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gradio_client import Client

from tests.app.visitor import Visitor
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_mend_pipeline,
    tiny_restore_pipeline,
)

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180


@dataclass(frozen=True)
class Demo:
    """A running demo: where it is, and the file that lists its attempts to reach other machines."""

    url: str
    contacts: Path
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved inpainting pipeline with a small random network."""
    folder = tmp_path_factory.mktemp("model")
    tiny_inpaint_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_restorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved restoration pipeline with small random networks."""
    folder = tmp_path_factory.mktemp("restorer")
    tiny_restore_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_exemplar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved exemplar pipeline with small random networks, which takes lines."""
    folder = tmp_path_factory.mktemp("exemplar")
    tiny_exemplar_pipeline(use_sketch=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved edit pipeline with small random networks, parser and directions."""
    folder = tmp_path_factory.mktemp("editor")
    tiny_edit_pipeline(parser=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_mender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved mending pipeline whose finder marks bright lines."""
    folder = tmp_path_factory.mktemp("mender")
    tiny_mend_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def demo(
    tiny_model: Path,
    tiny_restorer: Path,
    tiny_exemplar: Path,
    tiny_editor: Path,
    tiny_mender: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Demo]:
    """`python app.py` on a free loopback port."""
    folder = tmp_path_factory.mktemp("demo")
    port, contacts, log = free_port(), folder / "contacts.txt", folder / "server.log"
    contacts.touch()
    environment = (
        os.environ
        | guarded(contacts)
        | {
            "FACEKIT_INPAINT_MODEL": str(tiny_model),
            "FACEKIT_RESTORE_MODEL": str(tiny_restorer),
            "FACEKIT_EXEMPLAR_MODEL": str(tiny_exemplar),
            "FACEKIT_EDIT_MODEL": str(tiny_editor),
            "FACEKIT_MEND_MODEL": str(tiny_mender),
            "FACEKIT_CLIP_MODEL": str(folder / "no-clip"),
            "GRADIO_TEMP_DIR": str(folder / "cache"),
        }
    )
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, server, log)
        yield Demo(url, contacts, log)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def client(demo: Demo) -> Client:
    """A program that calls the demo's endpoints."""
    return Client(demo.url, verbose=False)


def guarded(contacts: Path) -> dict[str, str]:
    """Environment of a Python that cannot reach other machines; its attempts are listed in `contacts`."""
    return {
        "NETWORK_GUARD_LOG": str(contacts),
        "PYTHONPATH": str(Path(__file__).with_name("network_guard")),
        "http_proxy": "",
        "https_proxy": "",
    }


def wait_until_up(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            direct.open(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the demo did not start:\n{log.read_text()}")


@pytest.fixture
def visit(browser, demo) -> Iterator:
    """Open a tab of the demo: `visit(InpaintPage, **options of the browser's context)`."""
    pages = []

    def open_page(kind: type[Visitor], **context) -> Visitor:
        pages.append(kind(browser, demo.url, **context))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()
