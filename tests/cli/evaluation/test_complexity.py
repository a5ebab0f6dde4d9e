"""Tables 4.4 and 5.2: known counts, and the published networks against the thesis."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from facekit.metrics.speed import describe_device
from facekit_cli.evaluation.complexity import count, frames_per_second, training_hours
from facekit_cli.evaluation.participants import parse_participant
from tests.helpers.evaluation import evaluate, read_report


def test_a_convolution_by_hand() -> None:
    found = count(lambda: nn.Conv2d(3, 8, 3, padding=1), lambda network: network(torch.zeros(1, 3, 16, 16)))
    assert found.parameters == 3 * 8 * 9 + 8
    assert found.macs == 16 * 16 * 3 * 8 * 9 and found.flops == 2 * found.macs


def check_counts(rows: list[dict], expected: list[tuple[float, float]]) -> None:
    """Parameters in millions and multiply-accumulates in thousand millions."""
    for row, (parameters, macs) in zip(rows, expected, strict=True):
        assert row["values"][0] == pytest.approx(parameters, abs=1e-3)
        assert row["values"][1] == pytest.approx(macs, abs=1e-2)
        assert row["values"][2] == 2 * row["values"][1]


@pytest.mark.slow
def test_the_published_inpainter(models: dict[str, str], tmp_path: Path) -> None:
    """Table 4.4, T:1139."""
    assert evaluate("4.4", "-m", models["restore"], "--output", tmp_path) == 2
    assert evaluate("4.4", "--output", tmp_path) == 0
    rows = read_report(tmp_path)["rows"]
    check_counts(rows, [(31.764, 20.54), (31.764, 61.61)])
    assert [row["cells"][3:] for row in rows] == [["31.76", "20.47"], ["31.76", "61.41"]]


@pytest.mark.slow
def test_the_published_exemplar_inpainter_and_a_model_beside_it(
    models: dict[str, str], tmp_path: Path
) -> None:
    """Table 5.2, T:1493."""
    assert evaluate("5.2", "-m", f"ours={models['exemplar']}", "--output", tmp_path) == 0
    report = read_report(tmp_path)
    assert report["columns"][3:5] == ["Frames per second", "Training (h)"]
    published, alone, together = report["rows"]
    check_counts([published], [(79.177, 90.76)])
    assert published["values"][3] > 0 and published["cells"][4] == "-"
    assert published["cells"][5:] == ["79.18", "90.26", "77.62", "269.49"]
    assert [alone["method"], together["method"]] == ["ours", "ours with its style encoder"]
    assert alone["values"][0] < together["values"][0] < 1
    assert alone["values"][3] > together["values"][3] > 0 and alone["cells"][4] == "-"
    notes = "\n".join(report["notes"])
    assert f"measured on {describe_device(torch.device('cpu'))}, float32" in notes
    assert "ours, Training: the folder has no training.json" in notes


def test_frames_per_second_of_a_call() -> None:
    """A call that takes a fiftieth of a second has at most fifty frames in one, a single one not counted."""
    calls = []

    def call(network: nn.Module) -> None:
        assert not network.training and torch.is_inference_mode_enabled()
        calls.append(time.sleep(0.02))

    assert 5 < frames_per_second(lambda: nn.Conv2d(3, 3, 1), call, torch.device("cpu")) <= 50
    assert len(calls) > 4


def test_training_time_of_a_run(models: dict[str, str], tmp_path: Path) -> None:
    """As training leaves it: the pipeline in the folder of its run, with its record."""
    shutil.copytree(models["exemplar"], tmp_path / "run/pipeline")
    record = {
        "stage": "train.exemplar",
        "steps": 4000,
        "minutes": 90.0,
        "batch_size": 8,
        "device": "RTX 3090",
    }
    (tmp_path / "run/pipeline/training.json").write_text(json.dumps(record | {"complete": True}))
    hours, note = training_hours(parse_participant(f"ours={tmp_path / 'run'}"))
    assert hours == 1.5
    assert note == "4,000 steps of 8 pictures by train.exemplar on RTX 3090, 0.375 h for 1,000 steps."
