"""Every table of the thesis, end to end on four small pictures."""

import csv
from pathlib import Path

import pytest

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.participants import parse_participant, rows_of
from facekit_cli.evaluation.registry import Elsewhere, find_entry
from facekit_cli.evaluation.tables import TABLES
from tests.helpers.evaluation import evaluate, read_report

NAMES = (
    "3.1 3.2 3.3 3.4 3.5 4.3 4.4 4.5 4.6 fig-4.4 fig-4.5 fig-4.8 5.1 5.2 5.3 5.4 5.5 fig-5.4 fig-5.6 "
    "6.1 6.2 6.4 6.5 6.6 6.7 fig-6.14"
).split()
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
ROWS = {"4.6": 5, "6.1": 4, "6.4": 3, "6.7": 1, "fig-6.14": 2}


def test_all_tables_are_there() -> None:
    assert set(NAMES) == set(TABLES)
    assert find_entry("Table 3.1").name == "3.1" and find_entry("Figure 4.4").name == "fig-4.4"
    assert isinstance(find_entry("4.2"), Elsewhere)
    with pytest.raises(UsageError, match=r"no table '9\.9'; known are 3\.1"):
        find_entry("9.9")


def test_what_another_command_makes_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("4.2") == 2
    assert "facekit study" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in NAMES if TABLES[name].task != "complexity"])
def test_a_table_runs_and_is_written(
    name: str, data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    table = TABLES[name]
    model = f"ours={models[table.task]}"
    if "Te" in "".join(table.modalities):
        model += "?num_inference_steps=1"
    small = ["--count", 2] if len(table.conditions) > 1 else []  # each picture many times
    code = evaluate(
        *(name, "--data", data, "--method", "input", "--method", model, "--output", tmp_path),
        *("--features", f"style={models['restore']}", "--clip", models["clip"], "--runs", 1),
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
    filler = parse_participant(f"GRIG={models['inpaint']}")
    assert [row.label for row in rows_of(TABLES["6.6"], [filler])] == ["GRIG"]
    with pytest.raises(UsageError, match=r"reads no configuration of table 6\.4"):
        rows_of(TABLES["6.4"], [filler])
    steps = [dict(row.options) for row in rows_of(TABLES["4.6"], [filler])]
    assert [s["num_inference_steps"] for s in steps] == [1, 3, 5, 7, 9]
    chosen = parse_participant(f"GRIG={models['inpaint']}?num_inference_steps=5")
    assert len(rows_of(TABLES["4.6"], [chosen])) == 1
