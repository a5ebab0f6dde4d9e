"""What every tab needs: the models (loaded once), friendly errors, previews, files to download."""

import errno
import functools
import logging
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
from facekit.hub.fetching import Tell
from facekit.hub.memory import format_bytes
from facekit.hub.number_type import fastest_dtype
from facekit.images.formats import FORMATS, FileFormat
from facekit.images.photo import PNG_MODES, Photo, as_uint8, load_image, write_picture
from facekit.methods import method_named
from facekit.notes import MissingPackage, message_of
from facekit.provenance import Provenance, describe
from facekit_demo.common.limits import Limits, limited_time, uncounted_time
from facekit_demo.common.models import Offered, fetch, offered_model

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

KEPT_PIPELINES = 2  # of a method, for visitors who chose different models
# Method -> source -> pipeline, that which was used last at the end.
_pipelines: dict[str, dict[str, "DiffusionPipeline"]] = {}
_loading = Lock()
_fetched: set[str] = set()  # Hub ids that were looked for in this process

# What writing gives on a full disk, over a quota, or beyond the largest file allowed.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def default_device() -> str:
    """`cuda`, `mps` or `cpu`, the best that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def model_source(name: str, model: str | None = None) -> str:
    """Folder or Hub id of a method's model, by the name that the page gives it; None: the default of the host's list.

    Published weights that are converted already are their folder, so that files name what was published.

    Raises:
        ValueError: the host does not offer that model.
    """
    return offered_model(name, model).source


def make_ready(name: str, model: str | None = None, progress: gr.Progress | None = None) -> None:
    """Fetch a method's model where it is neither here nor loaded; that time does not count for the request.

    Args:
        model: as for `model_source`.
        progress: shows how many bytes came.

    Raises:
        MissingPackage, OSError, ValueError: the model cannot be had.
    """
    offered = offered_model(name, model)
    if offered.is_here or offered.source in _fetched or offered.source in _pipelines.get(name, {}):
        return
    log.info("fetching %s", offered.source)
    tell = None if progress is None else _telling(progress, offered)
    with uncounted_time():
        fetch(offered, method_named(name).class_name, tell)
    if offered.published is None:
        _fetched.add(offered.source)


def _telling(progress: gr.Progress, model: Offered) -> Tell:
    """What shows on the page how far the fetch of a model is."""
    progress(None, desc=f"Fetching {model.title}")

    def tell(stage: str, done: int, total: int) -> None:
        if stage == "convert":
            progress(None, desc="Preparing it, about a minute")
            return
        total = max(total or (model.published.size if model.published else 0), done, 1)
        progress(done / total, desc=f"Fetching: {format_bytes(done)} of {format_bytes(total)}")

    return tell


def load_pipeline(name: str, model: str | None = None) -> "DiffusionPipeline":
    """The pipeline of a method (see `model_source`), loaded at its first use and kept. For functions `on_gpu` alone.

    Of each method `KEPT_PIPELINES` stay; for another the one that was not used for longest goes.
    """
    with _loading:
        kept, source = _pipelines.setdefault(name, {}), model_source(name, model)
        pipeline = kept.pop(source, None)
        if pipeline is None:
            while len(kept) >= KEPT_PIPELINES:
                del kept[next(iter(kept))]
            known = pipeline_class(method_named(name).class_name)
            log.info("loading %s from %s", known.__name__, source)
            device = default_device()
            pipeline = known.from_pretrained(source, dtype=fastest_dtype(device)).to(device)
            pipeline.set_progress_bar_config(disable=True)
        kept[source] = pipeline
        return pipeline


def friendly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what goes wrong in an event handler into a message on the page; the page stays usable."""

    @functools.wraps(function)
    def handler(*inputs: Any, **options: Any) -> Any:
        try:
            with limited_time(Limits.from_environment().job_seconds):
                return function(*inputs, **options)
        except gr.Error:
            raise
        except (ValueError, OSError, MissingPackage) as error:
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


def made_by(name: str, model: str | None = None) -> Provenance:
    """What files say of pictures by the model that `load_pipeline` takes."""
    return describe(model_source(name, model))


def save_for_download(
    photo: Photo,
    name: str,
    component: Component,
    provenance: Provenance | None = None,
    kind: FileFormat = FORMATS["png"],
) -> str:
    """Write a file called `name`, with the ending of its format, into the cache of `component`, which Gradio clears
    by age. A PNG is lossless and of the photo's depth; other formats get what they hold of the photo.

    `provenance`: what the file says of its origin, from `made_by`; None for a picture that no model changed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = (Path(folder) / name).with_suffix(kind.suffix)
        if kind is FORMATS["png"]:
            photo = photo if photo.mode in PNG_MODES else photo.to_rgb_mode()
            write_picture(photo, path, kind.name, provenance, compress_level=3)
        else:
            write_picture(photo.fit(kind), path, kind.name, provenance)
        cached = component.move_resource_to_block_cache(path)
    if cached is None:
        raise OSError(f"{name} could not be stored for download")
    return cached
