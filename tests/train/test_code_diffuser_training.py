"""Code diffuser training on tiny networks, with the thesis's and the published objective."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.models.code_diffuser import CodeDiffuser
from facekit.schedulers import CodeDiffusionScheduler
from tests.train import tiny_stages
from tests.train.tiny_stages import curve, same, tiny_guides, write_config
from train.code_diffuser.config import CodeDiffuserConfig
from train.code_diffuser.trainer import CodeDiffuserTrainer
from train.engine.config import read_config

train = partial(tiny_stages.run, CodeDiffuserTrainer, CodeDiffuserConfig)


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_guides(tmp_path_factory.mktemp("guides"))


@pytest.fixture
def config(tmp_path: Path, pictures: Path, guides: Path) -> Path:
    names = dict.fromkeys(("prior", "style_encoder"), str(guides))
    return write_config(
        tmp_path,
        pictures,
        **names,
        diffuser={"num_blocks": 2},
        **{"pictures.perceptual": "feature_matching", "pictures.identity_weight": 0},
        learning_rate=0.01,
    )


@pytest.mark.parametrize("objective", ["thesis", "published"])
def test_learns_and_says_how_it_was_trained(tmp_path: Path, config: Path, objective: str) -> None:
    output = tmp_path / "run"
    train(
        config,
        output,
        max_steps=120,
        objective=objective,
        shots=2,
        flip=False,
        **{"pictures.perceptual_weight": 0},
        batch_size=4,
    )
    error = curve(output, "diffuser_codes")
    assert np.mean(error[-10:]) < 0.9 * np.mean(error[:5])  # how fast differs from processor to processor
    CodeDiffuser.from_pretrained(output / "pipeline" / "code_diffuser")
    scheduler = CodeDiffusionScheduler.from_pretrained(output / "pipeline" / "scheduler")
    assert scheduler.config.prediction_type == {"thesis": "epsilon", "published": "sample"}[objective]


@pytest.mark.parametrize("objective", ["thesis", "published"])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, config: Path, objective: str) -> None:
    options = {"objective": objective, "gradient_accumulation_steps": 2, "sample_every": 3}
    whole = train(config, tmp_path / "whole", max_steps=3, **options)
    other = train(config, tmp_path / "other", max_steps=3, seed=1, **options)
    assert not same(whole, other), "the comparison below would hold for any two runs"
    train(config, tmp_path / "parts", max_steps=2, **options)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3, **options))
    assert curve(tmp_path / "parts", "diffuser_feature_matching") == curve(
        tmp_path / "whole", "diffuser_feature_matching"
    )
    assert Image.open(tmp_path / "whole" / "samples" / "train-000000003.png").size == (2 * 16, 5 * 16)


def test_gradient_passes_the_whole_chain(tmp_path: Path, config: Path) -> None:
    argv = ["--config", str(config), "--output_dir", str(tmp_path / "run"), "--objective", "published"]
    trainer = CodeDiffuserTrainer(read_config(CodeDiffuserConfig, argv))
    noisy = torch.randn(1, 6, 8, requires_grad=True)
    clean = trainer.denoise(noisy, torch.randn(1, 6, 8), [torch.Generator()])
    clean.sum().backward()
    assert noisy.grad.abs().sum() > 0


def test_objective_and_prediction_must_agree(tmp_path: Path, config: Path) -> None:
    with pytest.raises(ValueError, match="sample"):
        train(config, tmp_path / "run", scheduler={"prediction_type": "sample"})
    with pytest.raises(ValueError, match="both"):
        train(config, tmp_path / "run", objective="both")
