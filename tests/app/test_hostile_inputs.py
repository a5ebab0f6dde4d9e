"""Malformed and hostile inputs are refused with a reason, in time, and without filling the memory."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from facekit.pipelines.edit.session.session import EditSession
from tests.app import hostile_inputs
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_edit_pipeline

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits memory as Linux does")


@pytest.fixture(scope="module")
def outcomes(tiny_model: Path, tiny_editor: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What came of every input, in a process that may take 1 GiB more than it starts with."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "good").mkdir()
    (folder / "cases").mkdir()
    (folder / "good" / "model").symlink_to(tiny_model)
    (folder / "good" / "editor").symlink_to(tiny_editor)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    session = EditSession(tiny_edit_pipeline(), pixels, aligned=True)
    session.edit(box_mask((64, 64), (20, 20, 40, 40)))
    session.save(folder / "good" / "session.zip")
    EditSession.load(session.pipeline, folder / "good" / "session.zip")
    done = subprocess.run(
        [sys.executable, hostile_inputs.__file__, str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"after {len(lines)} inputs: {done.stderr[-3000:]}"
    return lines


def test_there_are_200_inputs_of_every_kind(outcomes) -> None:
    assert Counter(case["kind"] for case in outcomes) == hostile_inputs.COUNTS
    assert len(outcomes) == 200


@pytest.mark.parametrize("kind", hostile_inputs.COUNTS)
def test_every_input_is_refused_with_a_reason(outcomes, kind) -> None:
    wrong = [
        case for case in outcomes if case["kind"] == kind and not case["outcome"].startswith("refused: ")
    ]
    assert not wrong, "\n".join(f"{case['name']}: {case['outcome'][:300]}" for case in wrong)


def test_none_takes_long_or_much_memory(outcomes) -> None:
    slowest, largest = max(case["seconds"] for case in outcomes), max(case["mib"] for case in outcomes)
    print(
        f"slowest {slowest:.2f} s, largest growth {largest:.0f} MiB, all {sum(c['seconds'] for c in outcomes):.1f} s"
    )
    assert slowest < hostile_inputs.SECONDS and largest < 1024


def test_no_file_was_written_outside(outcomes) -> None:
    assert outcomes and not Path("/etc/escaped").exists() and not (ROOT / "escaped.png").exists()
