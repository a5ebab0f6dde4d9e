"""`facekit inpaint`: files in, files out, and what it says and returns when something is wrong."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from skimage.data import astronaut

from facekit import FaceInpaintPipeline, __version__
from facekit.hub.starters import starter, starters
from facekit.images import files as disk
from facekit_cli.loop import _name_once
from facekit_cli.main import main
from tests.tiny.pipelines import tiny_inpaint_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_inpaint_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos/ (a.png, b.jpg, c.png broken), masks/ of the same names, and one mask.png."""
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(np.ascontiguousarray(astronaut()[0:128, 160:288]))
    mask = np.zeros((128, 128), dtype=np.uint8)
    mask[40:80, 40:90] = 255
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    picture.save("photos/a.png", dpi=(300, 300))
    picture.save("photos/b.jpg")
    Path("photos/c.png").write_bytes(b"broken")
    Path("photos/notes.txt").write_text("no picture")
    Image.fromarray(mask).save("mask.png")
    for name in "abc":
        Image.fromarray(mask).save(f"masks/{name}.png")
    return tmp_path


def facekit(*arguments: object) -> int:
    return main(["inpaint", *(str(a) for a in arguments)])


def settled(folder: Path) -> list[str]:
    """Names of all files, hidden ones too."""
    return sorted(f.name for f in folder.iterdir())


def test_a_photo_is_filled_and_the_rest_kept(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    code = facekit(
        "photos/a.png", "--mask", "mask.png", "--output", "out", "--model", model, "--region", "image"
    )
    assert code == 0 and settled(work / "out") == ["a.png"]
    assert "1 done, 0 failed, 0 skipped" in capsys.readouterr().out
    hole = np.asarray(Image.open("mask.png")) > 0
    with Image.open("out/a.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        result = np.asarray(image)
    photo = np.asarray(Image.open("photos/a.png"))
    np.testing.assert_array_equal(result[~hole], photo[~hole])
    assert (result != photo).any(axis=-1)[hole].mean() > 0.9


def test_steps_are_written_as_the_pipeline_gives_them(work: Path, model: str) -> None:
    """Thesis Fig. 4.22: the photo after each step and the heat map of its residual."""
    options = ("--mask", "mask.png", "--model", model, "--region", "image", "--steps", 2, "--seed", 3)
    Image.open("photos/a.png").convert("CMYK").save("print.tif")
    assert facekit("photos/a.png", "print.tif", "--output", "out", "--save-steps", *options) == 0
    assert settled(work / "out") == ["a-steps", "a.png", "print-steps", "print.tif"]
    assert settled(work / "out/a-steps") == ["1-residual.png", "1.png", "2-residual.png", "2.png"]
    assert settled(work / "out/print-steps") == ["1-residual.png", "1.tif", "2-residual.png", "2.tif"]
    with Image.open("out/print-steps/1.tif") as page:
        assert page.mode == "CMYK"
    wanted = FaceInpaintPipeline.from_pretrained(model)(
        "photos/a.png", "mask.png", region="image", num_inference_steps=2, return_steps=True, watermark=True,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert wanted.steps is not None
    for step in (0, 1):
        found = np.asarray(Image.open(f"out/a-steps/{step + 1}.png"))
        np.testing.assert_array_equal(found, np.asarray(wanted.steps[0][step]))
        found = np.asarray(Image.open(f"out/a-steps/{step + 1}-residual.png"))
        np.testing.assert_array_equal(found, np.asarray(wanted.heat_maps()[0][step]))
    assert (work / "out/a-steps/2.png").read_bytes() == (work / "out/a.png").read_bytes()
    # A folder that cannot be made is refused before any work.
    (work / "blocked").mkdir()
    (work / "blocked/a-steps").write_text("a file")
    assert facekit("photos/a.png", "--output", "blocked", "--save-steps", *options) == 2
    assert settled(work / "blocked") == ["a-steps"]
    # Without the option there is no folder, and the result is the same.
    assert facekit("photos/a.png", "--output", "plain", *options) == 0
    assert settled(work / "plain") == ["a.png"]
    assert (work / "plain/a.png").read_bytes() == (work / "out/a.png").read_bytes()


def test_the_model_says_how_many_steps(work: Path, model: str) -> None:
    options = ("photos/a.png", "--mask", "mask.png", "--output", "out", "--region", "image", "--save-steps")
    assert facekit(*options, "--model", model) == 0
    assert settled(work / "out/a-steps")[-1] == "3.png"
    FaceInpaintPipeline(
        FaceInpaintPipeline.from_pretrained(model).residual_inpainter, num_inference_steps=1
    ).save_pretrained("one")
    assert facekit(*options, "--model", "one", "--overwrite", "--json", "report.json") == 0
    assert settled(work / "out/a-steps") == ["1-residual.png", "1.png"], "none of the earlier call"
    assert json.loads((work / "report.json").read_text())["steps"] == 1


def test_the_rest_is_done_when_some_fail(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    code = facekit(
        *("photos", "--mask", "masks", "--output", "out", "--model", model),
        *("--region", "image", "--json", "reports/run.json", "--steps", 2, "--seed", 7),
    )
    assert code == 1 and settled(work / "out") == ["a.png", "b.png"]
    printed = capsys.readouterr()
    assert "2 done, 1 failed, 1 skipped" in printed.out
    assert "failed: photos/c.png is no image that can be read" in printed.err
    report = json.loads(Path("reports/run.json").read_text())
    assert (report["done"], report["failed"], report["steps"], report["seed"]) == (2, 1, 2, 7)
    assert report["facekit"] == __version__
    entries = {Path(entry["photo"]).name: entry for entry in report["photos"]}
    assert entries["a.png"]["status"] == "done" and entries["a.png"]["output"] == "out/a.png"
    assert entries["c.png"]["status"] == "failed" and "no image" in entries["c.png"]["error"]


def test_a_photo_without_a_mask_of_its_name_fails_alone(work: Path, model: str) -> None:
    Path("masks/b.png").unlink()
    code = facekit(
        *("photos/a.png", "photos/b.jpg", "--mask", "masks", "--output", "out", "--model", model),
        *("--region", "image"),
    )
    assert code == 1 and settled(work / "out") == ["a.png"]


def test_a_photo_without_face_fails_with_the_way_out(
    work: Path, model: str, capsys: pytest.CaptureFixture
) -> None:
    Image.new("RGB", (128, 128), "gray").save("plain.png")
    code = facekit("plain.png", "--mask", "mask.png", "--output", "out", "--model", model)
    assert code == 1 and not Path("out/plain.png").exists()
    assert "no face was found. Use --region image" in capsys.readouterr().err


def test_masks_as_other_programs_write_them(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    photo, hole = np.asarray(Image.open("photos/a.png")), np.asarray(Image.open("mask.png")) > 0
    Image.fromarray(np.where(hole[..., None], np.uint8([128, 0, 0]), 0).astype(np.uint8)).save("red.png")
    Image.fromarray(np.dstack([photo, np.where(hole, 0, 255).astype(np.uint8)])).save("erased.png")
    Image.fromarray(np.where(hole[..., None], np.uint8([255, 0, 0]), photo)).save("painted.png")
    options = ("--model", model, "--region", "image", "--steps", 1)
    results = []
    for name in ("mask", "red", "erased"):
        assert facekit("photos/a.png", "--mask", f"{name}.png", "--output", name, *options) == 0
        results.append((work / name / "a.png").read_bytes())
    assert results[0] == results[1] == results[2]
    assert (
        "mask is opaque with a transparent part, 12% of it: that part is the hole" in capsys.readouterr().err
    )
    assert facekit("photos/a.png", "--mask", "painted.png", "--output", "painted", *options) == 1
    printed = capsys.readouterr().err
    assert "mask painted.png is a photo and no mask" in printed and "Paint white on black" in printed
    assert not list(Path("painted").glob("*"))


def test_results_do_not_depend_on_the_company(work: Path, model: str) -> None:
    Path("photos/c.png").unlink()
    options = ["--mask", "mask.png", "--model", model, "--region", "image", "--seed", 3]
    assert facekit("photos", "--output", "all", *options) == 0
    assert facekit("photos/b.jpg", "--output", "alone", *options) == 0
    assert Path("all/b.png").read_bytes() == Path("alone/b.png").read_bytes()


def test_existing_results_are_only_replaced_when_told(
    work: Path, model: str, capsys: pytest.CaptureFixture
) -> None:
    Path("photos/c.png").unlink()
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"precious")
    options = ["photos", "--mask", "mask.png", "--output", "out", "--model", model, "--region", "image"]
    assert facekit(*options) == 2
    assert "out/a.png exists already; say --overwrite or --skip-existing" in capsys.readouterr().err
    assert settled(work / "out") == ["a.png"] and Path("out/a.png").read_bytes() == b"precious"
    assert facekit(*options, "--skip-existing", "--json", "r.json") == 0
    assert Path("out/a.png").read_bytes() == b"precious" and Path("out/b.png").exists()
    assert json.loads(Path("r.json").read_text())["skipped"] == 2  # one is no picture
    assert facekit(*options, "--overwrite") == 0
    assert Path("out/a.png").read_bytes() != b"precious"
    assert facekit(*options, "--skip-existing") == 0


def test_cmyk_photos_become_tiff(work: Path, model: str) -> None:
    Image.open("photos/a.png").convert("CMYK").save("print.tif")
    assert (
        facekit("print.tif", "--mask", "mask.png", "--output", "out", "--model", model, "--region", "image")
        == 0
    )
    with Image.open("out/print.tif") as result:
        assert (result.format, result.mode) == ("TIFF", "CMYK")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png", "--mask", "mask.png", "--output", "out"], "missing.png does not exist"),
        (["photos/a.png", "--mask", "nomask.png", "--output", "out"], "the mask nomask.png does not exist"),
        (["photos/a.png", "--mask", "empty", "--output", "out"], "no mask in empty"),
        (["empty", "--mask", "mask.png", "--output", "out"], "holds no pictures"),
        (
            ["photos/a.png", "--mask", "mask.png", "--output", "mask.png"],
            "is what --mask names, or lies in it",
        ),
        (["photos/a.png", "--mask", "mask.png", "--output", "photos", "--overwrite"], "is one of the photos"),
        (
            ["photos/a.png", "--mask", "masks", "--output", "masks", "--overwrite"],
            "masks/a.png is what --mask names",
        ),
        (
            ["photos/a.png", "twin/a.png", "--mask", "mask.png", "--output", "out"],
            "would have the same name; run them apart",
        ),
        (["photos/a.png", "--mask", "mask.png", "--output", "out", "--steps", "0"], "--steps is 0"),
        (["photos/a.png", "--mask", "mask.png", "--output", "out", "--faces", "left"], "--faces is 'left'"),
        (
            ["photos/a.png", "--mask", "mask.png", "--output", "out", "--device", "toaster"],
            "device 'toaster'",
        ),
        (["photos/a.png", "--mask", "mask.png", "--output", "out", "--model", "empty"], "model empty cannot"),
    ],
)
def test_wrong_usage_does_nothing_and_returns_2(
    work: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture, model: str
) -> None:
    Path("empty").mkdir()
    Path("twin").mkdir()
    Image.open("photos/a.png").save("twin/a.png")
    if "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    before = settled(work) + settled(work / "photos")
    assert facekit(*arguments) == 2
    assert message in capsys.readouterr().err
    assert settled(work) + settled(work / "photos") == before


@pytest.mark.parametrize(
    "arguments", [["paint"], ["inpaint"], ["inpaint", "x.png", "--overwrite"], ["restore", "x.png"]]
)
def test_the_parser_refuses_incomplete_lines(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert ": error: " in error and hint.startswith("See: facekit") and hint.endswith(" --help")


def test_the_bare_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "mend old photos" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["restore", "inpaint", "exemplar", "edit", "mend"])
@pytest.mark.parametrize("word", ["runs", "face-parser"])
def test_a_word_that_names_no_model_is_refused_at_once(
    command: str, word: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"inpaint": ["--mask", "mask.png"], "edit": ["--mask", "mask.png"]}
    given["exemplar"] = ["--mask", "mask.png", "--exemplar", "photos/a.png"]
    line = [command, "photos/a.png", *given.get(command, ()), "--output", "out", "--model", word]
    assert main(line) == 2
    said = capsys.readouterr().err
    what = "is no folder, and no model's name" if word == "runs" else "is a bundled model for something else"
    assert f"error: --model {word} {what}: say starter or " in said and said.count("\n") == 2


@pytest.mark.parametrize("word", ["starter", "face-inpaint"])
def test_the_bundled_model_has_a_word_and_a_name(word: str, model: str, work: Path) -> None:
    """And a folder of that name wins."""
    options = ["--mask", "mask.png", "--region", "image", "--steps", 1, "--model", word, "--json", "r.json"]
    assert facekit("photos/a.png", "--output", "bundled", *options) == 0
    assert json.loads(Path("r.json").read_text())["model"] == starter("face-inpaint")
    Path(word).symlink_to(model)
    assert facekit("photos/a.png", "--output", "own", *options) == 0
    assert json.loads(Path("r.json").read_text())["model"] == word


def test_a_failed_photo_is_named_once(model: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facekit("photos", "--mask", "mask.png", "--output", "out", "--model", model)
    said = capsys.readouterr().err.splitlines()
    assert "failed: photos/c.png is no image that can be read. Use JPEG, PNG, WebP or TIFF." in said


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("photos/a.png: no face was found", "photos/a.png: no face was found"),
        ("a.png: no face was found", "photos/a.png: no face was found"),
        ("photos/a.png is no image", "photos/a.png is no image"),
        ("a.png.json is missing", "photos/a.png: a.png.json is missing"),
        ("no mask", "photos/a.png: no mask"),
    ],
)
def test_errors_that_name_the_photo_are_not_named_again(error: str, line: str) -> None:
    assert _name_once("photos/a.png", error) == line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("inpaint photos/c.png -m mask.png", "photos/c.png is no image that can be read"),
        (
            "inpaint photos/a.png -m narrow.png",
            "mask narrow.png is 128x60 and the photo 128x128: the shapes differ",
        ),
        ("inpaint photos/a.png -m photos/b.jpg", "mask photos/b.jpg is a photo and no mask"),
        ("exemplar photos/a.png -m narrow.png -e photos/b.jpg", "mask narrow.png is 128x60"),
        ("edit photos/a.png -m narrow.png", "mask narrow.png is 128x60"),
        ("edit photos/a.png -m mask.png -a smiel=2", "smiel"),
        ("mend photos/a.png -m narrow.png", "mask narrow.png is 128x60"),
        ("mend photos/c.png", "photos/c.png is no image that can be read"),
        ("restore photos/c.png", "photos/c.png is no image that can be read"),
        ("restore photos/a.png --scale 200", "a.png would be 25600x25600; the limit is 200,000,000 pixels"),
    ],
)
def test_what_no_photo_can_be_worked_on_for_is_said_before_the_model_is_loaded(
    command: str, message: str, work: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open("mask.png").crop((0, 0, 128, 60)).save("narrow.png")

    def load(*_args: object, **_options: object) -> None:
        pytest.fail("a model is loaded")

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", load)
    assert main([*command.split(), "--output", "out"]) in (1, 2)
    assert message in capsys.readouterr().err and not Path("out").exists()


def test_a_full_disk_leaves_nothing_half_written_and_stops(
    work: Path, model: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photos/c.png").unlink()
    real_fsync = disk.os.fsync

    def full(descriptor: int) -> None:
        real_fsync(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", full)
    code = facekit("photos", "--mask", "mask.png", "--output", "out", "--model", model, "--region", "image")
    assert code == 1 and settled(work / "out") == []
    error = capsys.readouterr().err
    assert "failed: photos/a.png: [Errno 28] No space left" in error
    assert "failed: photos/b.jpg: not tried: No space left on device" in error


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")

    def interrupted(file: object) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        disk.write_atomically(tmp_path / "a.png", interrupted)
    assert settled(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == b"old"


def test_help_and_wrong_arguments_do_not_wait_for_torch() -> None:
    """The installed command is a script named `facekit`; its process must not import torch to print help."""
    code = (
        "import sys; sys.argv = ['/usr/bin/facekit']\n"
        "from facekit_cli.main import main\n"
        "for line in (['--help'], ['inpaint', '--help'], ['restore', '--help'], ['inpaint'], ['restore']):\n"
        "    try:\n        main(line)\n    except SystemExit as stop:\n        print('code', stop.code)\n"
        "print('heavy', sorted({'torch', 'diffusers', 'numpy', 'cv2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (
        "fill holes in photos" in done.stdout
        and "--fidelity" in done.stdout
        and "--skip-existing" in done.stdout
    )
    assert done.stdout.count("code 0") == 3 and done.stdout.count("code 2") == 2
    assert "heavy []" in done.stdout


def test_python_dash_m_works() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facekit", "--version"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"facekit {__version__}")


def test_the_starter_is_a_folder_with_a_model_or_a_hub_id() -> None:
    source = starter("face-inpaint")
    assert source == "facekit/" + starters()["face-inpaint"] or (Path(source) / "model_index.json").is_file()
    with pytest.raises(ValueError, match="no starter model 'dogs'; known are exemplar-inpaint"):
        starter("dogs")
