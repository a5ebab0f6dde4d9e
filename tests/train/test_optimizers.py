"""Ranger against plain loops, and that it goes on exactly where it stopped."""

import copy
import io

import pytest
import torch
from torch import nn

from train.engine.optimizers import OPTIMIZERS, Ranger

SHAPES = [(4, 3), (5,), (3, 2, 2, 2), ()]


def start() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def gradients(steps: int) -> list[list[torch.Tensor]]:
    torch.manual_seed(1)
    return [[torch.randn(shape) + 0.3 for shape in SHAPES] for _ in range(steps)]


def take_steps(optimizer: torch.optim.Optimizer, given: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for own in given:
        for parameter, gradient in zip(parameters, own, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def centralise(gradient: torch.Tensor) -> torch.Tensor:
    """Each row without its mean, one row after another."""
    if gradient.ndim < 2:
        return gradient
    rows = []
    for row in gradient:
        numbers = row.flatten().tolist()
        rows.append(row - sum(numbers) / len(numbers))
    return torch.stack(rows)


def run_by_hand(given: list[list[torch.Tensor]], rate: float, k: int, alpha: float) -> list[list[float]]:
    """RAdam and Lookahead number by number, as their papers' algorithms have them."""
    beta1, beta2, eps, results = 0.95, 0.999, 1e-5, []
    longest = 2 / (1 - beta2) - 1
    for i, parameter in enumerate(start()):
        own = [centralise(gradient[i].double()).flatten().tolist() for gradient in given]
        numbers = []
        for j, value in enumerate(parameter.detach().double().flatten().tolist()):
            slow, mean, square = value, 0.0, 0.0
            for t, gradient in enumerate(own, start=1):
                g = gradient[j]
                mean = beta1 * mean + (1 - beta1) * g
                square = beta2 * square + (1 - beta2) * g * g
                corrected = mean / (1 - beta1**t)
                length = longest - 2 * t * beta2**t / (1 - beta2**t)
                if length > 5:
                    rectified = (length - 4) * (length - 2) * longest
                    rectified /= (longest - 4) * (longest - 2) * length
                    spread = (square**0.5 + eps) / (1 - beta2**t) ** 0.5
                    value -= rate * corrected * rectified**0.5 / spread
                else:
                    value -= rate * corrected
                if t % k == 0:
                    slow = slow + alpha * (value - slow)
                    value = slow
            numbers.append(value)
        results.append(numbers)
    return results


@pytest.mark.parametrize(("k", "alpha"), [(6, 0.5), (2, 0.8)])
def test_ranger_number_by_number(k: int, alpha: float) -> None:
    """20 steps: plain momentum at first, rectified from the sixth on."""
    given = gradients(20)
    optimizer = Ranger(start(), lr=0.05, lookahead_steps=k, lookahead_share=alpha)
    found = take_steps(optimizer, given)
    for result, expected in zip(found, run_by_hand(given, 0.05, k, alpha), strict=True):
        torch.testing.assert_close(
            result.flatten(), torch.tensor(expected, dtype=torch.float64).float(), rtol=1e-4, atol=1e-5
        )


def test_its_usual_constants_are_those_of_e4e() -> None:
    """The facts of the encoder trainer in the parity documents; the learning rate is the stage's."""
    (group,) = Ranger(start()).param_groups
    constants = ("betas", "eps", "lookahead_steps", "lookahead_share", "centralize", "weight_decay")
    assert [group[name] for name in constants] == [(0.95, 0.999), 1e-5, 6, 0.5, True, 0]


def test_each_part_can_be_switched_off() -> None:
    given = gradients(12)
    alone = {"lookahead_share": 1.0, "centralize": False}
    radam = take_steps(torch.optim.RAdam(start(), lr=0.05, betas=(0.95, 0.999), eps=1e-5), given)
    for part in ({}, {"lookahead_share": 0.5}, {"centralize": True}):
        found = take_steps(Ranger(start(), lr=0.05, **(alone | part)), given)
        equal = [torch.allclose(a, b, atol=1e-6) for a, b in zip(found, radam, strict=True)]
        # A bias has no mean to lose.
        wanted = {
            (): [True] * 4,
            ("lookahead_share",): [False] * 4,
            ("centralize",): [False, True, False, True],
        }
        assert equal == wanted[tuple(part)], part


@pytest.mark.parametrize("stop", [1, 4, 6, 9])
def test_it_goes_on_from_its_state_exactly(stop: int) -> None:
    """Also between two moves of the slow weights, through a file as checkpoints have it."""
    given = gradients(12)
    whole = take_steps(Ranger(start(), lr=0.05), given)
    first = Ranger(start(), lr=0.05)
    weights = take_steps(first, given[:stop])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = Ranger([nn.Parameter(weight) for weight in weights], lr=0.05)
    second.load_state_dict(torch.load(file, weights_only=True))
    for a, b in zip(take_steps(second, given[stop:]), whole, strict=True):
        assert torch.equal(a, b)


def test_what_has_no_gradient_stays() -> None:
    still, moving = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = Ranger([still, moving], lr=0.1, centralize=False)
    moving.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(still, torch.ones(2, 2)) and (moving < 1).all()
    assert still not in optimizer.state
    again = copy.deepcopy(optimizer)
    assert again.param_groups[0]["lookahead_steps"] == 6


def test_a_closure_gives_the_gradients() -> None:
    (weight,) = parameters = [nn.Parameter(torch.ones(3))]
    optimizer = Ranger(parameters, lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(20)]
    assert losses[0] == 3 and losses[-1] < losses[0]


@pytest.mark.parametrize("options", [{"lookahead_steps": 0}, {"lookahead_share": 1.5}], ids=str)
def test_wrong_settings_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="lookahead_steps must be at least 1"):
        Ranger(start(), **options)


def test_stages_choose_by_name() -> None:
    assert set(OPTIMIZERS) == {"adam", "radam", "ranger"}
