"""`facekit exemplar`: files in, files out, and what it says and returns when something is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit.conditions.sketch import sketch_photo
from facekit_cli.main import main
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_exemplar_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_exemplar_pipeline(identity=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ (a.png, b.png with a face each, c.png broken), mask.png, star.png, other.png, pairs/a.png."""
    monkeypatch.chdir(tmp_path)
    portrait = Image.fromarray(np.ascontiguousarray(astronaut()[0:256, 100:356]))
    for folder in ("photos", "pairs"):
        (tmp_path / folder).mkdir()
    portrait.save("photos/a.png")
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("photos/b.png")
    Path("photos/c.png").write_bytes(b"broken")
    star = Image.fromarray(np.asarray(portrait)[:, ::-1, ::-1])
    star.save("star.png")
    star.save("pairs/a.png")
    Image.fromarray(np.asarray(portrait) // 2).save("other.png")
    Image.fromarray(box_mask((256, 256), (90, 85, 155, 115))).save("mask.png")
    return tmp_path


def facekit(*arguments: object) -> int:
    return main(["exemplar", *(str(a) for a in arguments)])


def test_a_filter_draws_the_sketch(work: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sketching")
    tiny_exemplar_pipeline(use_sketch=True).save_pretrained(folder)
    common = ("photos/a.png", "--mask", "mask.png", "--exemplar", "star.png", "--model", folder)
    for name, options in (("none", ()), ("canny", ("--draw-sketch", "canny"))):
        assert facekit(*common, *options, "--output", name) == 0
    Image.fromarray(sketch_photo("photos/a.png", filter="canny", size=64)).save("drawn.png")
    assert facekit(*common, "--sketch", "drawn.png", "--output", "hand") == 0
    none, drawn, hand = (Path(name, "a.png").read_bytes() for name in ("none", "canny", "hand"))
    assert none != drawn == hand


def settled(folder: Path) -> list[str]:
    """Names of all files, hidden ones too."""
    return sorted(f.name for f in folder.iterdir())


def test_photos_are_filled_and_the_rest_kept(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    code = facekit(
        *("photos", "--mask", "mask.png", "--exemplar", "star.png", "other.png", "--candidates", 2),
        *("--model", model, "--output", "out", "--json", "run.json", "--seed", 3, "--truncation", 0.8),
    )
    assert code == 1
    assert settled(work / "out") == [f"{name}-{number}.png" for name in "ab" for number in (1, 2, 3, 4)]
    printed = capsys.readouterr()
    assert "2 done, 1 failed, 0 skipped" in printed.out and "failed: photos/c.png" in printed.err
    report = json.loads(Path("run.json").read_text())
    assert (report["seed"], report["truncation_psi"]) == (3, 0.8)
    assert [len(s) for s in report["photos"][0]["similarities"]] == [1] * 4
    hole = np.asarray(Image.open("mask.png")) > 0
    photo = np.asarray(Image.open("photos/a.png"))
    results = [np.asarray(Image.open(f"out/a-{number}.png")) for number in (1, 2, 3, 4)]
    for result in results:
        np.testing.assert_array_equal(result[~hole], photo[~hole])
    assert all((results[0] != result).any() for result in results[1:])
    # The same alone.
    arguments = (
        "photos/a.png",
        "--mask",
        "mask.png",
        "--exemplar",
        "star.png",
        "other.png",
        "--candidates",
        2,
    )
    assert facekit(*arguments, "--model", model, "--output", "alone", "--seed", 3, "--truncation", 0.8) == 0
    np.testing.assert_array_equal(np.asarray(Image.open("alone/a-1.png")), results[0])


def test_recovery_after_pictures_of_the_same_name(
    work: Path, model: str, capsys: pytest.CaptureFixture
) -> None:
    code = facekit(
        *("photos/a.png", "photos/b.png", "--recover", "glasses", "--exemplar", "pairs", "--model", model),
        *("--output", "out", "--noise", "fixed", "--exemplar-layers", "4-6,9", "--strength", 0.5),
    )
    assert code == 1 and settled(work / "out") == ["a.png"]
    assert "failed: photos/b.png: no exemplar named b in pairs" in capsys.readouterr().err


def test_mixing_and_sweeping(work: Path, model: str) -> None:
    common = ("photos/a.png", "--mask", "mask.png", "--exemplar", "star.png", "--model", model)
    second = ("--second-exemplar", "other.png")
    assert facekit(*common, *second, "--style-layers", 6, "--output", "mixed") == 0
    assert facekit(*common, *second, "--style-layers", "6-9", "--output", "listed") == 0
    assert facekit(*common, "--output", "plain") == 0
    mixed, listed, plain = (np.asarray(Image.open(f"{f}/a.png")) for f in ("mixed", "listed", "plain"))
    np.testing.assert_array_equal(mixed, listed)
    assert (mixed != plain).any()
    assert facekit(*common, *second, "--sweep", "--output", "swept") == 0
    assert Image.open("swept/a.png").size == (9 * 256, 256)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what is to be filled"),
        (["--mask", "mask.png", "--candidates", 0], "--candidates is 0"),
        (["--mask", "no.png"], "the mask no.png does not exist"),
        (["--mask", "mask.png", "--style-layers", 5], "mix two exemplars"),
        (["--mask", "mask.png", "--sweep"], "mix two exemplars"),
        (["--mask", "mask.png", "--second-exemplar", "no.png"], "second exemplar no.png does not exist"),
        (
            ["--mask", "mask.png", "--second-exemplar", "other.png", "--sweep", "--candidates", 2],
            "--sweep mixes one exemplar",
        ),
        (["--mask", "mask.png", "--second-exemplar", "other.png", "--style-layers", 3], "between 4"),
        (["--mask", "mask.png", "--exemplar-layers", "x"], "--exemplar-layers is 'x'"),
        (["--mask", "mask.png", "--exemplar-layers", "9-4"], "names no code"),
        (["--mask", "mask.png", "--exemplar-layers", "1"], "--exemplar-layers has 1"),
        (["--mask", "mask.png", "--strength", 2], "--strength is 2"),
        (["--mask", "mask.png", "--sketch", "mask.png"], "takes no sketch"),
        (["--mask", "mask.png", "--draw-sketch", "canny"], "takes no sketch"),
        (["--mask", "mask.png", "--exemplar-face", "left"], "--exemplar-face is 'left'"),
        (["--mask", "mask.png", "--exemplar-face", 4], "face 4 was asked for"),
        (["--mask", "mask.png", "--exemplar", "photos/c.png"], "is no image that can be read"),
        (["--mask", "mask.png", "--exemplar", "star.png", "no.png"], "exemplar no.png does not exist"),
        (["--mask", "mask.png", "--model", "nowhere"], "--model nowhere is no folder, and no model's name"),
    ],
)
def test_wrong_usage_does_nothing(
    work: Path, model: str, capsys: pytest.CaptureFixture, arguments: list, message: str
) -> None:
    assert (
        facekit("photos/a.png", "--exemplar", "star.png", "--model", model, "--output", "out", *arguments)
        == 2
    )
    assert message in capsys.readouterr().err
    assert not (work / "out").exists()


def test_the_starter_is_the_usual_model(work: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("facekit_cli.models.starter", lambda task: asked.append(task) or model)
    line = ("photos/a.png", "--mask", "mask.png", "--exemplar", "star.png", "--output", "usual")
    assert facekit(*line, "--json", "run.json") == 0
    assert asked == ["exemplar-inpaint"] and json.loads(Path("run.json").read_text())["model"] == model
