"""`model_ir_se50.pth`, the identity network with which pSp and e4e train -> `ArcFaceEncoder`."""

from pathlib import Path

import torch

from facekit.convert.common import load_exactly, whole_state, write_network
from facekit.convert.encoders import arcface_state
from facekit.models.arcface import ArcFaceEncoder
from facekit.weights.checkpoints import read_checkpoint


def load_arcface(path: str | Path) -> ArcFaceEncoder:
    """The published file, a bare state dict -> network.

    Raises:
        OSError: the file is missing, truncated or no checkpoint.
        ValueError: it holds more than tensors and plain values, or does not fit the published layout.
    """
    state = whole_state(read_checkpoint(path), str(path))
    return load_exactly(ArcFaceEncoder, lambda: arcface_state(state), str(path))


def convert(
    path: str | Path, output: str | Path, dtype: torch.dtype = torch.float32, overwrite: bool = False
) -> None:
    """Write the published file as a folder for `ArcFaceEncoder.from_pretrained`, complete or not at all.

    Args:
        path: the file.
        output: folder to write; metrics, restoring and training take it as an identity encoder.
        dtype: number type of the written weights.
        overwrite: replace an existing folder.

    Raises:
        OSError: the file cannot be read, or the folder cannot be written.
        ValueError: the file holds more than tensors and plain values, or another network.
    """
    write_network(load_arcface(path), output, dtype, overwrite)
