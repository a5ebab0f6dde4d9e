"""`facekit push --space`: what it shows, what it refuses, and that what was pushed runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facekit.hub.publish_space import plan_space
from facekit.hub.starters import starters
from facekit_cli.main import main
from tests.hub.stand_in import HubStandIn
from tests.spaces.test_spaces import ENDPOINTS, ROOT, assert_starts, front_matter, missing_modules

REPO = "facekit/restoring"
FACES = "face-restore"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a Space that may be pushed."""
    return Path(shutil.copytree(ROOT / "spaces" / FACES, tmp_path / FACES))


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_our_spaces_take_packages_and_models_along(name: str) -> None:
    space = ROOT / "spaces" / name
    models = {model.split("/")[1] for model in front_matter(space)["models"]}
    if not models <= set(starters().values()):
        pytest.skip("a model of this Space is not bundled yet")
    plan = plan_space(space)
    assert plan.problems == plan.notes == [] and plan.repo_type == "space"
    files = {upload.path: upload.file for upload in plan.uploads}
    assert {"README.md", "app.py", "requirements.txt", "LICENSE", "facekit_demo/style.css"} <= set(files)
    assert files["facekit/public.py"] == ROOT / "facekit" / "public.py"
    assert not any("__pycache__" in path or "/." in path for path in files)
    there = {path.split("/")[1] for path in files if path.startswith("hub_cards/")}
    drawing = {"face-prior", "exemplar-inpaint", "face-restore"}  # what draws the faces to choose from
    if name in ("exemplar-inpaint", "face-edit", "all-in-one"):
        models |= {starters()[one] for one in drawing}
    assert there == models


def test_dry_run_shows_what_would_go(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["push", str(folder), "--repo", REPO, "--space", "--dry-run"]) == 0
    *listed, total, end = capsys.readouterr().out.splitlines()
    shown = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in listed}
    assert shown["app.py"] == (folder / "app.py").stat().st_size
    assert shown["facekit/hub/starters.py"] == (ROOT / "facekit" / "hub" / "starters.py").stat().st_size
    assert f"{len(shown)} files, {sum(shown.values()):,} bytes" in total
    assert end == "dry run: nothing was uploaded"


def readme(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "README.md").read_text()
        assert old in text
        (folder / "README.md").write_text(text.replace(old, new, 1))

    return change


def write(path: str, text: str) -> Callable[[Path], None]:
    return lambda folder: [
        (folder / path).parent.mkdir(exist_ok=True),
        (folder / path).write_text(text),
    ]


PROBLEMS = {
    "no card": (lambda folder: (folder / "README.md").unlink(), "there is no README.md"),
    "no YAML": (readme("license: apache-2.0", "license: ]["), "the metadata of README.md is not valid"),
    "no title": (readme("title: Face restoration\n", ""), "the metadata lacks title"),
    "no models": (readme("models:\n- facekit/face-restore-starter-256\n", ""), "the metadata lacks models"),
    "wrong model": (readme("- facekit/face", "- ../face"), "models has '../face"),
    "other sdk": (readme("sdk: gradio", "sdk: docker"), "sdk is 'docker'"),
    "Python 3.1": (readme('"3.11"', "3.10"), "python_version is 3.1, a number"),
    "long": (readme("short_description: Sharp", f"short_description: {'very ' * 12}"), "longer than 60"),
    "no app": (readme("app_file: app.py", "app_file: main.py"), "app_file is 'main.py'"),
    "no requirements": (lambda folder: (folder / "requirements.txt").unlink(), "no requirements.txt"),
    "no Python": (write("app.py", "demo = ("), "app.py is no Python"),
    "placeholder": (readme("# Face", "# TODO Face"), "still has the placeholder"),
    "machine path": (write("more.py", "FOLDER = '/home/somebody/x'"), "names a path of one machine"),
    "pickle": (write("more.pkl", ""), "more.pkl is a pickle"),
    "own package": (write("facekit/x.py", ""), "facekit/ is in the folder"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_refused(folder: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    change, message = PROBLEMS[name]
    change(folder)
    # Without --dry-run: it must stop before anything is sent.
    assert main(["push", str(folder), "--repo", REPO, "--space"]) == 1
    assert message in capsys.readouterr().err


def test_a_model_elsewhere_is_left_to_a_download(folder: Path) -> None:
    readme("facekit/face-restore-starter-256", "somebody/other")(folder)
    plan = plan_space(folder)
    assert plan.problems == [] and "other, which is not bundled" in plan.notes[0]
    assert not any(upload.path.startswith("hub_cards/") for upload in plan.uploads)


def unpacked(folder: Path, tmp_path: Path) -> Path:
    """What the Hub has of a Space after the command, in a folder as the host would make it."""
    with HubStandIn() as hub:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": hub.token}
        environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-m", "facekit", "push", str(folder), "--repo", REPO, "--space"]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and f"pushed: {hub.endpoint}/spaces/{REPO}" in done.stdout, done.stderr
        repository = hub.repositories[f"spaces/{REPO}"]
        files = repository.commits[repository.names["main"]]
    for path, content in files.items():
        (tmp_path / "space" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / path).write_bytes(content)
    return tmp_path / "space"


def test_what_was_pushed_brings_its_own_package_and_model(folder: Path, tmp_path: Path) -> None:
    space = unpacked(folder, tmp_path)
    words = "from facekit.hub import starters; print(starters.__file__, starters.starter('face-restore'), sep='\\n')"
    # A script's folder is the first place that Python imports from; for `-c` that is the working directory.
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=space, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == [
        str(space / "facekit" / "hub" / "starters.py"),
        str(space / "hub_cards" / starters()["face-restore"]),
    ], done.stderr


@pytest.mark.slow
def test_what_was_pushed_starts_and_answers(folder: Path, tmp_path: Path) -> None:
    space = unpacked(folder, tmp_path)
    assert_starts(space, missing_modules(folder), ENDPOINTS[FACES], tmp_path)
