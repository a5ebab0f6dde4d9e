"""What a run measures: at which size, whether the network's own picture, and with which texts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit import FaceInpaintPipeline, FaceRestorePipeline
from facekit_cli.captions import read_captions
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import open_pictures
from facekit_cli.evaluation.participants import choose_size, parse_participant
from facekit_cli.evaluation.plan import make_plan
from facekit_cli.evaluation.tables import TABLES
from facekit_cli.main import main
from tests.helpers.evaluation import SIZE, evaluate, read_report
from tests.tiny.networks import tiny_arcface_encoder, tiny_inpainter

FACES = "faces.png"


def pictures(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.rglob("*.png"))])


def test_the_size_is_that_of_the_models(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    arguments = ["evaluate", "3.4", "--data", str(data), "--count", "1", "--device", "cpu"]
    method = ["--method", f"ours={models['restore']}", "--method", "input"]
    assert main([*arguments, *method, "--output", str(tmp_path / "out")]) == 0
    assert pictures(tmp_path / "out" / "outputs").shape == (1, SIZE, SIZE, 3)
    report = read_report(tmp_path / "out")
    assert report["title"] == f"{TABLES['3.4'].title}, 64x64" and report["settings"]["size"] == 64
    assert "64x64 (the size of ours), seed 0" in report["notes"][0]

    assert main([*arguments, *method, "--size", "48", "--output", str(tmp_path / "small")]) == 0
    assert pictures(tmp_path / "small" / "outputs").shape == (1, 48, 48, 3)
    assert "48x48 (as --size says (ours has 64x64: resized))" in read_report(tmp_path / "small")["notes"][0]


@pytest.mark.parametrize(("table", "side"), [("3.1", 512), ("3.5", 512), ("4.5", 256), ("6.6", 256)])
def test_without_a_model_the_size_is_the_thesis_s(table: str, side: int) -> None:
    """T:697 for chapter 3, T:1020, T:1385 and T:1818 for the others."""
    assert choose_size(TABLES[table], [parse_participant("input")], None) == (side, "the size of the thesis")


def test_models_of_different_sizes_are_refused(models: dict[str, str], tmp_path: Path) -> None:
    ours = parse_participant(f"ours={models['inpaint']}")
    Image.new("RGB", (32, 32)).save(tmp_path / FACES)
    theirs = parse_participant(f"theirs={tmp_path}")
    with pytest.raises(UsageError, match=r"\(ours 64x64, theirs 32x32\)\. Say --size 64"):
        choose_size(TABLES["4.5"], [ours, theirs], None)
    assert choose_size(TABLES["4.5"], [ours, theirs], 64) == (
        64,
        "as --size says (theirs has 32x32: resized)",
    )


def test_a_models_size_is_read_without_its_weights(tmp_path: Path) -> None:
    tiny_inpainter().save_config(tmp_path / "residual_inpainter")
    (tmp_path / "model_index.json").write_text('{"_class_name": "FaceInpaintPipeline"}')
    ours = parse_participant(f"ours={tmp_path}")
    assert choose_size(TABLES["4.5"], [ours], None) == (64, "the size of ours")
    (tmp_path / "residual_inpainter" / "config.json").unlink()
    with pytest.raises(UsageError, match="cannot be loaded"):
        choose_size(TABLES["4.5"], [ours], None)


def test_a_table_measures_the_networks_own_picture(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    """I_out = G(I_de, w^0, z, F^s) (thesis section 3.2.1), whatever the model itself adds to it."""
    pipeline = FaceRestorePipeline.from_pretrained(models["restore"])
    pipeline.register_to_config(fidelity=0.5, self_ensemble=True)
    source = str(tmp_path / "model")
    pipeline.save_pretrained(source)
    options = {
        "plain": "",
        "zero": "?fidelity=0&self_ensemble=false",
        "half": "?fidelity=0.5",
        "twice": "?self_ensemble=true",
    }
    said = [part for name, option in options.items() for part in ("-m", f"{name}={source}{option}")]
    assert evaluate("3.4", "--data", data, "--count", 2, *said, "--output", tmp_path / "out") == 0
    made = {name: pictures(tmp_path / "out" / "outputs" / name) for name in options}
    assert np.array_equal(made["plain"], made["zero"])
    assert not any(np.array_equal(made["plain"], made[name]) for name in ("half", "twice"))
    report = read_report(tmp_path / "out")
    (note,) = (note for note in report["notes"] if "own pictures" in note)
    assert "as in the thesis: fidelity=0 and self_ensemble=0." in note
    assert "--method NAME=MODEL?fidelity=1" in note
    assert report["methods"]["plain"]["row_options"] == {"fidelity": 0, "self_ensemble": 0}


def test_a_table_measures_fills_without_matched_tones(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    pipeline = FaceInpaintPipeline.from_pretrained(models["inpaint"])
    pipeline.register_to_config(match_tones=True)
    pipeline.save_pretrained(tmp_path / "model")
    source = tmp_path / "model"
    methods = ("-m", f"plain={source}", "-m", f"matched={source}?match_tones=true")
    assert evaluate("4.5", "--data", data, "--count", 1, *methods, "--output", tmp_path / "out") == 0
    plain, matched = (pictures(tmp_path / "out" / "outputs" / name) for name in ("plain", "matched"))
    assert not np.array_equal(plain, matched)


@pytest.fixture
def silent(data: Path, tmp_path: Path) -> Path:
    """The data, where the pictures 1 and 3 have no caption."""
    folder = tmp_path / "faces"
    for name in ("val", "semantic/val"):
        (folder / name).mkdir(parents=True)
        for file in (data / name).glob("*.png"):
            (folder / name / file.name).symlink_to(file)
    lines = [{"file_name": f"{number}.png", "caption": f"a face {number}"} for number in (0, 2)]
    (folder / "val/metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_pictures_without_caption_are_refused_by_name(
    silent: Path, models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    method = f"ours={models['edit']}?num_inference_steps=1"
    for arguments in (("-m", method, "--output", tmp_path / "out"), ("--export-inputs", tmp_path / "out")):
        assert evaluate("6.1", "--data", silent, *arguments) == 2
        said = capsys.readouterr().err
        assert "2 of 4 pictures" in said and "have no caption: 1.png, 3.png" in said
        assert "--captions FILE" in said and "--skip-uncaptioned" in said
    assert not (tmp_path / "out").exists()


def test_only_rows_that_read_texts_need_captions(silent: Path, tmp_path: Path, no_downloads: None) -> None:
    assert evaluate("6.1", "--data", silent, "-m", "input", "--output", tmp_path / "out") == 0
    assert evaluate("6.5", "--data", silent, "--export-inputs", tmp_path / "inputs") == 0


def test_pictures_without_caption_are_left_out_when_said(
    silent: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    method = f"ours={models['edit']}?num_inference_steps=1"
    arguments = ("--data", silent, "-m", method, "-m", "input", "--clip", models["clip"])
    assert evaluate("6.1", *arguments, "--skip-uncaptioned", "--output", tmp_path / "out") == 0
    made = {file.name for file in (tmp_path / "out" / "outputs").rglob("*.png")}
    assert made == {"0.png", "2.png"}
    notes = read_report(tmp_path / "out")["notes"]
    assert notes[0].startswith("2 pictures of faces")
    assert "faces: 2 pictures without a caption were left out, 2 are measured: 1.png, 3.png." in notes
    (silent / "val/metadata.jsonl").unlink()
    assert evaluate("6.1", *arguments, "--skip-uncaptioned", "--output", tmp_path / "none") == 2


def test_subsets_of_pictures_without_any_text(silent: Path, models: dict[str, str], tmp_path: Path) -> None:
    """Fig. 6.12 leaves out what reads texts and says so; where some pictures have one, the others are refused."""
    participants = [parse_participant(f"ours={models['edit']}")]
    poses = tmp_path / "poses.csv"
    poses.write_text(
        "file_name,yaw,pitch,roll\n" + "".join(f"{number}.png,{number},0,0\n" for number in range(4))
    )
    arguments = {"home": tmp_path / "out", "poses": poses}
    some = open_pictures(str(silent), "val", SIZE)
    with pytest.raises(UsageError, match=r"1\.png, 3\.png"):
        make_plan(TABLES["fig-6.12"], [some], participants, **arguments)
    plan = make_plan(TABLES["fig-6.12"], [replace(some, metadata={})], participants, **arguments)
    assert len(plan.rows) == 16 and not any("Te" in row.modalities for row in plan.rows)
    assert any(note.startswith("No picture has a caption") for note in plan.notes)
    with pytest.raises(UsageError, match="reads texts"):
        make_plan(TABLES["6.1"], [replace(some, metadata={})], participants, home=tmp_path / "out")


def test_captions_from_elsewhere(silent: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    texts, inputs = tmp_path / "texts.json", tmp_path / "inputs"
    # As CelebA-Dialog has them.
    texts.write_text(json.dumps({"1.jpg": {"overall_caption": "she\nsmiles"}, "3.png": "a man"}))
    arguments = ("6.1", "--data", silent, "--captions", texts)
    assert evaluate(*arguments, "--export-inputs", inputs) == 0
    said = {file.stem: file.read_text() for file in (inputs / "all" / "prompt").iterdir()}
    assert said == {"0": "a face 0", "1": "she smiles", "2": "a face 2", "3": "a man"}
    # What was exported can be read again.
    assert read_captions(inputs / "all" / "prompt") == said
    lines = [{"file_name": f"val/{stem}.png", "text": text} for stem, text in said.items()]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert read_captions(tmp_path / "texts.jsonl") == said
    rows = [f"{stem}.png,{text}" for stem, text in said.items()]
    (tmp_path / "texts.csv").write_text("\n".join(["file_name,label", *rows]))
    assert read_captions(tmp_path / "texts.csv") == said
    assert evaluate("6.5", "--data", silent, "--captions", texts, "--export-inputs", inputs) == 2
    assert "table 6.5 takes no --captions: it reads no texts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[1, 2]", "has no entries with file_name and one of caption, text"),
        ("a.jsonl", '{"caption": "x"}', "has no entries with file_name"),
        ("a.json", '{"1.png": ""}', "has no entries with file_name"),
        ("a.json", "{", "cannot be read"),
        ("a.json", None, "cannot be read"),
        ("a.md", "x", "neither a folder nor a table of captions"),
    ],
)
def test_captions_that_are_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        read_captions(tmp_path / name)


def test_either_class_of_identity_networks_is_measured_by(
    data: Path, tmp_path: Path, no_downloads: None, capsys: pytest.CaptureFixture
) -> None:
    tiny_arcface_encoder().save_pretrained(tmp_path / "arcface")
    arguments = ("5.5", "--data", data, "-m", "input", "--count", 2, "--metrics", "idd", "--output")
    assert evaluate(*arguments, tmp_path / "out", "--identity", tmp_path / "arcface") == 0
    tiny_inpainter().save_pretrained(tmp_path / "other")
    assert evaluate(*arguments, tmp_path / "out2", "--identity", tmp_path / "other") == 2
    assert "which is no face identity network" in capsys.readouterr().err
    (tmp_path / "model_ir_se50.pth").touch()
    assert evaluate(*arguments, tmp_path / "out3", "--identity", tmp_path / "model_ir_se50.pth") == 2
    assert "facekit convert arcface" in capsys.readouterr().err and not (tmp_path / "out3").exists()
