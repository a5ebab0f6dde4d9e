"""`--format` and `--quality`: what results become in each format, and what is said of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base
from skimage.data import astronaut

from facekit.images.formats import FORMATS
from facekit.images.photo import Photo, load_image
from facekit.provenance import inspect
from facekit_cli.batch.command import main as batch
from facekit_cli.main import main
from facekit_cli.results import save_picture
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

KILLED = Path(__file__).parents[1] / "helpers" / "killed_in_a_write.py"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SUFFIXES = {name: kind.suffix for name, kind in FORMATS.items()}
HOLE = box_mask((256, 256), (40, 40, 220, 220))
COMMANDS = {
    "restore": ["--aligned"],
    "inpaint": ["--aligned", "--mask", "mask.png", "--steps", "1"],
    "exemplar": ["--aligned", "--mask", "mask.png", "--exemplar", "a.jpg"],
    "edit": ["--aligned", "--mask", "mask.png"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_restore_pipeline(identity=False).save_pretrained(folder / "restore")
    tiny_inpaint_pipeline().save_pretrained(folder / "inpaint")
    tiny_exemplar_pipeline().save_pretrained(folder / "exemplar")
    tiny_edit_pipeline().save_pretrained(folder / "edit")
    return folder


@pytest.fixture
def face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image.Image:
    """A portrait of 256 pixels, in an empty folder with mask.png and the portrait as a.jpg, lying on its side."""
    monkeypatch.chdir(tmp_path)
    portrait = Image.fromarray(np.ascontiguousarray(astronaut()[0:256, 100:356]))
    Image.fromarray(HOLE).save("mask.png")
    tags = Image.Exif()
    tags[Base.Orientation], tags[Base.Artist] = 6, "A. Photographer"
    lying = portrait.transpose(Image.Transpose.ROTATE_90)
    lying.save("a.jpg", exif=tags.tobytes(), icc_profile=SRGB, dpi=(300, 300), quality=95)
    return portrait


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_writes_every_format(face: Image.Image, models: Path, command: str, name: str) -> None:
    options = [*COMMANDS[command], "--model", str(models / command), "--format", name, "--json", "r.json"]
    assert main([command, "a.jpg", "-o", "out", *options]) == 0
    (result,) = Path("out").iterdir()
    assert result.name == f"a{SUFFIXES[name]}" and str(result) in Path("r.json").read_text()
    with Image.open(result) as opened:
        assert opened.format == FORMATS[name].name and opened.size == (256, 256)
        assert opened.getexif().get(Base.Orientation, 1) == 1
        assert opened.getexif()[Base.Artist] == "A. Photographer"
        assert opened.info["icc_profile"] == SRGB
        if name == "jpeg":
            assert [layer[1:3] for layer in opened.layer] == [(1, 1)] * 3  # 4:4:4
    told = inspect(result)
    assert told.metadata is not None and told.metadata.model == command
    assert told.watermark.found
    before, after = (load_image(file).rgb.astype(int) for file in ("a.jpg", result))
    outside = np.zeros_like(HOLE) if command == "restore" else ~HOLE
    apart = abs(after - before)[outside]
    assert not apart.size or (apart.mean() < 1.5 and apart.any() == FORMATS[name].lossy)


def test_the_photos_own_formats(face: Image.Image, models: Path, capsys: pytest.CaptureFixture) -> None:
    Path("photos").mkdir()
    for suffix in ("jpeg", "png", "webp", "tiff", "gif", "bmp"):
        face.save(f"photos/{suffix}.{suffix}")
    face.convert("CMYK").save("photos/inks.jpg")
    clear = face.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L"))
    clear.save("photos/clear.webp")
    common = ["--aligned", "--model", str(models / "restore"), "--format", "same"]
    assert main(["restore", "photos", "-o", "out", *common, "--quality", "60"]) == 0
    formats = {}
    for file in Path("out").iterdir():
        with Image.open(file) as opened:
            formats[file.name] = (opened.format, opened.mode)
    assert formats == {
        "jpeg.jpg": ("JPEG", "RGB"),
        "png.png": ("PNG", "RGB"),
        "webp.webp": ("WEBP", "RGB"),
        "tiff.tif": ("TIFF", "RGB"),
        "gif.png": ("PNG", "P"),
        "bmp.png": ("PNG", "RGB"),
        "inks.jpg": ("JPEG", "CMYK"),
        "clear.webp": ("WEBP", "RGBA"),
    }
    said = capsys.readouterr().err
    assert "note: photos/bmp.bmp: BMP cannot be written: the result is PNG" in said
    assert "jpeg.jpeg" not in said and "webp.webp" not in said
    with Image.open("out/jpeg.jpg") as opened:
        assert [layer[1:3] for layer in opened.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0 at quality 60
        small = os.path.getsize("out/jpeg.jpg")
    assert main(["restore", "photos/jpeg.jpeg", "-o", "out", *common, "--overwrite"]) == 0
    assert small < os.path.getsize("out/jpeg.jpg")


def test_photos_of_phones_become_jpegs(
    face: Image.Image, models: Path, capsys: pytest.CaptureFixture
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(face).save("phone.heic")
    command = ["restore", "phone.heic", "-o", "out", "--aligned", "--model", str(models / "restore")]
    assert main([*command, "--format", "same"]) == 0
    with Image.open("out/phone.jpg") as opened:
        assert opened.format == "JPEG"
    assert "note: phone.heic: HEIF cannot be written: the result is JPEG" in capsys.readouterr().err


def test_what_a_format_does_not_hold(face: Image.Image, models: Path, capsys: pytest.CaptureFixture) -> None:
    Path("photos").mkdir()
    clear = face.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L"))
    clear.save("photos/clear.png")
    noise = np.random.default_rng(0).integers(0, 257, (256, 256, 3))
    deep = Photo((np.asarray(face).astype(int) * 256 + noise).clip(0, 65535).astype(np.uint16), "RGB")
    save_picture(deep, Path("photos/deep.png"))
    Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257).save("photos/gray.png")
    face.convert("CMYK").save("photos/inks.tif")
    # A hole that the photo shows through: outside nothing changes but by the format.
    common = ["photos", *COMMANDS["inpaint"], "--model", str(models / "inpaint")]

    def run(name: str) -> tuple[dict[str, Photo], str]:
        assert main(["inpaint", *common, "-o", name, "--format", name]) == 0
        files = sorted(Path(name).iterdir())
        return {file.stem: load_image(file) for file in files}, capsys.readouterr().err

    found, said = run("jpeg")
    assert {stem: photo.mode for stem, photo in found.items()} == {
        "clear": "RGB", "deep": "RGB", "gray": "L", "inks": "CMYK"
    }  # fmt: skip
    opacity = np.asarray(clear)[..., 3:] / 255
    white = np.asarray(face) * opacity + 255 * (1 - opacity)
    assert abs(found["clear"].rgb - white)[~HOLE].mean() < 1.5
    assert "clear.png: JPEG holds no transparency: what is see-through is laid over white" in said
    assert (
        "deep.png: JPEG has 8 bits a channel, and the photo more" in said and "gray.png: JPEG has 8" in said
    )
    found, said = run("webp")
    assert {stem: photo.mode for stem, photo in found.items()} == {
        "clear": "RGBA", "deep": "RGB", "gray": "RGB", "inks": "RGB"
    }  # fmt: skip
    assert "inks.tif: WEBP holds no CMYK" in said and "transparency" not in said
    for name in ("tiff", "png"):
        found, said = run(name)
        assert "8 bits" not in said and found["gray"].mode == "I;16"
        assert found["deep"].pixels.dtype == np.uint16
        np.testing.assert_array_equal(found["deep"].rgb[~HOLE], deep.rgb[~HOLE])
        np.testing.assert_array_equal(found["clear"].alpha, np.asarray(clear)[..., 3])
        assert found["inks"].mode == ("CMYK" if name == "tiff" else "RGB")


def test_names_and_results_that_exist(face: Image.Image, models: Path, capsys: pytest.CaptureFixture) -> None:
    face.save("a.png")
    common = ["a.jpg", "a.png", "-o", "out", "--aligned", "--model", str(models / "restore")]
    assert main(["restore", *common, "--format", "same"]) == 0
    assert sorted(file.name for file in Path("out").iterdir()) == ["a.jpg.jpg", "a.png.png"]
    capsys.readouterr()
    assert main(["restore", *common, "--format", "same", "--skip-existing"]) == 0
    assert "0 done, 0 failed, 2 skipped" in capsys.readouterr().out
    # Of another format no result exists.
    assert main(["restore", *common, "--format", "webp", "--skip-existing"]) == 0
    assert "2 done, 0 failed, 0 skipped" in capsys.readouterr().out
    assert main(["restore", "a.jpg", "-o", ".", "--format", "same", "--overwrite"]) == 2
    assert "a.jpg is one of the photos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--quality", "80"], "--quality is for JPEG and WebP; say --format jpeg, webp or same"),
        (["--quality", "80", "--format", "tiff"], "--quality is for JPEG and WebP"),
        (["--quality", "0", "--format", "jpeg"], "0 is no quality: whole numbers from 1 to 100"),
        (["--format", "gif"], "invalid choice: 'gif'"),
    ],
)
def test_refusals(face: Image.Image, options: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    try:
        code = main(["restore", "a.jpg", "-o", "out", *options])
    except SystemExit as error:
        code = error.code
    assert code == 2 and said in capsys.readouterr().err and not Path("out").exists()


def test_a_result_too_large_for_its_format_fails_before_any_work(
    face: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    command = ["restore", "a.jpg", "-o", "out", "--scale", "65", "--format", "webp", "--json", "r.json"]
    assert main(command) == 1
    (entry,) = json.loads(Path("r.json").read_text())["photos"]
    assert entry["status"] == "failed" and not Path("out").exists()
    assert "would be 16640x16640, and WEBP has room for 16383 pixels a side" in entry["error"]


def written(folder: str) -> set[str]:
    return {file.name for file in Path(folder).iterdir() if file.is_file()} - {"report.jsonl"}


def test_a_batch_writes_formats_and_goes_on(
    face: Image.Image, models: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("photos").mkdir()
    face.save("photos/a.jpg")
    face.convert("RGBA").save("photos/b.png")
    line = ["restore", "photos", "-o", "out", "--aligned", "--model", str(models / "restore")]
    assert batch([*line, "--format", "jpeg", "--quality", "80"]) == 0
    assert written("out") == {"a.jpg", "b.jpg"}
    report = {entry["photo"]: entry for entry in map(json.loads, Path("out/report.jsonl").open())}
    assert report["b.png"]["outputs"] == ["b.jpg"] and report["a.jpg"]["notes"] == []
    assert "JPEG holds no transparency" in report["b.png"]["notes"][0]
    first = Path("out/b.jpg").read_bytes()
    Path("out/b.jpg").unlink()
    assert batch([*line, "--format", "jpeg", "--quality", "80"]) == 0
    assert (
        "1 done, 0 failed, 1 skipped" in capsys.readouterr().out and Path("out/b.jpg").read_bytes() == first
    )
    assert batch([*line, "--format", "webp"]) == 2
    assert "results of a run with format 'jpeg', now it is 'webp'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_batch_leaves_whole_files_and_goes_on(face: Image.Image, models: Path) -> None:
    Path("photos").mkdir()
    for name in ("a.jpg", "b.webp", "c.jpg"):
        face.save(f"photos/{name}")
    line = [
        "restore",
        "photos",
        "-o",
        "out",
        "--aligned",
        "--model",
        str(models / "restore"),
        "--format",
        "same",
    ]
    # The records of the run are the first two files, then come the results.
    environment = os.environ | {"KILL_IN_WRITE": "5"}
    killed = subprocess.run(
        [sys.executable, str(KILLED), "batch", *line, "--batch-size", "1"], env=environment
    )
    assert killed.returncode == -9 and {"a.jpg"} <= written("out") and "c.jpg" not in written("out")
    assert batch([*line, "--batch-size", "1"]) == 0
    assert written("out") == {"a.jpg", "b.webp", "c.jpg"}
    for name in ("a.jpg", "b.webp", "c.jpg"):
        assert inspect(f"out/{name}").metadata is not None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("b.png", "PNG"), ("new/b.jpg", "JPEG"), ("b.JPEG", "JPEG"), ("b.webp", "WEBP"), ("b.tiff", "TIFF")],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_with_an_ending_is_the_file(
    command: str, name: str, kind: str, face: Image.Image, models: Path
) -> None:
    line = [command, "a.jpg", "-o", name, "--model", str(models / command), *COMMANDS[command]]
    assert main(line) == 0
    with Image.open(name) as result:
        assert result.format == kind and result.size == face.size
    assert sorted(path.name for path in Path(name).parent.iterdir() if path.name[0] == "b") == [
        Path(name).name
    ]
    assert main(line) == 2  # it exists
    assert main([*line, "--skip-existing"]) == 0
    assert main([*line, "--overwrite"]) == 0


def test_quality_of_an_output_file(face: Image.Image, models: Path) -> None:
    sizes = []
    for quality in ("30", "95"):
        line = ["restore", "a.jpg", "-o", f"{quality}.jpg", "--quality", quality, "--aligned"]
        assert main([*line, "--model", str(models / "restore")]) == 0
        sizes.append(Path(f"{quality}.jpg").stat().st_size)
    assert sizes[0] < 0.5 * sizes[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["a.jpg", "mask.png", "-o", "b.png"],
            "b.png is one file, and there would be 2 results; name a folder",
        ),
        (["a.jpg", "-o", "b.png", "--candidates", "3"], "there would be 3 results; name a folder"),
        (["a.jpg", "-o", "b.heic"], "results are .png, .jpg, .webp or .tif"),
        (["a.jpg", "-o", "b.jpg", "--format", "png"], "b.jpg and --format png do not fit"),
        (["a.jpg", "-o", "b.png", "--quality", "90"], "--quality is for JPEG and WebP"),
        (["a.jpg", "-o", "a.jpg", "--overwrite"], "a.jpg is one of the photos"),
        (
            ["a.jpg", "-o", "mask.png", "--truth", "mask.png", "--strip", "--overwrite"],
            "mask.png is what --truth names",
        ),
        (["a.jpg", "-o", "notes.txt"], "notes.txt is a file; name a folder"),
    ],
)
def test_output_files_that_cannot_be(
    arguments: list[str], message: str, face: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    Path("notes.txt").touch()
    assert main(["restore", *arguments, "--model", "not/there"]) == 2
    assert message in capsys.readouterr().err
    assert not any(path.suffix in (".heic", ".webp") for path in Path().iterdir())


def test_an_exemplar_is_not_overwritten(face: Image.Image, capsys: pytest.CaptureFixture) -> None:
    face.save("star.jpg")
    before = Path("star.jpg").read_bytes()
    for command in ("edit", "exemplar"):
        line = [
            command,
            "a.jpg",
            "-o",
            "star.jpg",
            "--mask",
            "mask.png",
            "--exemplar",
            "star.jpg",
            "--overwrite",
        ]
        assert main([*line, "--model", "not/there"]) == 2
        assert "star.jpg is what --exemplar names" in capsys.readouterr().err
    assert Path("star.jpg").read_bytes() == before


def test_a_folder_may_be_called_like_a_picture(face: Image.Image, models: Path) -> None:
    Path("b.png").mkdir()
    assert main(["restore", "a.jpg", "-o", "b.png", "--aligned", "--model", str(models / "restore")]) == 0
    assert Path("b.png/a.png").is_file()
