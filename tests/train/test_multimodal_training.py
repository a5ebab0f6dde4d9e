"""FACEMUG training on tiny networks: it learns, resumes exactly, and every switch does what its name says."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from facekit.conditions.semantics import CLASS_NAMES
from facekit.losses.strokes import pencil_strength
from facekit.models.latent_warper import LatentWarper
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.pipelines.edit.pipeline import FaceEditPipeline
from facekit.pipelines.sample import CODES_FILE
from tests.train import tiny_stages
from tests.train.test_two_processes import assert_trained_as_one, launch
from tests.train.tiny_faces import MULTIMODAL, label_maps, tiny_edit_guides
from tests.train.tiny_stages import ENCODER, curve, same, write_config
from train.multimodal.config import MultimodalConfig
from train.multimodal.regions import recolor
from train.multimodal.trainer import MultimodalTrainer

OLD_REFINER = '"train.multimodal.ablation",\n    "AblatedRefiner"'
# Without any loss.
NOTHING = {
    "adversarial.weight": 0,
    "attribute.weight": 0,
    "pictures.perceptual": "none",
    "pictures.identity_weight": 0,
}
train = partial(tiny_stages.run, MultimodalTrainer, MultimodalConfig)


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_edit_guides(tmp_path_factory.mktemp("guides"))


@pytest.fixture(scope="module")
def maps(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_maps(pictures, tmp_path_factory.mktemp("maps"))


@pytest.fixture
def config(tmp_path: Path, pictures: Path, guides: Path, maps: Path) -> Path:
    frozen = dict.fromkeys(("style_encoder", "prior", "pictures.identity_encoder"), str(guides))
    options = frozen | {"guidance.semantics_folder": str(maps), "validation.semantics": str(maps)}
    return write_config(tmp_path, pictures, **MULTIMODAL, **options)


def trainer_of(config: Path, output: Path, **options: Any) -> MultimodalTrainer:
    """A trainer that stands in its first step."""
    trainer = tiny_stages.make_trainer(MultimodalTrainer, MultimodalConfig, config, output, **options)
    trainer.run.step = 1
    return trainer


def prepared(trainer: MultimodalTrainer, same: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch as it is read and as the networks get it."""
    raw = trainer.to_device(next(trainer.batches()))
    return raw, trainer.prepare(raw, same)


def test_learns_and_writes_networks(tmp_path: Path, config: Path, pictures: Path) -> None:
    output = tmp_path / "run"
    options = {"shots": 2, "flip": False, "same_image_probability": 1, "guide_size": 32}
    weights = {"l1_weight": 10, "learning_rate": 0.01, "average.decay": 0.5, "projected_probability": 0.5}
    scoring = {"validation.data": str(pictures), "validation.split": "train", "validation.images": 3}
    train(
        config,
        output,
        max_steps=12,
        **options,
        **weights,
        **scoring,
        **{"validation.every": 12},
        sample_every=12,
    )
    error = curve(output, "generator_l1")
    assert np.mean(error[-3:]) < 0.75 * np.mean(error[:2])
    for name in ("psnr", "psnr_guided", "psnr_alone"):
        assert len(curve(output, f"validation_{name}")) == 1
    folder = output / "pipeline"
    aggregation = MultimodalAggregation.from_pretrained(folder / "aggregation")
    refiner = RefinementAutoEncoder.from_pretrained(folder / "refiner")
    assert aggregation.config.channels == refiner.config.in_channels == 4
    assert refiner.config.sample_size == 16
    assert {path.name for path in folder.iterdir()} == {
        "aggregation",
        "refiner",
        "style_encoder",
        "prior",
        "discriminator",
        "training.json",
    }
    assert same(tiny_stages.weights(output / "best"), tiny_stages.weights(folder))
    assert (output / "samples" / "train-000000012.png").is_file()


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, config: Path) -> None:
    options = {
        "critic_augment.kind": "ada",
        "critic_augment.probability": 0.5,
        "critic_augment.length": 50,
        "projected_probability": 0.5,
    }
    whole = train(config, tmp_path / "whole", max_steps=3, **options)
    other = train(config, tmp_path / "other", max_steps=3, seed=1, **options)
    assert not same(whole, other), "the comparison below would hold for any two runs"
    train(config, tmp_path / "parts", max_steps=2, **options)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3, **options))
    for name in ("loss_generator", "loss_discriminator", "r1", "augment_probability"):
        assert curve(tmp_path / "parts", name) == curve(tmp_path / "whole", name)


def test_what_the_networks_are_given(tmp_path: Path, config: Path) -> None:
    """Algorithm 5, lines 5 to 28."""
    trainer = trainer_of(config, tmp_path, batch_size=4, guide_size=32)
    raw, own = prepared(trainer, True)
    assert own["image"].shape == (4, 3, 16, 16) and own["semantics"].shape == (4, 19, 16, 16)
    torch.testing.assert_close(own["image"], torch.nn.functional.avg_pool2d(raw["image"], 2))
    keep = trainer.make_holes(raw)["keep"]
    assert torch.equal(keep[:, :1], 1 - raw["mask"]) and keep[:, 1:].any()
    assert not (keep[:, 1:] * (1 - raw["mask"])).any()
    codes = trainer.encode(raw["image"])
    torch.testing.assert_close(own["codes"], codes)
    other_raw, other = prepared(trainer, False)
    assert not any(other[name].any() for name in ("sketch", "semantics", "color"))
    assert torch.equal(other["exemplar"], other_raw["exemplar"])
    assert not torch.equal(other_raw["exemplar"], other_raw["image"])
    masked = torch.cat([other_raw["image"] * (1 - other_raw["mask"]), torch.zeros(4, 23, 32, 32)], 1)
    projected = trainer.encoder(masked)
    expected = trainer.prior(
        w_plus=projected,
        feature_layer="conv",
        noise=[torch.zeros(1, 1, 4 * 2 ** ((i + 1) // 2), 4 * 2 ** ((i + 1) // 2)) for i in range(5)],
    )
    for found, wanted in zip(other["bank"], expected.features, strict=True):
        torch.testing.assert_close(found, wanted)  # the noise of a new prior has no strength


def test_codes_between_the_exemplar_and_random_ones(tmp_path: Path, config: Path) -> None:
    """Eq. 6.20: w = alpha w^e + (1 - alpha) w^z, and w^z changes from one z to another at one code."""
    trainer = trainer_of(config, tmp_path, batch_size=4)
    own, positions = torch.full((4, 6, 8), 3.0), torch.arange(4)
    codes = trainer.diversify(own, positions)
    zero = trainer.diversify(torch.zeros_like(own), positions)
    alphas = ((codes - zero) / 3.0)[:, 0, 0]
    assert ((alphas > 0) & (alphas < 1)).all() and len(set(alphas.tolist())) == 4
    z = trainer.draw_normal(trainer.seed_generators(positions, 6), 2, 8)
    first, second = trainer.prior.mapping(z[:, 0]), trainer.prior.mapping(z[:, 1])
    crossover = int(trainer.seed_step_rng(11).integers(1, 6))
    for i in range(4):
        for k in range(6):
            mixed = first[i] if k < crossover else second[i]
            expected = alphas[i] * 3.0 + (1 - alphas[i]) * mixed
            torch.testing.assert_close(codes[i, k], expected, rtol=1e-4, atol=1e-5)


def test_codes_of_known_faces_instead_of_random_ones(tmp_path: Path, config: Path, guides: Path) -> None:
    with pytest.raises(ValueError, match="random_codes mapping"):
        trainer_of(config, tmp_path / "none", random_codes="faces")
    folder = tmp_path / "known"
    (folder / "prior").mkdir(parents=True)
    for path in (guides / "prior").iterdir():
        (folder / "prior" / path.name).write_bytes(path.read_bytes())
    save_file(
        {"w_plus": torch.arange(3.0)[:, None, None].expand(3, 6, 8).contiguous()},
        folder / "prior" / CODES_FILE,
    )
    trainer = trainer_of(config, tmp_path / "run", random_codes="faces", prior=folder, batch_size=4)
    assert trainer.diversify(torch.zeros(4, 6, 8), torch.arange(4)).abs().max() <= 2


def test_losses_as_by_formula(tmp_path: Path, config: Path) -> None:
    weights = {
        "l1_weight": 5,
        "attribute.weight": 0.3,
        "adversarial.weight": 0.2,
        "pictures.perceptual": "none",
    }
    trainer = trainer_of(config, tmp_path, **{"pictures.identity_weight": 0}, **weights)
    _, batch = prepared(trainer, True)
    torch.manual_seed(0)
    image = torch.where(batch["mask"] > 0, torch.rand_like(batch["image"]), batch["image"])
    loss, terms = trainer.generator_loss(batch, image, True)
    seen = torch.cat([image, torch.zeros(2, 23, 16, 16)], 1)
    difference = trainer.encoder(seen) - batch["codes"]
    attribute = sum(sum(x**2 for x in own.flatten().tolist()) ** 0.5 for own in difference) / 2  # Eq. 6.21
    hole = batch["mask"].expand_as(image) > 0
    l1 = np.mean([float((image - batch["image"])[i][hole[i]].abs().mean()) for i in range(2)])
    scores = trainer.critic.network(image)
    adversarial = torch.log1p(torch.exp(-scores)).mean().item()
    expected = {"attribute": attribute, "l1": l1, "adversarial": adversarial}
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name
    assert loss.item() == pytest.approx(0.3 * attribute + 5 * l1 + 0.2 * adversarial, rel=1e-4)
    without = trainer.generator_loss(batch, image, False)[1]
    assert without.keys() == {"attribute", "adversarial"}, "another face says nothing about pixels"


def test_strokes_count_where_some_are_drawn(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path, strokes_weight=2, **NOTHING)
    _, batch = prepared(trainer, True)
    batch["sketch"] = torch.zeros_like(batch["sketch"])
    batch["sketch"][0, 0, 5, 5] = 1
    image = torch.where(batch["mask"] > 0, -batch["image"], batch["image"]).requires_grad_(True)
    loss, terms = trainer.generator_loss(batch, image, True)
    found, wanted = pencil_strength(image)[0, 0], pencil_strength(batch["image"])[0, 0]
    expected = (found - wanted).abs()[batch["mask"][0, 0] > 0].mean()
    torch.testing.assert_close(terms["strokes"], expected)
    torch.testing.assert_close(loss, 2 * expected)
    loss.backward()
    assert image.grad[0].any() and not image.grad[1].any()
    assert "strokes" not in trainer.generator_loss(batch, image, False)[1], "another face has other strokes"
    batch["sketch"].zero_()
    assert trainer.generator_loss(batch, image, True)[1]["strokes"] == 0


def test_projected_codes_for_a_share(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path, projected_probability=1)
    raw, batch = prepared(trainer, True)
    view = trainer.reduce(trainer.make_holes(raw))["view"]
    torch.testing.assert_close(batch["codes"], trainer.encoder(view))


def test_every_ablation_differs_and_ends_with_a_pipeline_that_runs(
    tmp_path: Path, config: Path, pictures: Path, guides: Path
) -> None:
    """Table 6.6: no two of them train the same networks, and the written ones load, edit and say what they are."""
    LatentWarper(num_styles=6, style_dim=8, num_blocks=1).save_pretrained(tmp_path / "latent_warper")
    options = {
        "latent_warper": str(tmp_path),
        "max_steps": 1,
        "same_image_probability": 0,
        "average.decay": 0,
        "adversarial.r1_every": 0,
        "pictures.perceptual": "none",
    }
    written = {}
    for name in ("none", *"bcde"):
        written[name] = train(config, tmp_path / name, ablation=name, **options)
        assert all(torch.isfinite(value).all() for value in written[name].values())
        others = [other for other in written if other != name]
        assert not any(same(written[name], written[other]) for other in others), name
        pipe = FaceEditPipeline.from_pretrained(tmp_path / name / "pipeline")
        pipe.set_progress_bar_config(disable=True)
        assert pipe.refiner.config.fusion == {"b": "add", "c": "gated", "e": "no_bank"}.get(name, "style")
        given = {"aligned": True, "generator": torch.Generator().manual_seed(0), "output_type": "np"}
        with Image.open(pictures / "00.png") as photo:
            edited = pipe(photo.convert("RGB"), np.ones((64, 64), np.uint8), **given).images[0]
        assert edited.std() > 0
    assert same(written["none"], train(config, tmp_path / "a", ablation="a", **options))
    fusion = {name: [key for key in written[name] if ".fusion." in key] for name in written}
    assert not fusion["b"] and not any("prior_gate" in key for key in fusion["e"])
    shape = MULTIMODAL["refiner"] | {"skips": True}
    with pytest.raises(ValueError, match="'gated', an ablation: say bank_start: false"):
        train(config, tmp_path / "bank", ablation="c", bank_start=True, refiner=shape, **options)
    assert len(fusion["none"]) == len(fusion["d"]) > len(fusion["e"]) > 0


def test_older_runs_of_ablations_are_written_anew(tmp_path: Path, config: Path) -> None:
    """Their refiner was a class of the training package, which no pipeline loads; the same command mends the folder."""
    LatentWarper(num_styles=6, style_dim=8, num_blocks=1).save_pretrained(tmp_path / "latent_warper")
    options = {"max_steps": 1, "ablation": "b", "latent_warper": str(tmp_path)}
    written, folder = train(config, tmp_path / "run", **options), tmp_path / "run" / "pipeline"
    index, own = folder / "model_index.json", folder / "refiner" / "config.json"
    index.write_text(index.read_text().replace('"facekit",\n    "RefinementAutoEncoder"', OLD_REFINER))
    own.write_text(own.read_text().replace("RefinementAutoEncoder", "AblatedRefiner"))
    with pytest.raises(ValueError, match=r"train\.multimodal\.ablation is not one of the libraries"):
        FaceEditPipeline.from_pretrained(folder)
    assert RefinementAutoEncoder.from_pretrained(folder / "refiner").config.fusion == "add"
    assert same(train(config, tmp_path / "run", **options), written)
    assert FaceEditPipeline.from_pretrained(folder).refiner.config.fusion == "add"


def test_the_bank_of_the_style_codes(tmp_path: Path, config: Path) -> None:
    banks = []
    for choice in ("projected", "style"):
        trainer = trainer_of(config, tmp_path / choice, bank_codes=choice)
        _, batch = prepared(trainer, True)
        banks.append(batch["bank"])
    wanted = trainer.read_bank(batch["codes"], batch["position"])
    for found, expected in zip(banks[1], wanted, strict=True):
        torch.testing.assert_close(found, expected)
    assert not torch.allclose(banks[0][0], banks[1][0])


def test_goes_on_at_a_larger_size(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture) -> None:
    shape = MULTIMODAL["refiner"] | {"skips": True}
    options = {"pictures.perceptual": "none", "adversarial.r1_every": 0, "guide_size": 16}
    train(config, tmp_path / "small", max_steps=1, refiner=shape | {"sample_size": 8}, **options)
    options |= {"init_from": str(tmp_path / "small" / "pipeline"), "max_steps": 1}
    train(config, tmp_path / "large", refiner=shape | {"sample_size": 16}, **options)
    assert "grown from 8 to 16" in capsys.readouterr().out
    refiner = RefinementAutoEncoder.from_pretrained(tmp_path / "large" / "pipeline" / "refiner")
    assert refiner.config.sample_size == 16
    with pytest.raises(ValueError, match="global_dim"):
        train(config, tmp_path / "run", refiner=shape | {"global_dim": 16}, **options)


def test_settings_that_contradict_are_refused(tmp_path: Path, config: Path, guides: Path) -> None:
    codes = tmp_path / "codes"
    StyleEncoder(num_styles=6, style_dim=4, in_channels=26, **ENCODER).save_pretrained(
        codes / "style_encoder"
    )
    for changes, message in (
        ({"ablation": "f"}, "'f'"),
        ({"ablation": "d", "attribute.weight": 0}, "ablation d"),
        ({"damage": "thesis"}, "damage must be none"),
        ({"same_image_probability": 2}, "probability"),
        ({"l1_weight": 1, "same_image_probability": 0}, "l1_weight"),
        ({"strokes_weight": 1, "same_image_probability": 0}, "strokes_weight"),
        (NOTHING, "no loss is left"),
        ({"style_encoder": str(guides / "teacher")}, "reads 3 channels"),
        ({"style_encoder": str(codes)}, "6 codes of 4 numbers"),
        ({"refiner": {"max_channels": 8}}, "must agree"),
        ({"refiner": {"sample_size": 32}}, "a prior as large"),
        ({"guide_size": 24}, "no multiple"),
    ):
        with pytest.raises(ValueError, match=message):
            train(config, tmp_path / "run", **changes)


def test_ends_with_a_whole_pipeline_where_a_warper_is_named(
    tmp_path: Path, config: Path, guides: Path
) -> None:
    codes = StyleEncoder.from_pretrained(guides / "style_encoder").config
    shape = {"num_styles": codes.num_styles, "style_dim": codes.style_dim}
    LatentWarper(**shape, num_blocks=1).save_pretrained(tmp_path / "parts" / "latent_warper")
    StyleDirections(names=["smile"], **shape).save_pretrained(tmp_path / "parts" / "directions")
    parts = dict.fromkeys(("latent_warper", "directions"), str(tmp_path / "parts"))
    output = train(config, tmp_path / "run", max_steps=1, **parts)
    pipe = FaceEditPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert tuple(pipe.attribute_names) == ("smile",)
    written = pipe.refiner.state_dict()
    assert all(
        torch.equal(written[name.removeprefix("refiner.")], value)
        for name, value in output.items()
        if name.startswith("refiner.")
    )
    with pytest.raises(ValueError, match="latent_warper"):
        train(config, tmp_path / "bad", directions=parts["directions"])


@pytest.mark.slow
@pytest.mark.parametrize("same_image", [0, 1])
def test_two_processes_equal_one(tmp_path: Path, config: Path, same_image: int) -> None:
    steps = ["--max_steps", "2", "--learning_rate", "1e-5", "--same_image_probability", str(same_image)]
    for processes, batch in ((1, 4), (2, 2)):
        output = ["--output_dir", str(tmp_path / f"run{processes}"), "--batch_size", str(batch)]
        result = tmp_path / f"multimodal-{processes}"
        launch(processes, result, ["--config", str(config), *steps, *output])
        MultimodalAggregation.from_pretrained(tmp_path / f"run{processes}" / "pipeline" / "aggregation")
    alone = load_file(tmp_path / "multimodal-1.0.safetensors")
    ranks = [load_file(tmp_path / f"multimodal-2.{rank}.safetensors") for rank in (0, 1)]
    assert_trained_as_one(alone, ranks, gradients=20)


REGION_SHARES = {"guidance.region_probability": 1.0, "guidance.recolor_probability": 1.0}


def test_a_hole_is_a_region_of_the_map_and_a_little_more(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(
        config, tmp_path, batch_size=4, guide_size=32, **REGION_SHARES | {"guidance.recolor_probability": 0}
    )
    raw = trainer.to_device(next(trainer.batches()))
    labels = torch.zeros(4, 32, 32, dtype=torch.uint8)
    labels[:, 4:12, 4:28] = CLASS_NAMES.index("hair")
    batch = trainer.make_holes(raw | {"labels": labels})
    hair = labels.eq(CLASS_NAMES.index("hair"))[:, None]
    assert (batch["mask"] * hair).sum() == hair.sum(), "the only region that there is, whichever was drawn"
    widest = torch.nn.functional.max_pool2d(hair.float(), 5, 1, 2)  # 16 pixels of 256 are 2 of 32
    assert not (batch["mask"] * (1 - widest)).any() and (batch["mask"] * ~hair).any()
    assert torch.equal(batch["keep"][:, :1], 1 - batch["mask"])
    for name in ("image", "color", "shown"):
        assert torch.equal(batch[name], raw[name])
    without = trainer.make_holes(raw | {"labels": torch.zeros_like(labels)})
    assert torch.equal(without["mask"], raw["mask"]), "where there is no region the hole stays"


def test_a_region_gets_a_colour_that_is_given_too(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path, batch_size=4, guide_size=32, **REGION_SHARES)
    raw = trainer.to_device(next(trainer.batches()))
    labels = torch.zeros(4, 32, 32, dtype=torch.uint8)
    labels[:, 4:20, 4:28] = CLASS_NAMES.index("hair")
    hair = labels[0].eq(CLASS_NAMES.index("hair"))
    batch = trainer.make_holes(raw | {"labels": labels})
    for i in range(4):
        inner = torch.nn.functional.avg_pool2d(hair.float()[None], 5, 1, 2)[0] > 0
        assert torch.equal(batch["image"][i][:, ~inner], raw["image"][i][:, ~inner]), "what is no hair"
        mean = batch["image"][i][:, hair].mean(1)
        torch.testing.assert_close(batch["color"][i][:, hair], mean[:, None].expand(-1, int(hair.sum())))
        assert (mean - raw["image"][i][:, hair].mean(1)).abs().max() > 0.02
        assert batch["keep"][i, 3][batch["mask"][i, 0] > 0].all(), "the new colour is always shown"
    again = trainer.make_holes(raw | {"labels": labels})
    assert torch.equal(batch["image"], again["image"])


def test_light_and_shade_stay_in_a_new_colour() -> None:
    """A gray ramp keeps its order in every channel, and its mean becomes the colour that is said."""
    image = torch.linspace(-0.4, 0.4, 64).expand(3, 64, 64).clone()
    region = torch.zeros(64, 64, dtype=torch.bool)
    region[8:56, 8:56] = True
    changed, mean = recolor(image, region, 0.3, 0.1, np.random.default_rng(3))
    row = changed[:, 32, 10:54]
    assert (row.diff(dim=1) > 0).all()
    torch.testing.assert_close(changed[:, region].mean(1), mean)
    assert (mean.max() - mean.min()) > 0.02, "gray has become a colour"
    assert torch.equal(changed[:, :5], image[:, :5]) and changed.abs().max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"guidance.region_probability": 0.3, "guidance.semantics": "none"},
            "region_probability needs label maps",
        ),
        ({"guidance.recolor_probability": 0.3}, "region_probability, which is 0"),
        ({"guidance.region_probability": 1.5}, "region_probability"),
    ],
)
def test_region_shares_are_refused_where_they_cannot_work(
    tmp_path: Path, config: Path, options, message
) -> None:
    with pytest.raises(ValueError, match=message):
        trainer_of(config, tmp_path, **options)
