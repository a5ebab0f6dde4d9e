"""Training of the latent warping network on tiny networks (thesis Algorithm 4)."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facekit.models.latent_warper import LatentWarper
from tests.train import tiny_stages
from tests.train.tiny_faces import tiny_edit_guides
from tests.train.tiny_stages import curve, same, write_config
from train.latent_warper.augment import augment, rescale
from train.latent_warper.config import LatentWarperConfig
from train.latent_warper.trainer import LatentWarperTrainer

train = partial(tiny_stages.run, LatentWarperTrainer, LatentWarperConfig)


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_edit_guides(tmp_path_factory.mktemp("guides"))


@pytest.fixture
def config(tmp_path: Path, pictures: Path, guides: Path) -> Path:
    frozen = dict.fromkeys(("style_encoder", "prior", "pictures.identity_encoder"), str(guides))
    return write_config(tmp_path, pictures, **frozen, size=32, **{"pictures.perceptual": "none"})


def trainer_of(config: Path, output: Path, **options: Any) -> LatentWarperTrainer:
    """A trainer that stands in its first step."""
    trainer = tiny_stages.make_trainer(LatentWarperTrainer, LatentWarperConfig, config, output, **options)
    trainer.run.step = 1
    return trainer


def test_learns_from_codes_alone(tmp_path: Path, config: Path, pictures: Path) -> None:
    options = {
        "pictures.identity_weight": 0,
        "attribute.weight": 1,
        "attribute.distance": "mse",
        "learning_rate": 0.01,
        "average.decay": 0.5,
    }
    scoring = {"validation.data": str(pictures), "validation.split": "train", "validation.every": 20}
    train(config, tmp_path / "run", max_steps=20, sample_every=20, **options, **scoring)
    error = curve(tmp_path / "run", "warper_attribute")
    assert np.mean(error[-5:]) < 0.7 * np.mean(error[:3])
    for name in ("attribute", "target", "source"):
        assert len(curve(tmp_path / "run", f"validation_{name}")) == 1
    warper = LatentWarper.from_pretrained(tmp_path / "run" / "pipeline" / "latent_warper")
    codes = torch.randn(2, 6, 8)
    assert warper(codes, codes.flip(0)).shape == codes.shape
    assert same(
        tiny_stages.weights(tmp_path / "run" / "best"), tiny_stages.weights(tmp_path / "run" / "pipeline")
    )


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, config: Path) -> None:
    clipped = {"gradient_clip": 10}
    whole = train(config, tmp_path / "whole", max_steps=3, **clipped)
    assert not same(whole, train(config, tmp_path / "other", max_steps=3, seed=1, **clipped))
    train(config, tmp_path / "parts", max_steps=2, **clipped)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3, **clipped))
    for name in ("loss_warper", "warper_identity", "gradient_norm"):
        assert curve(tmp_path / "parts", name) == curve(tmp_path / "whole", name) != []


@pytest.mark.parametrize("distance", [None, "mse"])
def test_codes_and_losses_as_by_formula(tmp_path: Path, config: Path, distance: str | None) -> None:
    """Lines 5 to 10 and Eq. 6.13, the default, one sample and one code at a time."""
    options = {} if distance is None else {"attribute.distance": distance}
    trainer = trainer_of(config, tmp_path, **{"pictures.identity_weight": 0}, **options)
    batch = trainer.to_device(next(trainer.batches()))
    image, positions = batch["image"], batch["position"]
    scale = float(trainer.seed_step_rng(0).uniform(0.9375, 1.0625))
    own, target, source = trainer.draw_task(image, positions, scale)
    rngs = trainer.seed_rngs(positions, 0)
    betas = [float(rng.random()) for rng in rngs]
    other_colours = augment(image, rngs, scale)
    zeros = torch.zeros(1, 23, 32, 32)
    expected = 0.0
    for i, beta in enumerate(betas):
        codes = [
            trainer.encoder(torch.cat([picture[i : i + 1], zeros], 1))[0]
            for picture in (image, other_colours, image.flip(3))
        ]
        for k in range(6):
            torch.testing.assert_close(own[i, k], codes[0][k], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(target[i, k], codes[1][k], rtol=1e-4, atol=1e-5)
            mixed = beta * codes[0][k] + (1 - beta) * codes[2][k]
            torch.testing.assert_close(source[i, k], mixed, rtol=1e-4, atol=1e-5)
        offsets = trainer.warper.network.offsets((target - source)[i : i + 1], source[i : i + 1])
        errors = (offsets + source[i : i + 1] - own[i : i + 1]).flatten().tolist()
        squares = sum(error**2 for error in errors)
        expected += (squares / len(errors) if distance == "mse" else squares**0.5) / len(betas)
    trainer.iterate([batch])
    sums = trainer.run.curves._sums
    assert float(sums["warper_attribute"][0]) == pytest.approx(expected, rel=1e-4)
    assert float(sums["loss_warper"][0]) == pytest.approx(0.1 * expected, rel=1e-4)


def test_pictures_are_rendered_only_for_losses_on_them(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    paint = LatentWarperTrainer.paint
    monkeypatch.setattr(
        LatentWarperTrainer, "paint", lambda self, *given: rendered.append(1) or paint(self, *given)
    )
    train(config, tmp_path / "codes", max_steps=1, **{"pictures.identity_weight": 0})
    assert not rendered
    train(config, tmp_path / "pictures", max_steps=1)
    assert rendered and curve(tmp_path / "pictures", "warper_identity")


def test_augmented_pictures() -> None:
    images = torch.rand(4, 3, 32, 32) - 0.5
    result = augment(images, [np.random.default_rng(i) for i in range(4)], 1.0)
    for before, after in zip(images, result, strict=True):
        covered = (after == 0).all(0)
        assert covered.sum() == 16 * 16
        rows, columns = covered.any(1).nonzero()[:, 0], covered.any(0).nonzero()[:, 0]
        assert len(rows) == len(columns) == 16 and (rows.diff() == 1).all()
        assert not torch.allclose(before[:, ~covered], after[:, ~covered])
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    for scale in (0.9375, 1.0, 1.0625):
        resized = rescale(ramp, scale)
        assert resized.shape == ramp.shape
        slope = (resized[0, 0, 16, 20] - resized[0, 0, 16, 12]) / (ramp[0, 0, 16, 20] - ramp[0, 0, 16, 12])
        assert slope.item() == pytest.approx(1 / scale, abs=0.01)
        assert abs(resized[0, 0, 16, 15:17].mean().item()) < 0.02, "the centre stays where it is"


def test_settings_that_contradict_are_refused(tmp_path: Path, config: Path) -> None:
    for changes, message in (
        ({"damage": "thesis"}, "damage must be none"),
        ({"optimizer": "sgd"}, "adam, radam"),
        ({"pictures.perceptual": "feature_matching"}, "lpips, efficientnet, none"),
        ({"attribute.weight": 0, "pictures.identity_weight": 0}, "no loss is left"),
        ({"attribute.distance": "l1"}, "norm, full_norm, mse"),
    ):
        with pytest.raises(ValueError, match=message):
            train(config, tmp_path / "run", **changes)
