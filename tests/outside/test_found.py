"""A method from a folder outside facekit is found everywhere, with no file of facekit changed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from skimage import data as pictures

from facekit.hub.publish_space import plan_space
from facekit.hub.starters import starter
from facekit.methods import OWN, methods, refusals
from facekit.provenance import inspect
from facekit_cli.main import main
from tests.app.conftest import free_port, wait_until_up
from tests.app.visitor import Visitor
from tests.cli.evaluation.conftest import data, no_downloads  # noqa: F401
from tests.helpers.evaluation import evaluate, read_report
from tests.hub.stand_in import HubStandIn, Repository
from tests.outside.conftest import ROOT, run
from train.starters import __main__ as starters


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of 60x40 pixels."""
    Image.fromarray(pictures.astronaut()[20:60, 200:260]).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def assert_blurred(photo: Path, result: str | Path) -> None:
    mean = cv2.blur(np.asarray(Image.open(photo), np.float32), (5, 5), borderType=cv2.BORDER_REPLICATE)
    assert np.abs(np.asarray(Image.open(result), np.float32) - mean).max() <= 1
    assert inspect(result).metadata.model == "face-blur-starter"


@pytest.mark.slow
def test_on_the_command_line(blur: Path, photo: Path) -> None:
    command = ("-m", "facekit", "blur", photo, "--output", photo.parent / "out")
    done = run(*command, places=str(blur), cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    assert_blurred(photo, photo.parent / "out" / "photo.png")
    done = run(*command, places=str(blur))
    assert done.returncode == 2 and "facekit blur: error:" in done.stderr and "--overwrite" in done.stderr


def test_help_still_comes_without_torch(blur: Path) -> None:
    done = run("-X", "importtime", "-m", "facekit", "--help", places=str(blur))
    assert "blur photos" in done.stdout
    assert not {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()} & {"torch", "diffusers"}


def test_installed_it_needs_no_variable(blur: Path, tmp_path: Path) -> None:
    """An installed distribution is a package and the folder that pip writes beside it."""
    told = tmp_path / "facekit_blur-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: facekit-blur\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[facekit.methods]\nblur = facekit_blur:METHOD\n")
    path = os.pathsep.join(map(str, (ROOT, tmp_path, blur.parent)))
    for places in ("", str(blur)):  # found twice it is still one
        done = run("-m", "facekit", "--help", places=places, env={"PYTHONPATH": path})
        assert "blur photos" in done.stdout and done.stderr == ""


def test_as_starter_and_in_a_table(
    blur: Path,
    offered: Callable[..., None],
    data: Path,  # noqa: F811
    tmp_path: Path,
    no_downloads: None,  # noqa: F811
) -> None:
    offered(blur)
    assert [method.name for method in methods()] == [*(method.name for method in OWN), "blur"]
    assert refusals() == () and starter("face-blur") == str(blur / "face-blur-starter")
    assert evaluate("3.1", "--data", data, "-m", "face-blur", "-m", "input", "--output", tmp_path) == 0
    blurred, given = read_report(tmp_path)["rows"]
    assert blurred["method"] == "face-blur-starter" and blurred["values"][5] != given["values"][5]
    assert len(list((tmp_path / "outputs" / "face-blur-starter" / "all").glob("*.png"))) == 4


def test_what_it_cannot_be_asked_for(
    blur: Path,
    offered: Callable[..., None],
    data: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    offered(blur)
    assert evaluate("4.5", "--data", data, "-m", "face-blur", "--output", tmp_path) == 2
    assert "is a BlurPipeline, and table 4.5 needs FaceInpaintPipeline" in capsys.readouterr().err


def test_a_push_of_its_model(blur: Path, offered: Callable[..., None], capsys: pytest.CaptureFixture) -> None:
    offered(blur)
    folder = str(blur / "face-blur-starter")
    assert main(["push", folder, "--repo", "somebody/face-blur", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "blur/diffusion_pytorch_model.safetensors" in told.out and "nothing was uploaded" in told.out
    assert "BlurPipeline is of the package facekit_blur" in told.err


def test_the_starters_say_that_they_do_not_train_it(
    blur: Path, offered: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    offered(blur)
    said = "note: the method blur is not trained here: its package has to train it"
    with pytest.raises(SystemExit, match="no such folder"):
        starters.main(["--data", f"{tmp_path}/gone", "--minutes", "60", "--output", f"{tmp_path}/out"])
    assert capsys.readouterr().out.splitlines() == [said]


FRONT = """\
---
title: Blur
sdk: gradio
sdk_version: 6.0.0
python_version: "3.11"
app_file: app.py
license: apache-2.0
models:
- somebody/face-blur-starter
---
"""
APP = """\
import os

os.environ["FACEKIT_METHODS"] = "facekit_blur"
from facekit_demo import build_app, launch

demo = build_app(("blur",))

if __name__ == "__main__":
    launch(demo, "127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"]))
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A Space for the method."""
    folder = tmp_path / "written"
    folder.mkdir()
    (folder / "README.md").write_text(FRONT)
    (folder / "app.py").write_text(APP)
    (folder / "requirements.txt").write_text("facekit\n")
    return folder


def test_a_push_of_its_space(
    blur: Path, offered: Callable[..., None], space: Path, capsys: pytest.CaptureFixture
) -> None:
    offered(blur)
    assert main(["push", str(space), "--repo", "somebody/blur", "--space", "--dry-run"]) == 0
    told = capsys.readouterr()
    paths = [line.split()[-1] for line in told.out.splitlines()]
    assert {"facekit_blur/__init__.py", "facekit_blur/tab.py", "facekit/methods.py"} <= set(paths)
    assert "hub_cards/face-blur-starter/model_index.json" in paths and told.err == ""
    assert not any(path.startswith("facekit_blur/face-blur-starter") for path in paths)

    (space / "app.py").write_text(APP.replace("facekit_blur", "others"))
    assert "let the app set FACEKIT_METHODS to facekit_blur" in plan_space(space).problems[0]


@pytest.mark.slow
def test_its_space_starts_and_answers(
    blur: Path, offered: Callable[..., None], space: Path, photo: Path
) -> None:
    offered(blur)
    folder = photo.parent / "space"
    for upload in plan_space(space).uploads:
        (folder / upload.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / upload.path).write_bytes(upload.file.read_bytes())
    assert_page_blurs(photo, folder, {"PYTHONPATH": ""})


def assert_page_blurs(photo: Path, folder: Path, environment: dict[str, str], browser=None) -> None:
    """Start `app.py` of a folder; its endpoint blurs, and so does its tab where there is a browser."""
    port, log = free_port(), photo.parent / "log"
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "NO_PROXY": "127.0.0.1"} | environment
    environment |= {"GRADIO_TEMP_DIR": str(photo.parent / "cache"), "PORT": str(port)}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "app.py"], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, server, log)
        client = Client(url, verbose=False, download_files=str(photo.parent))
        assert_blurred(photo, client.predict(handle_file(photo), api_name="/blur"))
        if browser is not None:
            look_at_tab(browser, url, photo)
    finally:
        server.terminate()
        server.wait(30)


class BlurPage(Visitor):
    task, tab = "blur", "Blur"


def look_at_tab(browser, url: str, photo: Path) -> None:
    page = BlurPage(browser, url)
    page.choose_photo(photo)
    page.part("photo").get_by_text(photo.name[:4]).filter(visible=True).first.wait_for()
    page.part("run").click()
    with page.page.expect_download() as download:
        page.part("result").get_by_role("link").first.click()
    assert_blurred(photo, download.value.path())
    page.close()


def test_on_the_page(blur: Path, photo: Path, browser) -> None:
    assert_page_blurs(photo, ROOT, {"FACEKIT_METHODS": str(blur), "PYTHONPATH": str(ROOT)}, browser)


@pytest.mark.slow
def test_loaded_by_diffusers_and_from_the_hub(blur: Path, photo: Path) -> None:
    folder = blur / "face-blur-starter"
    words = f"import facekit, diffusers; print(type(diffusers.DiffusionPipeline.from_pretrained({str(folder)!r})))"
    assert "facekit_blur.pipeline.BlurPipeline" in run("-c", words, places=str(blur)).stdout
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    with HubStandIn() as hub:
        hub.repositories["somebody/face-blur"] = Repository()
        hub.repositories["somebody/face-blur"].commit(files, "main")
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(photo.parent / "home")}
        environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
        command = ("blur", photo, "--model", "somebody/face-blur", "--output", photo.parent / "out")
        done = run("-m", "facekit", *command, places=str(blur), env=environment)
    assert done.returncode == 0, done.stderr
    assert inspect(photo.parent / "out" / "photo.png").metadata.model == "somebody/face-blur"
