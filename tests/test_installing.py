"""What an install has: the starters in a wheel and in a source archive, and a clone that is found from anywhere."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def list_starters() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "hub_cards").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build reads, without what earlier builds left."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("facekit", "facekit_cli", "facekit_demo", "hub_cards", "train"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "hub_cards" / "__pycache__").mkdir()
    (folder / "hub_cards" / "__pycache__" / "__init__.cpython-311.pyc").touch()
    return folder


def build(clone: Path, kind: str, output: Path) -> Path:
    """Call the build backend as pip does, offline."""
    call = f"import setuptools.build_meta as b; b.build_{kind}({str(output)!r})"
    subprocess.run([sys.executable, "-c", call], cwd=clone, check=True, capture_output=True)
    (built,) = output.iterdir()
    return built


@pytest.mark.slow
def test_a_wheel_brings_the_starters(clone: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build(clone, "wheel", tmp_path)) as wheel:
        names = set(wheel.namelist())
    assert {f"facekit/{name}" for name in list_starters()} <= names
    assert {"facekit/__init__.py", "facekit_demo/style.css"} <= names
    assert not any(name.startswith(("hub_cards/", "train/")) or "__pycache__" in name for name in names)


@pytest.mark.slow
def test_a_source_archive_brings_what_a_wheel_needs(clone: Path, tmp_path: Path) -> None:
    with tarfile.open(build(clone, "sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert list_starters() | {"setup.py", "pyproject.toml", "facekit/__init__.py"} <= names


def test_a_folder_of_the_same_name_does_not_hide_the_package(tmp_path: Path) -> None:
    """As in the folder into which somebody cloned `facekit`."""
    (tmp_path / "facekit").mkdir()
    call = "import facekit; print(facekit.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", call], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).samefile(ROOT / "facekit" / "__init__.py")
