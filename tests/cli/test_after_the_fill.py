"""What commands that fill do afterwards: `--restore-with` (what it draws, what reports and files say, what is refused)
and `--match-tones`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit.provenance import inspect
from facekit_cli.main import main
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_edit_pipeline, tiny_exemplar_pipeline, tiny_inpaint_pipeline

MAKERS = {"inpaint": tiny_inpaint_pipeline, "exemplar": tiny_exemplar_pipeline, "edit": tiny_edit_pipeline}
HOLE = box_mask((256, 256), (90, 85, 155, 115))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photo.png, star.png, mask.png, and a folder with a model for each command."""
    folder = tmp_path_factory.mktemp("work")
    portrait = Image.fromarray(np.ascontiguousarray(astronaut()[0:256, 100:356]))
    portrait.save(folder / "photo.png")
    portrait.rotate(5).save(folder / "star.png")
    Image.fromarray(HOLE.astype(np.uint8) * 255).save(folder / "mask.png")
    for name, make in MAKERS.items():
        make().save_pretrained(folder / name)
    return folder


def run(work: Path, command: str, output: Path, *more: object) -> int:
    given = [command, work / "photo.png", "--mask", work / "mask.png", "--model", work / command]
    if command == "exemplar":
        given += ["--exemplar", work / "star.png"]
    return main([str(part) for part in (*given, "--output", output, *more)])


@pytest.mark.parametrize("command", MAKERS)
def test_the_restorer_works_in_the_hole_and_is_named(
    work: Path, model: str, tmp_path: Path, command: str
) -> None:
    assert run(work, command, tmp_path / "plain.png") == 0
    report = tmp_path / "report.json"
    assert run(work, command, tmp_path / "fine.png", "--restore-with", model, "--json", report) == 0
    plain, fine = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "fine"))
    difference = (plain != fine).any(-1)
    assert difference[HOLE].mean() > 0.5 and not difference[~HOLE].any()
    assert json.loads(report.read_text())["restore_with"] == model
    named = [inspect(tmp_path / f"{name}.png").metadata.model for name in ("plain", "fine")]
    assert named == [command, f"{command} and {Path(model).name}"]


def test_a_sweep_is_restored_too(work: Path, model: str, tmp_path: Path) -> None:
    sweep = ("--second-exemplar", work / "photo.png", "--sweep")
    for name, more in (("plain", ()), ("fine", ("--restore-with", model))):
        assert run(work, "exemplar", tmp_path / f"{name}.png", *sweep, *more) == 0
    plain, fine = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "fine"))
    assert plain.shape == fine.shape and (plain != fine).any()


@pytest.mark.parametrize("command", MAKERS)
def test_what_is_no_restorer_is_refused_before_any_work(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture, command: str
) -> None:
    for given, said in (("face-edit", "is a bundled model for something else"), (work / "edit", "is needed")):
        assert run(work, command, tmp_path / "out", "--restore-with", given) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", MAKERS)
def test_tones_are_matched_in_the_hole_or_left(work: Path, tmp_path: Path, command: str) -> None:
    report = tmp_path / "report.json"
    assert run(work, command, tmp_path / "as-the-model-does.png") == 0
    assert run(work, command, tmp_path / "left.png", "--no-match-tones") == 0
    assert run(work, command, tmp_path / "matched.png", "--match-tones", "--json", report) == 0
    names = ("as-the-model-does", "left", "matched")
    as_always, left, matched = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in names)
    assert np.array_equal(as_always, left)  # small random models match none
    difference = (left != matched).any(-1)
    assert difference[HOLE].any() and not difference[~HOLE].any()
    assert json.loads(report.read_text())["match_tones"] is True


def test_detail_of_the_photo_is_kept_where_asked(work: Path, tmp_path: Path) -> None:
    for name, more in (("plain", ()), ("kept", ("--keep-detail",))):
        assert run(work, "edit", tmp_path / f"{name}.png", *more) == 0
    plain, kept = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "kept"))
    difference = (plain != kept).any(-1)
    assert difference[HOLE].any() and not difference[~HOLE].any()


def test_a_script_says_itself_whether_tones_are_matched(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    script = tmp_path / "edits.json"
    script.write_text(json.dumps({"edits": [{"mask": str(work / "mask.png")}]}))
    given = (
        "edit",
        work / "photo.png",
        "--script",
        script,
        "--model",
        work / "edit",
        "--output",
        tmp_path / "out.png",
    )
    for option in ("--match-tones", "--no-match-tones", "--keep-detail"):
        assert main([str(part) for part in (*given, option)]) == 2
        assert f"leave out {option}" in capsys.readouterr().err
