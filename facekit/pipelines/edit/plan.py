"""What the edit pipeline will do with each photo, settled before a network runs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from facekit.conditions.drawings import UNSAID, Guidance
from facekit.conditions.semantics import CLASS_NAMES
from facekit.faces import align_face
from facekit.faces.squares import Box, CropRegion
from facekit.images.photo import ImageInput, Photo, as_float, as_uint8, from_float, load_images
from facekit.pipelines.exemplar.plan import ExemplarFace, plan_exemplar
from facekit.pipelines.inpaint_plan import FaceRegion, Job, plan_job

SELF, FRONT = "self", "front"
SAMPLED = 64
Exemplars = ImageInput | ExemplarFace | Sequence[ImageInput | ExemplarFace]


@dataclass
class EditSquare:
    """One square that the networks edit.

    Attributes:
        region: its pixels, its hole, and the way back to the photo.
        seen: the guidance inside the hole, maps `[S, S]`.
        photo: where it was cut from.
    """

    region: CropRegion | FaceRegion
    seen: Guidance
    photo: Photo

    @cached_property
    def own(self) -> np.ndarray:
        """The photo's own face with nothing hidden, float32 `[S, S, 3]` in [0, 1]."""
        size = self.region.hole.shape[0]
        if isinstance(self.region, FaceRegion):
            return as_float(align_face(self.photo.rgb, self.region.aligned.face, size).image)
        width, height = self.photo.size
        nothing, box = np.zeros((height, width), dtype=bool), Box(0, 0, width, height)
        return CropRegion(self.photo.rgb, nothing, nothing, box, box.side, size).image


@dataclass
class EditJob:
    """One photo with its mask, the squares to edit and the guidance for them."""

    job: Job
    squares: list[EditSquare] = field(default_factory=list)

    @property
    def counted(self) -> int:
        """Number of squares."""
        return len(self.squares)

    def strange_paint(self) -> list[np.ndarray | None]:
        """For each square where colours are painted that a photo without colours lacks, bool `[S, S]` or None."""
        strange: list[np.ndarray | None] = [None] * len(self.squares)
        for place, (square, tint) in enumerate(zip(self.squares, self.job.tints, strict=True)):
            if tint is not None and square.seen.color is not None:
                strange[place] = square.seen.painted & tint.strangers(square.seen.color)
        return strange


def plan_edit(
    photo: Photo,
    mask: tuple[np.ndarray, list[str]],
    guidance: Guidance,
    *,
    sample_size: int,
    aligned: bool,
    faces: str | Sequence[int],
    detector: Any,
) -> EditJob:
    """Find the faces under the mask and cut out photo, mask and guidance with the same warp.

    Args:
        mask: hole bool `[H, W]` and notes about it.
        guidance: what is drawn on the photo, inside the hole.

    Raises:
        ValueError: an empty mask, or whatever `plan_job` refuses.
    """
    hole, notes = mask
    if not hole.any():
        why = "".join(f" {note[0].upper()}{note[1:]}." for note in notes)
        raise ValueError(
            f"the mask of {photo.name} is empty, so nothing would be edited.{why} Paint it white (or with alpha) "
            "where the photo may change."
        )
    job = plan_job(
        photo,
        hole,
        [*notes, *guidance.notes],
        sample_size=sample_size,
        region="image" if aligned else "face",
        crop="whole",
        faces=faces,
        detector=detector,
        beyond_faces="keep",
    )
    squares = [EditSquare(region, guidance.seen_by(region), photo) for region in job.regions]
    return EditJob(job, squares)


def plan_faces(
    pictures: Exemplars,
    size: int,
    *,
    aligned: bool,
    face: str | int,
    detector: Any,
    max_pixels: int | None,
    name: str,
) -> list[ExemplarFace]:
    """Find and cut out the faces of exemplars or pose references; those found before are taken as they are.

    Their pixels are whole 8-bit numbers, so that a picture of them says all.

    Raises:
        FileNotFoundError, TypeError: a picture is missing or of an unknown kind.
        ValueError: a picture is refused (see `load_image`), shows no face, or several where one is to be chosen.
    """
    if face not in ("only", "largest") and (isinstance(face, bool) or not isinstance(face, int)):
        raise ValueError(f"exemplar_face is {face!r}; say 'only', 'largest' or an index from left to right.")
    several = isinstance(pictures, list | tuple)
    if not several and not isinstance(pictures, ExemplarFace):
        photos = load_images(pictures, max_pixels=max_pixels, name=name)
    else:
        given = list(pictures) if several else [pictures]
        if not given:
            raise ValueError(f"{name} is an empty list. Pass at least one picture.")
        photos = [
            entry
            if isinstance(entry, ExemplarFace)
            else load_images(
                entry, max_pixels=max_pixels, name=f"{name} {index}" if len(given) > 1 else name
            )[0]
            for index, entry in enumerate(given)
        ]
    faces = []
    for entry in photos:
        if isinstance(entry, ExemplarFace):
            found = entry
            if found.image.shape != (size, size, 3):
                raise ValueError(
                    f"{name} was cut out at {found.image.shape[0]} pixels and this model works at {size}. "
                    "Pass the picture."
                )
        else:
            found = plan_exemplar(entry, size, aligned, face, detector)
            found = replace(found, image=as_float(from_float(found.image, np.uint8)))
        faces.append(found)
    return faces


def digest(*parts: np.ndarray | torch.Tensor | str | None) -> bytes:
    """A key that differs where the parts differ."""
    total = hashlib.blake2b(digest_size=20)
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().float().cpu().numpy()
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).data)
        else:
            total.update(repr(part).encode())
    return total.digest()


def weights_key(network: nn.Module) -> bytes:
    """A key that differs where the weights of a network do.

    PyTorch counts changes of a tensor, but not those through `.data`, by which diffusers' averages write. These are
    known by `SAMPLED` numbers of each tensor: whatever trains, averages or merges changes them too. A change through
    `.data` of single numbers between them is not seen, nor one while offloading keeps the weights elsewhere.
    """
    numbers, told = [], []
    for name, tensor in network.state_dict(keep_vars=True).items():
        told.append((name, tensor.dtype, tensor.shape, 0 if tensor.is_inference() else tensor._version))
        if not tensor.is_meta and tensor.numel():
            flat = tensor.detach().permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor.detach()
            # In the order of a channels_last kernel, or as it lies: never a copy of a large tensor.
            flat = flat if flat.is_contiguous() else tensor.detach()
            numbers.append(flat.reshape(-1)[:: -(-flat.numel() // SAMPLED)].float())
    return digest(repr(told), torch.cat(numbers) if numbers else None)


def square_key(square: EditSquare, strengths: dict[str, float]) -> bytes:
    """Key of what the networks make of a masked square and its guidance."""
    seen, drawn = square.seen, [strengths[name] for name in ("sketch", "semantics", "color")]
    return digest(square.region.image, square.region.hole, seen.sketch, seen.labels, seen.color, repr(drawn))


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


def network_input(
    squares: Sequence[EditSquare], strengths: dict[str, float], device: torch.device
) -> NetworkInput:
    """Squares as a batch. A strength scales a modality's numbers towards 0, which means that nothing is said."""
    size = squares[0].region.hole.shape
    image = np.stack([square.region.image for square in squares]).transpose(0, 3, 1, 2) * 2 - 1
    mask = np.stack([square.region.hole for square in squares])[:, None].astype(np.float32)

    sketch = semantics = color = None
    if strengths["sketch"] and any(square.seen.sketch is not None for square in squares):
        sketch = np.zeros((len(squares), 1, *size), dtype=np.float32)
        for row, square in zip(sketch, squares, strict=True):
            if square.seen.sketch is not None:
                row[0] = square.seen.sketch * strengths["sketch"]
    if strengths["semantics"] and any(square.seen.labels is not None for square in squares):
        semantics = np.zeros((len(squares), len(CLASS_NAMES), *size), dtype=np.float32)
        for row, square in zip(semantics, squares, strict=True):
            if square.seen.labels is not None:
                for label in np.unique(square.seen.labels[square.seen.labels != UNSAID]):
                    row[label] = (square.seen.labels == label) * strengths["semantics"]
    if strengths["color"] and any(square.seen.color is not None for square in squares):
        color = np.zeros((len(squares), 3, *size), dtype=np.float32)
        for row, square in zip(color, squares, strict=True):
            if square.seen.color is not None:
                values = (square.seen.color * 2 - 1) * square.seen.painted[..., None]
                row[:] = values.transpose(2, 0, 1) * strengths["color"]

    def tensor(array: np.ndarray | None) -> torch.Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return NetworkInput(
        tensor((image * (1 - mask)).astype(np.float32)),
        tensor(mask),
        tensor(sketch),
        tensor(semantics),
        tensor(color),
    )


def face_batch(images: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Faces float32 `[S, S, 3]` in [0, 1] as `[B, 3, S, S]` in [-1, 1]."""
    stacked = np.stack(images).transpose(0, 3, 1, 2) * np.float32(2) - np.float32(1)
    return torch.from_numpy(np.ascontiguousarray(stacked)).to(device)


def same_face(image: np.ndarray, square: EditSquare) -> bool:
    """Whether an exemplar is the square's own face."""
    return np.array_equal(as_uint8(image), as_uint8(square.own))
