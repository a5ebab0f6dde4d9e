"""Losses of the trainers, against values worked out by hand."""

import math

import pytest
import torch

from facekit.losses.codes import CodePool, LatentDiscriminator, delta_loss
from facekit.losses.identity import IdentityLoss
from facekit.losses.logistic import logistic_discriminator_loss, logistic_generator_loss, r1_penalty
from facekit.losses.path_length import path_length_penalty, path_lengths
from facekit.losses.perceptual import ParserLoss
from facekit.models.face_parser import FaceParser
from facekit.models.identity_encoder import IdentityEncoder


def test_logistic_losses() -> None:
    real, fake = torch.tensor([[0.0], [2.0]]), torch.tensor([[-1.0], [0.0]])
    softplus = lambda x: math.log1p(math.exp(x))  # noqa: E731
    wanted = (softplus(0) + softplus(-2)) / 2 + (softplus(-1) + softplus(0)) / 2
    assert logistic_discriminator_loss(real, fake).item() == pytest.approx(wanted)
    assert logistic_generator_loss(fake).item() == pytest.approx((softplus(1) + softplus(0)) / 2)


def test_r1_is_the_squared_slope() -> None:
    slope = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    real = torch.zeros(4, 3, requires_grad=True)
    penalty = r1_penalty(real @ slope, real)
    assert penalty.item() == pytest.approx(5.25)
    penalty.backward()
    assert torch.allclose(slope.grad, 2 * slope)


def test_path_length_of_a_linear_generator() -> None:
    # Every pixel of channel c is the sum over the layers of w[c]: J^T y has, in each layer, sum_pixels y_c.
    w_plus = torch.zeros(2, 5, 3, requires_grad=True)
    image = w_plus.sum(1)[:, :, None, None].expand(-1, -1, 4, 4)
    direction = torch.ones(2, 3, 4, 4)
    lengths = path_lengths(image, w_plus, direction)
    # 16 pixels / sqrt(16) = 4 for each of three channels
    assert torch.allclose(lengths, torch.full((2,), math.sqrt(3 * 16.0)))
    assert path_length_penalty(torch.tensor([1.0, 3.0]), 2.0).item() == 1.0


def test_delta_loss_by_hand() -> None:
    codes = torch.zeros(2, 3, 2)
    codes[:, 1] = torch.tensor([3.0, 4.0])
    codes[0, 2] = torch.tensor([0.0, 1.0])
    assert delta_loss(codes).item() == pytest.approx(5.0 + 0.5)
    assert delta_loss(codes, 1).item() == pytest.approx(5.0)
    assert delta_loss(codes, 0).item() == 0.0


def test_pool_keeps_old_codes() -> None:
    pool, choices = CodePool(4, 2), torch.Generator().manual_seed(0)
    first = torch.arange(8.0).view(4, 2)
    assert torch.equal(pool.exchange(first, choices), first)
    new = torch.full((20, 2), 50.0)
    shown = pool.exchange(new, choices)
    old = (shown != 50).any(1)
    assert 1 <= old.sum() <= 4, "the kept codes come back, each once"
    assert (pool.codes == 50).any()
    assert torch.equal(new, torch.full((20, 2), 50.0)), "the caller's codes were written to"
    again = CodePool(4, 2)
    again.load_state_dict(pool.state_dict())
    assert torch.equal(again.codes, pool.codes)


def test_latent_discriminator_judges_every_code() -> None:
    assert LatentDiscriminator(8, 2)(torch.randn(3, 5, 8)).shape == (3, 5, 1)


def test_identity_loss_is_zero_for_the_same_face_only() -> None:
    torch.manual_seed(0)
    loss = IdentityLoss(IdentityEncoder(sample_size=32, num_blocks=(1, 1, 1, 1), width=4, embedding_dim=8))
    face, other = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32).requires_grad_(True)
    assert loss(face, face).abs().max() < 1e-5
    distance = loss(other, face)
    assert distance.shape == (2,)
    distance.sum().backward()
    assert other.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_parser_loss_sees_shapes_and_leaves_the_parser_alone() -> None:
    torch.manual_seed(0)
    loss = ParserLoss(FaceParser(16, (4, 8)))
    loss.train()
    assert not loss.parser.training
    target = torch.rand(2, 3, 32, 32) * 2 - 1
    assert loss(target, target).item() == 0
    image = target.roll(4, dims=-1).requires_grad_(True)
    near = 0.9 * target + 0.1 * image.detach()
    assert 0 < loss(near, target) < loss(image, target)
    loss(image, target).backward()
    assert image.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in loss.parser.parameters())
    # What each level sees, by hand: the relative mean differences, averaged over the levels.
    seen = [
        loss.parser.features(torch.nn.functional.interpolate(x, (16, 16), mode="bilinear", antialias=True))
        for x in (near, target)
    ]
    ratios = [
        ((a - b).abs().mean((1, 2, 3)) / (b.abs().mean((1, 2, 3)) + 1e-6)).mean()
        for a, b in zip(*seen, strict=True)
    ]
    assert loss(near, target).item() == pytest.approx(float(sum(ratios)) / len(ratios), rel=1e-5)
