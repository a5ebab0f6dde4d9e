"""The device and the pipeline of a command."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from facekit_cli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

Pipeline = TypeVar("Pipeline", bound="DiffusionPipeline")


def pick_device(name: str) -> "torch.device":
    """The torch device of `--device`. Raises UsageError where it is not there."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the device {name!r} cannot be used here: {reason}") from error
    return device


def settle_device(args: argparse.Namespace) -> "torch.device":
    """The torch device of `--device`; `--dtype auto` becomes the fastest number type on it, for the report, too.

    Raises UsageError where the device is not there, or a variable names a number type that there is not.
    """
    device = pick_device(args.device)
    if args.dtype == "auto":
        from facekit.hub.number_type import fastest_dtype

        try:
            args.dtype = str(fastest_dtype(device)).removeprefix("torch.")
        except ValueError as error:
            raise UsageError(error) from error
    return device


@overload
def load_pipeline(
    kind: type[Pipeline], model: str, device: "torch.device", dtype: str, **components: Any
) -> Pipeline: ...
@overload
def load_pipeline(
    kind: str, model: str, device: "torch.device", dtype: str, **components: Any
) -> "DiffusionPipeline": ...
def load_pipeline(
    kind: "type[DiffusionPipeline] | str", model: str, device: "torch.device", dtype: str, **components: Any
) -> "DiffusionPipeline":
    """The pipeline of a class, or of a class's name, with its networks on the device; no progress bars of its own.

    Raises UsageError where the model cannot be loaded or is another pipeline's.
    """
    import torch

    from facekit.hub.classes import pipeline_class
    from facekit.methods import MethodError
    from facekit.notes import MissingPackage

    name = kind if isinstance(kind, str) else kind.__name__
    try:
        index = Path(model, "model_index.json")
        found = json.loads(index.read_text())["_class_name"] if index.is_file() else name
        if found != name:
            raise ValueError(f"it is a {found}, and a {name} is needed")
        pipeline = pipeline_class(name).from_pretrained(model, dtype=getattr(torch, dtype), **components)
    except (OSError, ValueError, KeyError, MethodError, MissingPackage) as error:
        raise UsageError(f"the model {model} cannot be loaded: ", error) from error
    pipeline.set_progress_bar_config(disable=True)
    # diffusers warns that float16 fails on processors; facekit's networks work there.
    return pipeline.to(device, silence_dtype_warnings=True)
