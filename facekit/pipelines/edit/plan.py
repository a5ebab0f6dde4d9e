"""What the edit pipeline is to do with each photo: squares with their guidance, found before any network runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from facekit.conditions.guidance import Guidance
from facekit.conditions.semantics import NUM_CLASSES, UNLABELLED
from facekit.faces.detect import Detector, Face
from facekit.faces.jobs import PhotoJob, plan_fill
from facekit.faces.squares import Square
from facekit.images.photo import Photo, as_uint8
from facekit.images.tensors import masks_to_batch, to_batch
from facekit.notes import Note


@dataclass
class EditSquare:
    """One square that the networks edit.

    Attributes:
        cut: its pixels, its hole, and the way back to the photo.
        seen: the guidance inside the hole, maps `[S, S]`.
        photo: where it was cut from.
    """

    cut: Square
    seen: Guidance
    photo: Photo

    @cached_property
    def own(self) -> np.ndarray:
        """The photo's own face with nothing hidden, float32 `[S, S, 3]` in [0, 1]."""
        return self.cut.uncover(self.photo.rgb)

    @property
    def is_painted(self) -> bool:
        """Whether colours are painted in its hole."""
        return self.seen.color is not None and bool(self.seen.color.where.any())


def plan_edit(
    photo: Photo,
    mask: tuple[np.ndarray, list[Note]],
    guidance: Guidance,
    *,
    sample_size: int,
    aligned: bool,
    faces: str | Sequence[int],
    detector: str | Detector | None,
    known_faces: Sequence[Face] | None = None,
) -> PhotoJob:
    """Find the faces under the mask and cut out photo, mask and guidance with the same warp.

    Args:
        photo: the photo as it was given.
        mask: hole bool `[H, W]` and notes about it.
        guidance: what is drawn on the photo, inside the hole.
        sample_size, aligned, faces, detector, known_faces: see `plan_fill`.

    Returns:
        The job; its `drawn` has an `EditSquare` for each square.

    Raises:
        ValueError: whatever `plan_fill` refuses.
    """
    hole, notes = mask
    job = plan_fill(
        photo,
        hole,
        [*notes, *guidance.notes],
        sample_size=sample_size,
        aligned=aligned,
        faces=faces,
        detector=detector,
        known_faces=known_faces,
    )
    job.drawn = [EditSquare(square, guidance.view_in(square), photo) for square in job.squares]
    return job


def find_strange_paint(job: PhotoJob) -> list[np.ndarray | None]:
    """Where in each square colours are painted that a photo without colours does not have, bool `[S, S]` or None."""
    strange: list[np.ndarray | None] = [None] * len(job.drawn)
    for place, (drawn, tint) in enumerate(zip(job.drawn, job.tints, strict=True)):
        if tint is not None and drawn.seen.color is not None:
            strange[place] = drawn.seen.color.where & tint.find_strangers(drawn.seen.color.colors)
    return strange


@dataclass
class NetworkInput:
    """A batch of masked squares with their guidance: image `[B, 3, S, S]` in [-1, 1] (0 under the hole), mask
    `[B, 1, S, S]` (1 = to edit), sketch `[B, 1, S, S]`, semantics `[B, 19, S, S]`, colour `[B, 3, S, S]` in
    [-1, 1]; None where no square has the modality.
    """

    image: torch.Tensor
    mask: torch.Tensor
    sketch: torch.Tensor | None
    semantics: torch.Tensor | None
    color: torch.Tensor | None


def make_network_input(
    squares: Sequence[EditSquare], strengths: dict[str, float], device: torch.device
) -> NetworkInput:
    """Squares as a batch. A strength below 1 scales a modality's numbers towards 0, which stands for no guidance."""
    size = squares[0].cut.hole.shape
    image = to_batch([square.cut.image for square in squares], device)
    mask = masks_to_batch([square.cut.hole for square in squares], device)

    sketch = semantics = color = None
    if strengths["sketch"] and any(square.seen.sketch is not None for square in squares):
        sketch = np.zeros((len(squares), 1, *size), dtype=np.float32)
        for row, square in zip(sketch, squares, strict=True):
            if square.seen.sketch is not None:
                row[0] = square.seen.sketch * strengths["sketch"]
    if strengths["semantics"] and any(square.seen.labels is not None for square in squares):
        semantics = np.zeros((len(squares), NUM_CLASSES, *size), dtype=np.float32)
        for row, square in zip(semantics, squares, strict=True):
            if square.seen.labels is not None:
                for label in np.unique(square.seen.labels[square.seen.labels != UNLABELLED]):
                    row[label] = (square.seen.labels == label) * strengths["semantics"]
    if strengths["color"] and any(square.seen.color is not None for square in squares):
        color = np.zeros((len(squares), 3, *size), dtype=np.float32)
        for row, square in zip(color, squares, strict=True):
            paint = square.seen.color
            if paint is not None:
                values = (paint.colors * 2 - 1) * paint.where[..., None]
                row[:] = values.transpose(2, 0, 1) * strengths["color"]

    def tensor(array: np.ndarray | None) -> torch.Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return NetworkInput(image * (1 - mask), mask, tensor(sketch), tensor(semantics), tensor(color))


def same_face(image: np.ndarray, square: EditSquare) -> bool:
    """Whether an exemplar, float32 `[S, S, 3]` in [0, 1], is the square's own face."""
    return np.array_equal(as_uint8(image), as_uint8(square.own))
