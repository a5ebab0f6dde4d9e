"""Torchvision, and what imports it, works beside a torch that its compiled operators do not fit."""

import subprocess
import sys

import pytest


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter: what is declared to torch stays declared in the process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def alone() -> subprocess.CompletedProcess[str]:
    """Torchvision imported without facekit."""
    return run_python("import torchvision")


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
