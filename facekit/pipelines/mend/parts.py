"""The pipelines that mending calls: given, or loaded by their names when they are first needed."""

import os
from typing import Any, TypeVar

import torch

from facekit.hub.starters import starter, starters
from facekit.pipelines.base import FacekitPipeline

Part = TypeVar("Part", bound=FacekitPipeline)


def name_of(part: "FacekitPipeline | str", default: str) -> str:
    """What a saved model calls a part: the name that was given, or the one that the pipeline was loaded by.

    A starter goes by its name, not by where it lies on this computer.
    """
    if isinstance(part, str):
        return part
    loaded = str(part.config.get("_name_or_path") or default)
    return next(
        (name for name in starters() if os.path.realpath(starter(name)) == os.path.realpath(loaded)), loaded
    )


def load_part(kind: type[Part], name: str, dtype: torch.dtype, device: torch.device) -> Part:
    """Load a part by a starter's name, a folder, a Hub id or a name of published weights.

    Raises:
        OSError, ValueError: as in `FacekitPipeline.from_pretrained`.
    """
    place = starter(name) if name in starters() else name
    part = kind.from_pretrained(place, dtype=dtype)
    part.set_progress_bar_config(disable=True)
    moved: Any = part.to(device, silence_dtype_warnings=True)
    return moved
