"""What the inpainting pipeline will do with each photo, settled before a network runs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from facekit.faces import AlignedFace, Face, align_face, detect_faces, ffhq_quad, paste_faces
from facekit.faces import squares as regions
from facekit.faces.detect import MIN_SURE_SCORE
from facekit.faces.geometry import (
    bounding_box,
    intersect,
    invert,
    resample,
    sample_nearest,
    shift_target,
    smoothstep,
    target_coordinates,
)
from facekit.faces.squares import CropRegion, Region, crop_regions, surroundings
from facekit.images.masks import percent
from facekit.images.photo import Photo, as_float, as_uint8, from_float, resize
from facekit.pipelines.people import known_faces, turn_notes
from facekit.pipelines.tint import Tint, tints_of
from facekit.provenance.watermark import mark

WAY_OUT = (
    'Use region="image" for a hole anywhere, or aligned=True where the whole picture is one aligned face.'
)
# Pipelines that fill faces alone have no `region`.
WITHOUT_FACE = "Pass aligned=True where the whole picture is one aligned face."
BESIDE_FACES = "Mark a part of a face."
LARGE_HOLE = 0.5  # of the photo: beyond this, white and black may have been mixed up
SEARCH_SIDE = 1600  # the second search paints over the hole on a copy of at most this side
# Where a hole leaves a face's crop, the fill changes into what lies beyond, in shares of the crop's side: tones
# over a wide band, details over a narrow one (Burt and Adelson, A multiresolution spline, 1983, with two bands).
TONE_BAND, DETAIL_BAND = 0.2, 0.06
TONE_BLUR = 0.03  # standard deviation of the blur that tells tones from details


class FaceRegion:
    """An aligned face with a hole, for the network. `paste_faces` takes all faces of a photo back together.

    `rest` bool `[H, W]` is the part of the hole that lies in no filled face's crop.

    Attributes:
        image: float32 `[S, S, 3]` in [0, 1].
        hole: bool `[S, S]`.
        aligned: the way back to the photo.
        seam: distance float32 `[S, S]` in aligned pixels to where the hole leaves the crop; None where it does not.
    """

    def __init__(self, aligned: AlignedFace, hole: np.ndarray, rest: np.ndarray | None = None) -> None:
        self.aligned = aligned
        self.image = as_float(aligned.image)
        self.hole = aligned.warp(hole.astype(np.float32), "linear") >= 0.5
        self.seam = None if rest is None else _distance_to_seam(aligned, rest)

    def blended(self, canvas: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """The filled square `[S, S, 3]` in [0, 1], led over to what `canvas` `[H, W, 3]` shows beyond the crop.

        Under the hole the canvas must show what the fill is to change into, not the hole's old content.
        """
        if self.seam is None:
            return filled
        size = self.aligned.size
        around = as_float(align_face(canvas, self.aligned.face, size).image)
        difference = around - filled
        tones = cv2.GaussianBlur(difference, (0, 0), TONE_BLUR * size, borderType=cv2.BORDER_REFLECT)
        coarse, fine = (
            1 - smoothstep(self.seam / (band * size))[..., None] for band in (TONE_BAND, DETAIL_BAND)
        )
        return np.clip(filled + tones * coarse + (difference - tones) * fine, 0, 1)

    def view(self, values: np.ndarray) -> np.ndarray:
        """A map float32 `[H, W]` of the photo as the network sees it, `[S, S]`; 0 outside the photo."""
        return self.aligned.warp(values, "linear")

    def lay(self, canvas: np.ndarray, values: np.ndarray, hole: np.ndarray) -> None:
        """Write a map float32 `[S, S]` into `canvas` float32 `[H, W]` under the hole and inside the crop."""
        left, top, right, bottom = self.aligned.box
        box = np.s_[top:bottom, left:right]
        inside = hole[box] & self.aligned.covers(self.aligned.box)
        canvas[box][inside] = self.aligned.unwarp(values)[box][inside]


@dataclass
class Job:
    """One photo with its hole, and the squares to fill.

    Attributes:
        photo: as it came.
        hole: bool `[H, W]`.
        base: the photo `[H, W, 3]` whose hole inside the face crops shows its surroundings' colours.
        crops: squares cut straight from the photo.
        face_regions: aligned faces.
        notes: remarks for the user.
    """

    photo: Photo
    hole: np.ndarray
    base: np.ndarray | None = None
    crops: list[CropRegion] = field(default_factory=list)
    face_regions: list[FaceRegion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def regions(self) -> list[Region | FaceRegion]:
        """All squares in the order in which they come from the network."""
        return [*self.crops, *self.face_regions]

    @cached_property
    def tints(self) -> list[Tint | None]:
        """The tone of a photo without colours, for each of `regions`; None where there is colour."""
        return tints_of(self.photo, self.hole, [(region.image, region.hole) for region in self.regions])

    @property
    def faces(self) -> list[Face]:
        """The faces that are filled, left to right."""
        return [region.aligned.face for region in self.face_regions]

    def painted(self, squares: np.ndarray, watermark: bool = False) -> Photo:
        """The photo with its filled squares float32 `[N, S, S, 3]` in [0, 1]; only the hole changes.

        `watermark`: also draw the invisible mark of `facekit.provenance.watermark` there.
        """
        canvas = self.base.copy()
        for crop, square in zip(self.crops, squares, strict=False):
            crop.paint(canvas, square)
        edits = [
            (region.aligned, region.blended(canvas, square), self.hole)
            for region, square in zip(self.face_regions, squares[len(self.crops) :], strict=True)
        ]
        if edits:
            canvas = paste_faces(canvas, edits, mode="replace", mask_space="photo")
        if watermark:
            canvas = mark(canvas, self.hole & (canvas != self.photo.rgb).any(-1))
        return self.photo.edited(canvas, self.hole)

    def laid(self, squares: np.ndarray) -> np.ndarray:
        """Maps float32 `[N, S, S]` as one map float32 `[H, W]` over the photo, 0 outside the hole."""
        canvas = np.zeros(self.hole.shape, dtype=np.float32)
        for crop, square in zip(self.crops, squares, strict=False):
            crop.lay(canvas, square)
        for region, square in zip(self.face_regions, squares[len(self.crops) :], strict=False):
            region.lay(canvas, square, self.hole)
        return np.maximum(canvas, 0)

    def labelled_notes(self, count: int, output_type: str) -> list[str]:
        """Notes of the photo and the job, with the photo's name in front when there are several photos."""
        notes = [*self.photo.remarks(output_type), *self.notes]
        return [f"{self.photo.name}: {note}" for note in notes] if count > 1 else notes


def plan_job(
    photo: Photo,
    hole: np.ndarray,
    notes: list[str],
    *,
    sample_size: int,
    region: str,
    crop: str,
    faces: str | Sequence[int],
    detector: Any,
    beyond_faces: str = "fill",
) -> Job:
    """Find what to fill in one photo.

    `beyond_faces`: with `region="face"`, what becomes of the hole outside all faces' crops: "fill" as with
    `region="image"`, or "keep" as it was.

    Raises:
        ValueError: with `region="face"`: no face in the photo, none under the mask, or a face index that the
            photo does not have.
    """
    job = Job(photo, hole, notes=list(notes))
    if not hole.any():
        job.notes.append("the mask is empty: the photo comes back as it was")
        return job
    if hole.all():
        job.notes.append("the mask covers the whole picture: the result is invented from nothing")
    elif hole.mean() > LARGE_HOLE:
        job.notes.append(
            f"the mask's hole is {percent(hole.mean())} of the photo: white is filled, black is kept. "
            "Invert the mask if the reverse was meant"
        )
    alpha = photo.alpha
    if alpha is not None and not alpha[hole].any():
        job.notes.append(
            "the photo is transparent under the whole mask and stays so: the fill cannot be seen. Give the photo "
            "as it was before the part was erased, and the erased one as its mask"
        )
    job.base = photo.rgb
    if region == "image":
        job.crops = crop_regions(job.base, hole, sample_size, crop)
        return job

    aligned, rest = _touched_faces(
        photo, job.base, hole, sample_size, faces, detector, only_faces=beyond_faces == "keep"
    )
    job.notes += turn_notes([face.face for face in aligned])
    if rest.any():
        share = f"{percent(rest.sum() / hole.sum())} of the mask lies outside the filled faces' crops: "
        if beyond_faces == "keep":
            job.notes.append(f"{share}left as it was")
            job.hole = hole = hole & ~rest
        else:
            job.notes.append(f'{share}filled as with region="image"')
            under = rest.copy()
            for face in aligned:
                _reach_under(under, face, hole, rest)
            job.crops = crop_regions(job.base, hole, sample_size, own=under)
    job.base = np.array(job.base)
    for face in aligned:
        _hide(job.base, hole, face)
    for face in aligned:
        # Cut again, now that nothing of the hole's old content can blur over its edge.
        job.face_regions.append(FaceRegion(align_face(job.base, face.face, sample_size), hole, rest))
    return job


def _distance_to_seam(aligned: AlignedFace, rest: np.ndarray) -> np.ndarray | None:
    """How far every aligned pixel is from the part of the hole outside all crops, `[S, S]` in aligned pixels.

    Args:
        rest: that part, bool `[H, W]`.

    Returns:
        float32, or None where that part does not touch the crop.
    """
    size = aligned.size
    # One pixel of the photo beyond the crop, and one of the crop, are enough to see it.
    ring = 1 + math.ceil(max(1.0, np.hypot(*aligned.matrix[:, 0])))
    wide = size + 2 * ring
    beyond = (
        resample(rest, shift_target(invert(aligned.matrix), -ring, -ring), wide, wide, border="zero") > 0.1
    )
    if not beyond.any():
        return None
    distance = cv2.distanceTransform((~beyond).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance[ring:-ring, ring:-ring]


def _reach_under(own: np.ndarray, aligned: AlignedFace, hole: np.ndarray, rest: np.ndarray) -> None:
    """Add to `own` bool `[H, W]` the part of the hole where a face's fill changes into what lies beyond."""
    seam = _distance_to_seam(aligned, rest)
    if seam is None:
        return
    left, top, right, bottom = aligned.box
    box = np.s_[top:bottom, left:right]
    band = (seam <= TONE_BAND * aligned.size).astype(np.uint8)
    near = sample_nearest(band, shift_target(aligned.matrix, left, top), right - left, bottom - top)
    own[box] |= hole[box] & (near > 0)


def _touched_faces(
    photo: Photo,
    rgb: np.ndarray,
    hole: np.ndarray,
    size: int,
    faces: str | Sequence[int],
    detector: Any,
    only_faces: bool,
) -> tuple[list[AlignedFace], np.ndarray]:
    """The faces to fill, left to right, and the part of the hole that belongs to none of them.

    Each pixel of the hole belongs to the face in whose crop it lies nearest to the centre. When the photo
    shows no face under the mask, it is searched again with the hole painted over in its surroundings'
    colours: scribbles and bars hide a face from a detector more than a smooth patch does. Turned copies come
    last, and with them the faces that are not sure.
    """
    options = {} if detector is None else {"detector": detector}
    picture, count = as_uint8(rgb), 0
    for found, are_sure in _searches(picture, hole, options):
        count = max(count, len(found))
        if not found or not are_sure:
            continue
        chosen = detect_faces(picture, faces=faces, detector=known_faces(found), turned=False)
        aligned = [align_face(rgb, face, size) for face in chosen if _centred_inside(face, hole.shape)]
        owned, rest = _owners(aligned, hole)
        if owned:
            return sorted(owned, key=lambda face: face.face.index), rest
    if count == 0:
        raise ValueError(f"{photo.name}: no face was found. {WITHOUT_FACE if only_faces else WAY_OUT}")
    who = "the face" if count == 1 else f"any of the {count} faces"
    way_out = BESIDE_FACES if only_faces else WAY_OUT
    raise ValueError(f"{photo.name}: the mask does not touch {who}. {way_out}")


def _searches(
    picture: np.ndarray, hole: np.ndarray, options: dict[str, Any]
) -> Iterator[tuple[list[Face], bool]]:
    """Faces of the uint8 picture, then of a copy with the hole painted over, and whether they are to be relied on.

    Both are searched upright at first. In the end whatever there is must do, that of turned copies before.
    """
    searched = []
    for prepare in (lambda: picture, lambda: _painted_over(picture, hole)):
        copy = prepare()
        found = detect_faces(copy, turned=False, **options)
        are_sure = any(face.score >= MIN_SURE_SCORE for face in found)
        searched.append((copy, found, are_sure))
        yield found, are_sure
    for copy, found, are_sure in searched:
        if not are_sure:  # those that are were of no use
            yield detect_faces(copy, turned="only", **options) or found, True


def _painted_over(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A copy of the uint8 picture with the hole in its surroundings' colours, computed on a bounded size."""
    height, width = hole.shape
    shrink = min(1.0, SEARCH_SIDE / max(height, width))
    small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small_hole = resize(hole.astype(np.float32), small) > 0
    smooth = surroundings(as_float(cv2.resize(picture, small, interpolation=cv2.INTER_NEAREST)), small_hole)
    large = cv2.resize(from_float(smooth, np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(hole[..., None], large, picture)


def _centred_inside(face: Face, shape: tuple[int, int]) -> bool:
    centre = ffhq_quad(face.landmarks).mean(axis=0)
    return bool((centre > 0).all() and centre[0] < shape[1] - 1 and centre[1] < shape[0] - 1)


def _owners(aligned: list[AlignedFace], hole: np.ndarray) -> tuple[list[AlignedFace], np.ndarray]:
    outer = regions.bounding_box(hole)
    bounds = (outer.left, outer.top, outer.right, outer.bottom)
    owner = np.full(hole[outer.slices].shape, -1, dtype=np.int16)
    nearest = np.full(owner.shape, np.inf, dtype=np.float32)
    for index, face in enumerate(aligned):
        box = intersect(face.box, bounds)
        if box is None:
            continue
        x, y = target_coordinates(face.matrix, box)
        middle = (face.size - 1) / 2
        distance = np.maximum(np.abs(x - middle), np.abs(y - middle)) / (face.size / 2)
        view = np.s_[box[1] - outer.top : box[3] - outer.top, box[0] - outer.left : box[2] - outer.left]
        better = (distance <= 1) & (distance < nearest[view]) & hole[box[1] : box[3], box[0] : box[2]]
        nearest[view][better] = distance[better]
        owner[view][better] = index
    rest = hole.copy()
    rest[outer.slices] &= owner < 0
    return [face for index, face in enumerate(aligned) if (owner == index).any()], rest


def _hide(base: np.ndarray, hole: np.ndarray, face: AlignedFace) -> None:
    """Paint the hole around a face in the colours of its surroundings."""
    # As far out as the filter that shrinks the crop can reach.
    reach = 8 + math.ceil(4 * max(1.0, 1 / np.hypot(*face.matrix[:, 0])))
    left, top, right, bottom = bounding_box(face.quad, *hole.shape, margin=reach)
    box = np.s_[top:bottom, left:right]
    inside = hole[box]
    base[box][inside] = from_float(surroundings(as_float(base[box]), inside)[inside], base.dtype)
