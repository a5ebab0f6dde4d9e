"""`facekit restore --scale N --background MODEL`: an enlarged photo with sharp faces, or a refusal before any work."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit import BackgroundUpscaler
from facekit.images.photo import load_image
from facekit.provenance import inspect
from facekit_cli.main import main
from tests.tiny.upscalers import write_compact

pytest.importorskip("spandrel")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_compact(Path("x2.safetensors"), 2)
    Image.fromarray(np.ascontiguousarray(astronaut()[0:220, 130:330])).save("a.png")
    shades = np.linspace(0, 255, 96 * 128 * 3).reshape(96, 128, 3).astype(np.uint8)
    Image.fromarray(shades).convert("L").save("gray.png")
    return tmp_path


def restore(*arguments: object) -> int:
    return main(["restore", *map(str, arguments)])


def test_the_background_is_drawn_by_the_network(work: Path, model: str) -> None:
    common = ("-o", "out", "--model", model, "--background", "x2.safetensors", "--json", "r.json")
    assert restore("a.png", "gray.png", *common, "--scale", 3, "--background-tile", 64) == 0
    photo, result, gray = load_image("a.png"), load_image("out/a.png"), load_image("out/gray.png")
    assert (result.size, gray.size, gray.mode) == ((600, 660), (384, 288), "L")
    large = BackgroundUpscaler.from_pretrained("x2.safetensors", tile=64)(photo.rgb, scale=3)
    np.testing.assert_array_equal(result.rgb[:, :24], large[:, :24])  # left of the face
    assert (result.rgb != large).any(-1).mean() > 0.3
    # Also a photo without faces was drawn by a network.
    told = inspect("out/gray.png").metadata
    assert told is not None and told.model == f"{Path(model).name} and x2.safetensors"
    report = json.loads(Path("r.json").read_text())
    assert (report["scale"], report["background"]) == (3, "x2.safetensors")
    assert restore("a.png", *common, "--overwrite") == 0
    assert load_image("out/a.png").size == (400, 440)  # without --scale the network's own


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--background", "none.safetensors"], "the background none.safetensors cannot be used: "),
        (["--background", "x2.pth"], "x2.pth is a pickle"),
        (["--background", "x2.safetensors", "--background-tile", 8], "--background-tile is 8; it must be"),
        (["--background-tile", 64], "--background-tile is for the network that --background names"),
        (["--background", "x2.safetensors", "--aligned"], "--background enlarges what is around the faces"),
        (
            ["--background", "x2.safetensors", "--emotions"],
            "--background enlarges the photo, and --landmarks",
        ),
    ],
)
def test_refusals_come_before_any_work(
    work: Path, model: str, options: list, said: str, capsys: pytest.CaptureFixture
) -> None:
    assert restore("a.png", "-o", "out", "--model", model, *options) == 2
    assert said in capsys.readouterr().err and not Path("out").exists()


def test_a_missing_package_is_named(
    work: Path, model: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert restore("a.png", "-o", "out", "--model", model, "--background", "x2.safetensors") == 2
    assert "pip install 'facekit[background]'" in capsys.readouterr().err and not Path("out").exists()
