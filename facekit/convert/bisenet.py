"""The usual face-parsing weights (`79999_iter.pth`, BiSeNet with 19 classes) -> a folder for `BiSeNet`.

The file is a bare state dict of the network in `facekit.models.bisenet`, whose names are kept, and of two auxiliary
heads (`conv_out16`, `conv_out32`) that only their training used; these are left out. Names and shapes are those of the
public training code; the file itself was not to be had where this was written.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from facekit.conditions.semantics import NUM_CLASSES
from facekit.convert.common import State, load_exactly, whole_state, write_network
from facekit.models.bisenet import BiSeNet
from facekit.weights.checkpoints import read_checkpoint

AUXILIARY = r"conv_out(16|32)\."
LOGITS = "conv_out.conv_out.weight"
SPATIAL_PATH = "sp."
DATA_PARALLEL = "module."


def bisenet_state(state: Mapping[str, Tensor], source: str) -> State:
    """The published state dict -> `BiSeNet`.

    Raises:
        ValueError: a network with a spatial path of its own, or with other than 19 classes.
    """
    state = {key.removeprefix(DATA_PARALLEL): value for key, value in state.items()}
    if any(key.startswith(SPATIAL_PATH) for key in state):
        raise ValueError(
            f"{source} has a spatial path ({SPATIAL_PATH}*); only the face parser without one is known, which takes "
            "the ResNet's map at 1/8 of the size in its place"
        )
    if LOGITS in state and state[LOGITS].shape[0] != NUM_CLASSES:
        raise ValueError(
            f"{source} knows {state[LOGITS].shape[0]} classes; the {NUM_CLASSES} of "
            "facekit.conditions.semantics.CLASS_NAMES are needed, in that order"
        )
    kept = {key: value for key, value in state.items() if not re.match(AUXILIARY, key)}
    # PyTorch before 0.4.1 stored no counter of batches; evaluation does not use it.
    counters = {
        key.replace("running_mean", "num_batches_tracked"): torch.tensor(0)
        for key in kept
        if key.endswith("running_mean")
    }
    return counters | kept


def load_parser(path: str | Path) -> BiSeNet:
    """The network of a file, in evaluation mode. OSError and ValueError as in `convert`."""
    state = whole_state(read_checkpoint(path), str(path))
    return load_exactly(BiSeNet, lambda: bisenet_state(state, str(path)), str(path))


def convert(
    path: str | Path, output: str | Path, dtype: torch.dtype = torch.float32, overwrite: bool = False
) -> None:
    """Write the published file as a folder for `BiSeNet.from_pretrained`, complete or not at all.

    Args:
        path: the file.
        output: folder to write; `facekit.conditions.semantics.load_parser` and training take it as a face parser.
        dtype: number type of the written weights.
        overwrite: replace an existing folder.

    Raises:
        OSError: the file cannot be read, or the folder cannot be written.
        ValueError: the file holds more than tensors and plain values, or another network.
    """
    write_network(load_parser(path), output, dtype, overwrite)
