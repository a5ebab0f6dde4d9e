"""`dtype="auto"`: measured once on a machine, then read; a variable decides in its place."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facekit import FaceRestorePipeline
from facekit.hub import number_type
from facekit.hub.number_type import fastest_dtype
from facekit_cli.main import main
from tests.tiny.pipelines import tiny_restore_pipeline

FASTER = {torch.float32: (1.0, 1.0), torch.bfloat16: (1.0, 0.5)}  # seconds in float32 and bfloat16


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of an empty cache, with nothing known in this process and no variable that decides."""
    monkeypatch.delenv("FACEKIT_DTYPE")
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    number_type._seconds.cache_clear()
    yield tmp_path / "cache" / "number-types.json"
    number_type._seconds.cache_clear()


def note(known: Path, wanted: torch.dtype) -> None:
    """Let it be known of this machine's processor that this type is the fastest."""
    known.parent.mkdir(exist_ok=True)
    seconds = dict(zip(("float32", "bfloat16"), FASTER[wanted], strict=True))
    known.write_text(json.dumps({number_type._describe(torch.device("cpu")): seconds}))


def test_what_was_measured_is_kept_and_decides(known: Path) -> None:
    chosen = fastest_dtype()
    ((device, seconds),) = json.loads(known.read_text()).items()
    assert "threads, torch" in device and min(seconds.values()) > 0
    before = known.stat().st_mtime_ns
    number_type._seconds.cache_clear()
    assert fastest_dtype("cpu") is chosen and known.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("half", "chosen"), [(0.7, torch.bfloat16), (0.9, torch.float32), (1.5, torch.float32)]
)
def test_bfloat16_has_to_be_plainly_faster(
    known: Path, monkeypatch: pytest.MonkeyPatch, half: float, chosen: torch.dtype
) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: half}
    monkeypatch.setattr(number_type, "_time", lambda device, kind: seconds[kind])
    assert fastest_dtype() is chosen


def test_a_device_that_cannot_be_used_is_left_to_others(known: Path) -> None:
    assert fastest_dtype("meta") is torch.float32 or not known.exists()
    if not torch.cuda.is_available():
        assert fastest_dtype("cuda") is torch.float32 and "cuda" not in (
            known.read_text() if known.exists() else ""
        )


@pytest.mark.parametrize("wanted", FASTER)
def test_another_process_reads_what_is_known(known: Path, wanted: torch.dtype) -> None:
    note(known, wanted)
    code = "from facekit.hub.number_type import fastest_dtype; print(fastest_dtype())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(wanted)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cpu": 3}', '{"cpu": {"float32": "x", "bfloat16": 1}}'])
def test_a_damaged_file_is_written_anew(known: Path, text: str) -> None:
    known.parent.mkdir()
    known.write_text(text)
    fastest_dtype()
    assert len(json.loads(known.read_text())) == 1


def test_a_cache_that_cannot_be_written_is_no_obstacle(known: Path) -> None:
    known.parent.write_text("a file in its place")
    assert fastest_dtype() in FASTER


def test_a_variable_decides_without_a_measurement(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEKIT_DTYPE", "float16")
    assert fastest_dtype() is torch.float16 and not known.exists()
    monkeypatch.setenv("FACEKIT_DTYPE", "half")
    with pytest.raises(ValueError, match="FACEKIT_DTYPE is 'half'; choose one of float32, bfloat16, float16"):
        fastest_dtype()


@pytest.mark.parametrize("wanted", FASTER)
def test_pipelines_load_in_it_when_asked(known: Path, tmp_path: Path, wanted: torch.dtype) -> None:
    note(known, wanted)
    tiny_restore_pipeline().save_pretrained(tmp_path / "model")
    assert FaceRestorePipeline.from_pretrained(tmp_path / "model", dtype="auto").restorer.dtype is wanted
    assert FaceRestorePipeline.from_pretrained(tmp_path / "model").restorer.dtype is torch.float32
    there = FaceRestorePipeline.from_pretrained(tmp_path / "model", dtype="auto", device_map="cpu")
    assert there.restorer.dtype is wanted
    with pytest.raises(NotImplementedError, match="not supported"):
        FaceRestorePipeline.from_pretrained(tmp_path / "model", dtype="auto", device_map="gpu")


@pytest.mark.parametrize("wanted", FASTER)
def test_the_command_line_takes_it_by_itself_and_reports_it(
    known: Path, tmp_path: Path, wanted: torch.dtype
) -> None:
    note(known, wanted)
    tiny_restore_pipeline().save_pretrained(tmp_path / "model")
    photo, report = tmp_path / "a.png", tmp_path / "run.json"
    Image.fromarray(np.ascontiguousarray(astronaut()[0:220, 130:330])).save(photo)
    options = ("--output", tmp_path / "b.png", "--model", tmp_path / "model", "--json", report)
    assert main(["restore", *map(str, (photo, *options))]) == 0
    assert json.loads(report.read_text())["dtype"] == str(wanted).removeprefix("torch.")


def test_a_wrong_variable_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEKIT_DTYPE", "half")
    photo = tmp_path / "a.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(photo)
    assert main(["inpaint", str(photo), "--mask", str(photo), "--output", str(tmp_path / "out.png")]) == 2
    assert "FACEKIT_DTYPE is 'half'" in capsys.readouterr().err and not (tmp_path / "out.png").exists()
