"""From photos and exemplars to what the networks' encoders make of them, each computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from facekit.conditions.sketch import view_strokes
from facekit.faces.detect import Detector, Face
from facekit.faces.jobs import PhotoJob, plan_fill
from facekit.faces.references import ReferenceFace
from facekit.faces.squares import Square
from facekit.images.photo import Photo
from facekit.images.tensors import masks_to_batch, to_batch
from facekit.models.layers.unet import EncodedFace
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.style_encoder import StyleEncoder
from facekit.notes import Note
from facekit.pipelines.base import run_in_parts
from facekit.pipelines.exemplar.occlusion import Occlusion, propose_mask

# A face more than this many times as wide as the network's picture comes out softer than its surroundings.
COARSEST = 4.0


@dataclass
class ExemplarCodes:
    """Exemplars that were found and encoded: pass it as `exemplar` or `second_exemplar` to any number of calls.

    Attributes:
        faces: the exemplars as the style encoder sees them.
        codes: [E, m, D] float32, the last m of the n codes of each; None until they are encoded.
    """

    faces: list[ReferenceFace]
    codes: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.faces)


@dataclass(frozen=True)
class EncodedSquares:
    """The squares of some photos, as a network's encoder saw them and what it made of them.

    Attributes:
        known: their pixels [N, 3, S, S] in [-1, 1].
        holes: [N, 1, S, S], 1 = hole.
        features: of the encoder.
    """

    known: torch.Tensor
    holes: torch.Tensor
    features: EncodedFace


@dataclass
class EncodedPhotos:
    """Photos with their holes that were read and encoded: pass it as `image` to any number of calls.

    Attributes:
        jobs: the photos, what is filled in them, and what is drawn there.
        encoded: what the generator's encoder made of their squares; None before, and where nothing is to be filled.
    """

    jobs: list[PhotoJob]
    encoded: EncodedSquares | None = None

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def squares(self) -> list[Square]:
        """The squares of all photos."""
        return [square for job in self.jobs for square in job.squares]


def plan_photo(
    photo: Photo,
    mask: tuple[np.ndarray, list[Note]] | None,
    sketch: tuple[np.ndarray, list[Note]] | None,
    *,
    sample_size: int,
    aligned: bool,
    faces: str | Sequence[int],
    detector: str | Detector | None,
    known_faces: Sequence[Face] | None,
    recover: Occlusion | None,
) -> PhotoJob:
    """Find what to fill in one photo: the mask, what `recover` proposes, or both together.

    Args:
        photo: the photo as it was given.
        mask: hole bool `[H, W]` and notes about it, or None.
        sketch: strokes bool `[H, W]` and notes about them, or None.
        sample_size, aligned, faces, detector, known_faces: see `plan_fill`.
        recover: what to propose a mask for, see `propose_mask`; None: nothing.

    Returns:
        The job; with a sketch its `drawn` has the strokes of each square, bool `[S, S]`.

    Raises:
        ValueError: what `plan_fill` or `propose_mask` refuses.
    """
    shape = (photo.size[1], photo.size[0])
    hole, notes = (np.zeros(shape, dtype=bool), []) if mask is None else mask
    if recover is not None:
        proposed, known_faces = propose_mask(photo, recover, aligned, faces, detector, known_faces)
        hole = hole | proposed
    job = plan_fill(
        photo,
        hole,
        notes,
        sample_size=sample_size,
        aligned=aligned,
        faces=faces,
        detector=detector,
        known_faces=known_faces,
    )
    for square in job.squares:
        if square.side > COARSEST * sample_size:
            what = (
                "a filled face is {side:.0f} pixels wide in the photo and {size} in the network: it will look softer "
                "than its surroundings"
            )
            job.notes.append(Note("fill-soft", what, side=square.side, size=sample_size))
    if sketch is None:
        return job
    strokes, sketch_notes = sketch
    job.notes += sketch_notes
    outside = strokes & ~job.hole
    if outside.any():
        share = outside.sum() / strokes.sum()
        what = "{share} of the {drawing} lies outside the hole and is ignored"
        job.notes.append(Note("drawing-partly-outside", what, share=f"{share:.0%}", drawing="sketch"))
    inside = strokes & job.hole
    job.drawn = [view_strokes(inside, square) for square in job.squares]
    return job


@dataclass(frozen=True)
class Encoder:
    """The networks of the pipeline that encode, on the device where they compute.

    Attributes:
        style_encoder: exemplar -> codes.
        multi_style_generator: its encoder reads masked photos.
        device: of the networks.
    """

    style_encoder: StyleEncoder
    multi_style_generator: MultiStyleGenerator
    device: torch.device

    @property
    def code_range(self) -> tuple[int, int]:
        """(first, n): codes of index first to n - 1 can come from an exemplar."""
        return self.style_encoder.config.first_style, self.multi_style_generator.num_styles

    def encode_exemplars(self, exemplars: ExemplarCodes, max_batch_size: int) -> torch.Tensor:
        """The exemplars' codes [E, m, D] float32; they are computed once and kept in `exemplars`."""
        if exemplars.codes is not None:
            return exemplars.codes
        pictures = to_batch([face.image for face in exemplars.faces], self.device)
        dtype = self.style_encoder.dtype

        def encode(part: slice) -> torch.Tensor:
            return self.style_encoder(pictures[part].to(dtype), styles=self.code_range).float()

        exemplars.codes = run_in_parts(encode, len(exemplars), max_batch_size)
        return exemplars.codes

    def encode_photos(self, photos: EncodedPhotos, max_batch_size: int) -> EncodedSquares:
        """The photos' squares, of which there must be one, encoded; this is done once and kept in `photos`."""
        if photos.encoded is not None:
            return photos.encoded
        squares = photos.squares
        known = to_batch([square.image for square in squares], self.device)
        holes = masks_to_batch([square.hole for square in squares], self.device)
        sketches = None
        if self.multi_style_generator.config.use_sketch:
            drawn = [
                sketch
                for job in photos.jobs
                for sketch in job.drawn or [np.zeros(square.hole.shape, bool) for square in job.squares]
            ]
            sketches = masks_to_batch(drawn, self.device)
        dtype, parts = self.multi_style_generator.dtype, []
        for start in range(0, len(squares), max_batch_size):
            part = slice(start, start + max_batch_size)
            _, encoded, _ = self.multi_style_generator(
                known[part].to(dtype),
                holes[part].to(dtype),
                sketch=None if sketches is None else sketches[part].to(dtype),
                encode_only=True,
                return_dict=False,
            )
            parts.append(encoded)
        photos.encoded = EncodedSquares(known, holes, EncodedFace.join(parts))
        return photos.encoded
