"""Style encoder training on tiny networks: on a frozen prior as in e4e, and together with its generator."""

import itertools
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from facekit import sample_faces
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from tests.train import tiny_stages
from tests.train.tiny_stages import (
    DISCRIMINATOR,
    ENCODER,
    PRIOR,
    curve,
    same,
    tiny_prior,
    weights,
    write_config,
)
from train.engine.config import read_config
from train.engine.streams import StyleEncoder as Stream
from train.style_encoder.config import StyleEncoderConfig
from train.style_encoder.trainer import StyleEncoderTrainer

train = partial(tiny_stages.run, StyleEncoderTrainer, StyleEncoderConfig)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture
def config(tmp_path: Path, pictures: Path, prior: Path) -> Path:
    options = {
        "prior": str(prior),
        "encoder": ENCODER,
        "damage": "thesis",
        "pictures.perceptual": "feature_matching",
        "pictures.identity_weight": 0,
    }
    schedule = {"progressive.start": 0, "latent.r1_every": 2, "latent.pool": 4, "learning_rate": 0.001}
    return write_config(tmp_path, pictures, **options, **schedule)


@pytest.fixture
def joint(tmp_path: Path, pictures: Path) -> Path:
    options = {"joint": True, "prior": PRIOR, "encoder": ENCODER, "discriminator": DISCRIMINATOR}
    losses = {
        "pictures.perceptual": "feature_matching",
        "pictures.identity_weight": 0,
        "latent.weight": 0,
        "mixing_weight": 0.1,
        "l1_weight": 1,
    }
    rates = {
        "learning_rate": 0.003,
        "betas": [0, 0.99],
        "adversarial.r1_every": 2,
        "average.decay": 0.9,
        "progressive.start": 0,
    }
    return write_config(
        tmp_path / "joint", pictures, **options, **losses, **rates, statistics_batches=2, latent_samples=4
    )


def test_encoder_learns_a_pair(tmp_path: Path, config: Path) -> None:
    fixed = {"shots": 2, "flip": False, "damage": "none", "latent.weight": 0, "learning_rate": 0.005}
    train(config, tmp_path / "run", max_steps=30, **fixed)
    error = curve(tmp_path / "run", "encoder_l2")
    assert np.mean(error[-5:]) < 0.8 * np.mean(error[:3])
    encoder = StyleEncoder.from_pretrained(tmp_path / "run" / "pipeline" / "style_encoder")
    assert encoder(torch.zeros(1, 3, 16, 16)).shape == (1, 6, 8)


@pytest.mark.parametrize("kind", ["config", "joint"])
def test_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    config = request.getfixturevalue(kind)
    whole = train(config, tmp_path / "whole", max_steps=3)
    other = train(config, tmp_path / "other", max_steps=3, seed=1)
    assert not same(whole, other), "the comparison below would hold for any two runs"
    train(config, tmp_path / "parts", max_steps=2)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3))
    for name in ("loss_encoder", "loss_latent_discriminator", "loss_discriminator", "r1"):
        assert curve(tmp_path / "parts", name) == curve(tmp_path / "whole", name)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_ranger_goes_on_exactly(tmp_path: Path, config: Path, precision: str) -> None:
    """Stopped between two moves of its slow weights, which come after every sixth step."""
    options = {"optimizer": "ranger", "mixed_precision": precision, "latent.weight": 0}
    whole = train(config, tmp_path / "whole", max_steps=8, **options)
    train(config, tmp_path / "parts", max_steps=4, **options)
    assert same(whole, train(config, tmp_path / "parts", max_steps=8, **options))
    assert curve(tmp_path / "parts", "loss_encoder") == curve(tmp_path / "whole", "loss_encoder")
    radam = train(config, tmp_path / "radam", max_steps=8, **options | {"optimizer": "radam"})
    assert not same(whole, radam)
    with pytest.raises(ValueError, match="of a run with optimizer radam, not ranger: say --optimizer radam"):
        train(config, tmp_path / "radam", max_steps=9, **options)


def test_joint_training_goes_on_whatever_the_optimizer_was_called(tmp_path: Path, joint: Path) -> None:
    """It takes Adam, and checkpoints of before say radam, which was then the default."""
    whole = train(joint, tmp_path / "whole", max_steps=2)
    train(joint, tmp_path / "parts", max_steps=1, optimizer="radam")
    assert same(whole, train(joint, tmp_path / "parts", max_steps=2))


def test_a_share_of_the_inputs_is_damaged(config: Path, tmp_path: Path) -> None:
    argv = ["--config", str(config), "--output_dir", str(tmp_path / "run"), "--damage_probability", "0.5"]
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer = StyleEncoderTrainer(read_config(StyleEncoderConfig, argv))
    equal = [
        torch.equal(damaged, image)
        for batch in itertools.islice(trainer.batches(), 10)
        for damaged, image in zip(batch["damaged"], batch["image"], strict=True)
    ]
    assert 4 <= sum(equal) <= 16
    with pytest.raises(ValueError, match="damage_probability"):
        train(config, tmp_path / "run", damage_probability=0)


def test_joint_training_by_pixels_alone(tmp_path: Path, joint: Path) -> None:
    pixels = {"pictures.perceptual": "none", "adversarial.weight": 0, "mixing_weight": 0}
    train(joint, tmp_path / "run", max_steps=2, **pixels)
    assert curve(tmp_path / "run", "encoder_l1") and not curve(tmp_path / "run", "loss_discriminator")
    assert not (tmp_path / "run" / "pipeline" / "discriminator").exists()
    # The stage that needs one starts it afresh.
    train(joint, tmp_path / "next", max_steps=1, init_from=str(tmp_path / "run" / "pipeline"))
    assert (tmp_path / "next" / "pipeline" / "discriminator").is_dir()


NATURAL = {
    "pictures.perceptual": "efficientnet",
    "adversarial.critic": "projected",
    "adversarial.weight": 0.1,
    "mixing_weight": 0.1,
}


def test_joint_training_on_imagenet_features(tmp_path: Path, joint: Path, pictures: Path) -> None:
    scoring = {"validation.data": str(pictures), "validation.split": "train", "validation.images": 2}
    options = NATURAL | scoring | {"gradient_clip": 5.0, "validation.every": 2}
    whole = train(joint, tmp_path / "whole", max_steps=4, **options)
    train(joint, tmp_path / "parts", max_steps=2, **options)
    assert same(whole, train(joint, tmp_path / "parts", max_steps=4, **options))
    for name in ("encoder_imagenet", "encoder_adversarial", "loss_feature_critic", "gradient_norm"):
        assert len(curve(tmp_path / "whole", name)) == 4
    assert not curve(tmp_path / "whole", "loss_discriminator")
    assert not (tmp_path / "whole" / "pipeline" / "discriminator").exists()
    assert len(curve(tmp_path / "whole", "validation_imagenet")) == 2
    assert (tmp_path / "whole" / "best" / "prior").is_dir()


def test_a_kept_encoder_stays_as_it_is_and_the_generator_learns(tmp_path: Path, joint: Path) -> None:
    train(joint, tmp_path / "first", max_steps=1, **NATURAL)
    begun = tmp_path / "first" / "pipeline"
    options = NATURAL | {"keep_encoder": True, "init_from": str(begun)}
    whole = train(joint, tmp_path / "whole", max_steps=4, **options)
    train(joint, tmp_path / "parts", max_steps=2, **options)
    assert same(whole, train(joint, tmp_path / "parts", max_steps=4, **options))
    for name, value in weights(begun).items():
        if name.startswith("style_encoder."):
            assert torch.equal(value, whole[name])
    assert not torch.equal(weights(begun)["prior.constant"], whole["prior.constant"])
    config = json.loads((tmp_path / "whole" / "pipeline" / "style_encoder" / "config.json").read_text())
    assert "_name_or_path" not in config, "a folder of this machine"


def test_what_is_written_of_a_kept_encoder_is_a_copy(tmp_path: Path, joint: Path) -> None:
    """Writing moves what is written off the device."""
    train(joint, tmp_path / "first", max_steps=1, **NATURAL)
    options = NATURAL | {"keep_encoder": True, "init_from": str(tmp_path / "first" / "pipeline")}
    trainer = tiny_stages.make_trainer(
        StyleEncoderTrainer, StyleEncoderConfig, joint, tmp_path / "next", **options
    )
    assert trainer.measure_encoder() is not trainer.reader


@pytest.mark.parametrize(
    "options",
    [
        {"keep_encoder": True},
        {"keep_encoder": True, "joint": False, "prior": "FOLDER", "init_from": "FOLDER"},
        {"keep_encoder": True, "init_from": "FOLDER", "teacher": "FOLDER"},
    ],
)
def test_an_encoder_is_kept_only_where_there_is_one(
    tmp_path: Path, joint: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="keep"):
        train(joint, tmp_path / "run", **options)


def test_features_of_truth_and_result_are_computed_once(tmp_path: Path, joint: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    argv = [
        "--config",
        str(joint),
        "--output_dir",
        str(tmp_path / "run"),
        "--adversarial.critic",
        "projected",
    ]
    argv += ["--pictures.perceptual", "efficientnet", "--adversarial.weight", "0.1"]
    trainer = StyleEncoderTrainer(read_config(StyleEncoderConfig, argv))
    seen: list[int] = []
    trainer.losses.natural.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    trainer.run.step = 1
    trainer.iterate([trainer.to_device(next(trainer.batches()))])
    assert seen == [2, 4]  # the truth, then reconstructions and mixtures together
    with pytest.raises(ValueError, match="mixing_weight must be"):
        train(joint, tmp_path / "run", **NATURAL | {"mixing_weight": 0.3})


def test_joint_training_goes_on_at_twice_the_size(tmp_path: Path, joint: Path) -> None:
    encoder = ENCODER | {"num_styles": 8}  # codes of the later, larger generator from the start
    train(joint, tmp_path / "small", max_steps=2, encoder=encoder)
    large = PRIOR | {"sample_size": 32}
    start = str(tmp_path / "small" / "pipeline")
    train(joint, tmp_path / "large", max_steps=2, encoder=encoder, prior=large, init_from=start)
    prior = StyleGAN2Generator.from_pretrained(tmp_path / "large" / "pipeline" / "prior")
    encoder = StyleEncoder.from_pretrained(tmp_path / "large" / "pipeline" / "style_encoder")
    assert prior(w_plus=encoder(torch.zeros(1, 3, 32, 32))).image.shape == (1, 3, 32, 32)
    assert prior.latent_avg.abs().sum(1).min() > 0
    folder = tmp_path / "large" / "pipeline" / "prior"
    faces = sample_faces(2, folder, generator=torch.Generator().manual_seed(0))
    assert [face.size for face in faces] == [(32, 32)] * 2


def test_generator_and_encoder_learn_together(tmp_path: Path, joint: Path) -> None:
    output = tmp_path / "run"
    train(joint, output, max_steps=30, shots=2, flip=False, **{"adversarial.weight": 0.01})
    error = curve(output, "encoder_l2")
    assert np.mean(error[-5:]) < 0.5 * np.mean(error[:3])
    folder = output / "pipeline"
    encoder = StyleEncoder.from_pretrained(folder / "style_encoder")
    generator = StyleGAN2Generator.from_pretrained(folder / "prior")
    StyleGAN2Discriminator.from_pretrained(folder / "discriminator")
    assert encoder.latent_avg.abs().max() == 0
    assert generator.latent_avg.std(0).max() > 0, "the mean codes differ from layer to layer"
    assert generator(w_plus=encoder(torch.zeros(1, 3, 16, 16))).image.shape == (1, 3, 16, 16)
    again = train(joint, tmp_path / "again", max_steps=1, learning_rate=0, init_from=str(folder))
    written = tiny_stages.weights(folder)
    name = next(name for name in written if name.startswith("prior.") and name.endswith("conv.conv.weight"))
    assert torch.equal(written[name], again[name])


def test_codes_get_their_offsets_one_by_one(tmp_path: Path, config: Path) -> None:
    argv = ["--config", str(config), "--output_dir", str(tmp_path), "--progressive.start", "10"]
    trainer = StyleEncoderTrainer(read_config(StyleEncoderConfig, [*argv, "--progressive.every", "5"]))
    stages = {}
    for step in (1, 10, 11, 15, 16, 31, 36, 100):
        trainer.run.step = step
        stages[step] = trainer.stage
    assert stages == {1: 0, 10: 0, 11: 1, 15: 1, 16: 2, 31: 5, 36: None, 100: None}
    trainer.run.step = 11
    batch = trainer.to_device(next(trainer.batches()))
    codes = trainer.encode(batch)
    assert torch.equal(codes[:, 2], codes[:, 5])
    assert not torch.equal(codes[:, 0], codes[:, 1])
    before = trainer.encoder.network.latent_avg
    assert torch.equal(before, trainer.generator.latent_avg)
    assert before.abs().max() > 0


def test_mixtures_lie_between_neighbours(tmp_path: Path, joint: Path) -> None:
    argv = ["--config", str(joint), "--output_dir", str(tmp_path / "run")]
    trainer = StyleEncoderTrainer(read_config(StyleEncoderConfig, argv))
    codes = torch.stack([torch.zeros(6, 8), torch.ones(6, 8)])
    shares = {tuple(trainer.mix_codes(codes, torch.tensor([p, p + 1]))[0, :, 0].tolist()) for p in range(20)}
    interpolated = [share for share in shares if len(set(share)) == 1]
    exchanged = [share for share in shares if set(share) == {0.0, 1.0}]
    assert interpolated
    assert exchanged
    assert len(interpolated) + len(exchanged) == len(shares)
    assert all(share[0] == 0 for share in exchanged)


@pytest.mark.parametrize(
    "options",
    [
        {"progressive.start": 5},
        {
            "optimizer": "adam",
            "latent.weight": 0,
            "damage": "none",
            "average.decay": 0.5,
            "statistics_batches": 2,
        },
        {"pictures.perceptual_weight": 0, "gradient_accumulation_steps": 2, "delta_weight": 0},
        {"sample_every": 1, "size": 16, "pictures.identity_weight": 0.5},
    ],
    ids=str,
)
def test_switches(tmp_path: Path, config: Path, options: dict) -> None:
    if "pictures.identity_weight" in options:
        network = IdentityEncoder(sample_size=32, num_blocks=(1, 1, 1, 1), width=4, embedding_dim=8)
        network.save_pretrained(tmp_path / "identity")
        options = options | {"pictures.identity_encoder": str(tmp_path / "identity")}
    still = train(config, tmp_path / "still", max_steps=1, learning_rate=0, **options)
    moved = train(config, tmp_path / "run", max_steps=1, **options)
    names = [name for name in still if name.endswith("weight")]
    assert any(not torch.equal(still[name], moved[name]) for name in names)
    assert all(torch.isfinite(value).all() for value in moved.values())
    terms = {
        "loss_latent_discriminator": options.get("latent.weight", 1) > 0,
        "encoder_feature_matching": options.get("pictures.perceptual_weight", 1) > 0,
        "encoder_identity": "pictures.identity_encoder" in options,
        "encoder_delta": options.get("delta_weight", 1) > 0,
    }
    for name, wanted in terms.items():
        assert bool(curve(tmp_path / "run", name)) == wanted
    if "sample_every" in options:
        assert Image.open(tmp_path / "run" / "samples" / "train-000000001.png").size == (2 * 16, 3 * 16)


def test_pictures_are_damaged_large_and_compared_small(tmp_path: Path, config: Path) -> None:
    """As e4e does: both pictures are averaged before every loss."""
    options = {"size": 32, "compare_size": 8, "sample_every": 1, "pictures.perceptual": "none"}
    train(config, tmp_path / "run", max_steps=1, **options)
    assert Image.open(tmp_path / "run" / "samples" / "train-000000001.png").size == (2 * 8, 3 * 8)
    argv = ["--config", str(config), "--output_dir", str(tmp_path / "looked-at")]
    argv += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer = StyleEncoderTrainer(read_config(StyleEncoderConfig, argv))
    batch = trainer.to_device(next(trainer.batches()))
    assert batch["damaged"].shape[-1] == 32
    with torch.no_grad():
        made = trainer.paint(trainer.encode(batch), batch["position"], Stream.PICTURE)
        wanted = (made - torch.nn.functional.avg_pool2d(batch["image"], 4)).square().mean()
        _, terms = trainer._encoder_loss(batch)
    assert made.shape[-1] == 8
    assert terms["l2"].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_settings_that_contradict_are_refused(tmp_path: Path, config: Path, joint: Path) -> None:
    with pytest.raises(ValueError, match="joint"):
        train(config, tmp_path / "run", joint=True)
    for path, changes, message in (
        (joint, {"latent.weight": 0.1}, "latent.weight"),
        (config, {"optimizer": "sgd"}, "adam, radam, ranger"),
        (config, {"damage": "rain"}, "rain"),
        (config, {"size": 8}, "16"),
        (config, {"compare_size": 64}, "compare_size must be from 1 to size"),
        (joint, {"compare_size": 16}, "leave out compare_size"),
    ):
        with pytest.raises(ValueError, match=message):
            train(path, tmp_path / "run", **changes)
