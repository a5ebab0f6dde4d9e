"""Labels of generated pictures: writing and reading them (thesis section 7.3: misuse).

Two labels. In the file: an XMP packet with the IPTC's DigitalSourceType, software, model and revision
(`facekit.images.origin`), which any program shows and anybody can strip. In the pixels: an invisible mark in the
edited region alone (`facekit.provenance.watermark`), which outlasts JPEG and resizing. Command line and demo write both
unless told otherwise; from Python:

    pipeline = facekit.FaceInpaintPipeline.from_pretrained(model)
    image = pipeline(photo, mask, watermark=True).images[0]
    provenance.save(image, "filled.png", provenance.describe(pipeline))
    provenance.inspect("filled.png")
"""

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image

from facekit.hub.record import read_record
from facekit.images.origin import Kind, Provenance, read_packet
from facekit.images.photo import MAX_PIXELS, Photo, as_uint8, load_image, write_picture
from facekit.provenance.watermark import Mark, detect, mark
from facekit.version import __version__

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

__all__ = [
    "Inspection",
    "Provenance",
    "add_watermark",
    "describe",
    "inspect",
    "merge",
    "save",
    "watermark_picture",
]

# Where huggingface_hub keeps a downloaded revision.
SNAPSHOT = re.compile(r"models--(?P<repo>[^/]+)/snapshots/(?P<commit>[0-9a-f]{7,64})$")
WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Inspection:
    """What a file tells about its origin.

    Attributes:
        metadata: the record in its XMP packet; None where there is none of generated content.
        watermark: the result of the detector of the invisible mark.
    """

    metadata: Provenance | None
    watermark: Mark


def add_watermark(photo: Photo, before: Photo | np.ndarray | None = None) -> Photo:
    """The photo with the invisible mark in the pixels that differ from `before` (a photo or its colours
    `[H, W, 3]`, of the same size and depth), or in all pixels where `before` is None.

    Pixels that do not differ keep their numbers. A black and white picture (mode "1") has no room for a mark and
    comes back as it is.

    Raises:
        ValueError: `before` has another size.
    """
    if photo.mode == "1":
        return photo
    rgb = photo.rgb
    if before is None:
        where = np.ones(rgb.shape[:2], dtype=bool)
    else:
        old = before.rgb if isinstance(before, Photo) else before
        if old.shape != rgb.shape:
            raise ValueError(
                f"the photo is {rgb.shape[1]}x{rgb.shape[0]} and the one before the edit "
                f"{old.shape[1]}x{old.shape[0]}; the mark needs two of one size."
            )
        where = (old != rgb).any(-1)
    return photo.recolor(mark(rgb, where), where) if where.any() else photo


@overload
def watermark_picture(image: Photo) -> Photo: ...
@overload
def watermark_picture(image: Image.Image) -> Image.Image: ...
def watermark_picture(image: Image.Image | Photo) -> Image.Image | Photo:
    """Mark a picture that a model made as a whole, all over; it comes back as the type that was given."""
    marked = add_watermark(load_image(image, max_pixels=None))
    return marked if isinstance(image, Photo) else marked.to_pil()


def describe(pipeline: "DiffusionPipeline | str | os.PathLike | None", kind: Kind = "edited") -> Provenance:
    """The record of origin for pictures of a model.

    Args:
        pipeline: a loaded pipeline or network, a Hub id, or a folder; None leaves the model out. Of a folder the last
            part of its path is the model's name, and a digest of its weights the revision. Of published weights that
            facekit converted, what was published is named, and its terms.
        kind: "edited" or "generated", see `Provenance`.
    """
    software = f"facekit {__version__}"
    source: str | os.PathLike | None
    if pipeline is None or isinstance(pipeline, str | os.PathLike):
        source = pipeline
    else:
        source = getattr(pipeline, "name_or_path", None) or pipeline.config.get("_name_or_path")
    if not source:
        return Provenance(kind, software)
    model, revision, terms = _identity(os.fspath(source))
    return Provenance(kind, software, model, revision, terms)


def merge(origins: Sequence[Provenance]) -> Provenance:
    """The record of origin for a picture on which several models worked, one after the other.

    Their names stand side by side, and the terms of each; the revision is that of the first one. Raises ValueError
    for none.
    """
    if not origins:
        raise ValueError("merge takes at least one record")
    names = dict.fromkeys(origin.model for origin in origins if origin.model)
    terms = dict.fromkeys(origin.terms for origin in origins if origin.terms)
    return replace(origins[0], model=" and ".join(names) or None, terms="; ".join(terms) or None)


def save(
    image: Image.Image | Photo,
    path: str | os.PathLike,
    provenance: Provenance | None,
    *,
    file_format: str | None = None,
    **options: Any,
) -> None:
    """Write a picture with its provenance and all that its `info` tells, see `facekit.images.metadata`.

    Args:
        image: the picture; a photo keeps its depth.
        path: file of a suffix that Pillow knows: .png, .jpg, .webp, .tif.
        provenance: from `describe`; None writes none.
        file_format: Pillow's name of the format; None goes by the suffix.
        options: for `Image.save`, such as `quality=80`; without it JPEG and WebP get 95.

    Raises:
        ValueError: a format that carries no provenance, or has no room for 16-bit colour or transparency.
    """
    write_picture(image, path, file_format or _format_of(Path(path)), provenance, **options)


def inspect(
    path: str | os.PathLike, *, max_pixels: int | None = MAX_PIXELS, photo: Photo | None = None
) -> Inspection:
    """Read both labels of a picture file.

    Args:
        path: the file.
        max_pixels: refuse larger pictures; None: no limit.
        photo: what `load_image` gave for the file, where the caller has it already.

    Raises:
        FileNotFoundError, ValueError: whatever `load_image` refuses.
    """
    photo = load_image(path, max_pixels=max_pixels) if photo is None else photo
    return Inspection(read_packet(photo.info.get("xmp")), detect(as_uint8(photo.rgb)))


def _format_of(path: Path) -> str:
    known = Image.registered_extensions()
    file_format = known.get(path.suffix.lower())
    if file_format is None:
        raise ValueError(f"{path.name} has no suffix of a picture format; name it .png, .jpg, .webp or .tif.")
    return file_format


@functools.lru_cache(16)
def _identity(source: str) -> tuple[str, str | None, str | None]:
    """Name, revision and terms of a model by Hub id or folder; terms are known of published weights."""
    folder = Path(source)
    if not folder.is_dir():
        return source, _cached_commit(source), None
    record = read_record(folder)
    if record is not None and record.revision:
        return record.origin, record.revision, record.terms
    found = SNAPSHOT.search(folder.resolve().as_posix())
    if found:
        return found["repo"].replace("--", "/"), found["commit"], None
    digest = hashlib.sha256()
    files = sorted(folder.rglob(f"*{WEIGHTS}"))
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode())
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    revision = f"sha256:{digest.hexdigest()[:16]}" if files else None
    if record is not None:
        return record.name, revision, record.terms
    return folder.resolve().name, revision, None


def _cached_commit(repo_id: str) -> str | None:
    """The commit that a Hub id stands for in the local cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in ("model_index.json", "config.json"):
        try:
            file = try_to_load_from_cache(repo_id, name)
        except HFValidationError:
            return None
        found = SNAPSHOT.search(Path(file).parent.as_posix()) if isinstance(file, str) else None
        if found:
            return found["commit"]
    return None
