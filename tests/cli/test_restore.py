"""`facekit restore`: files in, files out, and what it says and returns when something is wrong."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage.data import astronaut

from facekit import FaceRestorePipeline, __version__
from facekit.faces import align_face, detect_faces
from facekit.images.photo import Photo, as_float, load_image
from facekit.provenance import inspect
from facekit_cli.looking import Look, notes_of
from facekit_cli.main import build_parser, main
from facekit_cli.restoring import load_restorer, restore
from facekit_cli.results import save_picture
from tests.tiny.networks import tiny_arcface_encoder
from tests.tiny.pipelines import tiny_inpaint_pipeline, tiny_restore_pipeline

KILLED = Path(__file__).parents[1] / "helpers" / "killed_in_a_write.py"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("identity")
    tiny_restore_pipeline().identity_encoder.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos/: a.png and b.jpg with one face, c.png broken, d.png without face, and a text."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    picture = Image.fromarray(np.ascontiguousarray(astronaut()[0:220, 130:330]))
    picture.save("photos/a.png", dpi=(300, 300))
    picture.save("photos/b.jpg", quality=95)
    Path("photos/c.png").write_bytes(b"broken")
    shades = np.linspace(0, 255, 96 * 128 * 3).reshape(96, 128, 3)
    Image.fromarray(shades.astype(np.uint8)).save("photos/d.png")
    Path("photos/notes.txt").write_text("no picture")
    return tmp_path


def facekit(*arguments: object) -> int:
    return main(["restore", *(str(a) for a in arguments)])


def settled(folder: str | Path) -> list[str]:
    """All files under a folder, hidden ones too."""
    return sorted(str(f.relative_to(folder)) for f in Path(folder).rglob("*") if f.is_file())


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_faces_are_restored_and_the_rest_kept(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    assert facekit("photos/a.png", "-o", "out", "--model", model) == 0
    assert settled("out") == ["a.png"]
    assert "1 done, 0 failed, 0 skipped: out" in capsys.readouterr().out
    with Image.open("out/a.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    photo, result = pixels("photos/a.png"), pixels("out/a.png")
    (face,) = detect_faces(photo)
    inside = align_face(photo, face).covers((0, 0, 200, 220))
    np.testing.assert_array_equal(result[~inside], photo[~inside])
    assert (result != photo).any(axis=-1)[inside].mean() > 0.4


def test_the_rest_is_done_when_some_fail(
    work: Path, model: str, identity: str, capsys: pytest.CaptureFixture
) -> None:
    code = facekit(
        *("photos", "-o", "out", "--model", model, "--identity", identity, "--json", "reports/run.json"),
        *("--steps", 2, "--seed", 7, "--fidelity", 0.25),
    )
    assert code == 1 and settled("out") == ["a.png", "b.png", "d.png"]
    printed = capsys.readouterr()
    assert "3 done, 1 failed, 1 skipped" in printed.out
    assert "skipped: photos/notes.txt: not named like a picture" in printed.err
    assert "failed: photos/c.png is no image that can be read" in printed.err
    assert "note: photos/d.png: no face was found: the photo comes back as it was" in printed.err
    report = json.loads(Path("reports/run.json").read_text())
    assert (report["command"], report["facekit"], report["model"]) == ("restore", __version__, model)
    assert (report["done"], report["failed"], report["skipped"]) == (3, 1, 1)
    assert (report["steps"], report["seed"], report["fidelity"]) == (2, 7, 0.25)
    text, a, b, c, d = report["photos"]
    assert (text["photo"], text["status"]) == ("photos/notes.txt", "skipped") and "picture" in text["reason"]
    assert (a["photo"], a["status"], a["outputs"], a["faces"]) == ("photos/a.png", "done", ["out/a.png"], 1)
    (box,) = a["boxes"]
    assert box["face"] == 0 and 0 < box["box"][0] < box["box"][2] < 200
    ((similarity,),) = a["similarities"]
    assert -1 <= similarity <= 1
    assert b["status"] == "done" and c["status"] == "failed" and "no image" in c["error"]
    assert (d["status"], d["faces"], d["boxes"], d["similarities"]) == ("done", 0, [], [[]])
    assert "pass --aligned" in d["notes"][0]


def test_a_photo_without_face_is_copied_and_no_failure(work: Path, model: str) -> None:
    assert facekit("photos/d.png", "-o", "out", "--model", model) == 0
    np.testing.assert_array_equal(pixels("out/d.png"), pixels("photos/d.png"))


def test_faces_that_are_too_small_are_left(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    assert facekit("photos/a.png", "-o", "out", "--model", model, "--min-face-size", 150) == 0
    np.testing.assert_array_equal(pixels("out/a.png"), pixels("photos/a.png"))
    assert "below --min-face-size 150: left as it was" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "CMYK"])
def test_modes_come_back(work: Path, model: str, mode: str) -> None:
    with Image.open("photos/a.png") as image:
        gray = np.asarray(image.convert("L"))
        given = Image.fromarray(gray.astype(np.uint16) * 250) if mode == "I;16" else image.convert(mode)
    given.save("given.tif")
    assert facekit("given.tif", "-o", "out", "--model", model) == 0
    (name,) = settled("out")
    assert name == ("given.tif" if mode == "CMYK" else "given.png")
    with Image.open(f"out/{name}") as result:
        assert (result.mode, result.size) == (given.mode, given.size)
        assert (np.asarray(result) != np.asarray(given)).any()


def profile(space: bytes) -> bytes:
    """A colour profile as far as its head, which names the space."""
    return bytes(16) + space + bytes(108)


@pytest.mark.parametrize(
    ("mode", "space", "comes_back"),
    [
        ("RGB", b"RGB ", "RGB"),
        ("RGBA", b"RGB ", "RGBA"),
        ("L", b"GRAY", "L"),
        ("LA", b"GRAY", "LA"),
        ("I;16", b"GRAY", "I;16"),
        ("CMYK", b"CMYK", "CMYK"),
        ("P", b"RGB ", "RGB"),
        ("1", b"GRAY", "L"),
    ],
)
def test_enlarged_photos_keep_mode_depth_and_profile(
    work: Path, model: str, mode: str, space: bytes, comes_back: str, capsys: pytest.CaptureFixture
) -> None:
    with Image.open("photos/a.png") as image:
        if mode == "I;16":
            given = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        else:
            given = image.convert(mode)
    if mode in ("LA", "RGBA"):
        given.putalpha(Image.linear_gradient("L").resize(given.size))
    options = {"transparency": 255} if mode == "L" else {}
    given.save("given.tif" if mode == "CMYK" else "given.png", icc_profile=profile(space), **options)
    (name,) = (f for f in ("given.tif", "given.png") if Path(f).exists())
    assert facekit(name, "-o", "out", "--model", model, "--scale", 2, "--provenance", "none") == 0
    before, after = load_image(name), load_image(f"out/{name}")
    assert (after.mode, after.size) == (comes_back, (2 * given.width, 2 * given.height))
    assert after.info["icc_profile"] == profile(space)
    assert after.info.get("transparency") == before.info.get("transparency")
    printed = capsys.readouterr().err
    assert (f"the mode {mode} becomes {comes_back}" in printed) == (mode != comes_back)
    # Away from the face, in most of these rows, it is the photo; dithered modes on the average.
    small, large = (as_float(photo.rgb) for photo in (before, after))
    halved = large.reshape(given.height, 2, given.width, 2, 3).mean((1, 3))
    if mode in ("1", "P"):
        halved, small = halved.mean((1, 2)), small.mean((1, 2))
    assert np.median(abs(halved - small)[170:]) < 0.01
    if before.alpha is not None:
        halved = as_float(after.alpha).reshape(given.height, 2, given.width, 2).mean((1, 3))
        assert abs(halved - as_float(before.alpha)).mean() < 0.01
    if mode == "CMYK":
        black = after.pixels[..., 3].reshape(given.height, 2, given.width, 2).mean((1, 3))
        assert np.median(abs(black - before.pixels[..., 3])[170:]) < 2


def test_black_ink_is_enlarged_with_the_picture(work: Path, model: str) -> None:
    inks = np.zeros((96, 96, 4), np.uint8)
    inks[..., 3] = np.linspace(0, 250, 96).astype(np.uint8)
    Image.fromarray(inks, "CMYK").save("ink.tif")
    assert facekit("ink.tif", "-o", "out", "--model", model, "--scale", 2) == 0
    large = pixels("out/ink.tif")
    assert abs(large[::2, ::2].astype(int) - inks).max() <= 3


def test_a_see_through_colour_is_enlarged_and_no_other_becomes_it(work: Path, model: str) -> None:
    gray = np.tile(np.arange(96, dtype=np.uint8), (96, 1))
    gray[20:40, 20:40] = 50
    Image.fromarray(gray).save("key.png", transparency=50)
    assert facekit("key.png", "-o", "out", "--model", model, "--scale", 2) == 0
    with Image.open("out/key.png") as image:
        clear = np.asarray(image.convert("RGBA"))[..., 3] == 0
    np.testing.assert_array_equal(clear, np.kron(gray == 50, np.ones((2, 2), bool)))


def test_sixteen_bits_are_enlarged_as_sixteen(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    noise = np.random.default_rng(0).integers(0, 257, (96, 128, 3))
    deep = Photo((pixels("photos/d.png").astype(int) * 256 + noise).clip(0, 65535).astype(np.uint16), "RGB")
    save_picture(deep, Path("deep.png"))
    assert facekit("deep.png", "-o", "out", "--model", model, "--scale", 2) == 0
    after = load_image("out/deep.png")
    assert after.pixels.dtype == np.uint16 and after.size == (256, 192)
    assert len(np.unique(after.pixels % 257)) > 200
    said = capsys.readouterr().err
    assert "no face was found: the photo is only enlarged" in said and "as it was" not in said


@pytest.mark.parametrize(("mode", "space"), [("RGB", b"RGB "), ("L", b"GRAY"), ("CMYK", b"CMYK")])
def test_saved_faces_have_the_profile_of_their_colours(
    work: Path, model: str, mode: str, space: bytes
) -> None:
    Image.open("photos/a.png").convert(mode).save("given.tif", icc_profile=profile(space))
    assert facekit("given.tif", "-o", "out", "--model", model, "--save-faces") == 0
    for name in ("0-before.png", "0-after.png"):
        with Image.open(f"out/given-faces/{name}") as face:
            assert face.info.get("icc_profile") == (profile(space) if mode == "RGB" else None)


def test_candidates_and_aligned_faces(work: Path, model: str) -> None:
    code = facekit(
        *("photos/a.png", "photos/d.png", "-o", "out", "--model", model),
        *("--candidates", 2, "--save-faces", "--steps", 3, "--json", "r.json"),
    )
    assert code == 0
    faces = ["0-after.png", "0-before.png", "0-prompt-1.png", "0-prompt-2.png", "0-prompt-3.png"]
    expected = [f"a-{k}-faces/{name}" for k in (1, 2) for name in faces]
    assert settled("out") == sorted([*expected, "a-1.png", "a-2.png", "d-1.png", "d-2.png"])
    outputs = [entry["outputs"] for entry in json.loads(Path("r.json").read_text())["photos"]]
    assert outputs == [["out/a-1.png", "out/a-2.png"], ["out/d-1.png", "out/d-2.png"]]
    assert (pixels("out/a-1.png") != pixels("out/a-2.png")).any()
    before, after = (pixels(f"out/a-1-faces/0-{when}.png") for when in ("before", "after"))
    assert before.shape == after.shape == (64, 64, 3) and (before != after).any()
    np.testing.assert_array_equal(before, pixels("out/a-2-faces/0-before.png"))


def test_aligned_faces_go_in_as_they_are(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    with Image.open("photos/a.png") as image:
        image.crop((40, 60, 140, 160)).save("face.png")
    code = facekit(
        *("face.png", "photos/a.png", "-o", "out", "--model", model, "--aligned", "--save-faces"),
        *("--json", "r.json"),
    )
    assert code == 0 and pixels("out/a.png").shape == (220, 200, 3)
    assert "the photo is 200x220, and an aligned face is square" in capsys.readouterr().err
    assert pixels("out/face.png").shape == (100, 100, 3)
    assert "out/face-faces/0-after.png" in settled(work)
    entry = json.loads(Path("r.json").read_text())["photos"][0]
    assert entry["faces"] == 1 and "boxes" not in entry


def test_enlarged_around_the_faces(work: Path, model: str) -> None:
    assert facekit("photos/a.png", "photos/d.png", "-o", "out", "--model", model, "--scale", 2) == 0
    assert pixels("out/a.png").shape == (440, 400, 3) and pixels("out/d.png").shape == (192, 256, 3)
    small = pixels("out/d.png").reshape(96, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - pixels("photos/d.png")).max() < 3


def test_options_reach_the_pipeline(work: Path, model: str) -> None:
    results = {}
    changed = (
        *(["--fidelity", 1], ["--seed", 1], ["--steps", 1], ["--dtype", "bfloat16"], ["--self-ensemble"]),
        *(["--faces", 0], ["--no-self-ensemble"]),
    )
    for number, options in enumerate(([], *changed)):
        folder = f"out{number}"
        assert facekit("photos/a.png", "-o", folder, "--model", model, *options) == 0
        results[number] = pixels(f"{folder}/a.png").tobytes()
    assert len(set(results.values())) == 6 and results[6] == results[7] == results[0]
    assert facekit("photos/a.png", "-o", "none", "--model", model, "--faces", 1) == 1
    assert facekit("photos/a.png", "-o", "none", "--model", model, "--max-pixels", 1000) == 1
    assert not Path("none").exists()


def test_the_models_own_self_ensemble_can_be_left_out(work: Path, model: str) -> None:
    pipeline = FaceRestorePipeline.from_pretrained(model)
    pipeline.register_to_config(self_ensemble=True)
    pipeline.save_pretrained("twice")
    made, used = [], []
    for number, options in enumerate(([], ["--no-self-ensemble"], ["--self-ensemble"])):
        line = (
            "photos/a.png",
            "-o",
            f"out{number}",
            "--model",
            "twice",
            "--json",
            f"{number}.json",
            *options,
        )
        assert facekit(*line) == 0
        made.append(pixels(f"out{number}/a.png").tobytes())
        used.append(json.loads(Path(f"{number}.json").read_text())["self_ensemble"])
    assert made[0] == made[2] != made[1] and used == [True, False, True]


def test_results_do_not_depend_on_the_company(work: Path, model: str) -> None:
    Path("photos/c.png").unlink()
    assert facekit("photos", "-o", "all", "--model", model, "--seed", 3) == 0
    assert facekit("photos/b.jpg", "-o", "alone", "--model", model, "--seed", 3) == 0
    assert Path("all/b.png").read_bytes() == Path("alone/b.png").read_bytes()


def test_existing_results_are_only_replaced_when_told(
    work: Path, model: str, capsys: pytest.CaptureFixture
) -> None:
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"precious")
    line = ["photos/a.png", "photos/b.jpg", "-o", "out", "--model", model]
    assert facekit(*line) == 2
    assert "out/a.png exists already; say --overwrite or --skip-existing" in capsys.readouterr().err
    assert settled("out") == ["a.png"] and Path("out/a.png").read_bytes() == b"precious"
    assert facekit(*line, "--skip-existing", "--json", "r.json") == 0
    assert Path("out/a.png").read_bytes() == b"precious" and Path("out/b.png").exists()
    report = json.loads(Path("r.json").read_text())
    assert report["skipped"] == 1 and report["photos"][0] == {
        "photo": "photos/a.png",
        "status": "skipped",
        "reason": "its result exists",
    }
    assert facekit(*line, "--overwrite") == 0
    assert Path("out/a.png").read_bytes() != b"precious"
    assert facekit(*line, "--skip-existing") == 0


def test_a_run_goes_on_where_it_was_killed(work: Path, model: str) -> None:
    """What SIGKILL leaves: some candidates of a photo, and files that were being written."""
    line = ["photos/a.png", "photos/b.jpg", "-o", "out", "--model", model, "--candidates", 2, "--save-faces"]
    assert facekit(*line) == 0
    whole = {name: Path("out", name).read_bytes() for name in settled("out")}
    Path("out/b-2.png").unlink()
    Path("out/b-2-faces/0-after.png").unlink()
    Path("out/.b-2.png.01234567.part").write_bytes(b"half")
    Path("out/b-2-faces/.0-after.png.89abcdef.part").write_bytes(b"half")
    Path("out/.b-2.png.other").write_bytes(b"not ours")
    times = {name: Path("out", name).stat().st_mtime_ns for name in ("a-1.png", "a-2.png", "b-1.png")}
    assert facekit(*line, "--skip-existing", "--json", "r.json") == 0
    assert json.loads(Path("r.json").read_text())["skipped"] == 1
    assert {name: Path("out", name).stat().st_mtime_ns for name in times} == times
    assert settled("out") == sorted([*whole, ".b-2.png.other"])
    assert all(Path("out", name).read_bytes() == content for name, content in whole.items())


@pytest.mark.slow
def test_killed_in_a_write_and_started_again(work: Path, model: str) -> None:
    line = ["restore", "photos/a.png", "photos/b.jpg", "photos/d.png", "-o", "out", "--model", model]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "KILL_IN_WRITE": "2"}
    command = [sys.executable, str(KILLED), "facekit", *line]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    first, part = sorted(settled("out"), key=lambda name: name.endswith(".part"))
    assert first == "a.png" and part.startswith(".") and part.endswith(".part")
    pixels("out/a.png")
    time = Path("out/a.png").stat().st_mtime_ns
    assert main([*line, "--skip-existing"]) == 0
    assert settled("out") == ["a.png", "b.png", "d.png"]
    assert Path("out/a.png").stat().st_mtime_ns == time
    assert pixels("out/b.png").shape == (220, 200, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png"], "missing.png does not exist"),
        (["empty"], "holds no pictures"),
        (["photos/a.png", "-o", "photos/a.png"], "is one of the photos"),
        (["photos/a.png", "-o", "photos", "--overwrite"], "is one of the photos"),
        (["photos/a.png", "twin/a.png"], "would have the same name; run them apart"),
        (["photos/a.png", "twin/a-1.png", "-o", "twin", "--candidates", 2], "is one of the photos"),
        (["photos/a.png", "--steps", 0], "--steps is 0; it must be 1 or more"),
        (["photos/a.png", "--steps", 5], "must be between 1 and 4"),
        (["photos/a.png", "--fidelity", 1.5], "--fidelity is 1.5; it must lie between 0 and 1"),
        (["photos/a.png", "--fidelity", "nan"], "--fidelity is nan"),
        (["photos/a.png", "--candidates", 0], "--candidates is 0"),
        (["photos/a.png", "--batch-size", 0], "--batch-size is 0"),
        (["photos/a.png", "--min-face-size", -1], "--min-face-size is -1"),
        (["photos/a.png", "--aligned", "--scale", 2], "with --aligned there is nothing around"),
        (["photos/a.png", "--faces", "left"], "--faces is 'left'"),
        (["photos/a.png", "--detector", "scrfd"], "detector 'scrfd' needs"),
        (["photos/a.png", "--device", "toaster"], "device 'toaster'"),
        (["photos/a.png", "--identity", "empty"], "the identity encoder empty cannot be loaded"),
        (["photos/a.png", "--model", "empty"], "the model empty cannot be loaded"),
        (["photos/a.png", "--model", "inpaint"], "it is a FaceInpaintPipeline, and a FaceRestorePipeline"),
    ],
)
def test_wrong_usage_does_nothing_and_returns_2(
    work: Path, arguments: list[object], message: str, capsys: pytest.CaptureFixture, model: str
) -> None:
    Path("empty").mkdir()
    Path("twin").mkdir()
    for name in ("a.png", "a-1.png"):
        Image.open("photos/a.png").save(f"twin/{name}")
    if "inpaint" in arguments:
        tiny_inpaint_pipeline().save_pretrained("inpaint")
    arguments = [*arguments, *([] if "-o" in arguments else ["-o", "out"])]
    before = settled(work)
    assert facekit(*arguments, *([] if "--model" in arguments else ["--model", model])) == 2
    assert message in capsys.readouterr().err
    assert settled(work) == before and not Path("out").exists()


def test_the_other_class_of_identity_encoders_is_read(
    work: Path, model: str, capsys: pytest.CaptureFixture
) -> None:
    tiny_arcface_encoder().save_pretrained("arcface")
    line = ["photos/a.png", "--model", model, "-o", "out", "--json", "r.json", "--identity"]
    assert facekit(*line, "arcface") == 0
    ((similarity,),) = json.loads(Path("r.json").read_text())["photos"][0]["similarities"]
    assert -1 <= similarity <= 1 and "Expected types" not in capsys.readouterr().err
    Path("model_ir_se50.pth").touch()
    assert facekit(*line, "model_ir_se50.pth", "--overwrite") == 2
    assert "facekit convert arcface model_ir_se50.pth --output DIR" in capsys.readouterr().err


def test_identity_encoders_are_found_in_pipelines(work: Path, tmp_path: Path, model: str) -> None:
    tiny_restore_pipeline().save_pretrained(tmp_path / "with")
    line = ["photos/a.png", "--model", model, "--json", "r.json"]
    assert facekit(*line, "-o", "out", "--identity", tmp_path / "with") == 0
    given = json.loads(Path("r.json").read_text())["photos"][0]["similarities"]
    assert facekit("photos/a.png", "--model", tmp_path / "with", "-o", "out2", "--json", "r.json") == 0
    assert json.loads(Path("r.json").read_text())["photos"][0]["similarities"] == given
    assert facekit(*line, "-o", "out3") == 0
    assert "similarities" not in json.loads(Path("r.json").read_text())["photos"][0]


@pytest.fixture
def damaged(work: Path) -> str:
    """A blurred copy of photos/a.png, which is the truth."""
    Path("damaged").mkdir()
    with Image.open("photos/a.png") as image:
        image.filter(ImageFilter.GaussianBlur(2)).save("damaged/a.png")
    return "damaged/a.png"


def test_strips_show_the_truths_own_inversion(damaged: str, model: str) -> None:
    """Thesis Fig. 3.7."""
    arguments = (damaged, "-o", "out", "--model", model, "--steps", 2)
    assert facekit(*arguments, "--strip") == 0
    assert settled("out") == ["a-faces/0-strip.png", "a.png"]
    assert pixels("out/a-faces/0-strip.png").shape == (64, 4 * 64 + 3 * 4, 3)
    assert facekit(*arguments, "--strip", "--save-faces", "--truth", "photos", "--overwrite") == 0
    faces = {path.removeprefix("a-faces/0-").removesuffix(".png") for path in settled("out")[:-1]}
    assert faces == {"before", "prompt-1", "prompt-2", "truth-prompt", "after", "truth", "strip"}
    row = pixels("out/a-faces/0-strip.png")
    order = ("before", "prompt-1", "prompt-2", "truth-prompt", "after", "truth")
    for place, name in enumerate(order):
        shown = row[:, place * 68 : place * 68 + 64]
        np.testing.assert_array_equal(shown, pixels(f"out/a-faces/0-{name}.png"), err_msg=name)
    assert inspect("out/a-faces/0-strip.png").metadata.kind == "generated"


def test_landmarks_before_after_and_of_the_truth(
    damaged: str, model: str, capsys: pytest.CaptureFixture
) -> None:
    """Thesis Fig. 3.10."""
    arguments = (damaged, "-o", "out", "--model", model, "--candidates", 2, "--json", "r.json")
    assert facekit(*arguments, "--landmarks", "five-point", "--truth", "photos/a.png") == 0
    assert settled("out") == ["a-1-faces/landmarks.png", "a-1.png", "a-2-faces/landmarks.png", "a-2.png"]
    assert pixels("out/a-1-faces/landmarks.png").shape == (220, 3 * 200 + 2 * 4, 3)
    (entry,) = json.loads(Path("r.json").read_text())["photos"]
    found = entry["landmarks"]
    assert found["detector"] == "five-point" and len(found["after"]) == 2
    (face,) = detect_faces(pixels("photos/a.png"))
    np.testing.assert_allclose(found["truth"], [face.landmarks], atol=0.06)
    assert np.shape(found["before"]) == (1, 5, 2) and found["before"] != found["truth"]
    assert "note: damaged/a.png: faces found by five-point: before 1, after" in capsys.readouterr().err


def test_emotions_are_told(damaged: str, model: str) -> None:
    """With a recogniser in place of emotiefflib's, whose weights are no part of the tests."""
    args = build_parser().parse_args(["restore", damaged, "-o", "out", "--model", model, "--emotions"])
    pipeline = load_restorer(args, torch.device("cpu"))
    (restored,) = restore(pipeline, [damaged], [0], args)
    look = Look(None, "mtcnn", None, lambda faces: [f"{face.mean():.0f}" for face in faces])
    entry, pictures = look.compare(restored, Path(damaged), Path("photos/a.png"), None)
    (told,) = entry["emotions"]
    assert told.keys() == {"face", "before", "after", "truth"} and len(told["after"]) == 1 and not pictures
    assert notes_of(entry) == [
        f"emotion of face 0: before {told['before']}, after {told['after'][0]}, of the undamaged one {told['truth']}"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--truth", "photos"], "--truth is shown by --save-faces, --strip, --landmarks and --emotions"),
        (["--truth", "nowhere", "--strip"], "the undamaged photo nowhere does not exist"),
        (["--landmarks", "five-point", "--scale", 2], "--scale enlarges the photo"),
    ],
)
def test_looks_that_cannot_be_had_are_refused(
    damaged: str, model: str, arguments: list, message: str, capsys: pytest.CaptureFixture
) -> None:
    assert facekit(damaged, "-o", "out", "--model", model, *arguments) == 2
    assert message in capsys.readouterr().err and not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "package"), [(["--emotions"], "emotiefflib"), (["--landmarks", "fan"], "face_alignment")]
)
def test_missing_extras_are_named(
    damaged: str, model: str, arguments: list, package: str, capsys: pytest.CaptureFixture
) -> None:
    if find_spec(package) is not None:
        pytest.skip("the extra is installed")
    assert facekit(damaged, "-o", "out", "--model", model, *arguments) == 2
    assert "pip install 'facekit[" in capsys.readouterr().err and not Path("out").exists()


def test_a_truth_of_another_size_fails_with_its_photo(
    damaged: str, model: str, capsys: pytest.CaptureFixture
) -> None:
    Image.new("RGB", (50, 60)).save("other.png")
    arguments = ("-o", "out", "--model", model, "--strip", "--truth", "other.png")
    assert facekit(damaged, *arguments) == 1
    assert "other.png is 50x60 and the photo that was damaged 200x220" in capsys.readouterr().err


def test_a_model_without_code_diffuser(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    """Thesis Table 3.3, (a)."""
    parts = tiny_restore_pipeline(identity=False).components
    FaceRestorePipeline(**parts | {"code_diffuser": None, "scheduler": None}).save_pretrained("without")
    arguments = ("photos/a.png", "-o", "out", "--model", "without", "--json", "r.json")
    assert facekit(*arguments, "--save-faces") == 0
    assert "a-faces/0-prompt-1.png" in settled("out") and "a-faces/0-prompt-2.png" not in settled("out")
    report = json.loads(Path("r.json").read_text())
    assert (report["steps"], report["fidelity"], report["self_ensemble"]) == (0, 0.5, False), (
        "the model's own"
    )
    assert facekit(*arguments, "--steps", 2, "--overwrite") == 2
    assert "--steps 2: --steps is for the code diffuser" in capsys.readouterr().err
