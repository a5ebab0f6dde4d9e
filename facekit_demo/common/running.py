"""What every tab needs: the models (loaded once), friendly errors, previews, files to download."""

import errno
import functools
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import spaces
import torch
from gradio.components.base import Component
from PIL import Image

from facekit.hub.classes import pipeline_class
from facekit.hub.published import find_published
from facekit.hub.shelf import converted_folder
from facekit.hub.starters import starter
from facekit.images.photo import PNG_MODES, Photo, as_uint8, load_image, write_picture
from facekit.methods import method_named
from facekit.notes import message_of
from facekit.provenance import Provenance, describe
from facekit_demo.common.limits import Limits, limited_time

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

log = logging.getLogger("facekit.demo")

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRATCH = Path(tempfile.gettempdir()) / "facekit-demo"
PREVIEW_SIDE = 1280  # pixels; more only slows the browser's canvas, the photo itself is never shrunk
STEP_SIDE = 512  # pixels of a picture in a gallery of steps
DEVICE_QUEUE = "device"  # one concurrency id for all that runs networks, so that jobs queue up for the device
# Options of every event that runs networks.
ON_DEVICE: dict[str, Any] = {"concurrency_id": DEVICE_QUEUE, "concurrency_limit": 1}
# The same of the one event that does a tab's work.
AT_WORK: dict[str, Any] = {"api_visibility": "private", **ON_DEVICE}

_pipelines: dict[str, "DiffusionPipeline"] = {}
_loading = Lock()

# What writing gives on a full disk, over a quota, or beyond the largest file allowed.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def default_device() -> str:
    """`cuda`, `mps` or `cpu`, the best that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def model_source(name: str) -> str:
    """Folder or Hub id of a method's model: what its environment variable names, else its starter.

    Published weights that are converted already are their folder, so that files name what was published.
    """
    method = method_named(name)
    source = os.path.expanduser(os.environ.get(method.model_variable, "").strip())
    published = find_published(source, method.class_name) if source else None
    folder = None if published is None else converted_folder(published)
    return str(folder) if folder else source or starter(method.model)


def load_pipeline(name: str) -> "DiffusionPipeline":
    """The pipeline of a method (see `model_source`), loaded at its first use and kept. For functions `on_gpu` alone."""
    with _loading:
        if name not in _pipelines:
            known, source = pipeline_class(method_named(name).class_name), model_source(name)
            log.info("loading %s from %s", known.__name__, source)
            pipeline = known.from_pretrained(source).to(default_device())
            pipeline.set_progress_bar_config(disable=True)
            _pipelines[name] = pipeline
        return _pipelines[name]


def friendly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what goes wrong in an event handler into a message on the page; the page stays usable."""

    @functools.wraps(function)
    def handler(*inputs: Any, **options: Any) -> Any:
        try:
            with limited_time(Limits.from_environment().job_seconds):
                return function(*inputs, **options)
        except gr.Error:
            raise
        except (ValueError, OSError) as error:
            raise gr.Error(sentence(error), duration=15, print_exception=False) from error
        except torch.OutOfMemoryError as error:
            message = "Not enough memory for this photo. Try a smaller one."
            raise gr.Error(message, print_exception=False) from error
        except Exception as error:
            log.exception("unexpected error")
            raise gr.Error("Something went wrong on our side; the log has the details.") from error

    return handler


def on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that runs networks, the only place for them.

    On a ZeroGPU Space a call is lent a GPU in a process of its own, and the page's process must not touch one. What
    goes there and comes back is pickled: photos, words and numbers, never pipelines or tensors. Of errors only the
    words of a `gr.Error` come back, so there the function is `friendly` already. Elsewhere it stays as it is.
    """
    handled = friendly(function)
    lent = getattr(spaces, "GPU", lambda function: function)(handled)
    return function if lent is handled else lent


def sentence(error: Exception) -> str:
    """The error's text as a sentence."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return "The disk of this demo is full. Try again later, or with a smaller photo."
    text = str(error).strip() or type(error).__name__
    message = message_of(error)
    if message is not None:  # no visitor can pass arguments
        text = message.say(lambda _argument: None)
    if text.split()[0].isalpha():  # a file name keeps its letters
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else text + "."


def open_photo(path: str | None) -> Photo:
    """The uploaded picture, upright. Raises ValueError or OSError with advice."""
    if not path:
        raise ValueError("choose a photo first")
    return load_image(path, max_pixels=Limits.from_environment().max_pixels, name=Path(path).name)


def unnamed(photo: Photo) -> Photo:
    """A photo that pipelines call "image" in their messages, which the page then says in its own words."""
    return replace(photo, name="image")


def preview(photo: Photo, side: int = PREVIEW_SIDE) -> Image.Image:
    """8-bit RGB or RGBA picture for the screen, its longer side at most `side` pixels."""
    channels = photo.rgb if photo.alpha is None else np.dstack([photo.rgb, photo.alpha])
    picture = Image.fromarray(np.ascontiguousarray(as_uint8(channels)))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def seeded(seed: float | None) -> torch.Generator:
    """The source of all randomness of one job; an empty seed field counts as 0."""
    return torch.Generator("cpu").manual_seed(int(seed or 0))


def made_by(name: str) -> Provenance:
    """What files say of pictures by the model that `load_pipeline` takes."""
    return describe(model_source(name))


def save_for_download(
    photo: Photo, name: str, component: Component, provenance: Provenance | None = None
) -> str:
    """Write a lossless PNG called `name`, of the photo's depth, into the cache of `component`, which Gradio clears
    by age.

    `provenance`: what the file says of its origin, from `made_by`; None for a picture that no model changed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        photo = photo if photo.mode in PNG_MODES else photo.to_rgb_mode()
        write_picture(photo, path, "PNG", provenance, compress_level=3)
        cached = component.move_resource_to_block_cache(path)
    if cached is None:
        raise OSError(f"{name} could not be stored for download")
    return cached
