"""`facekit inspect`: what it says of pictures, faces and masks; `tests/provenance` has the labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.data import astronaut

from facekit_cli.main import main


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos/ (a lying JPEG with a profile, a 16-bit gray PNG) and masks/ for the first of them."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    portrait = Image.fromarray(np.ascontiguousarray(astronaut()[0:256, 100:300]))
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    portrait.transpose(Image.Transpose.ROTATE_90).save("photos/a.jpg", exif=exif, icc_profile=profile)
    Image.fromarray(np.full((40, 60), 20000, dtype=np.uint16)).save("photos/b.png")
    mask = np.zeros((256, 200), dtype=np.uint8)
    mask[:64] = 15
    Image.fromarray(mask).save("masks/a.png")
    return tmp_path


def inspect(*arguments: object) -> int:
    return main(["inspect", *(str(argument) for argument in arguments)])


def test_a_picture_is_told_as_the_other_commands_take_it(work: Path, capsys: pytest.CaptureFixture) -> None:
    assert inspect("photos", "--json", "report.json") == 0
    printed = capsys.readouterr().out
    assert "picture: JPEG, 200x256, mode RGB, 8 bits, profile sRGB" in printed
    assert "turned upright (EXIF orientation 6)" in printed
    assert "picture: PNG, 60x40, mode I;16, 16 bits, gray, profile none" in printed
    assert "face" not in printed.replace("photos", "") and "mask" not in printed
    first, second = json.loads(Path("report.json").read_text())["photos"]
    assert (first["picture"]["colors"], second["picture"]["colors"]) == ("many", "gray")
    assert (first["picture"]["width"], first["picture"]["orientation"]) == (200, 6)
    assert (second["picture"]["bits"], second["picture"]["profile"], second["metadata"]) == (16, None, None)
    assert "faces" not in first and "mask" not in first


def test_faces_are_told_when_asked_for(work: Path, capsys: pytest.CaptureFixture) -> None:
    assert inspect("photos", "--faces", "--json", "report.json") == 0
    printed = capsys.readouterr().out
    assert "face 0: " in printed and " pixels, " in printed and "faces: none found" in printed
    first, second = json.loads(Path("report.json").read_text())["photos"]
    (face,) = first["faces"]
    left, top, right, bottom = face["box"]
    assert 70 < right - left < 110 and 90 < bottom - top < 140
    assert second["faces"] == []


def test_a_mask_is_told_by_its_share_and_rule(work: Path, capsys: pytest.CaptureFixture) -> None:
    assert inspect("photos/a.jpg", "--mask", "masks/a.png", "--json", "report.json") == 0
    printed = capsys.readouterr().out
    assert f"mask {Path('masks/a.png')}: 25% of the photo is hole (every value but 0)" in printed
    assert "mask has the values 0, 15: all but 0 are hole" in printed
    (entry,) = json.loads(Path("report.json").read_text())["photos"]
    assert (entry["mask"]["hole"], entry["mask"]["rule"]) == (0.25, "every value but 0")


def test_a_mask_that_does_not_fit_or_is_missing_fails_with_what_is_known_of_the_picture(
    work: Path, capsys: pytest.CaptureFixture
) -> None:
    assert inspect("photos", "--mask", "masks", "--json", "report.json") == 1
    printed = capsys.readouterr()
    assert "failed: photos/b.png: no mask named b in masks" in printed.err
    assert "25% of the photo is hole" in printed.out and "mode I;16" in printed.out
    assert inspect("photos/b.png", "--mask", "masks/a.png") == 1
    assert "mask masks/a.png is 200x256 and the photo 60x40: the shapes differ" in capsys.readouterr().err
    assert inspect("photos/b.png", "--mask", "nothing.png") == 2


def test_pictures_beyond_pillows_own_limit_are_told_too(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses twice as many
    assert inspect("photos") == 0
    assert "picture: JPEG, 200x256" in capsys.readouterr().out
