"""Each Space as its host starts it: its own folder as working directory, only what its requirements bring."""

import importlib.metadata
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from PIL import Image
from skimage import data

from facekit.hub.starters import starters
from facekit.methods import OWN
from tests.app.conftest import free_port, wait_until_up

ROOT = Path(__file__).resolve().parents[2]
SPACES = sorted(path for path in (ROOT / "spaces").iterdir() if path.is_dir())
# Every method has a Space called as its model is, and one Space has them all.
ENDPOINTS = {method.model: {f"/{method.name}"} for method in OWN}
ENDPOINTS["all-in-one"] = {f"/{method.name}" for method in OWN}


def front_matter(space: Path) -> dict:
    text = (space / "README.md").read_text()
    return yaml.safe_load(text.split("---\n")[1])


def requirements(space: Path) -> list[Requirement]:
    return [Requirement(line) for line in (space / "requirements.txt").read_text().splitlines() if line]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought(space: Path) -> set[str]:
    """Distributions that installing the requirements brings, by way of their own requirements."""
    found: set[tuple[str, str]] = set()
    waiting = [(r.name, extra) for r in requirements(space) for extra in ("", *r.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (canonical(name), extra) in found:
            continue
        found.add((canonical(name), extra))
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(need.name, more) for more in ("", *need.extras)]
    return {name for name, _ in found}


def missing_modules(space: Path) -> set[str]:
    """Top-level modules that are installed here and would not be in the Space."""
    there = brought(space) | {"facekit", "pip", "setuptools"}
    owners = importlib.metadata.packages_distributions()
    return {
        module
        for module, distributions in owners.items()
        if not {canonical(name) for name in distributions} & there
    }


def test_every_space_is_here() -> None:
    assert {space.name for space in SPACES} == set(ENDPOINTS)
    assert not list((ROOT / "spaces").rglob("__init__.py"))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_front_matter_is_what_the_hub_takes(space) -> None:
    card = front_matter(space)
    assert card["sdk"] == "gradio" and (space / card["app_file"]).is_file()
    assert card["python_version"] == "3.11" and card["license"] == "apache-2.0"
    assert len(card["short_description"]) <= 60
    assert re.fullmatch(r"[\d.]+", card["sdk_version"])
    gradio = next(r for r in requirements(space) if r.name == "gradio")
    assert gradio.specifier.contains(card["sdk_version"])
    # By the rule that names starters, so that a Space may be here before its model is.
    known = {f"facekit/{name}-starter-256" for name in ENDPOINTS} | {
        f"facekit/{n}" for n in starters().values()
    }
    assert card["models"] and set(card["models"]) <= known


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_requirements_cover_what_the_package_needs(space) -> None:
    names = {canonical(r.name) for r in requirements(space)}
    needs = [Requirement(text) for text in importlib.metadata.requires("facekit")]
    plain = {
        canonical(r.name)
        for r in needs
        if r.marker is None or r.marker.evaluate({"extra": "", "python_version": "3.11"})
    }
    assert plain <= names


def test_the_guard_hides_what_a_space_does_not_have() -> None:
    hidden = missing_modules(ROOT / "spaces" / "face-restore")
    assert {"pytest", "playwright", "datasets", "lpips", "ruff"} <= hidden
    assert not hidden & {"torch", "gradio", "spaces", "diffusers", "skimage", "cv2", "facekit", "numpy"}


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_space_starts_and_answers(space, tmp_path) -> None:
    assert_starts(space, missing_modules(space), ENDPOINTS[space.name], tmp_path, ROOT)


def assert_starts(
    folder: Path, missing: set[str], endpoints: set[str], tmp_path: Path, *importable: Path
) -> None:
    """Start the Space in a folder without some modules; it must have these endpoints, and restore where it can."""
    port, log = free_port(), tmp_path / "log"
    guard = Path(__file__).with_name("guard")
    environment = os.environ | {
        "SYSTEM": "spaces",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(tmp_path / "cache"),
        "SPACE_MISSING": ",".join(sorted(missing)),
        "PYTHONPATH": os.pathsep.join(map(str, [guard, *importable])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "2",
    }
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "app.py"], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, server, log)
        client = Client(url, verbose=False)
        assert set(client.view_api(return_format="dict")["named_endpoints"]) == endpoints
        page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).read()
        assert b"facekit" in page
        if "/restore" in endpoints:
            photo = tmp_path / "photo.png"
            Image.fromarray(data.astronaut()).save(photo)
            paths, _ = client.predict(
                photo=handle_file(photo), faces="all", fidelity=0.5, candidates=1, seed=0, api_name="/restore"
            )
            assert Image.open(paths[0]).size == (512, 512)
    finally:
        server.terminate()
        server.wait(30)
