"""Example photos, all of them on the disk already or made from such."""

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from facekit.damage.wear import wear
from facekit.images.modes import LUMA
from facekit.images.photo import load_image
from facekit_demo.common.damage import damage_photo
from facekit_demo.common.running import EXAMPLES, SCRATCH

PORTRAIT = (66, 0, 386, 360)  # left, top, right, bottom of the head and shoulders
PORTRAIT_FACE = 340  # pixels, side of its aligned face once enlarged
EYES = (174, 84, 276, 125)  # left, top, right, bottom
DAMAGE_SEVERITY, DAMAGE_SEED = 0.5, 5
# Corners of scratches on the enlarged portrait, and how wide they are, in pixels.
SCRATCHES = (
    ((196, 0), (262, 150), (276, 300), (300, 560), (290, 719)),
    ((560, 40), (452, 190), (372, 262), (250, 352), (60, 420)),
    ((0, 612), (300, 588), (639, 622)),
)
SCRATCH_WIDTH, SCRATCH_SEED = 3, 3
# The old print: darkest and lightest gray that fading left, its tone, and the damage.
FADED, SEPIA = (50, 205), np.array([1.0, 0.88, 0.7])
WEAR_SEED, WEAR_KINDS, WEAR_AMOUNT = 7, ("scratch", "crease", "dust"), 0.6
PHOTO_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class Example:
    """A photo and its mask (white = fill), as files; without one the mask is found."""

    photo: Path
    mask: Path | None


@cache
def inpaint_examples() -> tuple[Example, ...]:
    """A scratched portrait of the astronaut, then what lies in the examples folder."""
    found = []
    for photo in sorted(EXAMPLES.iterdir()):
        mask = photo.with_name(photo.stem + ".mask.png")
        if photo.suffix.lower() in PHOTO_SUFFIXES and mask.is_file():
            found.append(Example(photo, mask))
    return (_scratched(), *found)


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
    damaged = damage_photo(load_image(_portrait()), PORTRAIT_FACE, DAMAGE_SEVERITY, "thesis", DAMAGE_SEED)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / "damaged-portrait.png"
    damaged.to_pil().save(path)
    return (path,)


@cache
def mend_examples() -> tuple[Example, ...]:
    """A print as it comes from a shoebox: the astronaut's portrait in sepia, faded, scratched and stained."""
    photo = np.asarray(_portrait())
    level = (photo @ LUMA)[..., None] * (FADED[1] - FADED[0]) / 255 + FADED[0]
    faded = np.clip(level * SEPIA, 0, 255).astype(np.uint8)
    worn, _ = wear(faded, WEAR_SEED, WEAR_KINDS, WEAR_AMOUNT)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / "old-portrait.png"
    Image.fromarray(worn).save(path)
    return (Example(path, None),)


def _collins() -> np.ndarray:
    """Eileen Collins, NASA, public domain; the photo ships with scikit-image. RGB `[512, 512, 3]` uint8."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut())


def _portrait() -> Image.Image:
    """Head and shoulders of the astronaut, enlarged to 640x720."""
    left, top, right, bottom = PORTRAIT
    portrait = Image.fromarray(_collins()[top:bottom, left:right])
    return portrait.resize((2 * portrait.width, 2 * portrait.height), Image.Resampling.LANCZOS)


def _scratched() -> Example:
    """A portrait with thin scratches, as a print gets them in a drawer; the mask covers them."""
    photo = _portrait()
    mask, rng = Image.new("L", photo.size, 0), np.random.default_rng(SCRATCH_SEED)
    print_, cover = ImageDraw.Draw(photo), ImageDraw.Draw(mask)
    for corners in SCRATCHES:
        parts = itertools.pairwise(corners)
        line = np.concatenate([np.linspace(start, end, 60, endpoint=False) for start, end in parts])
        points = [tuple(point) for point in line + rng.normal(0, 0.5, line.shape)]
        print_.line(points, fill=(238, 234, 224), width=SCRATCH_WIDTH)
        cover.line(points, fill=255, width=SCRATCH_WIDTH)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    example = Example(SCRATCH / "scratched-portrait.png", SCRATCH / "scratched-portrait.mask.png")
    photo.save(example.photo)
    mask.filter(ImageFilter.MaxFilter(7)).save(example.mask)
    return example
