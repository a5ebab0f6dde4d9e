"""The networks that tell whether two faces are of one person, read by what their folder says it holds."""

from pathlib import Path
from typing import Any

import torch

from facekit.hub.errors import explain_errors
from facekit.models.arcface import ArcFaceEncoder
from facekit.models.identity_encoder import FaceIdentity, IdentityEncoder

COMPONENT = "identity_encoder"  # the network's folder in a pipeline's
CLASSES = {kind.__name__: kind for kind in (IdentityEncoder, ArcFaceEncoder)}


def load_face_identity(source: str | Path, dtype: torch.dtype = torch.float32) -> FaceIdentity:
    """The face identity network of a folder or Hub repository: an `IdentityEncoder` or an `ArcFaceEncoder`.

    Args:
        source: its folder or Hub id (`owner/name`, or `owner/name/folder`), or those of a pipeline with such a network.
        dtype: number type of the weights.

    Raises:
        OSError: there is no such network, or the Hub cannot be reached; a published file must be converted first.
        ValueError: it is another network.
    """
    if Path(source).is_file():
        raise OSError(
            f"{source} is a file; a folder is needed, which `facekit convert arcface {source} --output DIR` makes "
            "of model_ir_se50.pth, and `facekit convert vspbfr` and `facekit convert exegan` of Arcface.pth"
        )
    place, subfolders = str(source), [COMPONENT, None]
    if Path(source).is_dir():
        subfolders = [COMPONENT if (Path(source) / COMPONENT).is_dir() else None]
    elif not Path(source).is_absolute() and place.count("/") > 1:
        owner, name, folder = place.split("/", 2)
        place, subfolders = f"{owner}/{name}", [folder]
    for subfolder in subfolders:
        try:
            with explain_errors(place) as options:
                config: Any = FaceIdentity.load_config(place, subfolder=subfolder, **options)
        except OSError:
            continue
        kind = config.get("_class_name", IdentityEncoder.__name__)
        if kind not in CLASSES:
            raise ValueError(
                f"{source} holds a {kind}, which is no face identity network ({', '.join(CLASSES)})"
            )
        return CLASSES[kind].from_pretrained(place, subfolder=subfolder, dtype=dtype)
    return IdentityEncoder.from_pretrained(
        place, subfolder=subfolders[-1], dtype=dtype
    )  # says what is missing
