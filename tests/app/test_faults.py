"""Faults of the served demo: each hits one visitor, and the others go on."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from facekit_demo.common.temporary import PREFIX
from tests.app.conftest import ROOT, free_port, wait_until_up

pytestmark = pytest.mark.slow

# app.py after these lines; `_infer` runs in the served process and can be told what to do by the seed.
TROUBLE = """
import sys, time
from facekit_demo.inpaint import tab as inpaint
work = inpaint._infer
def troubled(image, mask, region, steps, seed, *rest):
    if seed == 13:
        raise RuntimeError("a secret of the server")
    if seed == 14:
        time.sleep(6)
    return work(image, mask, region, steps, seed, *rest)
inpaint._infer = troubled
from facekit_demo import page
app = page.build_app(("inpaint",))
page.launch(app, port=int(sys.argv[1]))
"""


class Server:
    """A demo in its own process."""

    def __init__(self, folder: Path, model: Path, port: int) -> None:
        self.url, self.log = f"http://127.0.0.1:{port}", folder / f"server-{port}.log"
        environment = os.environ | {
            "FACEKIT_INPAINT_MODEL": str(model),
            "GRADIO_TEMP_DIR": str(folder / "cache"),
        }
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TROUBLE, str(port)],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until_up(self.url, self.process, self.log)

    def limit_files(self, size: int) -> None:
        """Have every file that the server writes end at so many bytes, as on a full disk (-1: no limit)."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def end(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        self.process.wait(30)


@pytest.fixture
def serve(tiny_model: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers = []

    def start(model: Path = tiny_model, port: int | None = None) -> Server:
        servers.append(Server(tmp_path, model, port or free_port()))
        return servers[-1]

    yield start
    for server in servers:
        server.end(signal.SIGKILL)


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., None]:
    """Have a photo filled and check the result."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:30, 20:30] = True
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")

    def ask(server: Server, seed: int = 0) -> None:
        client = Client(server.url, verbose=False, download_files=str(tmp_path / "results"))
        photo, hole = handle_file(tmp_path / "photo.png"), handle_file(tmp_path / "mask.png")
        result = np.asarray(Image.open(client.predict(photo, hole, "image", 1, seed, api_name="/inpaint")[0]))
        assert (result == pixels)[~mask].all() and (result != pixels).any()

    return ask


def test_a_request_that_raises_tells_no_secrets_and_others_go_on(serve, fill) -> None:
    server = serve()
    with pytest.raises(AppError, match="Something went wrong on our side") as raised:
        fill(server, 13)
    assert "secret" not in str(raised.value) and "a secret of the server" in server.log.read_text()
    fill(server)


def test_a_client_that_goes_in_the_middle_leaves_the_others_alone(serve, fill, tmp_path) -> None:
    server = serve()
    content = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("photo", "mask")}
    with httpx.Client(trust_env=False, base_url=server.url) as visitor:
        paths = [
            visitor.post("/gradio_api/upload", files={"files": (f"{name}.png", data)}).json()[0]
            for name, data in content.items()
        ]
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        event = visitor.post(
            "/gradio_api/call/inpaint", json={"data": [*files, "image", 1, 14, None, False]}
        ).json()["event_id"]
        with pytest.raises(httpx.ReadTimeout):
            visitor.get(f"/gradio_api/call/inpaint/{event}", timeout=1)
        # Half of an upload, and gone.
        with pytest.raises(RuntimeError):

            def half() -> Iterator[bytes]:
                yield (
                    b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
                    + bytes(9999)
                )
                raise RuntimeError("gone")

            visitor.post(
                "/gradio_api/upload",
                content=half(),
                headers={"content-type": "multipart/form-data; boundary=x"},
            )
    fill(server)
    assert server.process.poll() is None


def test_a_killed_server_starts_again_and_serves(serve, fill, tmp_path) -> None:
    server = serve()
    port = int(server.url.rsplit(":", 1)[1])
    fill(server)
    server.end(signal.SIGKILL)
    (left,) = (tmp_path / "cache").glob(f"{PREFIX}*")
    assert any(left.rglob("*.png"))
    with pytest.raises(Exception):  # noqa: B017 (what the client raises depends on its version)
        fill(server)
    # As if five minutes had passed, after which the folder of the killed one counts as abandoned.
    os.utime(left / ".alive", (time.time() - 400,) * 2)
    server = serve(port=port)
    fill(server)
    assert not left.exists()
    server.end(signal.SIGTERM)
    assert not list((tmp_path / "cache").glob(f"{PREFIX}*"))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="sets another process's limits, which Linux can")
def test_a_full_disk_is_said_and_passes(serve, fill, tmp_path) -> None:
    server = serve()
    fill(server)
    pixels = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    mask = Image.new("1", (300, 300))
    mask.paste(1, (100, 100, 150, 150))
    mask.save(tmp_path / "large-mask.png")
    Image.fromarray(pixels).save(tmp_path / "small.jpg", quality=5)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    limit = 60_000
    assert (tmp_path / "small.jpg").stat().st_size < limit < (tmp_path / "large.png").stat().st_size
    client = Client(server.url, verbose=False, download_files=str(tmp_path / "results"))

    def ask(name: str) -> str:
        files = [handle_file(tmp_path / name), handle_file(tmp_path / "large-mask.png")]
        return client.predict(*files, "image", 1, 0, api_name="/inpaint")[0]

    server.limit_files(limit)
    with pytest.raises(AppError, match="disk"):  # the result does not fit
        ask("small.jpg")
    with pytest.raises(httpx.HTTPStatusError, match="500"):  # nor does the upload
        ask("large.png")
    fill(server)
    server.limit_files(-1)
    assert np.asarray(Image.open(ask("large.png"))).shape == pixels.shape
    assert server.process.poll() is None


def test_a_model_that_is_removed_while_the_server_runs(serve, fill, tiny_model, tmp_path) -> None:
    model, aside = tmp_path / "model", tmp_path / "aside"
    shutil.copytree(tiny_model, model)
    server = serve(model=model)
    model.rename(aside)
    with pytest.raises(AppError, match="model"):
        fill(server)
    aside.rename(model)
    fill(server)
    # Weights that are loaded do not need their file any more.
    shutil.rmtree(model)
    fill(server, 1)
    assert server.process.poll() is None
