"""Pictures and reports as files, complete or not at all."""

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.images.files import write_atomically
from facekit.images.formats import BY_SUFFIX, FORMATS, encoding

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from PIL import Image

    from facekit.images.origin import Kind, Provenance
    from facekit.images.photo import Photo


def save_picture(
    picture: "Image.Image | Photo",
    path: Path,
    provenance: "Provenance | None" = None,
    quality: int | None = None,
) -> None:
    """Write a picture in the format of the path's suffix, with all that its `info` tells, and its provenance.

    What the format does not hold is left out (`Photo.fit`); `choose_target` has said so. `quality` is that of
    `--quality`, for JPEG and WebP.

    Raises:
        ValueError: a picture that is too large for the format.
    """
    from facekit.images.photo import Photo, load_image, write_picture

    kind = BY_SUFFIX.get(path.suffix.lower(), FORMATS["png"])
    if isinstance(picture, Photo) or kind is not FORMATS["png"]:
        picture = load_image(picture, max_pixels=None, name=path.name).fit(kind)
    options = encoding(kind, quality)
    write_atomically(path, lambda file: write_picture(picture, file, kind.name, provenance, **options))


def provenance_of(
    args: argparse.Namespace,
    pipeline: "DiffusionPipeline | None",
    *others: "DiffusionPipeline | None",
    kind: "Kind" = "edited",
) -> "Provenance | None":
    """The record that `save_picture` writes, None with `--provenance none`.

    `others` worked on the picture after `pipeline`; None stands for one that was not asked for.
    """
    from facekit.provenance import describe, merge

    if args.provenance == "none":
        return None
    worked = [pipeline, *(other for other in others if other is not None)]
    return merge([describe(part, kind) for part in worked])


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a report, complete or not at all."""
    write_atomically(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


def is_report(file: Path) -> bool:
    """Whether a file that is there may be one that `write_json` wrote, by how it begins, or is empty."""
    try:
        with file.open("rb") as opened:
            start = opened.read(80)
    except OSError:  # not to be read: not to be replaced
        return False
    return not start or re.match(rb'\{\s*"command": "', start) is not None
