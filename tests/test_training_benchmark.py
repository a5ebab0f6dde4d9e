"""`benchmarks/training.py` times trainings at their published sizes; here the one with the smallest networks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_a_stage_is_timed(tmp_path: Path) -> None:
    report = tmp_path / "training.json"
    line = ["benchmarks/training.py", "--stage", "latent-warper", "--steps", "1", "--json", str(report)]
    done = subprocess.run(
        [sys.executable, *line], cwd=ROOT, check=True, capture_output=True, text=True, timeout=600
    )
    (row,) = json.loads(report.read_text())
    assert row["stage"] == "latent-warper" and row["processes"] == row["batch_size"] == 1
    assert row["seconds"] > 0 and row["seconds_regularised"] > 0
    assert row["pictures_per_second"] == pytest.approx(1 / row["seconds"])
    assert 1024 < row["memory_mib"] < 8 * 1024  # encoder and warper alone are larger than a GiB
    assert f"| latent-warper | 1 x {row['threads']} | 1 |" in done.stdout
