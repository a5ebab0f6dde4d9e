"""Networks whose weights change after a call compute what fresh networks with these weights compute."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import nn

from tests.models.every_network import NETWORKS


def moved(network: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of `network` with every number of its parameters changed."""
    torch.manual_seed(1)
    parameters = dict(network.named_parameters())
    return {
        name: value + 0.3 * torch.randn_like(value) if name in parameters else value
        for name, value in network.state_dict().items()
    }


def by_average(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """As a training loop shows the average: diffusers writes through `.data`, which PyTorch does not count."""
    average = EMAModel([nn.Parameter(state[name]) for name, _ in network.named_parameters()], decay=0.9)
    average.copy_to(network.parameters())


def by_loading(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    network.load_state_dict(state)


def by_assigning(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    network.load_state_dict(state, assign=True)


def by_stepping(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for name, parameter in network.named_parameters():
        parameter.grad = parameter.detach() - state[name]
    optimizer.step()


@torch.inference_mode()
def by_copying_in_inference_mode(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    for name, parameter in network.named_parameters():
        parameter.copy_(state[name])


def by_swapping(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    for name, parameter in network.named_parameters():
        torch.utils.swap_tensors(parameter, nn.Parameter(state[name].clone()))


WAYS = [by_average, by_loading, by_assigning, by_stepping, by_copying_in_inference_mode, by_swapping]


@pytest.mark.parametrize("name", [*NETWORKS])
@pytest.mark.parametrize("change", WAYS)
def test_a_change_after_a_call_counts(
    name: str, change: Callable[[nn.Module, dict[str, torch.Tensor]], None]
) -> None:
    network, call = NETWORKS[name]()
    state, fresh = moved(network), copy.deepcopy(network)
    fresh.load_state_dict(state)

    with torch.inference_mode():
        before = call(network)
    change(network, state)
    with torch.inference_mode():
        after, expected = call(network), call(fresh)

    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*NETWORKS])
def test_a_used_network_travels(name: str) -> None:
    network, call = NETWORKS[name]()

    def saved(network: Any) -> Any:
        file = io.BytesIO()
        torch.save(network, file)
        file.seek(0)
        return torch.load(file, weights_only=False)

    with torch.inference_mode():
        expected = call(network)
        for copied in (copy.deepcopy(network), saved(network)):
            torch.testing.assert_close(call(copied), expected, rtol=0, atol=0)
        torch.testing.assert_close(call(network.double().float()), expected, rtol=0, atol=0)
