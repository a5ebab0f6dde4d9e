"""Pictures and reports as files, complete or not at all."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.images.files import write_atomically

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from PIL import Image

    from facekit.images.origin import Kind, Provenance
    from facekit.images.photo import Photo


def save_picture(picture: "Image.Image | Photo", path: Path, provenance: "Provenance | None" = None) -> None:
    """Write a picture without loss as .png or .tif, with all that its `info` tells, and its provenance."""
    from facekit.images.photo import write_picture

    lossless = "TIFF" if path.suffix == ".tif" else "PNG"
    write_atomically(path, lambda file: write_picture(picture, file, lossless, provenance))


def provenance_of(
    args: argparse.Namespace, pipeline: "DiffusionPipeline | None", kind: "Kind" = "edited"
) -> "Provenance | None":
    """The record that `save_picture` writes, None with `--provenance none`."""
    from facekit.provenance import describe

    return None if args.provenance == "none" else describe(pipeline, kind)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a report, complete or not at all."""
    write_atomically(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))
