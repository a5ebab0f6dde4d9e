"""Torchvision, and what imports it, works beside a torch that its compiled operators do not fit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facekit import _torchvision
from facekit._torchvision import compiled_operators

# Other environments with facekit's needs, for example with the newest torch and torchvision: their interpreters.
OTHERS = [path for path in os.environ.get("FACEKIT_OTHER_PYTHONS", "").split(os.pathsep) if path]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter: what is declared to torch stays declared in the process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def alone() -> subprocess.CompletedProcess[str]:
    """Torchvision imported without facekit."""
    return run_python("import torchvision")


@pytest.mark.slow
def test_torchvision_and_its_users_import_after_facekit(alone: subprocess.CompletedProcess[str]) -> None:
    code = """
import facekit
import torch, torchvision, lpips
from transformers import CLIPModel
schema = str(torch.ops.torchvision.nms.default._schema)
assert schema == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", schema
assert torchvision.transforms.functional.resize(torch.zeros(1, 3, 8, 8), [4, 4]).shape == (1, 3, 4, 4)
from facekit import _torchvision
print("mended" if _torchvision.mend() else "loads by itself")
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ("loads by itself" if alone.returncode == 0 else "mended")


def test_import_fails_without_the_mending(alone: subprocess.CompletedProcess[str]) -> None:
    if alone.returncode == 0:
        pytest.skip("torchvision's operators load on this machine: there is nothing to mend")
    assert "torchvision::nms does not exist" in alone.stderr


@pytest.mark.parametrize("name", ["_C.so", "_C_stable.so"])
def test_operators_are_found_under_their_old_and_new_name(tmp_path: Path, name: str) -> None:
    for file in (name, "image.so", "image_stable.so"):
        (tmp_path / file).touch()
    assert compiled_operators(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize("files, declared", [([], False), (["_C.so"], True), (["_C_stable.so"], True)])
def test_schemas_are_declared_only_where_operators_surely_do_not_load(
    tmp_path: Path, files: list[str], declared: bool
) -> None:
    """Declared twice, an operator ends the process; where there is no file, another name may hide it."""
    package = tmp_path / "torchvision"
    package.mkdir()
    for name in ["__init__.py", *files]:
        (package / name).write_text("")  # an empty library loads nowhere
    # The file alone: the rest of facekit would go on to import this torchvision.
    module = Path(_torchvision.__file__)
    code = f"""
import runpy, sys
sys.path.insert(0, {str(tmp_path)!r})
print(runpy.run_path({str(module)!r})["mend"]())
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(declared)


@pytest.mark.parametrize("python", OTHERS)
def test_other_environments(python: str) -> None:
    root = Path(__file__).resolve().parents[1]
    code = "import facekit, torchvision, torch; facekit.FaceInpaintPipeline; torch.ops.torchvision.nms"
    result = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert result.returncode == 0, result.stderr
