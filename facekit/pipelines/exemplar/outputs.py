"""What the exemplar pipeline returns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image

from facekit.faces.detect import Face
from facekit.faces.jobs import PhotoJob
from facekit.faces.references import ReferenceFace
from facekit.images.photo import Photo, from_float
from facekit.images.tensors import Pictures, deliver
from facekit.notes import Note


@dataclass
class ExemplarInpaintOutput(BaseOutput):
    """What `ExemplarInpaintPipeline` returns.

    Attributes:
        images: the filled photos, one for each pair of photo and exemplar and each candidate (all candidates
            of the first pair come first). "pil": Pillow images of the photos' own mode, size, alpha and
            depth. "np": float32 `[B, H, W, C]` in [0, 1]. "pt": float32 `[B, C, H, W]` in [0, 1]. C is that of
            the photo (1 gray, 2 gray + alpha, 3 RGB, 4 RGB + alpha); a list where sizes differ.
            "photo": `facekit.images.photo.Photo`, which keeps 16-bit colour.
        faces: for each pair the faces that were filled, left to right; empty with `aligned=True`.
        similarities: for each entry of `images` a list with the identity similarity (cosine, -1 to 1) of every
            filled face to its exemplar; None without an identity encoder.
        exemplars: with `return_exemplars`, the exemplars as the style encoder saw them, `[S, S]`; else None.
        exemplar_crops: with `return_exemplars`, for each pair a list with the exemplar under each hole,
            `[S, S]` RGBA and clear elsewhere: the attributes that are taken over; else None.
        notes: remarks for the user, for example that a mask was empty.
    """

    images: Pictures
    faces: list[list[Face]] = field(default_factory=list)
    similarities: list[list[float]] | None = None
    exemplars: Pictures | None = None
    exemplar_crops: list[Pictures] | None = None
    notes: list[Note] = field(default_factory=list)


@dataclass
class ExemplarSweepOutput(BaseOutput):
    """What `ExemplarInpaintPipeline.sweep` returns.

    Attributes:
        images: the photo filled once for each crossover, Pillow images.
        crossovers: codes before this index come from the first exemplar, the others from the second.
        exemplars: the two exemplars as the style encoder saw them, `[S, S]`.
        notes: remarks for the user.
    """

    images: list[Image.Image]
    crossovers: list[int]
    exemplars: list[Image.Image]
    notes: list[Note]

    def grid(self, side: int = 256, columns: int | None = None) -> Image.Image:
        """One picture as in thesis Fig. 5.15: both exemplars, then the results row by row.

        Args:
            side: largest side of a cell in pixels.
            columns: cells in a row; all in one row when None.
        """
        return draw_grid([*self.exemplars, *self.images], side, columns)


def draw_grid(pictures: list[Image.Image], side: int, columns: int | None = None) -> Image.Image:
    """Lay pictures out row by row on white, each fitted into a square cell of `side` pixels.

    Raises:
        ValueError: no picture, fewer than one column, or a side below 1.
    """
    columns = len(pictures) if columns is None else min(columns, len(pictures))
    if columns < 1 or side < 1:
        raise ValueError(f"a grid needs a column and a pixel at least, not {columns} and {side}")
    rows = math.ceil(len(pictures) / columns)
    grid = Image.new("RGB", (columns * side, rows * side), "white")
    for place, picture in enumerate(pictures):
        # Pillow has no way from 16-bit gray to colours.
        shown = Photo(np.asarray(picture), picture.mode).to_pil() if picture.mode == "I;16" else picture
        shown = shown.convert("RGB")
        scale = side / max(shown.size)
        width, height = (max(1, round(length * scale)) for length in shown.size)
        shown = shown.resize((width, height), Image.Resampling.LANCZOS)
        row, column = divmod(place, columns)
        grid.paste(shown, (column * side + (side - width) // 2, row * side + (side - height) // 2))
    return grid


def cut_under_holes(
    jobs: Sequence[PhotoJob],
    exemplars: Sequence[ReferenceFace],
    pairs: Sequence[tuple[int, int]],
    output_type: str,
) -> list[Pictures]:
    """For each pair of photo and exemplar the exemplar under each hole, `[S, S]` RGBA and clear elsewhere."""
    crops = []
    for photo, guide in pairs:
        picture = from_float(exemplars[guide].image, np.uint8)
        cut = [
            Photo(np.dstack([picture, np.where(square.hole, 255, 0).astype(np.uint8)]), "RGBA")
            for square in jobs[photo].squares
        ]
        crops.append(deliver(cut, output_type) if cut else [])
    return crops
