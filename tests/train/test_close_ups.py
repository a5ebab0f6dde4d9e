"""Eyes and mouth of aligned faces under a magnifier of their own."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facekit.faces.align import ffhq_quad
from facekit.losses.imagenet import (
    ImageNetDistance,
    multi_hinge_discriminator_loss,
    multi_hinge_generator_loss,
)
from tests.train import tiny_stages
from tests.train.tiny_stages import curve, tiny_guides, write_config
from train.engine.close_ups import EYES, MOUTH, cut_close_ups
from train.engine.config import read_config
from train.engine.options import Adversarial, FacePictures
from train.engine.picture_losses import PictureLosses
from train.restorer.config import RestorerConfig
from train.restorer.trainer import RestorerTrainer

CPU = torch.device("cpu")
CLOSE_UPS: dict[str, Any] = {
    "pictures.perceptual": "efficientnet",
    "pictures.identity_weight": 0,
    "pictures.close_up_weight": 0.5,
    "adversarial.critic": "projected",
    "adversarial.weight": 0.1,
}


@pytest.mark.parametrize("mouth_below", [1.0, 1.15, 1.3])
def test_windows_hold_eyes_and_mouth_of_an_aligned_face(mouth_below: float) -> None:
    """`mouth_below`: from eyes to mouth, in distances from eye to eye."""
    points = np.array([[-0.5, 0], [0.5, 0], [0, 0.6], [-0.35, mouth_below], [0.35, mouth_below]]) * 100
    corners = ffhq_quad(points)
    places = (points - corners[0]) / (corners[2] - corners[0])
    for window, inside in ((EYES, places[:2]), (MOUTH, places[3:])):
        low = np.array([window.left, window.top])
        high = low + np.array([window.width, window.width / 2])
        assert (inside > low + 0.02).all() and (inside < high - 0.02).all(), window


def test_eyes_come_first_and_are_enlarged() -> None:
    side = 256
    down, right = torch.meshgrid(*[torch.linspace(0, 1, side)] * 2, indexing="ij")
    parts = cut_close_ups(torch.stack([right, down, down])[None].repeat(3, 1, 1, 1))
    assert parts.shape == (6, 3, side // 2, side)
    for part, window in ((parts[0], EYES), (parts[5], MOUTH)):
        wanted = torch.tensor([window.left, window.left + window.width])
        torch.testing.assert_close(torch.stack(part[0].aminmax()), wanted, atol=0.01, rtol=0)
        wanted = torch.tensor([window.top, window.top + window.width / 2])
        torch.testing.assert_close(torch.stack(part[1].aminmax()), wanted, atol=0.01, rtol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_are_those_of_the_parts_by_their_weight(reduction: str) -> None:
    options = FacePictures(
        perceptual="efficientnet", perceptual_weight=2.0, close_up_weight=0.25, reduction=reduction
    )
    judge = Adversarial(critic="projected", weight=0.5)
    losses = PictureLosses(options, None, CPU, print, judge)
    assert losses.feature_critic is not None
    losses.feature_critic.eval()  # in training each pass refreshes its spectral norms
    whole, close = losses.feature_critic.children()
    image, target = torch.rand(2, 3, 3, 64, 64).mul(2).sub(1)
    image.requires_grad_()
    total, terms = losses(image, target)
    measure, pictures = ImageNetDistance(), 3 if reduction == "sum" else 1
    parts = cut_close_ups(image)
    torch.testing.assert_close(terms["imagenet"], measure(image, target).mean() * pictures)
    torch.testing.assert_close(
        terms["imagenet_close"], measure(parts, cut_close_ups(target)).mean() * pictures
    )
    for name, critic, shown in (("adversarial", whole, image), ("adversarial_close", close, parts)):
        torch.testing.assert_close(terms[name], multi_hinge_generator_loss(critic(measure.features(shown))))
    wanted = 2 * (terms["imagenet"] + 0.25 * terms["imagenet_close"])
    wanted = wanted + 0.5 * (terms["adversarial"] + 0.25 * terms["adversarial_close"])
    torch.testing.assert_close(total, wanted)
    (gradient,) = torch.autograd.grad(terms["imagenet_close"], image)
    reached = gradient.abs().sum((0, 1)) > 0
    seen = torch.zeros(64, 64, dtype=torch.bool)
    seen[23:37, 18:46] = seen[42:52, 22:42] = True
    assert not reached[~seen].any() and reached[seen].float().mean() > 0.9, "nothing but eyes and mouth"
    learned = dict(losses.take_critic_losses())
    for view, critic, real, fake in (
        ("", whole, target, image),
        ("_close", close, cut_close_ups(target), parts),
    ):
        scores = [critic(measure.features(pictures)) for pictures in (real, fake)]
        torch.testing.assert_close(learned[view], multi_hinge_discriminator_loss(*scores))


def test_pictures_without_a_truth_are_judged_in_close_up_too() -> None:
    judge = Adversarial(critic="projected", weight=1.0)
    losses = PictureLosses(FacePictures(perceptual="none", close_up_weight=1.0), None, CPU, print, judge)
    assert losses.feature_critic is not None
    losses.feature_critic.eval()
    image, target, others = torch.rand(3, 2, 3, 64, 64).mul(2).sub(1)
    others.requires_grad_()
    _, terms = losses.judge(image, target, others=others)
    close, features = list(losses.feature_critic.children())[1], ImageNetDistance().features
    parts = torch.cat([cut_close_ups(image), cut_close_ups(others)])
    torch.testing.assert_close(terms["adversarial_close"], multi_hinge_generator_loss(close(features(parts))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"pictures.perceptual": "lpips", "adversarial.critic": "stylegan2"},
            "say --pictures.close_up_weight 0",
        ),
        ({"without": "perceptual", "adversarial.weight": 0}, "say --pictures.close_up_weight 0"),
        ({"pictures.close_up_weight": -1}, "must not be negative"),
    ],
)
def test_a_weight_that_counts_nowhere_is_refused_with_the_options(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    config = write_config(tmp_path, tmp_path, **(CLOSE_UPS | {"prompts": False} | options))
    with pytest.raises(ValueError, match=message):
        read_config(RestorerConfig, ["--config", str(config), "--output_dir", str(tmp_path / "run")])


def test_a_restorer_learns_under_both_and_goes_on_where_it_stopped(tmp_path: Path, pictures: Path) -> None:
    guides = str(tiny_guides(tmp_path / "guides"))
    options = dict.fromkeys(("prior", "style_encoder", "code_diffuser"), guides)
    options |= {"restorer": {"global_dim": 16}, "learning_rate": 0.002}
    config = write_config(tmp_path, pictures, **(CLOSE_UPS | options))
    train = partial(tiny_stages.run, RestorerTrainer, RestorerConfig, config)
    whole = train(tmp_path / "whole", max_steps=3)
    train(tmp_path / "parts", max_steps=2)
    parts = train(tmp_path / "parts", max_steps=3)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=1e-7)
    for name in ("imagenet", "imagenet_close", "adversarial", "adversarial_close"):
        assert len(curve(tmp_path / "whole", f"restorer_{name}")) == 3
    for name in ("loss_feature_critic", "loss_feature_critic_close"):
        assert len(set(curve(tmp_path / "whole", name))) == 3
    train(tmp_path / "parts", max_steps=3, **{"pictures.close_up_weight": 0.2})
    with pytest.raises(ValueError, match=r"with pictures\.close_up_weight 0\.5, not 0"):
        train(tmp_path / "parts", max_steps=4, **{"pictures.close_up_weight": 0})
