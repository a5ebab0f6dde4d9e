"""StyleGAN2 training on tiny networks: it learns, resumes exactly, and its parts do what they say."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from tests.train import tiny_stages
from tests.train.tiny_stages import DISCRIMINATOR, PRIOR, curve, same, write_config
from train.data.critic_augment import DiscriminatorAugment, draw_affine, draw_color
from train.prior.config import PriorConfig
from train.prior.trainer import PriorTrainer

train = partial(tiny_stages.run, PriorTrainer, PriorConfig)


@pytest.fixture
def config(tmp_path: Path, pictures: Path) -> Path:
    return write_config(
        tmp_path,
        pictures,
        prior=PRIOR,
        discriminator=DISCRIMINATOR,
        latent_samples=64,
        **{"adversarial.r1_every": 2, "path.every": 2},
    )


def test_generator_moves_towards_the_pictures(tmp_path: Path) -> None:
    for shade in (150, 170):
        Image.new("RGB", (16, 16), (shade, 40, 40)).save(tmp_path / f"{shade}.png")
    config = write_config(tmp_path, tmp_path, prior=PRIOR, discriminator=DISCRIMINATOR, latent_samples=64)
    options = {"batch_size": 4, "learning_rate": 0.01, "average.decay": 0.9, "average.min_decay": 0}
    wanted = torch.tensor([160.0, 40.0, 40.0]) / 127.5 - 1

    def distance(steps: int) -> float:
        train(config, tmp_path / "run", max_steps=steps, **options)
        prior = StyleGAN2Generator.from_pretrained(tmp_path / "run" / "pipeline" / "prior")
        z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
        return (prior(z=z, noise="fixed").image.mean((0, 2, 3)) - wanted).abs().mean().item()

    start, end = distance(1), distance(40)
    assert end < 0.7 * start
    StyleGAN2Discriminator.from_pretrained(tmp_path / "run" / "pipeline" / "discriminator")


def test_projected_critics(tmp_path: Path, config: Path) -> None:
    options = {"adversarial.critic": "projected", "critic_augment.kind": "diffaugment"}
    whole = train(config, tmp_path / "whole", max_steps=3, **options)
    train(config, tmp_path / "parts", max_steps=2, **options)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3, **options))
    assert curve(tmp_path / "whole", "loss_discriminator")[0] == pytest.approx(2, abs=0.1)  # hinge: undecided
    assert not curve(tmp_path / "whole", "r1") and curve(tmp_path / "whole", "path_length")
    folder = tmp_path / "whole" / "pipeline"
    assert not (folder / "discriminator").exists() and (folder / "feature_critic").is_dir()
    # What comes after needs no discriminator of the first run.
    train(config, tmp_path / "next", max_steps=1, init_from=str(folder), **options)
    with pytest.raises(ValueError, match="say diffaugment"):
        train(config, tmp_path / "ada", **{"adversarial.critic": "projected", "critic_augment.kind": "ada"})


def test_mean_style_is_measured(tmp_path: Path, config: Path) -> None:
    train(config, tmp_path / "run", max_steps=1, latent_samples=500)
    prior = StyleGAN2Generator.from_pretrained(tmp_path / "run" / "pipeline" / "prior")
    expected = prior.mean_style(500, torch.Generator().manual_seed(0))
    assert expected.abs().max() > 0
    torch.testing.assert_close(prior.latent_avg, expected.expand_as(prior.latent_avg))


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, config: Path) -> None:
    options = {
        "critic_augment.kind": "ada",
        "critic_augment.probability": 0.5,
        "critic_augment.length": 50,
        "critic_augment.every": 2,
    }
    whole = train(config, tmp_path / "whole", max_steps=5, **options)
    other = train(config, tmp_path / "other", max_steps=5, seed=1, **options)
    assert not same(whole, other), "the comparison below would hold for any two runs"
    train(config, tmp_path / "parts", max_steps=3, **options)
    assert same(whole, train(config, tmp_path / "parts", max_steps=5, **options))
    for name in ("loss_generator", "path_length", "augment_probability", "r1"):
        assert curve(tmp_path / "parts", name) == curve(tmp_path / "whole", name)
    assert len(set(curve(tmp_path / "whole", "augment_probability"))) > 1


def test_started_from_another_run(tmp_path: Path, config: Path) -> None:
    first = train(config, tmp_path / "first", max_steps=1)
    again = train(
        config,
        tmp_path / "again",
        max_steps=1,
        learning_rate=0,
        init_from=str(tmp_path / "first" / "pipeline"),
    )
    assert same(first, again)


@pytest.mark.parametrize(
    "options",
    [
        {"critic_augment.kind": "diffaugment"},
        {"adversarial.r1_every": 0, "path.every": 0},
        {"style_mixing": 0, "gradient_accumulation_steps": 2},
        {"mixed_precision": "bf16"},
        {"shots": 2, "sample_every": 1},
    ],
    ids=str,
)
def test_switches(tmp_path: Path, config: Path, options: dict) -> None:
    still = train(config, tmp_path / "still", max_steps=1, learning_rate=0, **options)
    moved = train(config, tmp_path / "run", max_steps=1, **options)
    assert not same(still, moved)
    assert all(torch.isfinite(value).all() for value in moved.values())
    assert bool(curve(tmp_path / "run", "r1")) == bool(options.get("adversarial.r1_every", 1))
    assert bool(curve(tmp_path / "run", "path_penalty")) == bool(options.get("path.every", 1))
    if "sample_every" in options:
        assert Image.open(tmp_path / "run" / "samples" / "train-000000001.png").size == (4 * 16, 2 * 16)


def test_networks_of_different_size_are_refused(tmp_path: Path, config: Path) -> None:
    with pytest.raises(ValueError, match=r"16.*32"):
        train(config, tmp_path / "run", discriminator=DISCRIMINATOR | {"sample_size": 32})
    with pytest.raises(ValueError, match="mirror"):
        train(config, tmp_path / "run", **{"critic_augment.kind": "mirror"})


def test_probability_follows_the_discriminator() -> None:
    augment = DiscriminatorAugment("ada", "", length=1000)
    for _ in range(8):
        augment.observe(0.9, pictures=10, every=4)
    assert augment.probability == pytest.approx(0.08)
    for _ in range(12):
        augment.observe(0.1, pictures=10, every=4)
    assert augment.probability == 0.0


def test_augmentation_transforms_and_keeps_gradients() -> None:
    images = torch.rand(4, 3, 16, 16).requires_grad_(True)
    untouched = DiscriminatorAugment("ada", "", probability=0.0)(
        images, [np.random.default_rng(i) for i in range(4)]
    )
    assert untouched is images
    moved = DiscriminatorAugment("ada", "", probability=1.0)(
        images, [np.random.default_rng(i) for i in range(4)]
    )
    assert moved.shape == images.shape
    assert not torch.allclose(moved, images)
    moved.sum().backward()
    assert images.grad.abs().sum() > 0


def test_identity_where_no_transform_is_drawn() -> None:
    rng = np.random.default_rng(0)
    assert np.array_equal(draw_affine(0.0, 16, rng), np.eye(3)[:2])
    assert np.array_equal(draw_color(0.0, rng), np.eye(3, 4))
    # Grey stays grey under hue and saturation: only brightness, contrast and luma touch it, and all alike.
    for seed in range(5):
        matrix = draw_color(1.0, np.random.default_rng(seed))
        moved = matrix[:, :3] @ np.full(3, 0.3) + matrix[:, 3]
        assert np.allclose(moved, moved[0])
