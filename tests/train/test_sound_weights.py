"""Weights that are not finite are never saved, and a resumed run takes the learning rate that it is given."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train import tiny_stages
from tests.train.tiny_stages import DISCRIMINATOR, PRIOR, weights, write_config
from train.engine.checkpoints import find_checkpoints
from train.inpaint.config import InpaintConfig
from train.inpaint.trainer import InpaintTrainer
from train.prior.config import PriorConfig
from train.prior.trainer import PriorTrainer

STAGES: dict[str, tuple[type[Any], type[Any]]] = {
    "prior": (PriorTrainer, PriorConfig),
    "inpaint": (InpaintTrainer, InpaintConfig),
}


@pytest.fixture(params=[*STAGES])
def train(
    request: pytest.FixtureRequest, tmp_path: Path, pictures: Path, tiny_config: Path
) -> Callable[..., None]:
    """Run a tiny stage into `tmp_path / "run"` with some options changed."""
    config = tiny_config
    if request.param == "prior":
        networks = {"prior": PRIOR, "discriminator": DISCRIMINATOR, "latent_samples": 8}
        config = write_config(tmp_path / "prior", pictures, **networks)
    return partial(tiny_stages.run, *STAGES[request.param], config, tmp_path / "run")


def test_the_last_sound_checkpoint_stays(
    tmp_path: Path, train: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(max_steps=2)
    sound = find_checkpoints(run)
    before = weights(run / "pipeline")
    # The losses of four steps are never logged: only the weights tell.
    with pytest.raises(
        FloatingPointError, match=r"nothing was saved.*go on from step-000000002.*learning rate"
    ):
        train(max_steps=4, learning_rate=1e30, log_every=20)
    assert find_checkpoints(run) == sound
    assert all(torch.equal(value, before[name]) for name, value in weights(run / "pipeline").items())
    assert re.search(r"learning rate [\d.]+e\+(29|30) from here on", capsys.readouterr().out)

    train(max_steps=4)  # the advice of the message
    assert [path.name for path in find_checkpoints(run)] == ["step-000000002", "step-000000004"]
    assert all(value.isfinite().all() for value in weights(run / "pipeline").values())


def test_nothing_is_left_by_a_run_that_was_broken_from_the_start(
    tmp_path: Path, train: Callable[..., None]
) -> None:
    with pytest.raises(FloatingPointError, match="begin anew"):
        train(max_steps=4, learning_rate=1e30, log_every=20)
    assert not find_checkpoints(tmp_path / "run") and not (tmp_path / "run" / "pipeline").exists()


def test_a_resumed_run_takes_another_learning_rate(
    tmp_path: Path, train: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    train(max_steps=2)
    assert "learning rate" not in capsys.readouterr().out
    train(max_steps=3, learning_rate=0.0)
    assert "learning rate 0 from here on" in capsys.readouterr().out
