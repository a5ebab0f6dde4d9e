"""Whose exemplar is whose: reversed batches, by seed, by angles of a file, by landmarks."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import open_pictures
from facekit_cli.evaluation.pairs import Poses, pair_by_pose, pair_pictures, reverse_batches
from facekit_cli.evaluation.plan import make_plan
from facekit_cli.evaluation.poses import read_poses
from facekit_cli.evaluation.tables import TABLES
from tests.helpers.evaluation import SIZE, evaluate

ANGLES = "4\nYaw Pitch Raw\n0.jpg 0 0 0\n1.jpg 30 0 0\n2.jpg 1.5 -1 0.5\n3.jpg 30 1 0\n"


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """The data set's text for the four pictures: 1 and 3 are nearest (1), then 0 and 2."""
    file = tmp_path / "CelebAMask-HQ-pose-anno.txt"
    file.write_text(ANGLES)
    return file


def test_a_batch_is_guided_by_itself_reversed() -> None:
    assert reverse_batches(8) == {0: 7, 1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1, 7: 0}
    batches = reverse_batches(19)
    assert (batches[8], batches[15]) == (15, 8)
    assert {
        16: 18,
        17: 16,
        18: 16,
    }.items() <= batches.items()  # the middle of the last three takes the one before
    assert all(index != other for count in range(2, 40) for index, other in reverse_batches(count).items())


def test_tables_of_exemplars_reverse_batches_unless_a_seed_is_asked_for(data: Path) -> None:
    pictures = open_pictures(str(data), "val", SIZE)
    (first, *_) = make_plan(TABLES["5.1"], [pictures], []).sets
    assert first.partners == {0: 3, 1: 2, 2: 1, 3: 0}
    chance = make_plan(TABLES["5.1"], [pictures], [], pairing="random")
    assert chance.sets[0].partners == pair_pictures(pictures, "random", 0) != first.partners
    assert "by seed" in chance.notes[0] and chance.settings["pairing"] == "random"
    partners = dict(chance.sets[0].partners)
    assert sorted(partners.values()) == [0, 1, 2, 3] and all(i != j for i, j in partners.items())


def test_poses_from_landmarks(data: Path) -> None:
    pictures = open_pictures(str(data), "val", SIZE)
    assert pair_by_pose(pictures, Poses()) == {0: 1, 1: 0, 2: 3, 3: 2}  # the noses lie at 32, 33, 34, 35


def test_poses_from_a_file(data: Path, poses: Path) -> None:
    pictures = open_pictures(str(data), "val", SIZE)
    plan = make_plan(TABLES["fig-5.6"], [pictures], [], poses=poses)
    assert plan.sets[0].partners == {1: 3, 3: 1, 0: 2, 2: 0}
    assert "the 2 pairs" in plan.notes[0] and poses.name in plan.notes[0]
    best = make_plan(TABLES["fig-5.6"], [pictures], [], poses=poses, pairs=1)
    assert best.sets[0].indices == (1, 3) and best.settings["pairs"] == 1
    assert make_plan(TABLES["fig-5.6"], [pictures], []).settings["pairs"] == 550


def test_the_nearest_pairs_against_loops(tmp_path: Path) -> None:
    rng, count = np.random.default_rng(0), 30
    angles = {str(number): rng.normal(0, 15, 3) for number in range(count)}
    for number in range(count):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(
            tmp_path / f"{number:05}.png"
        )  # as copies of CelebA-HQ have it
    pictures = open_pictures(str(tmp_path), None, 16)
    left, wanted = set(range(count)), {}
    for _ in range(4):
        distances = {
            (a, b): sum((angles[str(a)][i] - angles[str(b)][i]) ** 2 for i in range(3)) ** 0.5
            for a in left
            for b in left
            if a < b
        }
        one, other = min(distances, key=distances.__getitem__)
        left -= {one, other}
        wanted |= {one: other, other: one}
    assert pair_by_pose(pictures, Poses(angles, "poses.csv", 4)) == wanted


def test_files_of_poses(tmp_path: Path, poses: Path) -> None:
    read = read_poses(poses)
    np.testing.assert_allclose(read["2"], [1.5, -1, 0.5])
    table = tmp_path / "poses.csv"
    table.write_text("roll,file_name,pitch,yaw\n0.5,faces/00002.png,-1,1.5\n")
    np.testing.assert_allclose(read_poses(table)["2"], [1.5, -1, 0.5])


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("poses.txt", "3\nYaw Pitch Raw\n0.jpg 1 2 3\n", "announces 3 pictures and holds 1"),
        ("poses.txt", "0.jpg 1 2\n", "line 1: '0.jpg 1 2' is no picture"),
        ("poses.txt", "0.jpg 1 2 x\n", "three numbers"),
        ("poses.txt", "0.jpg 1 2 nan\n", "three numbers"),
        ("poses.txt", "0.jpg 1 2 3\n0.png 1 2 3\n", "line 2: 0.png has angles already"),
        ("poses.txt", "\n", "has no poses"),
        ("poses.csv", "file_name,yaw,pitch\n", "must begin with the names"),
        ("poses.csv", "file_name,yaw,pitch,roll\n0.png,1\n", "line 2: it has 2 of 4 columns"),
    ],
)
def test_what_is_no_file_of_poses(name: str, text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=wrong):
        read_poses(tmp_path / name)


def test_pairing_that_a_table_has_no_use_for(
    data: Path, poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def refusal(*arguments: object) -> str:
        assert evaluate(*arguments, "--data", data, "--export-inputs", out) == 2
        return capsys.readouterr().err

    assert "pairs pictures of similar pose" in refusal("fig-5.6", "--pairing", "random")
    assert "has no exemplars" in refusal("4.5", "--pairing", "reversed")
    assert "--poses is for tables of pairs" in refusal("5.1", "--poses", poses)
    assert "--pairs is 0" in refusal("fig-5.6", "--pairs", 0)
    assert "--pairs is for tables of pairs" in refusal("5.1", "--pairs", 2)
    assert "cannot be read" in refusal("fig-5.6", "--poses", tmp_path / "none.txt")
    poses.write_text("7.jpg 0 0 0\n")
    assert "are there for 0 of 4 pictures" in refusal("fig-5.6", "--poses", poses)
    assert not out.exists()


def test_a_single_picture_has_no_exemplar(data: Path) -> None:
    pictures = open_pictures(str(data), "val", SIZE, 1)
    with pytest.raises(UsageError, match="holds only one"):
        make_plan(TABLES["5.1"], [pictures], [])


def test_the_table_says_how_exemplars_were_chosen(data: Path, tmp_path: Path, no_downloads: None) -> None:
    assert evaluate("5.3", "--data", data, "--method", "input", "--runs", 1, "--output", tmp_path) == 0
    notes = json.loads((tmp_path / "table.json").read_text())["notes"]
    assert any("each batch of 8 pictures" in note for note in notes)
    assert (
        evaluate(
            *(
                "5.3",
                "--data",
                data,
                "--method",
                "input",
                "--runs",
                1,
                "--output",
                tmp_path,
                "--pairing",
                "random",
            )
        )
        == 0
    )  # rows of inputs alone have no outputs that could be of another pairing
