"""`model_ir_se50.pth`, the identity network with which pSp and e4e train -> `ArcFaceEncoder`."""

from pathlib import Path

from facekit.convert.common import load_exactly, sub_state
from facekit.convert.encoders import arcface_state
from facekit.models.arcface import ArcFaceEncoder
from facekit.weights.checkpoints import read_checkpoint


def load_arcface(path: str | Path) -> ArcFaceEncoder:
    """The published file, a bare state dict -> network.

    Raises:
        OSError: the file is missing, truncated or no checkpoint.
        ValueError: it holds more than tensors and plain values, or does not fit the published layout.
    """
    state = sub_state({"file": read_checkpoint(path)}, "file", str(path))
    return load_exactly(ArcFaceEncoder, lambda: arcface_state(state), str(path))
