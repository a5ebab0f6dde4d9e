"""The bundled models in bfloat16: every command gives what it gives in float32, but for rounding."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit_cli.main import main
from tests.helpers.masks import box_mask

COMMANDS = {
    "restore": (),
    "inpaint": ("--mask", "mask.png"),
    "exemplar": ("--mask", "mask.png", "--exemplar", "other.png"),
    "edit": ("--mask", "mask.png", "--sketch", "lines.png", "--attribute", "smile=1"),
    "mend": (),
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scratched portrait, a mask, lines and another face."""
    monkeypatch.chdir(tmp_path)
    portrait = np.ascontiguousarray(astronaut()[0:320, 70:390])
    Image.fromarray(portrait[:, ::-1]).save("other.png")
    cv2.line(portrait, (100, 300), (170, 10), (255, 255, 250), 4)
    Image.fromarray(portrait).save("photo.png")
    mask = box_mask((320, 320), (120, 85, 185, 115))
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(np.where(mask & (np.arange(320) % 9 == 0), 0, 255).astype(np.uint8)).save("lines.png")
    return tmp_path


def result(command: str, dtype: str) -> np.ndarray:
    """What a command makes of the portrait, float `[H, W, 3]`, 0..255."""
    line = [command, "photo.png", *COMMANDS[command], "--dtype", dtype, "--output", f"{dtype}.png"]
    assert main([*line, "--device", "cpu", "--format", "png"]) == 0
    return np.asarray(Image.open(f"{dtype}.png").convert("RGB")).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_bfloat16_gives_the_same_but_for_rounding(work: Path, command: str) -> None:
    exact, rounded = result(command, "float32"), result(command, "bfloat16")
    before = np.asarray(Image.open("photo.png")).astype(float)
    changed = np.abs(exact - before).max(axis=2) > 8
    assert changed.sum() > 500
    error = (rounded - exact)[changed]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 30  # bfloat16 has eight bits
    assert not np.array_equal(rounded, exact)
