"""`facekit edit`: files in, files out, scripts, and what it says when something is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit.provenance import inspect
from facekit_cli.main import main
from tests.helpers.masks import box_mask
from tests.tiny.networks import tiny_text_guide
from tests.tiny.pipelines import tiny_edit_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_edit_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ (a.png, b.png with a face each, c.png broken), star.png, and drawings of a.png's size."""
    monkeypatch.chdir(tmp_path)
    portrait = Image.fromarray(np.ascontiguousarray(astronaut()[0:256, 100:356]))
    for folder in ("photos", "maps"):
        (tmp_path / folder).mkdir()
    portrait.save("photos/a.png")
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("photos/b.png")
    Path("photos/c.png").write_bytes(b"broken")
    portrait.rotate(5).save("star.png")
    mask = box_mask((256, 256), (90, 85, 155, 115))
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(np.where(mask & (np.arange(256) % 6 == 0), 0, 255).astype(np.uint8)).save("lines.png")
    layer = np.zeros((256, 256, 4), dtype=np.uint8)
    layer[95:105, 100:140] = (20, 90, 200, 255)
    Image.fromarray(layer).save("paint.png")
    Image.fromarray(np.where(mask, 17, 255).astype(np.uint8)).save("maps/a.png")
    return tmp_path


def facekit(*arguments: object) -> int:
    return main(["edit", *(str(a) for a in arguments)])


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_photos_are_edited_and_the_rest_kept(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    code = facekit(
        *(
            "photos",
            "--mask",
            "mask.png",
            "--sketch",
            "lines.png",
            "--color",
            "paint.png",
            "--exemplar",
            "star.png",
        ),
        *("--attribute", "smile=1.5", "-a", "age=-1", "--strength", "sketch=0.5", "--pose-from", "front"),
        *("--candidates", 2, "--model", model, "--output", "out", "--json", "run.json", "--seed", 3),
        *("--save-session", "sessions"),
    )
    printed = capsys.readouterr()
    assert code == 1 and "2 done, 1 failed" in printed.out and "failed: photos/c.png" in printed.err
    assert sorted(f.name for f in Path("out").iterdir()) == [f"{n}-{k}.png" for n in "ab" for k in (1, 2)]
    report = json.loads(Path("run.json").read_text())
    assert report["attributes"] == {"smile": 1.5, "age": -1} and report["strengths"] == {"sketch": 0.5}
    assert report["photos"][0]["faces"] == 1
    mask = pixels("mask.png")
    for name in "ab":
        photo, results = pixels(f"photos/{name}.png"), [pixels(f"out/{name}-{k}.png") for k in (1, 2)]
        assert (results[0] != results[1]).any()
        for result in results:
            np.testing.assert_array_equal(result[~mask], photo[~mask])
            assert (result[mask] != photo[mask]).mean() > 0.5
    # A saved session replays, here as a script.
    arguments = ("photos/a.png", "--model", model, "--output", "again", "--script", "sessions/a.zip")
    assert facekit(*arguments) == 0
    np.testing.assert_array_equal(pixels("again/a.png"), pixels("out/a-1.png"))


def test_what_the_codes_hold_is_written_beside_the_results(work: Path, model: str) -> None:
    common = ("photos/a.png", "--model", model, "--save-faces", "--seed", 3)
    arguments = ("--mask", "mask.png", "--exemplar", "star.png", "--candidates", 2)
    assert facekit(*common, *arguments, "--output", "out") == 0
    written = [f"0-{name}.png" for name in ("edited", "exemplar", "projected", "warped")]
    for number in (1, 2):
        assert sorted(file.name for file in Path(f"out/a-{number}-faces").iterdir()) == written
    assert pixels("out/a-1-faces/0-warped.png").shape == (64, 64, 3)
    assert inspect(f"out/a-1-faces/{written[0]}").metadata.kind == "generated"
    # Of a script: what its last edit left, of the candidate that it took.
    edits = [
        {"mask": "mask.png", "exemplar": "self", "seed": 1},
        {"mask": "mask.png", "num_images": 2, "choice": 1, "seed": 2},
    ]
    Path("script.json").write_text(json.dumps({"edits": edits}))
    assert facekit(*common[:-2], "--script", "script.json", "--output", "scripted") == 0
    names = sorted(file.name for file in Path("scripted/a-faces").iterdir())
    assert names == ["0-edited.png", "0-projected.png", "0-warped.png"]
    Path("in-the-way").mkdir()
    Path("in-the-way/a-faces").touch()
    assert facekit(*common, "--mask", "mask.png", "--output", "in-the-way") == 2


def test_a_filter_draws_the_sketch(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    common = ("photos/a.png", "--mask", "mask.png", "--model", model, "--seed", 3)
    for name, options in (
        ("none", ()),
        ("pencil", ("--draw-sketch", "pencil")),
        ("canny", ("--draw-sketch", "canny")),
        ("other", ("--draw-sketch", "canny", "--sketch", "star.png")),
    ):
        assert facekit(*common, *options, "--output", name) == 0
    mask, photo = pixels("mask.png"), pixels("photos/a.png")
    results = [pixels(f"{name}/a.png") for name in ("none", "pencil", "canny", "other")]
    assert all((result[~mask] == photo[~mask]).all() for result in results)
    assert len({result.tobytes() for result in results}) == 4
    # The same strokes by hand.
    from facekit.conditions.sketch import sketch_photo

    Image.fromarray(sketch_photo("photos/a.png", filter="canny", size=64)).save("drawn.png")
    assert facekit(*common, "--sketch", "drawn.png", "--output", "hand") == 0
    np.testing.assert_array_equal(pixels("hand/a.png"), results[2])
    Path("script.json").write_text(json.dumps({"edits": [{"mask": "mask.png"}]}))
    code = facekit("photos/a.png", "--script", "script.json", "--draw-sketch", "canny", "--output", "no")
    assert code == 2 and "leave out --draw-sketch" in capsys.readouterr().err


def test_a_script_does_its_edits_one_after_another(work: Path, model: str) -> None:
    edits = [
        {"mask": "mask.png", "semantics": {"hair": True}, "sketch": "lines.png", "seed": 1},
        {"mask": "mask.png", "semantics": "maps/a.png", "exemplar": "star.png", "color": None, "seed": 2},
        {"mask": "mask.png", "exemplar": "self", "attributes": {"smile": 2}, "noise": "fixed", "seed": 3},
    ]
    Path("script.json").write_text(json.dumps({"edits": edits}))
    common = ("photos/a.png", "--model", model)
    assert facekit(*common, "--script", "script.json", "--output", "whole", "--save-session", "saved") == 0
    mask, photo = pixels("mask.png"), pixels("photos/a.png")
    np.testing.assert_array_equal(pixels("whole/a.png")[~mask], photo[~mask])
    for name, count in (("first", 1), ("second", 2)):
        Path("part.json").write_text(json.dumps({"edits": edits[:count]}))
        assert facekit(*common, "--script", "part.json", "--output", name) == 0
    # The last edit once more, on the result of the first two: as PNG it lost nothing.
    single = ("second/a.png", "--mask", "mask.png", "--exemplar", "self", "-a", "smile=2", "--noise", "fixed")
    assert facekit(*single, "--seed", 3, "--model", model, "--output", "third") == 0
    whole, third = pixels("whole/a.png").astype(int), pixels("third/a.png").astype(int)
    # Faces were found anew in an edited photo, so the crop may differ by a hair.
    assert np.abs(whole - third).mean() < 8
    assert (pixels("first/a.png") != pixels("second/a.png")).any()


def test_maps_of_the_photos_names_and_words(work: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    guide = tiny_text_guide()
    guide.model.save_pretrained("clip")
    guide.tokenizer.save_pretrained("clip")
    common = ("photos/a.png", "photos/b.png", "--mask", "mask.png", "--model", model, "--noise", "none")
    assert facekit(*common, "--semantics", "maps", "--output", "mapped") == 1
    assert "failed: photos/b.png: no semantics named b in maps" in capsys.readouterr().err
    words = ("--prompt", "old", "--clip", "clip", "--steps", 2)
    assert facekit(*common, *words, "--output", "said") == 0
    assert facekit(*common, "--output", "plain") == 0
    assert facekit(*common, *words, "--search", "thesis", "--output", "literal") == 0
    assert (pixels("said/a.png") != pixels("plain/a.png")).any()
    assert (pixels("literal/a.png") != pixels("said/a.png")).any()
    assert (pixels("mapped/a.png") != pixels("plain/a.png")).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mask", "mask.png", "--script", "s.json"], "leave out --mask, or --script"),
        (["--script", "photos/a.png"], "photos/a.png is no script: name a .json file, or a saved session"),
        ([], "say what may change with --mask, or name edits with --script\n"),
        (["--mask", "no.png"], "the mask no.png does not exist"),
        (["--mask", "mask.png", "--exemplar", "no.png"], "the exemplar no.png does not exist"),
        (["--mask", "mask.png", "--candidates", 0], "--candidates is 0"),
        (["--mask", "mask.png", "--attribute", "smile"], "--attribute is 'smile'; say a name and a number"),
        (["--mask", "mask.png", "--attribute", "beard=1"], "no attribute 'beard'; known are age, smile"),
        (["--mask", "mask.png", "--strength", "colour=1"], "strengths has 'colour'; known are sketch"),
        (["--mask", "mask.png", "--strength", "color=3"], "strength of color is 3.0"),
        (["--mask", "mask.png", "--variety", 3], "variety is 3.0"),
        (["--mask", "mask.png", "--exemplar-face", "best"], "--exemplar-face is 'best'"),
        (["--mask", "mask.png", "--faces", "best"], "--faces is 'best'"),
        (["--mask", "mask.png", "--prompt", "old", "--clip", "photos"], "photos is no complete CLIP folder"),
        (["--mask", "mask.png", "--search", "thesis"], "say which with --prompt"),
        (["--script", "s.json", "--search", "thesis"], "leave out --search"),
        (["--script", "no.json"], "no.json does not exist"),
        (["--script", "s.json", "--prompt", "old"], "leave out --prompt"),
        (["--script", "s.json", "--candidates", 2], "leave out --candidates"),
        (["--script", "s.json"], "the JSON cannot be read"),
        (["--script", "photos"], "which is no file of an edit session"),
    ],
)
def test_wrong_usage_is_refused(
    work: Path, model: str, capsys: pytest.CaptureFixture, arguments: list, message: str
) -> None:
    Path("s.json").write_text("{")
    assert facekit("photos/a.png", "--model", model, "--output", "out", *arguments) == 2
    assert message in capsys.readouterr().err and not Path("out").exists()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({}, '"edits" must be a list'),
        ({"edits": []}, "has no edits"),
        ({"edits": [{"sketch": "lines.png"}]}, "edit 1 has no mask"),
        ({"edits": [{"mask": "mask.png", "smile": 2}]}, "edit 1 has 'smile'; known are mask, sketch"),
        ({"edits": [{"mask": "mask.png", "seed": True}]}, "seed is True; expected int"),
        ({"edits": [{"mask": "../mask.png"}]}, "lies outside its folder"),
        ({"edits": [{"mask": "/etc/hostname"}]}, "lies outside its folder"),
        ({"edits": [{"mask": "none.png"}]}, "'none.png', which does not exist"),
        ({"edits": [{"mask": 3}]}, "mask is 3; expected the name of a file"),
        ({"edits": [{"mask": "mask.png", "attributes": {"beard": 1}}]}, "known are age, smile"),
        (
            {"edits": [{"mask": "mask.png", "text_options": {"search": "sgd"}}]},
            "search must be 'adam' or 'thesis'",
        ),
    ],
)
def test_wrong_scripts_are_refused(
    work: Path, model: str, capsys: pytest.CaptureFixture, script: dict, message: str
) -> None:
    Path("s.json").write_text(json.dumps(script))
    assert facekit("photos/a.png", "--model", model, "--output", "out", "--script", "s.json") == 2
    assert message in capsys.readouterr().err and not Path("out").exists()


def test_results_are_labelled(work: Path, model: str) -> None:
    from facekit.provenance import inspect

    common = ("photos/a.png", "--mask", "mask.png", "--model", model)
    assert facekit(*common, "--output", "both") == 0
    assert facekit(*common, "--output", "none", "--provenance", "none") == 0
    both, none = inspect("both/a.png"), inspect("none/a.png")
    assert both.metadata is not None and none.metadata is None
    mask, photo = pixels("mask.png"), pixels("photos/a.png")
    np.testing.assert_array_equal(pixels("both/a.png")[~mask], photo[~mask])
    assert (pixels("both/a.png") != pixels("none/a.png")).any()


def test_the_starter_is_the_usual_model(work: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("facekit_cli.models.starter", lambda task: asked.append(task) or model)
    assert facekit("photos/a.png", "--mask", "mask.png", "--output", "usual", "--json", "run.json") == 0
    assert asked == ["face-edit"] and json.loads(Path("run.json").read_text())["model"] == model
