"""Restorer training on tiny networks: it learns, resumes exactly, and every ablation of Table 3.3 runs."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from facekit import FaceRestorePipeline
from facekit.models.layers.smart import SMART
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from tests.train import tiny_stages
from tests.train.tiny_stages import curve, same, tiny_guides, write_config
from train.engine.config import read_config
from train.restorer.config import RestorerConfig
from train.restorer.trainer import RestorerTrainer, chroma_distance

train = partial(tiny_stages.run, RestorerTrainer, RestorerConfig)


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_guides(tmp_path_factory.mktemp("guides"))


@pytest.fixture
def config(tmp_path: Path, pictures: Path, guides: Path) -> Path:
    names = dict.fromkeys(("prior", "style_encoder", "code_diffuser"), str(guides))
    networks = {"restorer": {"global_dim": 16}, "discriminator": {"stddev_group": 2}}
    losses = {"pictures.perceptual": "feature_matching", "adversarial.r1_every": 2, "learning_rate": 0.002}
    losses |= {"pictures.identity_weight": 0}
    return write_config(tmp_path, pictures, **names, **networks, **losses)


def test_learns_a_pair_and_writes_a_pipeline(tmp_path: Path, config: Path, pictures: Path) -> None:
    output = tmp_path / "run"
    options = {"shots": 2, "flip": False, "l1_weight": 10, "learning_rate": 0.01}
    average = {"average.decay": 0.5, "average.min_decay": 0}
    scoring = {"validation.data": str(pictures), "validation.split": "train", "validation.images": 2}
    train(
        config,
        output,
        max_steps=25,
        **options,
        **average,
        **scoring,
        **{"validation.every": 25},
        sample_every=25,
    )
    error = curve(output, "restorer_l1")
    assert np.mean(error[-5:]) < 0.7 * np.mean(error[:3])
    for folder in ("pipeline", "best"):
        pipe = FaceRestorePipeline.from_pretrained(output / folder)
        pipe.set_progress_bar_config(disable=True)
        photo = Image.open(pictures / "00.png").convert("RGB")
        restored = pipe(photo, aligned=True, fidelity=0, generator=torch.Generator().manual_seed(0)).images[0]
        assert np.asarray(restored).std() > 0
    assert len(curve(output, "validation_psnr")) == 1
    assert Image.open(output / "samples" / "train-000000025.png").size == (2 * 16, 4 * 16)
    assert Image.open(output / "samples" / "validation-000000025.png").size == (2 * 16, 3 * 16)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, config: Path) -> None:
    whole = train(config, tmp_path / "whole", max_steps=3)
    other = train(config, tmp_path / "other", max_steps=3, seed=1)
    assert not same(whole, other), "the comparison below would hold for any two runs"
    train(config, tmp_path / "parts", max_steps=2)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3))
    for name in ("loss_restorer", "loss_discriminator", "r1"):
        assert curve(tmp_path / "parts", name) == curve(tmp_path / "whole", name)


def test_learns_on_imagenet_features(tmp_path: Path, config: Path, pictures: Path) -> None:
    natural = {
        "pictures.perceptual": "efficientnet",
        "adversarial.critic": "projected",
        "adversarial.weight": 0.1,
    }
    scoring = {"validation.data": str(pictures), "validation.split": "train", "validation.images": 2}
    options = natural | scoring | {"validation.every": 2, "validation.best": "imagenet", "gradient_clip": 5.0}
    whole = train(config, tmp_path / "whole", max_steps=4, **options)
    train(config, tmp_path / "parts", max_steps=2, **options)
    parts = train(config, tmp_path / "parts", max_steps=4, **options)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=1e-7)
    for name in ("restorer_imagenet", "restorer_adversarial", "loss_feature_critic"):
        assert len(curve(tmp_path / "whole", name)) == 4
    assert not curve(tmp_path / "whole", "loss_discriminator")
    assert (tmp_path / "whole" / "best" / "restorer").is_dir()
    last = curve(tmp_path / "whole", "validation_sharpness")
    assert len(last) == 2 and min(last) > 0


def test_the_imagenet_distance_goes_down_on_a_pair(tmp_path: Path, config: Path) -> None:
    fixed = {"shots": 2, "flip": False, "learning_rate": 0.01, "average.decay": 0.5, "average.min_decay": 0}
    natural = {
        "pictures.perceptual": "efficientnet",
        "adversarial.weight": 0,
        "pictures.perceptual_weight": 1.0,
    }
    train(config, tmp_path / "run", max_steps=25, **fixed, **natural)
    distance = curve(tmp_path / "run", "restorer_imagenet")
    assert np.mean(distance[-5:]) < 0.9 * np.mean(distance[:3])


def test_chroma_counts_colour_alone(tmp_path: Path, config: Path) -> None:
    gray = torch.rand(2, 1, 8, 8)
    red = torch.tensor([0.3, -0.15, -0.15]).view(1, 3, 1, 1)
    # Lightness alone costs nothing; a cast costs what it is, however light or dark.
    assert chroma_distance(gray.expand(-1, 3, -1, -1), torch.zeros(2, 3, 8, 8)) == pytest.approx(0, abs=1e-6)
    assert chroma_distance(gray + red, gray.expand(-1, 3, -1, -1)).item() == pytest.approx(0.2, abs=1e-5)
    train(config, tmp_path / "run", max_steps=2, chroma_weight=5)
    assert len(curve(tmp_path / "run", "restorer_chroma")) == 2


def test_a_share_of_the_damage_is_light(tmp_path: Path, config: Path) -> None:
    def measure_damage(light: float, damage: str = "thesis") -> float:
        """How much of 60 pictures the damage changes, on average."""
        argv = ["--config", str(config), "--output_dir", str(tmp_path / "run")]
        argv += ["--light_damage", str(light), "--damage", damage]
        AcceleratorState._reset_state(reset_partial_state=True)
        trainer = RestorerTrainer(read_config(RestorerConfig, argv))
        batches = list(itertools.islice(trainer.batches(), 60 // trainer.config.batch_size))
        return float(np.mean([(batch["damaged"] - batch["image"]).abs().mean() for batch in batches]))

    as_in_thesis, half, light = map(measure_damage, (0, 0.5, 1))
    assert 0 < light < 0.5 * as_in_thesis
    assert half == pytest.approx((light + as_in_thesis) / 2, rel=0.25)
    with pytest.raises(ValueError, match="light_damage must be between 0 and 1"):
        measure_damage(1.5)
    with pytest.raises(ValueError, match="light_damage is a share of the damaged pictures"):
        measure_damage(0.5, damage="none")


@pytest.mark.parametrize("ablation", ["none", *"abcd"])
def test_ablations_end_with_pipelines_that_run(
    tmp_path: Path, config: Path, pictures: Path, ablation: str
) -> None:
    """Table 3.3."""
    without = {"code_diffuser": None} if ablation == "a" else {}
    written = train(config, tmp_path / "run", max_steps=1, ablation=ablation, **without)
    assert all(torch.isfinite(value).all() for value in written.values())
    pipe = FaceRestorePipeline.from_pretrained(tmp_path / "run" / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    assert (pipe.code_diffuser is None) == (pipe.scheduler is None) == (ablation == "a")
    assert any(isinstance(part, SMART) for part in pipe.restorer.modules()) == (ablation != "b")
    assert pipe.restorer.config.use_style_codes == (ablation != "c")
    assert pipe.restorer.config.use_prior_features == (ablation != "d")
    assert pipe.config["fidelity"] == 0, "what training makes is measured as the network's own picture"
    output = pipe(pictures / "00.png", aligned=True, generator=torch.Generator().manual_seed(0))
    assert np.asarray(output.images[0]).std() > 0


def test_switches_and_a_start_from_other_weights(tmp_path: Path, config: Path) -> None:
    options = {"pictures.reduction": "sum", "gradient_accumulation_steps": 2, "style_mixing": 1}
    first = train(config, tmp_path / "first", max_steps=1, **options)
    source = str(tmp_path / "first" / "pipeline")
    again = train(
        config,
        tmp_path / "again",
        max_steps=1,
        init_from=source,
        learning_rate=0,
        **{"adversarial.r1_every": 0},
    )
    assert same(first, again)
    assert not curve(tmp_path / "again", "r1")


def test_a_restorer_goes_on_as_a_residual_one(tmp_path: Path, config: Path) -> None:
    train(config, tmp_path / "first", max_steps=1)
    source = str(tmp_path / "first" / "pipeline")
    options = {"restorer": {"residual": True}, "init_from": source, "adversarial.r1_every": 0}
    train(config, tmp_path / "same", max_steps=1, learning_rate=0, **options)
    restorer = RestoreAutoEncoder.from_pretrained(tmp_path / "same" / "pipeline" / "restorer").eval()
    image, codes = torch.randn(1, 3, 16, 16), torch.randn(1, 6, 8)
    features = [torch.zeros(1, channels, 4 * 2**k, 4 * 2**k) for k, channels in enumerate((16, 16, 8))]
    torch.testing.assert_close(restorer(image, codes, features).image, image)
    learned = train(config, tmp_path / "later", max_steps=1, **options)
    assert learned["restorer.to_rgb.weight"].abs().max() > 0


def test_quiet_styles_begin_almost_without_influence(tmp_path: Path, config: Path) -> None:
    options = {"max_steps": 1, "learning_rate": 0, "adversarial.r1_every": 0}
    spread = {}
    for quiet in (False, True):
        train(config, tmp_path / str(quiet), quiet_styles=quiet, **options)
        folder = tmp_path / str(quiet) / "pipeline" / "restorer"
        restorer = RestoreAutoEncoder.from_pretrained(folder).eval()
        image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        features = [torch.zeros(1, channels, 4 * 2**k, 4 * 2**k) for k, channels in enumerate((16, 16, 8))]
        outputs = [
            restorer(image, torch.zeros(1, 6, 8), features, z=z[None]).image
            for z in torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
        ]
        stacked = torch.stack(outputs)
        spread[quiet] = (stacked.std(0).mean() / stacked.std()).item()
    assert 0 < spread[True] < 0.2 * spread[False]


def test_a_discriminator_may_come_from_the_prior(tmp_path: Path, config: Path, guides: Path) -> None:
    fresh = train(config, tmp_path / "fresh", max_steps=1)
    given = train(config, tmp_path / "given", max_steps=1, discriminator_from=str(guides))
    assert not same(fresh, given)
    StyleGAN2Discriminator(sample_size=32, channel_base=128, max_channels=16).save_pretrained(tmp_path / "32")
    with pytest.raises(ValueError, match="pictures of 32"):
        train(config, tmp_path / "run", discriminator_from=str(tmp_path / "32"))


def test_first_stage_without_prompts(tmp_path: Path, config: Path, guides: Path) -> None:
    shape = {"sample_size": 16, "style_dim": 8, "channel_base": 128, "max_channels": 16, "global_dim": 16}
    alone = dict.fromkeys(("prior", "style_encoder", "code_diffuser"))
    plain = {"prompts": False, "pictures.perceptual": "none", "adversarial.weight": 0, "l1_weight": 1}
    train(config, tmp_path / "plain", max_steps=2, **alone, **plain, restorer=shape, sample_every=2)
    folder = tmp_path / "plain" / "pipeline"
    assert {path.name for path in folder.iterdir()} == {"restorer", "training.json"}
    assert not curve(tmp_path / "plain", "loss_discriminator")
    restorer = RestoreAutoEncoder.from_pretrained(folder / "restorer").eval()
    image, codes = torch.randn(1, 3, 16, 16), torch.randn(2, 1, 6, 8)
    features = [torch.zeros(1, 16, 4 * 2**k, 4 * 2**k) for k in range(3)]
    features[2] = features[2][:, :8]
    first, second = (
        restorer(image, c, features, z=codes[0, :, 0], generator=torch.Generator().manual_seed(0)).image
        for c in codes
    )
    torch.testing.assert_close(first, second)
    train(config, tmp_path / "next", max_steps=2, init_from=str(folder))
    later = RestoreAutoEncoder.from_pretrained(tmp_path / "next" / "pipeline" / "restorer").eval()
    weight = later.conv.modulation.affine.weight
    assert weight[:, :8].abs().max() > 0  # the codes have got their influence


def test_settings_that_contradict_are_refused(tmp_path: Path, config: Path) -> None:
    for changes, message in (
        ({"ablation": "a"}, "code_diffuser"),
        ({"code_diffuser": None}, "code_diffuser"),
        ({"ablation": "e"}, "'e'"),
        ({"damage": "none"}, "damage"),
        ({"prior": None}, "--prior"),
        ({"prompts": False}, "takes no prior"),
    ):
        with pytest.raises(ValueError, match=message):
            train(config, tmp_path / "run", **changes)
