"""Holes of a band from templates, sorted by their share, and from CoModGAN's generator above 60%."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import open_pictures
from facekit_cli.evaluation.plan import Plan, make_plan
from facekit_cli.evaluation.tables import TABLES
from facekit_cli.evaluation.templates import read_template
from tests.helpers.evaluation import SIZE, evaluate


def save_template(file: Path, rows: int) -> None:
    """A template of 10 x 10 pixels whose first `rows` rows are the hole."""
    hole = np.zeros((10, 10), np.uint8)
    hole[:rows] = 255
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(hole).save(file)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A folder of templates as PConv's are: all together, 10% to 60%, several of a band."""
    folder = tmp_path / "irregular"
    for rows in (1, 2, 3, 4, 5, 6):
        for copy in range(3):
            save_template(folder / f"{rows}-{copy}.png", rows)
    return folder


def plan_of(table: str, data: Path, masks: Path | None = None, **options: object) -> Plan:
    return make_plan(TABLES[table], [open_pictures(str(data), "val", SIZE)], [], masks=masks, **options)


def test_templates_are_sorted_by_their_share(data: Path, masks: Path) -> None:
    plan = plan_of("5.1", data, masks)
    for s in plan.sets:
        if s.condition.hole == "band" and s.condition.low < 0.6:
            rows = round(10 * s.condition.high)  # a share of exactly 20% is of the band 10-20%
            assert [file.name for file in s.templates[s.condition.name]] == [
                f"{rows}-{copy}.png" for copy in range(3)
            ]
            assert s.case(0).mask[: SIZE * rows // 10].all()
    assert "10-20% (3)" in plan.notes[1] and "folder irregular" in plan.notes[1]
    assert "60-70%, 70-80%, 80-90%, 90-100%: CoModGAN's generator" in plan.notes[2] and len(plan.notes) == 3


def test_every_template_is_taken_as_often_as_any_other(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    for copy in range(4):
        hole = np.zeros((SIZE, SIZE), np.uint8)
        hole.flat[: SIZE * SIZE * 11 // 20 + copy] = 255
        (folder / "50-60").mkdir(parents=True, exist_ok=True)
        Image.fromarray(hole).save(folder / "50-60" / f"{copy}.png")
    (s,) = plan_of("4.5", data, folder).sets
    taken = [int(s.case(place).mask.sum()) for place in range(4)]
    assert len(set(taken)) == 4
    part = make_plan(TABLES["4.5"], [open_pictures(str(data), "val", SIZE, 2)], [], masks=folder)
    assert [int(part.sets[0].case(place).mask.sum()) for place in range(2)] == taken[:2]
    others = [plan_of("4.5", data, folder, seed=seed).sets[0] for seed in range(1, 6)]
    assert any([int(o.case(place).mask.sum()) for place in range(4)] != taken for o in others)


def test_templates_are_resized_to_the_nearest_pixel(tmp_path: Path) -> None:
    save_template(tmp_path / "hole.png", 5)
    mask = read_template(tmp_path / "hole.png", 20)
    assert mask[:10].all() and not mask[10:].any()


def test_mixed_holes_take_irregular_ones_from_the_templates(data: Path, masks: Path) -> None:
    (s,) = plan_of("6.7", data, masks).sets
    template, found = read_template(masks / "6-0.png", SIZE), 0
    for seed in range(12):
        (drawn,) = plan_of("6.7", data, masks, seed=seed).sets
        found += sum((drawn.case(place, "Ma").mask == template).all() for place in range(4))
    assert found > 0 and set(s.templates) == {"50-60%"}


def test_large_holes_are_drawn_by_comodgan(data: Path) -> None:
    plan = plan_of("5.1", data)
    assert plan.settings["large_holes"] == "cmod" and plan_of("4.5", data).settings["large_holes"] is None
    for s in plan.sets:
        if s.condition.hole == "band":
            shares = [s.case(place).mask.mean() for place in range(4)]
            assert all(s.condition.low <= share <= s.condition.high for share in shares)
    assert "10-20%, 20-30%, 30-40%, 40-50%, 50-60% are drawn by seed" in plan.notes[1]


def test_masks_that_do_not_fit(data: Path, masks: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this one has none"):
        plan_of("5.3", data, masks)
    with pytest.raises(UsageError, match="is no folder"):
        plan_of("4.5", data, tmp_path / "none")
    for copy in range(3):
        (masks / f"6-{copy}.png").unlink()
    broken = tmp_path / "few"
    save_template(broken / "5.png", 5)
    with pytest.raises(UsageError, match=r"the band 50-60% in .*few \(1 pictures\)"):
        plan_of("4.5", data, broken)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="--masks"):
        plan_of("4.5", data, tmp_path / "bad")


def test_the_table_says_which_holes_it_has(
    data: Path, masks: Path, tmp_path: Path, no_downloads: None
) -> None:
    out = tmp_path / "out"
    arguments = ("4.5", "--data", data, "--method", "input", "--output", out)
    assert evaluate(*arguments) == 0
    text = (out / "table.md").read_text()
    assert "PConv's irregular templates" in text and "drawn by seed" in text
    assert evaluate(*arguments, "--masks", masks) == 0
    assert "templates of the folder irregular" in (out / "table.md").read_text()
