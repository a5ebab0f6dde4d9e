"""Damage a good photo, so that one can see what restoring does."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facekit.damage.degrade import apply_damage, sample_damage
from facekit.faces import Face, ffhq_quad
from facekit.images.photo import Photo, as_float, from_float

PRESETS = [
    ("Even blur", "thesis"),
    ("Blur that runs to one side", "published-a"),
    ("The same, now and then hazy or gray", "published-b"),
]
MAX_DAMAGE_PIXELS = 50_000_000  # blur and noise work on floating copies of the photo
NETWORK_SIDE = 256  # pixels of a face that the presets' shrinking is meant for


def damage_photo(photo: Photo, side: float, severity: float, preset: str, seed: int) -> Photo:
    """A damaged copy, of the photo's size, mode and depth; the same seed gives the same damage.

    `side` in pixels, see `face_side`: blur and shrinking go by it, so that small faces in a large photo stay
    faces.

    Raises:
        ValueError: a severity outside [0, 1], an unknown preset, or a photo too large.
    """
    width, height = photo.size
    if width * height > MAX_DAMAGE_PIXELS:
        raise ValueError(
            f"{photo.name} is {width}x{height}; only photos of up to {MAX_DAMAGE_PIXELS:,} pixels are damaged "
            "here. Choose a smaller one."
        )
    rng = np.random.default_rng(seed)
    damage = sample_damage(preset, rng, round(side), severity)
    damage = replace(damage, scale=max(1.0, damage.scale * min(1.0, side / NETWORK_SIDE)))
    rgb = photo.rgb
    # Damage rounds to the 256 levels of an 8-bit file anyhow, whatever the photo's depth.
    pixels = rgb if rgb.dtype == np.uint8 else as_float(rgb)
    damaged = apply_damage(np.ascontiguousarray(pixels), damage, rng)
    if damaged.dtype != rgb.dtype:
        damaged = from_float(damaged, rgb.dtype)
    return photo.recolor(damaged, np.ones(rgb.shape[:2], dtype=bool))


def face_side(photo: Photo, faces: Sequence[Face]) -> float:
    """Side in photo pixels of the aligned crop of the largest face; without faces the photo's shorter side."""
    quads = [ffhq_quad(face.landmarks) for face in faces]
    return max((float(np.hypot(*(quad[3] - quad[0]))) for quad in quads), default=min(photo.size))
