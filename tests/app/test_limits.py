"""Limits of the demo: pixels, queue, time, how long files stay, and what can be read through the API."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from facekit_demo import page
from facekit_demo.common import running as common
from facekit_demo.common import temporary
from facekit_demo.common.limits import Limits, check_time, limited_time
from facekit_demo.inpaint import tab as inpaint
from tests.app.conftest import free_port

WEB = httpx.Client(trust_env=False)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def serve(tiny_model: Path) -> Iterator[Callable[..., str]]:
    """Serve the Inpaint tab in this process under limits given as variables; its address."""
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEKIT_INPAINT_MODEL", str(tiny_model))
        patch.setattr(common, "_pipelines", {})

        def start(**limits: float) -> str:
            with pytest.MonkeyPatch.context() as own:
                for name, value in limits.items():
                    own.setenv(f"FACEKIT_DEMO_{name.upper()}", str(value))
                app, port = page.build_app(("inpaint",)), free_port()
                opened.append(app)
                page.launch(app, port=port, prevent_thread_lock=True, quiet=True)
            return f"http://127.0.0.1:{port}"

        yield start
        for app in opened:
            app.close(verbose=False)


@pytest.fixture(scope="module")
def url(serve) -> str:
    return serve()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30, 20:30] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.new("L", (400, 400), 255).save(folder / "large.png")
    return folder


def upload(url: str, content: bytes) -> dict[str, object]:
    """An uploaded file as programs name it in a request."""
    answer = WEB.post(f"{url}/gradio_api/upload", files={"files": ("a.png", content)})
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def fill(client: Client, photo: object, mask: object, steps: int = 1) -> str:
    return client.predict(photo, mask, "image", steps, 0, api_name="/inpaint")[0]


def fill_files(
    url: str, files: Path, photo: str = "photo.png", mask: str = "mask.png", steps: int = 1
) -> str:
    client = Client(url, verbose=False, download_files=str(files / "results"))
    return fill(client, handle_file(files / photo), handle_file(files / mask), steps)


def test_limits_come_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("FACEKIT_DEMO_QUEUE", "3")
    monkeypatch.setenv("FACEKIT_DEMO_JOB_SECONDS", "2.5")
    limits = Limits.from_environment()
    assert (limits.queue, limits.job_seconds, limits.max_pixels) == (3, 2.5, 100_000_000)
    assert limits.kept_for == "an hour" and Limits(keep_seconds=600).kept_for == "10 minutes"


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5", "nan"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, text) -> None:
    monkeypatch.setenv("FACEKIT_DEMO_QUEUE", text)
    with pytest.raises(ValueError, match=r"FACEKIT_DEMO_QUEUE is .*whole number above 0"):
        page.build_app(("inpaint",))


def test_work_ends_at_the_next_layer() -> None:
    layer = torch.nn.Linear(1, 1)
    with limited_time(60):
        layer(torch.zeros(1))
        with limited_time(1e-9), pytest.raises(TimeoutError, match="longer than the 1e-09 seconds"):
            layer(torch.zeros(1))
        check_time()
    layer(torch.zeros(1))


def test_a_compiled_network_is_one_graph_under_a_time_limit() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).requires_grad_(False)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    x = torch.ones(1, 2)
    with limited_time(60):
        assert torch.equal(compiled(x), network(x))


def test_the_page_works_under_its_limits(url, files) -> None:
    result = np.asarray(Image.open(fill_files(url, files)))
    photo, hole = np.asarray(Image.open(files / "photo.png")), np.asarray(Image.open(files / "mask.png")) > 0
    assert (result == photo)[~hole].all() and (result != photo).any()


def test_a_request_over_its_time_is_ended_with_a_reason(url, files, monkeypatch) -> None:
    monkeypatch.setenv("FACEKIT_DEMO_JOB_SECONDS", "0.001")
    with pytest.raises(AppError, match=r"longer than the 0\.001 seconds.*Try a smaller photo"):
        fill_files(url, files, steps=9)
    monkeypatch.delenv("FACEKIT_DEMO_JOB_SECONDS")
    fill_files(url, files)


@pytest.mark.parametrize(("photo", "mask"), [("large.png", "mask.png"), ("photo.png", "large.png")])
def test_large_pictures_are_refused(url, files, monkeypatch, photo, mask) -> None:
    monkeypatch.setenv("FACEKIT_DEMO_MAX_PIXELS", "10000")
    with pytest.raises(AppError, match=r"400x400.*the limit is 10,000\. Make it smaller\.") as refused:
        fill_files(url, files, photo, mask)
    assert "max_pixels" not in str(refused.value)


def test_a_full_queue_says_so_and_the_others_are_served(serve, files, monkeypatch) -> None:
    url = serve(queue=1)
    running, go_on, work = threading.Event(), threading.Event(), inpaint._infer

    def slow(*arguments: object) -> object:
        running.set()
        assert go_on.wait(60)
        return work(*arguments)

    monkeypatch.setattr(inpaint, "_infer", slow)
    photo, mask = (upload(url, (files / name).read_bytes()) for name in ("photo.png", "mask.png"))
    body = {"data": [photo, mask, "image", 1, 0, None, False]}  # None: the model that is there
    first = WEB.post(f"{url}/gradio_api/call/inpaint", json=body)
    assert running.wait(60)
    second = WEB.post(f"{url}/gradio_api/call/inpaint", json=body)
    third = WEB.post(f"{url}/gradio_api/call/inpaint", json=body)
    assert third.status_code == 503 and "Queue is full" in third.text
    with pytest.raises(Exception, match="Queue is full! Please try again"):
        fill_files(url, files)
    go_on.set()
    for answer in (first, second):
        told = WEB.get(f"{url}/gradio_api/call/inpaint/{answer.json()['event_id']}", timeout=60).text
        assert "event: complete" in told and "-filled.png" in told
    assert Path(fill_files(url, files)).is_file()


def test_too_large_an_upload_is_refused(serve) -> None:
    url = serve(upload_mb=1)
    answer = WEB.post(f"{url}/gradio_api/upload", files={"files": ("a.png", b"0" * (2**20 + 1))})
    assert answer.status_code == 413


def test_uploaded_and_made_files_are_deleted(serve, files) -> None:
    url = serve(keep_seconds=2)
    content = os.urandom(50)
    answer = WEB.post(f"{url}/gradio_api/upload", files={"files": ("secret.png", content)})
    (upload,) = answer.json()
    assert Path(upload).read_bytes() == content and Path(upload).is_relative_to(temporary.own_folder())
    forgotten = temporary.own_folder() / "left by a visitor who went"
    forgotten.write_bytes(content)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (Path(upload).exists() or forgotten.exists()):
        time.sleep(0.1)
    assert not Path(upload).exists() and not forgotten.exists()
    assert WEB.get(f"{url}/gradio_api/file={upload}").status_code == 403


def test_sweeping_spares_new_and_kept_files_and_link_targets(tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("1")
    folder = tmp_path / "cache"
    (folder / "a").mkdir(parents=True)
    for name in ("old", "kept", temporary.ALIVE):
        (folder / "a" / name).touch()
    (folder / "link").symlink_to(outside)
    time.sleep(0.3)
    (folder / "new").touch()
    temporary.sweep(folder, 0.2, {str(folder / "a" / "kept")})
    assert {path.name for path in folder.rglob("*")} == {"a", "kept", temporary.ALIVE, "new"}
    assert (outside / "mine").is_file()


def test_folders_of_killed_servers_are_removed(tmp_path) -> None:
    own, dead, alive, other = (
        tmp_path / f"{temporary.PREFIX}{name}" for name in ("own", "dead", "alive", "other")
    )
    for folder in (own, dead, alive, other):
        folder.mkdir()
        (folder / "photo.png").touch()
    for folder in (own, dead, alive):
        (folder / temporary.ALIVE).touch()
    long_ago = time.time() - temporary.GONE_AFTER - 1
    os.utime(dead / temporary.ALIVE, (long_ago, long_ago))
    temporary.remove_abandoned(own)
    assert not dead.exists() and own.exists() and alive.exists() and other.exists()


SECRETS = ("/etc/passwd", str(ROOT / "pyproject.toml"), str(ROOT / "facekit_demo" / "page.py"))


@pytest.fixture(scope="module")
def secrets(url, tmp_path_factory) -> list[str]:
    """Paths that lead to files outside the server's folder, written in many ways."""
    own = temporary.own_folder()
    link = own / "link.png"
    link.symlink_to("/etc/passwd")
    (own / "linked").symlink_to(ROOT)
    up = "/".join([".."] * 20)
    paths = [*SECRETS, str(link), str(own / "linked" / "pyproject.toml")]
    for secret in SECRETS:
        paths += [
            f"{own}/{up}{secret}",
            f"{common.EXAMPLES}/{up}{secret}",
            f"{up}{secret}",
            f"file://{secret}",
        ]
        paths += [f"/{secret}", f"/proc/self/root{secret}", f"{own}/..//{up}{secret}", f"{secret}\0.png"]
    return [*paths, "pyproject.toml", "app.py", "/proc/self/environ", str(own.parent), "http://127.0.0.1:9/x"]


@pytest.mark.parametrize("prefix", ["/gradio_api/file=", "/gradio_api/file/", "/file="])
def test_no_other_file_is_served(url, secrets, prefix) -> None:
    for path in secrets:
        path = path.replace("\0", "%00")
        for written in (path, path.replace("/", "%2F").replace(".", "%2e")):
            answer = WEB.get(f"{url}{prefix}{written}")
            assert answer.status_code in (400, 403, 404), written
            assert "root:" not in answer.text and "[project]" not in answer.text
    example = next(common.EXAMPLES.glob("*.*"))
    assert WEB.get(f"{url}/gradio_api/file={example}").status_code == 200


def test_no_other_file_is_taken_as_input(url, secrets, files) -> None:
    mask = upload(url, (files / "mask.png").read_bytes())
    link = str(temporary.own_folder() / "link.png")
    for path in (*SECRETS, link, *secrets[5::4]):
        for extra in ({}, {"orig_name": "a.png", "url": f"{url}/gradio_api/file={path}"}):
            photo = {"path": path, "meta": {"_type": "gradio.FileData"}, **extra}
            event = WEB.post(
                f"{url}/gradio_api/call/inpaint", json={"data": [photo, mask, "image", 1, 0, None, False]}
            )
            told = event.text
            if event.status_code == 200:
                address = f"{url}/gradio_api/call/inpaint/{event.json()['event_id']}"
                told = WEB.get(address, timeout=30).text
                assert "event: error" in told, path
            assert "root:" not in told and "[project]" not in told


def test_uploads_stay_in_the_folder_whatever_their_name(url) -> None:
    for name in (
        "../../../../tmp/escaped.png",
        "/etc/escaped.png",
        "..\\..\\escaped.png",
        ".alive",
        "a/../../b.png",
    ):
        answer = WEB.post(f"{url}/gradio_api/upload", files={"files": (name, b"content")})
        if answer.status_code == 200:
            (path,) = json.loads(answer.text)
            file = Path(path)
            assert file.resolve().is_relative_to(temporary.own_folder()) and not file.is_symlink()
            assert file.parent != temporary.own_folder()
    assert not Path("/tmp/escaped.png").exists() and not Path("/etc/escaped.png").exists()
