"""Tables 4.4 and 5.2: known counts, and the published networks against the thesis."""

from pathlib import Path

import pytest
import torch
from torch import nn

from facekit_cli.evaluation.complexity import count
from tests.helpers.evaluation import evaluate, read_report


def test_a_convolution_by_hand() -> None:
    found = count(lambda: nn.Conv2d(3, 8, 3, padding=1), lambda network: network(torch.zeros(1, 3, 16, 16)))
    assert found.parameters == 3 * 8 * 9 + 8
    assert found.macs == 16 * 16 * 3 * 8 * 9 and found.flops == 2 * found.macs


@pytest.mark.parametrize(
    ("table", "expected"), [("4.4", [(31.764, 20.54), (31.764, 61.61)]), ("5.2", [(79.177, 90.76)])]
)
def test_the_published_networks(table: str, expected: list[tuple[float, float]], tmp_path: Path) -> None:
    assert evaluate(table, "--output", tmp_path) == 0
    for row, (parameters, macs) in zip(read_report(tmp_path)["rows"], expected, strict=True):
        assert row["values"][0] == pytest.approx(parameters, abs=1e-3)
        assert row["values"][1] == pytest.approx(macs, abs=1e-2)
        assert row["values"][2] == 2 * row["values"][1]


def test_a_model_beside_them(models: dict[str, str], tmp_path: Path) -> None:
    assert evaluate("4.4", "-m", models["restore"], "--output", tmp_path) == 2
    assert evaluate("5.2", "-m", f"ours={models['exemplar']}", "--output", tmp_path) == 0
    rows = read_report(tmp_path)["rows"]
    assert [row["method"] for row in rows] == ["EXE-GAN", "ours", "ours with its style encoder"]
    assert rows[1]["values"][0] < rows[2]["values"][0] < 1
