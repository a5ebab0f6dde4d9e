"""What all converters share: reading authors' files safely, moving keys, loading exactly, whole folders."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from facekit.images.files import write_folder
from facekit.models.layers.resample import FIRFilter
from facekit.models.precision import narrow_for_storing

State = dict[str, Tensor]
Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]

Network = TypeVar("Network", bound=ModelMixin)

_SHOWN = 5


def sub_state(content: Mapping[str, Any], key: str, source: str) -> State:
    """The state dict under `key`. ValueError, naming what is there, when it is missing or no state dict."""
    if key not in content:
        raise ValueError(f"{source} has no entry {key!r}; it has {_some(list(content))}")
    state = content[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"entry {key!r} of {source} is no state dict of tensors")
    return dict(state)


def whole_state(content: Mapping[str, Any], source: str) -> State:
    """The state dict that a file is itself. ValueError when it is none."""
    return sub_state({"file": content}, "file", source)


def state_part(content: Mapping[str, Any], prefix: str, source: str) -> State:
    """The keys of entry `state_dict` below `prefix`, without it. ValueError when there are none."""
    state = sub_state(content, "state_dict", source)
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not part:
        raise ValueError(f"entry 'state_dict' of {source} has no keys that start with {prefix!r}")
    return part


def latent_average(content: Mapping[str, Any], source: str) -> Tensor:
    """Entry `latent_avg`. ValueError, naming what is there, when it is no tensor."""
    average = content.get("latent_avg")
    if not isinstance(average, Tensor):
        raise ValueError(f"{source} has no tensor 'latent_avg'; it has {', '.join(map(str, content))}")
    return average


def check_options(content: Mapping[str, Any], expected: Mapping[str, Any], source: str) -> None:
    """Refuse a network that was trained to be used in another way: entry `opts` contradicts `expected`.

    Options that the file does not tell count as expected. ValueError names the option.
    """
    options = content.get("opts", {})
    options = vars(options) if isinstance(options, argparse.Namespace) else dict(options)
    for name, value in expected.items():
        if options.get(name, value) != value:
            raise ValueError(f"{source} was made with {name}={options[name]!r}; only {value!r} is known")


def rename_key(key: str, rules: Rules) -> str | None:
    """Our name of a published key: every rule (pattern, replacement) that matches is applied once, in order.

    `None` when no rule matches.
    """
    matched = False
    for pattern, replacement in rules:
        key, count = re.subn(pattern, replacement, key, count=1)
        matched |= bool(count)
    return key if matched else None


def load_renamed(model: nn.Module, state: Mapping[str, Tensor], rules: Rules, source: str) -> None:
    """Load a published state dict into a network of ours, each entry exactly once.

    Raises:
        ValueError: keys that the network does not have, that it lacks, or whose shapes differ; all are
            named as the file names them, missing ones as we do.
    """
    expected = model.state_dict()
    renamed: State = {}
    origin: dict[str, str] = {}
    unknown, twice, misshapen = [], [], []
    for key, value in state.items():
        ours = rename_key(key, rules)
        if ours is None or ours not in expected:
            unknown.append(key)
        elif ours in renamed:
            twice.append(f"{key} and {origin[ours]}")
        elif value.shape != expected[ours].shape:
            misshapen.append(f"{key} is {list(value.shape)}, expected {list(expected[ours].shape)}")
        else:
            renamed[ours] = value
        origin[ours or key] = key
    missing = [key for key in expected if key not in origin]
    problems = [
        f"{len(found)} {what}: {_some(found)}"
        for what, found in (
            ("unknown keys", unknown),
            ("missing keys (by their name in facekit)", missing),
            ("keys for the same tensor", twice),
            ("tensors of a wrong shape", misshapen),
        )
        if found
    ]
    if problems:
        raise ValueError(f"{source} does not fit {type(model).__name__}. " + ". ".join(problems))
    model.load_state_dict(renamed)


def load_exactly(build: Callable[[], Network], convert: Callable[[], State], source: str) -> Network:
    """A network that holds a published state dict, in evaluation mode, without a second copy of the weights.

    Args:
        build: makes the empty network.
        convert: gives the state dict in our naming.
        source: how messages call the file's entry.

    Raises:
        ValueError: keys that are unknown or missing, or tensors of a wrong shape; they are named.
    """
    try:
        state = convert()
    except KeyError as error:
        raise ValueError(f"{source} lacks the key {error}") from error
    except ValueError as error:
        raise ValueError(f"{source} does not fit the published layout: {error}") from error
    with torch.device("meta"):
        network = build()
    expected = network.state_dict()
    shapes = [
        f"{key} is {list(state[key].shape)}, expected {list(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = {
        "missing keys": [key for key in expected if key not in state],
        "unknown keys": [key for key in state if key not in expected],
        "tensors of a wrong shape": shapes,
    }
    found = [
        f"{len(names)} {what} (by their name in facekit): {_some(names)}"
        for what, names in problems.items()
        if names
    ]
    if found:
        raise ValueError(f"{source} does not fit {type(network).__name__}. " + ". ".join(found))
    network.load_state_dict(state, assign=True)
    for module in network.modules():
        if isinstance(module, FIRFilter):  # a constant that no file holds, and still without numbers here
            module.register_buffer("kernel", FIRFilter().kernel, persistent=False)
    return network.eval()


def empty(network: ModelMixin) -> ModelMixin:
    """The network without its weights: what a pipeline needs of it to write its `model_index.json`."""
    return network.to("meta")  # type: ignore[arg-type]  # diffusers' wrapper of `to` hides `self`


def store(network: ModelMixin, dtype: torch.dtype, save: Callable[[], Any]) -> None:
    """Save a network with the number type `dtype`, see `narrow_for_storing`.

    Raises:
        ValueError: numbers that are not finite; the tensors are named.
    """
    broken = [
        name
        for name, value in network.state_dict().items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise ValueError(f"{type(network).__name__} holds infinity or NaN in {_some(broken)}")
    narrow_for_storing(network, dtype)
    save()


def write_network(network: ModelMixin, output: str | Path, dtype: torch.dtype, overwrite: bool) -> None:
    """Write one network as a folder for its `from_pretrained`, complete or not at all.

    Raises:
        OSError: the folder cannot be written.
        ValueError: numbers that are not finite; the tensors are named.
    """
    write_folder(
        Path(output), lambda folder: store(network, dtype, lambda: network.save_pretrained(folder)), overwrite
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more
