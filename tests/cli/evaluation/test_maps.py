"""Semantic maps that a table makes by a parser where the data has none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.conditions.semantics import load_parser, parse
from facekit.hub.starters import starter
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import open_pictures
from facekit_cli.evaluation.plan import make_plan
from facekit_cli.evaluation.tables import TABLES
from tests.helpers.evaluation import SIZE, evaluate, read_report


@pytest.fixture
def bare(data: Path, tmp_path: Path) -> Path:
    """The four pictures, of which the first alone has a map."""
    folder = tmp_path / "bare"
    shutil.copytree(data / "val", folder / "val")
    (folder / "semantic/val").mkdir(parents=True)
    shutil.copy(data / "semantic/val/0.png", folder / "semantic/val")
    return folder


def test_maps_are_made_kept_and_told(bare: Path, tmp_path: Path, no_downloads: None) -> None:
    out = tmp_path / "out"
    arguments = (
        "6.5",
        "--data",
        bare,
        "--method",
        "input",
        "--output",
        out,
        "--export-inputs",
        tmp_path / "inputs",
    )
    assert evaluate(*arguments) == 0
    made = sorted((out / "semantic/bare").iterdir())
    assert [file.name for file in made] == ["1.png", "2.png", "3.png", "parser.json"]
    picture = open_pictures(str(bare), "val", SIZE).read(2)
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    wanted = parse(load_parser(starter("face-parser")), image)[0].numpy()
    np.testing.assert_array_equal(np.asarray(Image.open(out / "semantic/bare/2.png")), wanted)
    (shown,) = (tmp_path / "inputs").rglob("semantics/0.png")  # the user's own goes before
    own = np.asarray(Image.open(bare / "semantic/val/0.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(shown)), own)
    report = read_report(out)
    assert any("Semantic maps of 3 pictures of bare (1 have their own)" in note for note in report["notes"])
    assert Path(report["settings"]["parser"]).name == "face-parser-starter-256"

    before = [file.stat().st_mtime_ns for file in made]
    assert evaluate(*arguments) == 0  # goes on with what is there
    assert [file.stat().st_mtime_ns for file in made] == before


def test_maps_of_another_parser_are_not_mixed_in(
    bare: Path, tmp_path: Path, no_downloads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", tmp_path / "other-parser"
    shutil.copytree(starter("face-parser"), other, ignore=shutil.ignore_patterns("training", "*.png"))
    arguments = ("6.7", "--data", bare, "--method", "input", "--output", out)
    assert evaluate(*arguments) == 0
    assert evaluate(*arguments, "--parser", other) == 2
    assert "maps made from" in capsys.readouterr().err
    assert evaluate(*arguments, "--parser", other, "--overwrite") == 0
    assert json.loads((out / "semantic/bare/parser.json").read_text())["parser"] == str(other)


def test_a_parser_that_is_none(
    bare: Path, tmp_path: Path, no_downloads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    code = evaluate(
        *(
            "6.7",
            "--data",
            bare,
            "--method",
            "input",
            "--output",
            tmp_path / "out",
            "--parser",
            tmp_path / "none",
        )
    )
    assert code == 2 and "cannot be loaded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_plans_without_a_folder_need_the_maps(bare: Path) -> None:
    with pytest.raises(UsageError, match=r"3 of 4 pictures .* have none, 1\.png for example"):
        make_plan(TABLES["6.5"], [open_pictures(str(bare), "val", SIZE)], [])
    assert not make_plan(TABLES["6.4"], [open_pictures(str(bare), "val", SIZE, 1)], []).missing
