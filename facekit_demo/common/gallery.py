"""Example photos, all of them on the disk already or made from such."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facekit.images.photo import load_image
from facekit_demo.common.damage import damage_photo
from facekit_demo.common.running import EXAMPLES, SCRATCH

PORTRAIT = (66, 0, 386, 360)  # left, top, right, bottom of the head and shoulders
PORTRAIT_FACE = 340  # pixels, side of its aligned face once enlarged
EYES = (174, 84, 276, 125)  # left, top, right, bottom
DAMAGE_SEVERITY, DAMAGE_SEED = 0.5, 5
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


@cache
def exemplar_examples() -> tuple[Example, ...]:
    """The astronaut with her eyes painted over, as glasses would cover them."""
    photo = _collins()
    mask = Image.new("L", photo.shape[1::-1], 0)
    ImageDraw.Draw(mask).rounded_rectangle(EYES, radius=14, fill=255)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    example = Example(SCRATCH / "astronaut-eyes.png", SCRATCH / "astronaut-eyes.mask.png")
    Image.fromarray(photo).save(example.photo)
    mask.save(example.mask)
    return (example,)


@cache
def restore_examples() -> tuple[Path, ...]:
    """A portrait that looks like a small, bad print: the astronaut's, enlarged, then damaged."""
    left, top, right, bottom = PORTRAIT
    portrait = Image.fromarray(_collins()[top:bottom, left:right])
    portrait = portrait.resize((2 * portrait.width, 2 * portrait.height), Image.Resampling.LANCZOS)
    damaged = damage_photo(load_image(portrait), PORTRAIT_FACE, DAMAGE_SEVERITY, "thesis", DAMAGE_SEED)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / "damaged-portrait.png"
    damaged.to_pil().save(path)
    return (path,)


def _collins() -> np.ndarray:
    """Eileen Collins, NASA, public domain; the photo ships with scikit-image. RGB `[512, 512, 3]` uint8."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut())


def _astronaut() -> Example:
    """A scratched photo's damage, painted."""
    photo = _collins()
    mask = Image.new("L", photo.shape[1::-1], 0)
    canvas = ImageDraw.Draw(mask)
    for line in ([(150, 8), (196, 76), (232, 120), (262, 196)], [(296, 30), (258, 88), (214, 158)]):
        canvas.line(line, fill=255, width=13, joint="curve")
    canvas.ellipse((228, 128, 262, 160), fill=255)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    example = Example(SCRATCH / "astronaut.png", SCRATCH / "astronaut.mask.png")
    Image.fromarray(photo).save(example.photo)
    mask.save(example.mask)
    return example
