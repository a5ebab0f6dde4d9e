"""The device and the pipeline of a command."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from facekit.hub.published import NAMES, PUBLISHED
from facekit.hub.starters import STARTER, starter, starters
from facekit_cli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    from facekit.pipelines.restore import FaceRestorePipeline

Pipeline = TypeVar("Pipeline", bound="DiffusionPipeline")


def place_model(given: str | None, task: str, option: str = "--model") -> str:
    """Where the model lies that an option names: of a bundled one its folder, of all others what was said.

    Args:
        given: a folder, which wins over a word of that name; `starter` or its own name for the bundled model of the
            task; a name of published weights; ORG/NAME on the Hub; None: `starter`.
        task: what that bundled model is called, "face-restore".
        option: that names it.

    Raises:
        UsageError: a name that is none of these, which is not asked for on the Hub, or a bundled model of another task.
    """
    if given is not None and (os.path.isdir(given) or given in (PUBLISHED, *NAMES)):
        return given
    if given in (None, STARTER, task):
        return starter(task)
    if given.count("/") == 1 and not given.startswith((".", "~", "/")) and not given.endswith("/"):
        return given  # ORG/NAME
    if given in starters():
        what = "is a bundled model for something else"
    else:
        what = "is no folder, and no model's name"
    raise UsageError(
        f"{option} {given} {what}: say {STARTER} or {task} (the bundled model), {PUBLISHED} (the authors', where there "
        "is one), a folder, or ORG/NAME on the Hub"
    )


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


def pick_dtype(name: str, device: "torch.device") -> "torch.dtype":
    """The number type of `--dtype`: "auto" is the fastest on the device.

    Raises UsageError where the variable that decides in its place names none.
    """
    import torch

    if name != "auto":
        return getattr(torch, name)
    from facekit.hub.number_type import fastest_dtype

    try:
        return fastest_dtype(device)
    except ValueError as error:
        raise UsageError(error) from error


def settle_device(args: argparse.Namespace) -> "torch.device":
    """The torch device of `--device`; it and `args.dtype` become what "auto" stands for, so that reports say it.

    Raises UsageError as `pick_device` and `pick_dtype` do.
    """
    device = pick_device(args.device)
    args.device = str(device)
    args.dtype = str(pick_dtype(args.dtype, device)).removeprefix("torch.")
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

    From then on diffusers shows none either while it loads: a pipeline may load others in the midst of its work.

    Raises UsageError where the model cannot be loaded or is another pipeline's.
    """
    from diffusers.utils import logging

    from facekit.hub.classes import pipeline_class
    from facekit.methods import MethodError
    from facekit.notes import MissingPackage

    name, number_type = kind if isinstance(kind, str) else kind.__name__, pick_dtype(dtype, device)
    logging.disable_progress_bar()
    try:
        index = Path(model, "model_index.json")
        found = json.loads(index.read_text())["_class_name"] if index.is_file() else name
        if found != name:
            raise ValueError(f"it is a {found}, and a {name} is needed")
        pipeline = pipeline_class(name).from_pretrained(model, dtype=number_type, **components)
    except (OSError, ValueError, KeyError, MethodError, MissingPackage) as error:
        raise UsageError(f"the model {model} cannot be loaded: ", error) from error
    pipeline.set_progress_bar_config(disable=True)
    # diffusers warns that float16 fails on processors; facekit's networks work there.
    return pipeline.to(device, silence_dtype_warnings=True)


def load_restore_with(args: argparse.Namespace, device: "torch.device") -> "FaceRestorePipeline | None":
    """The restorer of `--restore-with`; None where none is asked for. Raises UsageError as `load_pipeline` does."""
    if args.restore_with is None:
        return None
    from facekit.pipelines.restore import FaceRestorePipeline

    return load_pipeline(FaceRestorePipeline, args.restore_with, device, args.dtype)


def place_restore_with(args: argparse.Namespace) -> None:
    """Let `args.restore_with`, if given, become where that model lies. Raises UsageError as `place_model` does."""
    if args.restore_with is not None:
        args.restore_with = place_model(args.restore_with, "face-restore", "--restore-with")
