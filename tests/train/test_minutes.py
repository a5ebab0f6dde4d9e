"""Runs that end by the clock: their minutes are counted over restarts, and checkpoints follow the clock too."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.train import tiny_stages
from tests.train.precision_probe import TimedTrainer
from tests.train.tiny_stages import curve, write_config
from train.engine.run import LoopConfig
from train.engine.stage import StageConfig

train = partial(tiny_stages.run, TimedTrainer, StageConfig)


@pytest.fixture
def config(tmp_path: Path, pictures: Path) -> Path:
    return write_config(tmp_path, pictures, max_steps=5, mixed_precision="bf16")


def newest(output: Path) -> Path:
    return sorted((output / "checkpoints").glob("step-*/run.json"))[-1]


def state(output: Path) -> dict[str, Any]:
    return json.loads(newest(output).read_text())


def test_minutes_add_up_over_restarts(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    train(config, output, max_minutes=0.0)  # out of time after a step
    first = state(output)
    assert first["step"] == 1 and first["minutes"] > 0
    assert "the same command goes on from here" in capsys.readouterr().out

    limit = first["minutes"] * 1.000001  # not yet used up by the first launch, surely by the second
    train(config, output, total_minutes=limit)
    second = state(output)
    assert second["step"] == 2 and second["minutes"] >= limit
    assert "total_minutes reached at step 2: the run is complete" in capsys.readouterr().out

    (output / "pipeline" / "precision.txt").unlink()
    train(config, output, total_minutes=limit)
    assert state(output) == second and len(curve(output, "loss")) == 2
    assert (output / "pipeline" / "precision.txt").is_file(), (
        "a complete run writes its networks all the same"
    )
    assert "the run is complete" in capsys.readouterr().out

    train(config, output, total_minutes=60)  # more time: it goes on
    assert state(output)["step"] == 5 and state(output)["minutes"] > second["minutes"]


def test_checkpoints_of_before_count_from_zero(tmp_path: Path, config: Path) -> None:
    output = tmp_path / "run"
    train(config, output, max_minutes=0.0)
    old = state(output)
    old["minutes"] = 1000
    newest(output).write_text(json.dumps(old))
    train(config, output, total_minutes=500)
    assert state(output)["step"] == 1
    del old["minutes"]
    newest(output).write_text(json.dumps(old))
    train(config, output, total_minutes=500)
    assert state(output)["step"] == 5 and state(output)["minutes"] < 1


def test_checkpoints_by_the_clock(tmp_path: Path, config: Path) -> None:
    def kept(**options: Any) -> int:
        output = tmp_path / "-".join(options or ["none"])
        train(config, output, keep_checkpoints=9, **options)
        return len(list((output / "checkpoints").iterdir()))

    assert kept() == 1
    assert kept(checkpoint_minutes=1e-9) == 5
    assert kept(checkpoint_every=2, checkpoint_minutes=60) == 3


@pytest.mark.parametrize("name", ["total_minutes", "checkpoint_minutes"])
def test_no_time_at_all_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        LoopConfig(output_dir="unused", max_steps=1, **{name: 0})
