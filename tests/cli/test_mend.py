"""`facekit mend`: one command does all; the mask can be kept, corrected and given."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit import PhotoMendPipeline
from facekit.provenance import inspect
from facekit_cli.main import main
from tests.tiny.networks import tiny_damage_finder
from tests.tiny.pipelines import tiny_inpaint_pipeline, tiny_restore_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model whose parts lie beside it."""
    folder = tmp_path_factory.mktemp("model")
    tiny_inpaint_pipeline().save_pretrained(folder / "inpaint")
    tiny_restore_pipeline(identity=False).save_pretrained(folder / "restore")
    parts = {name: str(folder / name) for name in ("inpaint", "restore")}
    PhotoMendPipeline(tiny_damage_finder(), **parts).save_pretrained(folder / "mend")
    return str(folder / "mend")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photo.png, scratched."""
    monkeypatch.chdir(tmp_path)
    photo = (astronaut()[0:256, 100:356] * 0.7).astype(np.uint8)
    cv2.line(photo, (5, 250), (60, 20), (255, 255, 250), 4)
    Image.fromarray(photo).save("photo.png")
    return tmp_path


def mend(*arguments: object) -> int:
    return main(["mend", *(str(a) for a in arguments)])


def test_one_command_finds_fills_and_restores(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    options = ("--model", model, "--save-mask", "damage.png", "--save-steps", "--json", "report.json")
    assert mend("photo.png", "--output", "out", "--contrast", 0.5, *options) == 0
    assert sorted(p.name for p in (work / "out").iterdir()) == ["photo-steps", "photo.png"]
    steps = ["0-damage.png", "1-fill.png", "2-faces.png", "3-contrast.png"]
    assert sorted(p.name for p in (work / "out/photo-steps").iterdir()) == steps
    mask = np.asarray(Image.open("damage.png")) > 0
    photo, filled = (np.asarray(Image.open(name)) for name in ("photo.png", "out/photo-steps/1-fill.png"))
    assert 0 < mask.mean() < 0.2 and not (photo != filled).any(-1)[~mask].any()
    assert np.array_equal(np.asarray(Image.open("out/photo-steps/0-damage.png")) > 0, mask)
    report = json.loads(Path("report.json").read_text())
    assert report["device"] != "auto" and report["dtype"] != "auto"
    (entry,) = report["photos"]
    assert entry["status"] == "done" and entry["faces"] == 1 and entry["damaged"] > 0
    assert entry["mask"] == "found"
    said = capsys.readouterr().err
    assert f"note: photo.png: {mask.mean():.1%} of the photo is filled\n" in said
    bars = {line.split(":")[0] for line in said.replace("\r", "\n").splitlines() if "%|" in line}
    assert bars == {"mend"}, "none of what is loaded"
    (work / "out/photo-steps/3-own.png").touch()
    assert mend("photo.png", "--output", "out", *options, "--keep-faces", "--overwrite") == 0
    kept = ["0-damage.png", "1-fill.png", "3-own.png"]
    assert sorted(p.name for p in (work / "out/photo-steps").iterdir()) == kept, "none of the call before"


def test_a_mask_is_given_or_left_out(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[200:220, 200:220] = 255
    Image.fromarray(mask).save("own.png")
    options = ("--model", model, "--keep-faces", "--provenance", "metadata")
    assert mend("photo.png", "--output", "out", "--mask", "own.png", *options) == 0
    photo, result = (np.asarray(Image.open(name)) for name in ("photo.png", "out/photo.png"))
    assert np.array_equal((photo != result).any(-1) & ~(mask > 0), np.zeros((256, 256), bool))
    assert (photo != result).any()
    assert mend("photo.png", "--output", "kept", "--mask", "none", *options, "--json", "r.json") == 0
    assert json.loads(Path("r.json").read_text())["photos"][0]["mask"] == "none"
    assert capsys.readouterr().err.count("of the photo is filled") == 1, "with the mask of its own alone"
    assert np.array_equal(np.asarray(Image.open("kept/photo.png")), photo)
    capsys.readouterr()

    Image.fromarray(255 - mask).save("inverted.png")
    Image.fromarray(mask[:200]).save("lower.png")
    assert mend("photo.png", "--output", "bad", "--mask", "lower.png", *options) == 1
    assert "mask lower.png is 256x200 and the photo 256x256: the shapes differ" in capsys.readouterr().err
    assert mend("photo.png", "--output", "bad", "--mask", "inverted.png", *options) == 1
    said = capsys.readouterr().err
    assert "the mask covers 99." in said and "invert the mask" in said
    assert not list((work / "bad").glob("*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--contrast", "2"), "--contrast is 2.0; it must lie between 0 and 1"),
        (("--fidelity", "-1"), "--fidelity is -1.0; it must lie between 0 and 1"),
        (("--save-mask", "mask.jpg"), "--save-mask mask.jpg must be called .png"),
        (("--save-mask", "photo.png", "--overwrite"), "photo.png is one of the photos"),
        (("--save-mask", "out/photo.png"), "photo.png is one of the results"),
        (("--save-mask", ".", "--overwrite"), "photo.png is one of the photos"),
        (("--mask", "nowhere.png"), "the mask nowhere.png does not exist"),
        (("--inpaint", "nowhere/at-all"), "the model nowhere/at-all cannot be loaded"),
    ],
)
def test_what_cannot_work_is_refused_first(
    work: Path, model: str, capsys: pytest.CaptureFixture, options: tuple[str, ...], message: str
) -> None:
    assert mend("photo.png", "--output", "out", "--model", model, *options) == 2
    assert message in capsys.readouterr().err and not (work / "out").exists()


def test_a_corrected_mask_is_not_overwritten_unasked(
    work: Path, model: str, capsys: pytest.CaptureFixture
) -> None:
    Image.new("L", (256, 256)).save("damage.png")
    before = Path("damage.png").read_bytes()
    options = ("photo.png", "--output", "out", "--model", model, "--keep-faces", "--save-mask", "damage.png")
    assert mend(*options, "--skip-existing") == 2
    assert "damage.png exists already" in capsys.readouterr().err
    (work / "out").mkdir()
    Image.open("photo.png").save("out/photo.png")
    assert mend(*options, "--skip-existing") == 0, "the photo is left out, and so is its mask"
    assert Path("damage.png").read_bytes() == before


def test_files_name_all_models_that_worked(work: Path, model: str) -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[100:104, 20:200] = 255
    Image.fromarray(mask).save("own.png")
    assert mend("photo.png", "--output", "out", "--mask", "own.png", "--model", model, "--keep-faces") == 0
    told = inspect("out/photo.png").metadata
    assert told is not None and told.model is not None
    assert told.model.startswith(Path(model).name + " and ")


def test_several_photos_get_their_masks_in_a_folder(work: Path, model: str) -> None:
    Image.open("photo.png").save("other.jpg")
    options = ("--model", model, "--keep-faces", "--save-mask", "masks")
    assert mend("photo.png", "other.jpg", "--output", "out", *options) == 0
    assert sorted(p.name for p in (work / "masks").iterdir()) == ["other.png", "photo.png"]
