"""`benchmarks/gpu.py`, which is there for a machine with a GPU, runs on this one's processor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


def measure(report: Path, *options: str) -> dict:
    line = [str(BENCHMARK), "--device", "cpu", "--model", "starter", "--json", str(report), *options]
    subprocess.run([sys.executable, *line], check=True, capture_output=True, timeout=300)
    return json.loads(report.read_text())


@pytest.mark.slow
def test_every_pipeline_is_measured_and_compared(tmp_path: Path) -> None:
    report = measure(tmp_path / "all.json", "--dtype", "float32", "--batch", "1", "2")
    names = {(row["pipeline"], row["batch"]) for row in report["rows"]}
    batched = {(name, 2) for name in ("restore", "inpaint", "exemplar")}
    assert names == {(name, 1) for name in ("restore", "inpaint", "exemplar", "edit")} | batched
    for row in report["rows"]:
        assert row["db"] > 50 and row["seconds"] > 0 and 0 < row["share_of_peak"] < 1.5, row
        assert row["pictures_per_second"] == pytest.approx(row["batch"] / row["seconds"], rel=0.05)


@pytest.mark.slow
def test_when_the_time_is_over_the_rest_is_named(tmp_path: Path) -> None:
    report = measure(tmp_path / "none.json", "--minutes", "0", "--pipeline", "edit", "--batch", "1", "16")
    assert report["rows"] == []
    assert report["not_measured"] == ["edit bfloat16 x1", "edit float16 x1", "edit float32 x1"]
