"""Every tab as a ZeroGPU Space serves it: networks run in forked workers, the page's process must not touch them."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from skimage import data

from facekit_demo.common.canvas_traffic import MARK
from tests.app.conftest import (  # noqa: F401 (fixtures)
    free_port,
    guarded,
    tiny_editor,
    tiny_exemplar,
    tiny_model,
    tiny_restorer,
    wait_until_up,
)
from tests.app.visitor import changed
from tests.conftest import ROOT

EYES = np.s_[84:125, 174:276]  # the astronaut's


class Lender(BaseHTTPRequestHandler):
    """What a ZeroGPU host answers: there is always a GPU, and a worker that was lent one may keep it."""

    def do_POST(self) -> None:
        answer = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}
        body = json.dumps(answer if urlsplit(self.path).path == "/schedule" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Page:
    """A visitor of a served page, who calls endpoints by name and presses what has an id, as a browser does."""

    client: Client
    url: str

    def call(self, name: str, **given: Any) -> Any:
        """What an endpoint gives; files are passed as paths."""
        return self.client.predict(**with_files(given, handle_file), api_name=name)

    def press(self, part: str, *given: Any, event: str = "click", then: int = 0) -> Any:
        """Trigger the event of a part, the first where it has several, or what is to follow it; inputs that are not
        given keep the value with which the page opens. Main buttons first take the photo that is chosen.

        Args:
            then: so many steps later in the chain of what follows a success; steps of the browser alone do not count.
        """
        config = self.client.config
        known = {component["id"]: component for component in config["components"]}
        dependency = next(
            dependency
            for dependency in config["dependencies"]
            if any(
                name == event and known[target]["props"].get("elem_id") == part
                for target, name in dependency["targets"]
            )
        )
        while then or not dependency["backend_fn"]:
            then -= dependency["backend_fn"]
            following = [
                later
                for later in config["dependencies"]
                if later["trigger_after"] == dependency["id"] and not later["trigger_only_on_failure"]
            ]
            # Beside what matters a brush may be sized.
            dependency = max(following, key=lambda later: len(later["outputs"]))
        inputs = [known[number] for number in dependency["inputs"]]
        values = [None if c["type"] == "state" else c["props"].get("value") for c in inputs]
        shown = [place for place, component in enumerate(inputs) if component["type"] != "state"]
        for place, value in zip(shown, with_files(given, self._uploaded), strict=False):
            values[place] = value
        event_of = {"fn_index": dependency["id"], "session_hash": self.client.session_hash}
        with httpx.Client(base_url=f"{self.url}/gradio_api", trust_env=False, timeout=200) as browser:
            browser.post("/queue/join", json={"data": values, **event_of}).raise_for_status()
            session = {"session_hash": self.client.session_hash}
            with browser.stream("GET", "/queue/data", params=session) as answer:
                for line in answer.iter_lines():
                    message = json.loads(line.removeprefix("data:")) if line else {}
                    if message.get("msg") == "process_completed":
                        assert message["success"], message
                        return message["output"]["data"]
        raise AssertionError("no answer")

    def _uploaded(self, file: Path) -> dict[str, Any]:
        content = {"files": (file.name, file.read_bytes())}
        (path,) = httpx.post(f"{self.url}/gradio_api/upload", files=content, trust_env=False).json()
        return {"path": path, "meta": {"_type": "gradio.FileData"}}


def with_files(value: Any, how: Callable[[Path], Any]) -> Any:
    """The value with every path in it replaced."""
    if isinstance(value, dict):
        return {key: with_files(entry, how) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [with_files(entry, how) for entry in value]
    return how(value) if isinstance(value, Path) else value


def files_in(updates: Any, ending: str) -> list[str]:
    """Paths of the files of an event's answer whose names end so, each once."""
    found: dict[str, None] = {}
    if isinstance(updates, dict):
        path = str(updates.get("path"))
        found = {path: None} if path.endswith(ending) else {}
        updates = list(updates.values())
    for update in updates if isinstance(updates, list) else []:
        found |= dict.fromkeys(files_in(update, ending))
    return list(found)


@pytest.fixture(scope="module")
def page(
    tiny_model: Path,  # noqa: F811
    tiny_restorer: Path,  # noqa: F811
    tiny_exemplar: Path,  # noqa: F811
    tiny_editor: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("zero")
    lender = ThreadingHTTPServer(("127.0.0.1", 0), Lender)
    threading.Thread(target=lender.serve_forever, daemon=True).start()
    port, log, contacts = free_port(), folder / "log", folder / "contacts.txt"
    contacts.touch()
    environment = os.environ | guarded(contacts)
    environment["PYTHONPATH"] = os.pathsep.join((environment["PYTHONPATH"], str(ROOT)))
    environment |= {
        "SPACES_ZERO_GPU": "1",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{lender.server_address[1]}",
        "CUDA_VISIBLE_DEVICES": "",
        "NO_PROXY": "127.0.0.1",
        "FACEKIT_INPAINT_MODEL": str(tiny_model),
        "FACEKIT_RESTORE_MODEL": str(tiny_restorer),
        "FACEKIT_EXEMPLAR_MODEL": str(tiny_exemplar),
        "FACEKIT_EDIT_MODEL": str(tiny_editor),
        "FACEKIT_CLIP_MODEL": str(folder / "no-clip"),
        "GRADIO_TEMP_DIR": str(folder / "cache"),
        "HF_HOME": str(folder / "home"),
    }
    command = [sys.executable, str(Path(__file__).with_name("zero_gpu_server.py")), str(port)]
    with log.open("wb") as output:
        # A session of its own, so that the workers can be ended with it.
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, server, log)
        yield Page(Client(url, verbose=False, download_files=str(folder / "results")), url)
        for trouble in ("CUDA init", "not compiled with CUDA", "PicklingError"):
            assert trouble not in log.read_text()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)
        lender.shutdown()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A photo with a face, its mirror image, a mask over the eyes, a photo without a face and its mask, strokes."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.fromarray(data.astronaut())
    mask, layer = np.zeros((512, 512), np.uint8), np.zeros((512, 512, 4), np.uint8)
    mask[EYES], layer[EYES] = 255, (255, 90, 60, 255)
    pictures = {"photo": photo, "mask": Image.fromarray(mask), "layer": Image.fromarray(layer)}
    pictures["face"] = photo.crop((100, 0, 356, 256)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pictures["nobody"], pictures["hole"] = Image.new("RGB", (300, 200), "gray"), Image.new("L", (300, 200))
    pictures["hole"].paste(255, (100, 50, 150, 90))
    given: dict[str, Any] = {name: folder / f"{name}.png" for name in pictures}
    for name, picture in pictures.items():
        picture.save(given[name])
    # As the page's script sends what was painted.
    given["strokes"] = {"strokes": MARK + base64.b64encode(given["layer"].read_bytes()).decode()}
    return given


def assert_only_eyes_changed(path: str) -> None:
    hole = np.zeros((512, 512), bool)
    hole[EYES] = True
    difference = changed(Image.fromarray(data.astronaut()), Image.open(path))
    assert difference[hole].mean() > 0.5 and not difference[~hole].any()


EDIT = {"sketch": None, "semantics": None, "color": None, "pose": "keep", "pose_from": None, "prompt": ""}
EDIT |= {"exemplar": None, "strengths": None, "attributes": None, "seed": 3}
EXEMPLAR = {"second_exemplar": None, "sketch": None, "recover": "nothing", "share": 0.5, "candidates": 1}
EXEMPLAR |= {"strength": 1, "psi": 1, "taken": "all", "grain": True, "seed": 0}


@pytest.mark.slow
def test_restore(page: Page, files: dict[str, Any]) -> None:
    given = {"photo": files["photo"], "faces": "all", "fidelity": 0.5, "candidates": 1, "seed": 0}
    paths, _ = page.call("/restore", **given)
    assert changed(Image.fromarray(data.astronaut()), Image.open(paths[0])).any()
    for wrong, message in (({"faces": "7"}, "7"), ({"faces": "x"}, "say all, largest, or numbers")):
        with pytest.raises(AppError, match=message):
            page.call("/restore", **given | wrong)
    page.press("restore-photo", files["photo"], event="upload")
    page.press("restore-run", files["photo"], [0])
    assert len(files_in(page.press("restore-download"), "-restored.png")) == 1


@pytest.mark.slow
def test_inpaint(page: Page, files: dict[str, Any]) -> None:
    given = {"photo": files["photo"], "mask": files["mask"], "region": "face", "steps": 1, "seed": 0}
    assert_only_eyes_changed(page.call("/inpaint", **given)[0])
    with pytest.raises(AppError, match="No face was found"):
        page.call("/inpaint", **given | {"photo": files["nobody"], "mask": files["hole"]})
    page.press("inpaint-photo", files["photo"], event="upload")
    page.press("inpaint-run", files["photo"], files["photo"], files["strokes"])
    (path,) = files_in(page.press("inpaint-download"), "-filled.png")
    assert_only_eyes_changed(path)


@pytest.mark.slow
def test_exemplar(page: Page, files: dict[str, Any]) -> None:
    given = EXEMPLAR | {"photo": files["photo"], "mask": files["mask"], "exemplar": files["face"]}
    assert_only_eyes_changed(page.call("/exemplar", **given)[0][0])
    with pytest.raises(AppError, match="No face was found"):
        page.call("/exemplar", **given | {"photo": files["nobody"], "mask": files["hole"]})
    # The row of generated faces is drawn by a network too.
    page.press("exemplar-photo", files["photo"], event="upload")
    offered = page.press("exemplar-photo", files["photo"], event="upload", then=1)
    assert any(isinstance(update, dict) and len(update.get("value") or ()) == 12 for update in offered)
    page.press("exemplar-own", files["face"], event="upload")
    page.press("exemplar-run", files["photo"], files["photo"], files["strokes"])
    (path,) = files_in(page.press("exemplar-download"), "-filled-1.png")
    assert_only_eyes_changed(path)


@pytest.mark.slow
def test_edit(page: Page, files: dict[str, Any]) -> None:
    given = EDIT | {"photo": files["photo"], "mask": files["mask"]}
    path, _ = page.call("/edit", **given)
    assert_only_eyes_changed(path)
    assert_only_eyes_changed(
        page.call("/edit", **given | {"exemplar": files["face"], "attributes": {"age": 2}})[0]
    )
    for wrong, message in (
        ({"attributes": {"beard": 1}}, "known are age, smile"),
        ({"strengths": {"sketch": 3}}, "strength of sketch is 3"),
        ({"prompt": "old"}, "hf download"),
    ):
        with pytest.raises(AppError, match=f"(?i){message}"):
            page.call("/edit", **given | wrong)


@pytest.mark.slow
def test_an_edited_photo_survives_from_worker_to_worker(page: Page, files: dict[str, Any]) -> None:
    page.press("edit-photo", files["photo"], event="upload")
    page.press("edit-photo", files["photo"], event="upload", then=1)  # its faces are found
    page.press("edit-example", event="expand")
    assert page.press("edit-start", files["strokes"])

    def result(part: str, *given: Any, **options: Any) -> Image.Image:
        page.press(part, *given, **options)
        (path,) = files_in(page.press("edit-download"), "-edited.png")
        assert_only_eyes_changed(path)
        return Image.open(path)

    strokes = files["strokes"]
    first = result("edit-run", files["photo"], strokes)
    second = result("edit-run", files["photo"], strokes, None, None, None, 8)
    assert changed(first, second).any()
    assert not changed(result("edit-undo", strokes), first).any()
    assert not changed(result("edit-redo", strokes), second).any()
    (saved,) = files_in(page.press("edit-pack"), "-session.zip")
    page.press("edit-open", Path(saved), event="upload")
    assert not changed(result("edit-undo", strokes), first).any()
