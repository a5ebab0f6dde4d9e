"""Example photos with ready masks, all of them on the disk already."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facekit_demo.common import EXAMPLES, SCRATCH

PHOTO_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class Example:
    """A photo and its mask (white = fill), as files."""

    photo: Path
    mask: Path


@cache
def inpaint_examples() -> tuple[Example, ...]:
    """The astronaut with a scratched photo's damage, then what lies in the examples folder."""
    found = []
    for photo in sorted(EXAMPLES.iterdir()):
        mask = photo.with_name(photo.stem + ".mask.png")
        if photo.suffix.lower() in PHOTO_SUFFIXES and mask.is_file():
            found.append(Example(photo, mask))
    return (_astronaut(), *found)


def _astronaut() -> Example:
    """Eileen Collins, NASA, public domain; the photo ships with scikit-image."""
    from skimage import data

    photo = data.astronaut()
    mask = Image.new("L", photo.shape[1::-1], 0)
    canvas = ImageDraw.Draw(mask)
    for line in ([(150, 8), (196, 76), (232, 120), (262, 196)], [(296, 30), (258, 88), (214, 158)]):
        canvas.line(line, fill=255, width=13, joint="curve")
    canvas.ellipse((228, 128, 262, 160), fill=255)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    example = Example(SCRATCH / "astronaut.png", SCRATCH / "astronaut.mask.png")
    Image.fromarray(np.ascontiguousarray(photo)).save(example.photo)
    mask.save(example.mask)
    return example
