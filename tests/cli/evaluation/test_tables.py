"""Every table of the thesis, end to end on four small pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import open_pictures
from facekit_cli.evaluation.inputs import make_case
from facekit_cli.evaluation.participants import parse_participant, parse_participants, rows_of
from facekit_cli.evaluation.registry import Elsewhere, find_entry
from facekit_cli.evaluation.tables import TABLES
from tests.helpers.evaluation import evaluate, read_report

COLUMNS = {"3.1": 7, "3.2": 2, "3.4": 2, "4.3": 2, "fig-4.4": 6, "fig-4.8": 12, "5.1": 10, "5.3": 3, "6.1": 3}
ADDITIONAL = {
    "3.1": 5,
    "3.2": 2,
    "3.4": 0,
    "4.3": 3,
    "fig-4.4": 12,
    "fig-4.8": 18,
    "5.1": 20,
    "5.3": 2,
    "6.1": 3,
}
ALIKE = [f"fig-4.{number}" for number in range(12, 18)]  # as Figures 4.11 and 4.18
# Those that are filled from pictures and have no picture of their own instead.
FILLED = [
    name
    for name, table in TABLES.items()
    if table.task != "complexity" and not table.sheet and name not in ALIKE
]
ROWS = {"4.6": 5, "6.1": 4, "6.4": 3, "6.7": 1, "fig-6.14": 2}


def test_names_as_people_write_them() -> None:
    assert find_entry("Table 3.1").name == "3.1" and find_entry("Figure 4.4").name == "fig-4.4"
    assert isinstance(find_entry("4.2"), Elsewhere)
    with pytest.raises(UsageError, match=r"no table '9\.9'; known are 3\.1"):
        find_entry("9.9")


def test_what_another_command_makes_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("4.2") == 2
    assert "facekit study" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", FILLED)
def test_a_table_runs_and_is_written(
    name: str, data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    table = TABLES[name]
    model = f"ours={models[table.task]}"
    if table.sweep is not None:
        model += "-{shots}" if table.sweep.name == "shots" else "?num_inference_steps=[1,3,5,7,9]"
    words: list[str] = []
    if "Te" in "".join(table.modalities):
        model += "?num_inference_steps=1"
        words = ["--clip", models["clip"]]
    small = ["--count", 2] if len(table.conditions) > 1 else []  # each picture many times
    code = evaluate(
        *(name, "--data", data, "--method", "input", "--method", model, "--output", tmp_path),
        *("--features", f"style={models['restore']}", "--runs", 1, *words),
        *("--identity", f"{models['exemplar']}/identity_encoder", *small),
    )
    assert code == 0
    report = read_report(tmp_path)
    additional = [any(word in column for word in ("Lite0", "ImageNet")) for column in report["columns"]]
    assert additional == sorted(additional)  # after the thesis's own
    assert additional.count(False) == COLUMNS.get(name, additional.count(False)) > 0
    assert additional.count(True) == ADDITIONAL.get(name, additional.count(True))
    assert len(report["rows"]) == 1 + ROWS.get(name, len(report["rows"]) - 1) > 1
    for row in report["rows"]:
        for column, value, cell in zip(report["columns"], row["values"], row["cells"], strict=True):
            if any(word in column for word in ("NIQE", "Accuracy")):
                assert value is None and cell == "weights not available"
            elif "DSR" not in column and "NME" not in column:
                assert isinstance(value, float) or value == "inf"
    lines = list(csv.reader((tmp_path / "table.csv").read_text().splitlines()))
    assert lines[0][1:] == report["columns"] and len(lines) == 1 + len(report["rows"])
    assert (tmp_path / "table.md").read_text().startswith("# ")
    assert (tmp_path / "contact-sheet.png").is_file()
    assert (tmp_path / "curves.png").is_file() == (name == "4.3" or name.startswith("fig-"))


def test_other_columns(
    data: Path, tmp_path: Path, no_downloads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("fig-4.5", "--data", data, "--method", "input", "--count", 2, "--output", tmp_path)
    assert evaluate(*arguments, "--metrics", "psnr", "fid-lite0") == 0
    report = read_report(tmp_path)
    assert report["columns"][:2] == ["Fixed: PSNR ↑", "Fixed: FID (Lite0) ↓"] and len(report["columns"]) == 12
    assert "Columns as asked for; the thesis has LPIPS." in report["notes"]
    assert evaluate(*arguments, "--metrics", "sharpness") == 2
    assert "knows no 'sharpness'; known are fid, fid-reference, u-ids" in capsys.readouterr().err
    assert evaluate(*arguments, "--metrics", "idd") == 2  # there is no exemplar
    assert evaluate("4.4", "--metrics", "fid", "--output", tmp_path) == 2


def test_several_collections_and_runs(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    code = evaluate(
        *("5.3", "--data", f"A={data}", f"B={data / 'train'}", "--runs", 2, "--method", "input"),
        *("--features", f"style={models['restore']}", "--output", tmp_path),
    )
    report = read_report(tmp_path)
    assert code == 0 and report["columns"][:6:3] == [
        "A: FID (features: restore) ↓",
        "B: FID (features: restore) ↓",
    ]
    assert report["columns"][6:] == [
        *("A: FID (Lite0) ↓", "A: KID (Lite0) ↓", "B: FID (Lite0) ↓", "B: KID (Lite0) ↓")
    ]
    assert report["settings"]["runs"] == 2 and "mean of 2 runs" in report["notes"][0]


def test_rows_of_configurations(models: dict[str, str]) -> None:
    ours = parse_participant(f"FACEMUG={models['edit']}")
    assert [row.label for row in rows_of(TABLES["6.4"], [ours])] == [
        *("FACEMUG (+Sk)", "FACEMUG (+Sk+Co)", "FACEMUG (+Sk+Ma)")
    ]
    literal = parse_participant(f"FACEMUG={models['edit']}" + '?text_options={"search":"thesis"}')
    assert literal.options == {"text_options": {"search": "thesis"}}
    said = [row for row in rows_of(TABLES["6.1"], [literal]) if row.label.endswith("Te)")]
    assert said and all(row.participant.options == literal.options for row in said)
    filler = parse_participant(f"GRIG={models['inpaint']}")
    assert [row.label for row in rows_of(TABLES["6.6"], [filler])] == ["GRIG"]
    with pytest.raises(UsageError, match=r"reads no configuration of table 6\.4"):
        rows_of(TABLES["6.4"], [filler])


def test_a_model_for_each_t(models: dict[str, str], tmp_path: Path) -> None:
    """Table 4.6: each is asked for the T that it was trained with; one model for several T only where that is said."""
    table = TABLES["4.6"]
    for t in (1, 3, 5, 7, 9):
        (tmp_path / f"T{t}").symlink_to(models["inpaint"])
    rows = rows_of(table, parse_participants(f"GRIG={tmp_path}/T{{T}}", table, ["dog"]))
    assert [row.label for row in rows] == [f"GRIG, T = {t}" for t in (1, 3, 5, 7, 9)]
    assert [row.participant.options["num_inference_steps"] for row in rows] == [1, 3, 5, 7, 9]
    assert [Path(row.participant.source).name for row in rows] == ["T1", "T3", "T5", "T7", "T9"]

    with pytest.raises(
        UsageError, match=r"several models, {T} = 1, 3, 5, 7, 9; say .* GRIG=runs/t-{T}, or what one"
    ):
        rows_of(table, [parse_participant(f"GRIG={models['inpaint']}")])
    (named,) = rows_of(table, [parse_participant(f"mine={models['inpaint']}?num_inference_steps=5")])
    assert named.label == "mine" and "num_inference_steps" not in named.options
    several = rows_of(table, [parse_participant(f"GRIG={models['inpaint']}?num_inference_steps=[1,9]")])
    assert [row.label for row in several] == ["GRIG, one model at T = 1", "GRIG, one model at T = 9"]
    assert [row.options["num_inference_steps"] for row in several] == [1, 9]
    with pytest.raises(UsageError, match=r"num_inference_steps is the {T} of each model"):
        rows_of(table, parse_participants(f"GRIG={tmp_path}/T{{T}}?num_inference_steps=3", table, ["dog"]))


def test_the_mean_over_shots_and_shares(data: Path, tmp_path: Path, no_downloads: None) -> None:
    """Table 4.3 on two collections, each with outputs of its own for every number of shots."""
    shades = {("A", 5): 0, ("A", 10): 90, ("B", 5): 200, ("B", 10): 255}
    shares = ("fixed", "10-20", "20-30", "30-40", "40-50", "50-60")
    for (name, shots), shade in shades.items():
        for share in shares:
            folder = tmp_path / "theirs" / f"{name}-{shots}" / share
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (64, 64), (shade,) * 3).save(folder / f"{number}.png")
    common = ("--data", f"A={data}", f"B={data}", "--count", 2, "--metrics", "lpips")
    method = f"theirs={tmp_path}/theirs/{{data}}-{{shots}}"
    out = tmp_path / "out"
    assert evaluate("4.3", *common, "-m", method, "--values", 5, 10, "--output", out) == 0

    apart = json.loads((out / "curves.json").read_text())
    assert [row["method"] for row in apart["rows"]] == ["theirs, 5-shot", "theirs, 10-shot"]
    assert apart["columns"][0] == "A: Fixed: LPIPS ↓" and apart["columns"][7] == "B: 10-20%: LPIPS ↓"
    values = np.array([row["values"][:12] for row in apart["rows"]])
    # By hand: a cell is the mean difference within the holes, for known pixels are the original's.
    pictures = open_pictures(str(data), "val", 64, 2)
    table = TABLES["4.3"]
    for column, condition in enumerate(table.conditions):
        for shots, (line, shade) in zip((5, 10), enumerate((0, 90)), strict=True):
            cases = [make_case(table, condition, pictures, i) for i in range(2)]
            expected = [np.abs(shade - c.truth.astype(float)) * c.mask[..., None] for c in cases]
            assert values[line, column] == pytest.approx(np.mean(expected) / 255, rel=1e-5), (
                shots,
                condition,
            )
    (row,) = read_report(out)["rows"]
    assert row["method"] == "theirs" and read_report(out)["columns"][:2] == ["A: LPIPS ↓", "B: LPIPS ↓"]
    assert row["values"][:2] == pytest.approx([values[:, :6].mean(), values[:, 6:].mean()])

    figure = tmp_path / "figure"
    assert evaluate("fig-4.12", *common, "-m", method, "--output", figure) == 0
    report = read_report(figure)
    assert report["rows"][0]["method"] == "theirs, 10-shot"
    assert report["rows"][0]["values"][:12] == pytest.approx(values[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("4.3", "-m", "ours={models}/inpaint"),
            "has several models, {shots} = 5, 10, 30, 50; say where they lie",
        ),
        (("4.5", "-m", "ours={models}/inpaint-{shots}"), "table 4.5 fills {data}, not {shots}"),
        (("4.3", "-m", "{models}/inpaint-{shots}"), "one name is needed for all of its models"),
        (("4.3", "-m", "ours={models}/inpaint-{shots}", "--values", 5, 7), "inpaint-7 is no folder"),
        (("4.3", "-m", "input", "--values", 5, 5), "each once"),
        (("4.5", "-m", "input", "--values", 5), "takes no --values"),
    ],
)
def test_models_that_are_refused(
    arguments: tuple,
    message: str,
    data: Path,
    models: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    folder = str(Path(models["inpaint"]).parent)
    words = [str(word).replace("{models}", folder) for word in arguments]
    assert evaluate(*words, "--data", data, "--output", tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
