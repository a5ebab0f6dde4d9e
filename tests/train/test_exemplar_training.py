"""EXE-GAN training on tiny networks: it learns, resumes exactly, and every switch does what its name says."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from facekit import ExemplarInpaintPipeline
from facekit.losses.spatial_gradient import SpatialWeights
from facekit.models.face_parser import FaceParser
from facekit.models.layers.resample import FIRFilter
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.stylegan2 import StyleGAN2Generator
from tests.train import tiny_stages
from tests.train.test_two_processes import assert_trained_as_one, launch
from tests.train.tiny_stages import EXEMPLAR, curve, same, tiny_exemplar_guides, write_config
from train.exemplar.config import ExemplarConfig
from train.exemplar.trainer import ExemplarTrainer
from train.starts.from_prior import start_from_prior
from train.starts.grow_exemplar import grow_generator

train = partial(tiny_stages.run, ExemplarTrainer, ExemplarConfig)
trainer_of = partial(tiny_stages.make_trainer, ExemplarTrainer, ExemplarConfig)
PUBLISHED: dict[str, Any] = {
    "update_order": "published",
    "exemplars": "reversed",
    "lazy_rates": True,
    "path.every": 2,
    "shared_mask": True,
    "attribute.distance": "mse",
    "pictures.reduction": "sum",
    "spatial.weights": {"kernel_size": 9, "sigma": None, "rescale": True},
}


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_exemplar_guides(tmp_path_factory.mktemp("guides"))


@pytest.fixture
def config(tmp_path: Path, pictures: Path, guides: Path) -> Path:
    frozen = dict.fromkeys(("style_encoder", "pictures.identity_encoder"), str(guides))
    return write_config(tmp_path, pictures, **EXEMPLAR, **frozen)


def test_learns_a_pair_and_writes_a_pipeline(tmp_path: Path, config: Path, pictures: Path) -> None:
    output = tmp_path / "run"
    options = {"shots": 2, "flip": False, "same_image_probability": 1, "masks": {"kind": "centre"}}
    weights = {"l1_weight": 10, "learning_rate": 0.01, "average.decay": 0.5, "average.min_decay": 0}
    scoring = {"validation.data": str(pictures), "validation.split": "train", "validation.images": 3}
    train(
        config,
        output,
        max_steps=20,
        **options,
        **weights,
        **scoring,
        **{"validation.every": 20},
        sample_every=20,
    )
    error = curve(output, "generator_l1")
    assert np.mean(error[-5:]) < 0.7 * np.mean(error[:3])
    photo, other = (Image.open(pictures / f"0{i}.png").convert("RGB") for i in (0, 1))
    hole = np.zeros((64, 64), bool)
    hole[16:48, 16:48] = True
    pipe = ExemplarInpaintPipeline.from_pretrained(output / "pipeline")
    assert pipe.multi_style_generator.latent_avg.abs().max() > 0
    assert pipe.identity_encoder is not None
    seed = torch.Generator().manual_seed(0)
    filled = np.asarray(pipe(photo, hole, other, aligned=True, generator=seed).images[0])
    assert np.array_equal(filled[~hole], np.asarray(photo)[~hole])
    assert filled[hole].std() > 0
    assert same(tiny_stages.weights(output / "best"), tiny_stages.weights(output / "pipeline"))
    for name in ("psnr", "attribute", "match"):
        assert len(curve(output, f"validation_{name}")) == 1
    assert 0 <= curve(output, "validation_match")[0] <= 1
    assert Image.open(output / "samples" / "train-000000020.png").size == (2 * 16, 4 * 16)
    assert Image.open(output / "samples" / "validation-000000020.png").size == (3 * 16, 5 * 16)


@pytest.mark.parametrize(
    "options",
    [
        {"sketches.read": True},
        PUBLISHED
        | {"critic_augment.kind": "ada", "critic_augment.probability": 0.5, "critic_augment.length": 50},
    ],
    ids=["thesis", "published"],
)
def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, config: Path, options: dict) -> None:
    options = options | {"same_image_probability": 0.5}
    whole = train(config, tmp_path / "whole", max_steps=3, **options)
    other = train(config, tmp_path / "other", max_steps=3, seed=1, **options)
    assert not same(whole, other), "the comparison below would hold for any two runs"
    train(config, tmp_path / "parts", max_steps=2, **options)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3, **options))
    for name in ("loss_generator", "loss_discriminator", "r1", "path_length", "augment_probability"):
        assert curve(tmp_path / "parts", name) == curve(tmp_path / "whole", name)
    assert bool(curve(tmp_path / "whole", "path_length")) == ("path.every" in options)


def test_every_ablation_differs_and_ends_with_a_pipeline_that_runs(
    tmp_path: Path, config: Path, pictures: Path
) -> None:
    """Tables 5.3 to 5.5: what each is without, that no two train the same network, and that what is written fills."""
    photo, other = (Image.open(pictures / f"0{i}.png").convert("RGB") for i in (0, 1))
    hole = np.zeros((64, 64), bool)
    hole[16:48, 16:48] = True
    options = {
        "max_steps": 2,
        "same_image_probability": 1,
        "average.decay": 0,
        "average.min_decay": 0,
        "adversarial.r1_every": 0,
    }
    without = {"d": "attribute", "e": "feature_matching", "f": "identity"}
    written = {}
    for name in ("none", *"abcdef"):
        written[name] = train(config, tmp_path / name, ablation=name, **options)
        assert all(torch.isfinite(value).all() for value in written[name].values())
        for letter, term in without.items():
            assert bool(curve(tmp_path / name, f"generator_{term}")) == (letter != name)
        others = [known for known in written if known != name]
        assert not any(same(written[name], written[known]) for known in others), name
        pipe = ExemplarInpaintPipeline.from_pretrained(tmp_path / name / "pipeline")
        given = {"aligned": True, "generator": torch.Generator().manual_seed(0)}
        filled = np.asarray(pipe(photo, hole, other, **given).images[0])
        assert np.array_equal(filled[~hole], np.asarray(photo)[~hole]) and filled[hole].std() > 0


def test_gradients_are_weighed_where_the_thesis_says(tmp_path: Path, config: Path) -> None:
    """Attribute loss by the reverse mask, perceptual loss by the confidence mask, identity loss not at all."""
    alone = {
        "adversarial.weight": 0,
        "pictures.identity_weight": 0,
        "attribute.weight": 0,
        "pictures.perceptual_weight": 0,
    }
    cases = {
        "attribute.weight": "reverse",
        "pictures.perceptual_weight": "confidence",
        "pictures.identity_weight": None,
    }
    for weight, mask in cases.items():
        gradients = {}
        for spatial in (True, False):
            switches = dict.fromkeys(("spatial.attribute", "spatial.perceptual"), spatial)
            options = alone | {weight: 1.0, "same_image_probability": 1} | switches
            trainer = trainer_of(config, tmp_path / f"{weight}-{spatial}", **options)
            batch = trainer.prepare(next(trainer.batches()), same=True)
            batch["exemplar"] = batch["image"].flip(0)
            torch.manual_seed(0)
            image = torch.rand_like(batch["image"]).requires_grad_()
            trainer.generator_loss(batch, image, True)[0].backward()
            gradients[spatial] = image.grad
        weights = SpatialWeights(kernel_size=8, sigma=3.0)
        expected = gradients[False] * (1 if mask is None else getattr(weights, mask)(batch["mask"]))
        assert expected.abs().sum() > 0
        torch.testing.assert_close(gradients[True], expected, msg=lambda text, name=weight: f"{name}: {text}")
        assert torch.equal(gradients[True], gradients[False]) == (mask is None)


def test_exemplars_and_masks(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path / "sampled", batch_size=10, flip=False)
    batch = trainer.prepare(next(trainer.batches()), same=False)
    pictures, exemplars = ({x.numpy().tobytes() for x in batch[name]} for name in ("image", "exemplar"))
    assert pictures == exemplars and len(pictures) == 10  # an epoch of either
    assert not torch.equal(batch["image"], batch["exemplar"])
    assert len({float(share) for share in batch["mask"].mean((1, 2, 3))}) > 1
    itself = trainer.prepare(next(trainer.batches()), same=True)
    assert torch.equal(itself["exemplar"], itself["image"])
    trainer = trainer_of(config, tmp_path / "reversed", exemplars="reversed", shared_mask=True, batch_size=4)
    batch = trainer.prepare(next(trainer.batches()), same=False)
    assert torch.equal(batch["exemplar"], batch["image"].flip(0))
    assert all(torch.equal(mask, batch["mask"][0]) for mask in batch["mask"])


def test_losses_of_the_picture_itself_wait_for_it(tmp_path: Path, config: Path) -> None:
    train(
        config,
        tmp_path / "run",
        max_steps=8,
        same_image_probability=0.5,
        l1_weight=1,
        **{"adversarial.r1_every": 0},
    )
    lines = {name: len(curve(tmp_path / "run", f"generator_{name}")) for name in ("attribute", "l1")}
    assert lines["attribute"] == 8 and 0 < lines["l1"] < 8
    assert len(curve(tmp_path / "run", "generator_feature_matching")) == lines["l1"]


def test_a_parser_may_look_where_no_other_perceptual_loss_does(tmp_path: Path, config: Path) -> None:
    FaceParser(16, (4, 8)).save_pretrained(tmp_path / "parser")
    options = {
        "pictures.perceptual": "none",
        "pictures.parser": tmp_path / "parser",
        "pictures.parser_weight": 2.0,
    }
    trainer = trainer_of(config, tmp_path / "run", **options, same_image_probability=0.5)
    trainer.run.step = 1
    batch = trainer.prepare(next(trainer.batches(0)), True)
    image = batch["image"].roll(3, -1).requires_grad_(True)
    total, terms = trainer.generator_loss(batch, image, True)
    alone = trainer.generator_loss(batch, image, False)
    assert terms["parser"] > 0 and "parser" not in alone[1]
    assert (total - alone[0]).item() == pytest.approx(2 * terms["parser"].item(), rel=1e-4)
    with pytest.raises(ValueError, match="parser_weight needs a network"):
        trainer_of(config, tmp_path / "refused", **{"pictures.parser_weight": 1.0})


def test_phi(tmp_path: Path, config: Path) -> None:
    written = [
        train(
            config,
            tmp_path / str(i),
            max_steps=1,
            **{"average.decay": 0, "average.min_decay": 0},
            exemplar_layers=layers,
        )
        for i, layers in enumerate((None, [2, 3], [4, 5]))
    ]
    assert not same(written[0], written[1]) and not same(written[0], written[2])
    pipe = ExemplarInpaintPipeline.from_pretrained(tmp_path / "2" / "pipeline")
    assert pipe.multi_style_generator.config.first_exemplar_style == 4


def test_sketch_fine_tuning(tmp_path: Path, config: Path, pictures: Path) -> None:
    train(config, tmp_path / "plain", max_steps=1)
    source = str(tmp_path / "plain" / "pipeline")
    options = {"init_from": source, "sketches.read": True, "sketches.dropout": 0, "sketches.partial": 0}
    results = []
    for name, rate in (("still", 0), ("moved", 0.01)):
        train(
            config,
            tmp_path / name,
            max_steps=4,
            learning_rate=rate,
            **{"average.decay": 0, "average.min_decay": 0},
            **options,
        )
        pipe = ExemplarInpaintPipeline.from_pretrained(tmp_path / name / "pipeline")
        strokes = pipe.multi_style_generator.stem.conv.weight[:, 4]
        photo = Image.open(pictures / "00.png").convert("RGB")
        hole, drawn = np.zeros((2, 64, 64), bool)
        hole[16:48, 16:48], drawn[20:44, 30:34] = True, True
        fills = [
            pipe(photo, hole, photo, aligned=True, sketch=sketch, generator=torch.Generator().manual_seed(0))
            for sketch in (None, drawn)
        ]
        results.append((strokes.abs().max() > 0, *(np.asarray(fill.images[0]) for fill in fills)))
    assert not results[0][0] and np.array_equal(*results[0][1:])
    assert results[1][0] and not np.array_equal(*results[1][1:])
    again = train(
        config,
        tmp_path / "again",
        max_steps=1,
        learning_rate=0,
        init_from=source,
        **{"adversarial.r1_every": 0},
    )
    assert same(again, tiny_stages.weights(Path(source)))


@pytest.mark.parametrize("steps", [1, 2])
def test_grown_generator_reads_and_paints_as_before(steps: int) -> None:
    options = EXEMPLAR["multi_style_generator"] | {"style_dim": 8, "channel_base": 512}
    small = MultiStyleGenerator(**options).eval()
    large = MultiStyleGenerator(**(options | {"sample_size": 16 * 2**steps})).eval()
    for level in (small.stem, small.encoder[0].conv):
        level.activate.bias.data.normal_()
    grow_generator(small, large)
    x = torch.randn(2, 4, 16 * 2**steps, 16 * 2**steps)
    y, z = large.stem(x), x
    for level in large.encoder[:steps]:
        y, z = level.down(level.conv(y)), FIRFilter().blur(z, padding=1, stride=2)
    torch.testing.assert_close(y, small.stem(z), rtol=1e-4, atol=1e-5)
    codes = torch.randn(2, large.num_styles, 8)
    faces = torch.randn(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
    with torch.no_grad():
        old = small(*faces, w_plus=codes[:, : small.num_styles], noise="fixed")
        new = [torch.randn(2, 512 // side, side, side) for side in (32, 64)[:steps]]
        encoded = old.encoded._replace(skips=old.encoded.skips + new)
        after, before = large(encoded=encoded, w_plus=codes, noise="fixed").image, old.image
    for _ in range(steps):
        before = FIRFilter().upsample(before)
    torch.testing.assert_close(after, before)
    with pytest.raises(ValueError, match="cannot grow"):
        grow_generator(large, small)


def test_goes_on_at_a_larger_size(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture) -> None:
    shape = EXEMPLAR["multi_style_generator"] | {"channel_base": 512}
    train(config, tmp_path / "small", max_steps=1, multi_style_generator=shape)
    options = {"init_from": str(tmp_path / "small" / "pipeline"), "max_steps": 1}
    grown = shape | {"sample_size": 32}
    train(config, tmp_path / "large", multi_style_generator=grown, **options)
    assert "grown from 16 to 32" in capsys.readouterr().out
    pipe = ExemplarInpaintPipeline.from_pretrained(tmp_path / "large" / "pipeline")
    assert pipe.multi_style_generator.config.sample_size == 32
    with pytest.raises(ValueError, match="global_dim"):
        train(config, tmp_path / "run", multi_style_generator=shape | {"global_dim": 8}, **options)


def test_settings_that_contradict_are_refused(tmp_path: Path, config: Path) -> None:
    natural = {"pictures.perceptual": "efficientnet", "adversarial.critic": "projected"}
    weights = ("attribute.weight", "adversarial.weight", "pictures.identity_weight")
    nothing = dict.fromkeys(weights, 0) | {"pictures.perceptual": "none"}
    for changes, message in (
        ({"ablation": "g"}, "'g'"),
        ({"pictures.identity_encoder": None}, "--without identity"),
        ({"ablation": "f", "without": "identity"}, "ablation f"),
        ({"ablation": "a", "attribute.weight": 0}, "ablation a"),
        ({"ablation": "e", "same_image_probability": 0}, "ablation e"),
        ({"damage": "thesis"}, "damage must be none"),
        ({"same_image_probability": 2}, "probability"),
        ({"exemplars": "reversed", "batch_size": 1}, "batch_size must be above 1"),
        ({"l1_weight": 1, "same_image_probability": 0}, "l1_weight"),
        ({"exemplar_layers": []}, "exemplar_layers is empty"),
        ({"exemplar_layers": [1, 2]}, "share the codes 2 to 5"),
        ({"spatial.weights": {"kernel_size": 64}}, "too small for a kernel of 64"),
        ({"multi_style_generator": EXEMPLAR["multi_style_generator"] | {"style_dim": 16}}, "codes of 8"),
        (
            {"multi_style_generator": EXEMPLAR["multi_style_generator"] | {"use_sketch": True}},
            "--sketches.read true",
        ),
        ({"data": "shards-{0..3}.tar"}, "--exemplars reversed"),
        ({"masks": {"kind": "round"}}, "round"),
        (natural | {"critic_augment.kind": "ada"}, "projected critics does not have: say none"),
        (nothing, "no loss"),
    ):
        with pytest.raises(ValueError, match=message):
            train(config, tmp_path / "run", **changes)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, PUBLISHED], ids=["thesis", "published"])
def test_two_processes_equal_one(tmp_path: Path, pictures: Path, guides: Path, options: dict) -> None:
    """What belongs to a process's own batch (its other end, shared masks, rescaling, half of it) is left out."""
    frozen = dict.fromkeys(("style_encoder", "pictures.identity_encoder"), str(guides))
    options = options | {"exemplars": "sampled", "shared_mask": False, "pictures.reduction": "mean"}
    options |= {"spatial.weights": EXEMPLAR["spatial.weights"], "path.batch_shrink": 1}
    options |= {"max_steps": 2, "learning_rate": 1e-5, "same_image_probability": 1, "sketches.read": True}
    config = write_config(tmp_path, pictures, **(EXEMPLAR | frozen | options))
    for processes, batch in ((1, 4), (2, 2)):
        result = tmp_path / f"exemplar-{processes}"
        output = ["--output_dir", str(tmp_path / f"run{processes}"), "--batch_size", str(batch)]
        launch(processes, result, ["--config", str(config), *output])
        ExemplarInpaintPipeline.from_pretrained(tmp_path / f"run{processes}" / "pipeline")
    alone = load_file(tmp_path / "exemplar-1.0.safetensors")
    ranks = [load_file(tmp_path / f"exemplar-2.{rank}.safetensors") for rank in (0, 1)]
    assert_trained_as_one(alone, ranks, gradients=20)


def prior_pair(size: int = 16) -> tuple[StyleGAN2Generator, MultiStyleGenerator]:
    shape = {"style_dim": 8, "channel_base": 256, "max_channels": 12, "num_mapping_layers": 2}
    torch.manual_seed(0)
    prior = StyleGAN2Generator(sample_size=32, **shape).eval()
    prior.latent_avg.normal_()
    for name, value in prior.named_parameters():
        if name.endswith(("bias", "strength")):
            torch.nn.init.normal_(value, std=0.3)
    options = {"sample_size": size, "global_dim": 6, "first_exemplar_style": 2, "dropout": 0.0}
    return prior, MultiStyleGenerator(**options, **shape).eval()


@torch.no_grad()
def test_decoder_begins_as_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the encoder's maps it draws what the prior does, in the sum of RGB up to its own size."""
    prior, generator = prior_pair()
    codes = torch.randn(2, generator.num_styles, 8)
    codes[:, :2] = prior.latent_avg[:2]  # codes that no exemplar gives stand at the mean and hardly move it
    start_from_prior(generator, prior)
    for name, value in generator.state_dict().items():
        if name.startswith(("encoder", "bottleneck", "from_global.weight")):
            value.zero_()
    for layer in (generator.conv, *(part for level in generator.levels for part in (level.up, level.conv))):
        affine = layer.conv.modulation.affine
        assert not affine.weight[:, 8:].any()
    for index, level in enumerate(
        [generator, *generator.levels]
    ):  # the codes 0 and 1 are at the mean already
        for layer, code in (
            (getattr(level, "up", None) or level.conv, max(2 * index - 1, 0)),
            (level.to_rgb, 2 * index + 1),
        ):
            if code < 2:
                modulation = layer.modulation if layer is level.to_rgb else layer.conv.modulation
                modulation.affine.weight.zero_()
    faces = torch.randn(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
    maps = [torch.randn(1, 1, side, side) for side in generator.noise_sizes]
    small = StyleGAN2Generator.from_config({**prior.config, "sample_size": 16}).eval()
    small.load_state_dict(
        {name: prior.state_dict()[name] for name in small.state_dict() if name != "latent_avg"}, strict=False
    )
    expected = small(w_plus=codes, noise=maps).image
    torch.testing.assert_close(
        generator(*faces, w_plus=codes, noise=maps).image, expected, rtol=1e-3, atol=1e-4
    )


def test_codes_of_the_exemplar_reach_the_picture_at_once() -> None:
    prior, generator = prior_pair()
    start_from_prior(generator, prior)
    faces = torch.randn(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    codes = torch.randn(3, generator.num_styles, 8)
    codes[1, :2], codes[2, 2:] = codes[0, :2], codes[0, 2:]
    with torch.no_grad():
        first, exemplar, random = (
            generator(*faces, w_plus=row[None].roll(0), noise="none").image
            for row in (codes[0], codes[2], codes[1])
        )
    assert (random - first).abs().mean() > 3 * (exemplar - first).abs().mean() > 0


def test_prior_of_another_measure_is_refused() -> None:
    prior, generator = prior_pair(64)
    with pytest.raises(ValueError, match="too small"):
        start_from_prior(generator, prior)
    other = MultiStyleGenerator.from_config({**generator.config, "sample_size": 16, "style_dim": 4})
    with pytest.raises(ValueError, match="style_dim"):
        start_from_prior(other, prior)


def test_jitter_changes_the_exemplar_alone(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path / "run", exemplar_jitter=0.3)
    batch = next(iter(trainer.batches(0)))
    relit = trainer.prepare(batch, True)
    assert relit["image"] is batch["image"] and (relit["exemplar"] - batch["image"]).abs().mean() > 0.02
    assert relit["exemplar"].abs().max() <= 1
    torch.testing.assert_close(trainer.prepare(batch, True)["exemplar"], relit["exemplar"])
    assert trainer.prepare(batch, False)["exemplar"] is batch["exemplar"]
    with pytest.raises(ValueError, match="exemplar_jitter"):
        trainer_of(config, tmp_path / "bad", exemplar_jitter=1.5)


def test_some_steps_take_fewer_codes(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path / "run", fewer_layers=1)
    batch, seen = next(iter(trainer.batches(0))), set()
    for step in range(40):
        trainer.run.step = step
        layers = trainer.prepare(batch, False)["layers"]
        assert layers == trainer.layers[len(trainer.layers) - len(layers) :]
        seen.add(len(layers))
    assert {0, len(trainer.layers)} < seen
    always = trainer_of(config, tmp_path / "all")
    assert always.prepare(batch, False)["layers"] == always.layers
    train(config, tmp_path / "trained", fewer_layers=1, max_steps=4)
