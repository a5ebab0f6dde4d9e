"""What a pipeline will do with each photo, settled before a network runs: faces, squares, notes, the way back."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from facekit.faces.align import AlignedFace, align_face, ffhq_quad
from facekit.faces.detail import keep_detail
from facekit.faces.detect import MIN_SURE_SCORE, Detector, Face, detect_faces
from facekit.faces.geometry import Box, sample_nearest, shift_target, target_coordinates
from facekit.faces.paste import paste_faces
from facekit.faces.selection import select_faces
from facekit.faces.squares import (
    TONE_BAND,
    CropSquare,
    FaceSquare,
    Square,
    cut_squares,
    fill_smoothly,
    frame_whole,
    measure_seam_distance,
)
from facekit.images.masks import format_share
from facekit.images.photo import Photo, as_float, as_uint8, from_float, resize
from facekit.images.tint import Tint, find_tints
from facekit.notes import Argument, Note, Refusal
from facekit.provenance.watermark import mark

# What a user's hook gives for a photo's colours `[H, W, 3]` (own depth): the same enlarged by one factor.
Background = Callable[[np.ndarray], np.ndarray]

LARGE_HOLE = 0.5  # of the photo: beyond this, white and black may have been mixed up
SMALLEST_DETECTED = 20.0
# Eye distance in units of the eye-to-mouth distance: about 1 from the front, below this nearly in profile.
PROFILE_RATIO = 0.4
SEARCH_SIDE = 1600  # the second search paints over the hole on a copy of at most this side


@dataclass
class PhotoJob:
    """One photo, the squares of it that the networks see, and the way back.

    Attributes:
        photo: as it came.
        hole: what is filled, bool `[H, W]`; all False where faces are restored.
        base: the photo `[H, W, 3]` whose hole inside the face crops shows its surroundings' colours; None where
            nothing is filled.
        crops: squares cut straight from the photo.
        face_squares: aligned faces, left to right.
        drawn: what guides the fill of each square, as the pipeline reads it; empty where nothing does.
        notes: remarks for the user.
    """

    photo: Photo
    hole: np.ndarray
    base: np.ndarray | None = None
    crops: list[CropSquare] = field(default_factory=list)
    face_squares: list[FaceSquare] = field(default_factory=list)
    drawn: list[Any] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def squares(self) -> list[Square]:
        """All squares in the order in which they come from the networks."""
        return [*self.crops, *self.face_squares]

    @cached_property
    def tints(self) -> list[Tint | None]:
        """The tone of a photo without colours, for each of `squares`; None where there is colour."""
        return find_tints(self.photo, self.hole, [(square.image, square.hole) for square in self.squares])

    @property
    def faces(self) -> list[Face]:
        """The faces that are worked on, left to right."""
        return [square.face for square in self.face_squares]

    def paint(
        self, pictures: Sequence[np.ndarray], watermark: bool = False, keeps_detail: bool = False
    ) -> Photo:
        """The photo with its holes filled; only they change.

        Args:
            pictures: float32 `[S, S, 3]` in [0, 1], one for each of `squares`.
            keeps_detail: put the fine structure of what was there before back, see `facekit.faces.detail`.
            watermark: also draw the invisible mark of `facekit.provenance.watermark` into what changed.
        """
        if self.base is None or not self.squares:
            return self.photo
        canvas, crops = self.base.copy(), len(self.crops)
        for crop, picture in zip(self.crops, pictures[:crops], strict=True):
            crop.paint(canvas, picture)
        edits = [
            (square.aligned, square.blend(canvas, picture), self.hole)
            for square, picture in zip(self.face_squares, pictures[crops:], strict=True)
        ]
        if edits:
            canvas = paste_faces(canvas, edits, mode="replace", mask_space="photo")
        if keeps_detail:
            for square, tint in zip(self.squares, self.tints, strict=True):
                region = np.zeros(self.hole.shape, dtype=np.float32)
                square.lay(region, np.ones(square.hole.shape, dtype=np.float32), self.hole)
                canvas = keep_detail(self.photo.rgb, canvas, region > 0, square.side, tint)
        if watermark:
            canvas = mark(canvas, self.hole & (canvas != self.photo.rgb).any(-1))
        return self.photo.recolor(canvas, self.hole)

    def lay(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """Maps float32 `[S, S]`, one for each of `squares`, as one map `[H, W]` over the photo, 0 outside the hole."""
        canvas = np.zeros(self.hole.shape, dtype=np.float32)
        for square, values in zip(self.squares, maps, strict=True):
            square.lay(canvas, values, self.hole)
        return np.maximum(canvas, 0)

    def paste(
        self,
        pictures: Sequence[np.ndarray],
        large: np.ndarray | None = None,
        watermark: bool = False,
    ) -> Photo:
        """The photo with its restored faces.

        Without an enlarged copy every pixel outside the faces' feathered regions keeps its numbers.

        Args:
            pictures: float32 `[S, S, 3]` in [0, 1], one for each of `squares`.
            large: what a `Background` gave for the photo; the faces are pasted into that.
            watermark: draw the invisible mark of `facekit.provenance.watermark` into the faces' changed pixels.

        Raises:
            ValueError: `large` is no enlarged copy.
        """
        rgb = self.photo.rgb
        if self.crops:  # the photo itself is one aligned face
            ((crop, picture),) = zip(self.crops, pictures, strict=True)
            canvas = from_float(crop.enlarge(picture), rgb.dtype)
            where = np.ones(rgb.shape[:2], dtype=bool)
            return self.photo.recolor(mark(canvas, where) if watermark else canvas, where)
        if large is not None:
            return self._paste_on_background(pictures, np.asarray(large), watermark)
        if not self.face_squares:
            return self.photo
        aligned = [square.aligned for square in self.face_squares]
        canvas = paste_faces(rgb, list(zip(aligned, pictures, strict=True)))
        where = np.zeros(rgb.shape[:2], dtype=bool)
        for face in aligned:
            box = face.box.slices
            where[box] |= (canvas[box] != rgb[box]).any(-1)
        return self.photo.recolor(mark(canvas, where) if watermark else canvas, where)

    def _paste_on_background(
        self, pictures: Sequence[np.ndarray], large: np.ndarray, watermark: bool
    ) -> Photo:
        factor = _enlargement(self.photo.rgb, large)
        edits = []
        for square, picture in zip(self.face_squares, pictures, strict=True):
            landmarks = (square.face.landmarks + 0.5) * factor - 0.5
            edits.append((align_face(large, landmarks, square.aligned.size), picture))
        pixels = paste_faces(large, edits)
        if watermark:
            pixels = mark(pixels, (pixels != large).any(-1))
        return self.photo.enlarge(pixels)

    def label_notes(self, place: int, count: int, output_type: str) -> list[Note]:
        """Notes of the photo in this place and the job; with the photo's name in front when there are several."""
        notes = [*self.photo.collect_notes(output_type), *self.notes]
        return [note.about(self.photo.name, place) for note in notes] if count > 1 else notes


def note_turns(faces: Sequence[Face], name: str = "the photo") -> list[Note]:
    """What is to be said of faces that lie on their side or stand on their head."""
    turns = {90: "90 degrees clockwise", 180: "180 degrees", 270: "90 degrees counterclockwise"}
    what = "{name} is not upright: its faces were found in a copy turned by {turn}"
    return [
        Note("photo-turned", what, name=name, turn=turns[turn])
        for turn in sorted({face.turn for face in faces} - {0})
    ]


def note_shape(size: tuple[int, int], name: str = "the photo", argument: str = "aligned") -> list[Note]:
    """What is to be said of a picture of (width, height) that is taken as an aligned face and is not square."""
    width, height = size
    if width == height:
        return []
    what = "{name} is {width}x{height}, and an aligned face is square: the network sees it continued by reflection"
    advice = "Leave out {aligned} to have the face found"
    values = {"name": name, "width": width, "height": height, "aligned": Argument(argument, True)}
    return [Note("aligned-not-square", what, advice, **values)]


def plan_fill(
    photo: Photo,
    hole: np.ndarray,
    notes: list[Note],
    *,
    sample_size: int,
    aligned: bool,
    faces: str | Sequence[int],
    detector: str | Detector | None,
    known_faces: Sequence[Face] | None = None,
    region: str = "face",
    crop: str = "whole",
    beyond_faces: str = "keep",
) -> PhotoJob:
    """Find what to fill in one photo.

    Args:
        photo: as it came.
        hole: what is to be filled, bool `[H, W]`.
        notes: remarks on how the mask was read.
        sample_size: side of the squares in pixels.
        aligned: the photo itself is one aligned face, and one square.
        faces: "all", "largest" or indices from left to right.
        detector: see `detect_faces`.
        known_faces: all faces of the photo, where they were found before.
        region: "face", or "image" for squares cut straight from the photo.
        crop: with `region="image"`, "hole" or "whole".
        beyond_faces: with `region="face"`, what becomes of the hole outside all faces' crops: "fill" as with
            `region="image"`, or "keep" as it was.

    Raises:
        ValueError: with `region="face"`: no face in the photo, none under the mask, or a face index that the
            photo does not have.
    """
    job = PhotoJob(photo, hole, notes=list(notes))
    if not hole.any():
        job.notes.append(Note("mask-empty", "the mask is empty: the photo comes back as it was"))
        return job
    if hole.all():
        job.notes.append(
            Note("mask-covers-all", "the mask covers the whole picture: the result is invented from nothing")
        )
    elif hole.mean() > LARGE_HOLE:
        job.notes.append(
            Note(
                "mask-large",
                "the mask's hole is {share} of the photo: white is filled, black is kept",
                "Invert the mask if the reverse was meant",
                share=format_share(hole.mean()),
            )
        )
    alpha = photo.alpha
    if alpha is not None and not alpha[hole].any():
        job.notes.append(
            Note(
                "mask-under-transparency",
                "the photo is transparent under the whole mask and stays so: the fill cannot be seen",
                "Give the photo as it was before the part was erased, and the erased one as its mask",
            )
        )
    base = job.base = photo.rgb
    if aligned:
        job.notes += note_shape(photo.size)
    if aligned or region == "image":
        job.crops = cut_squares(base, hole, sample_size, "whole" if aligned else crop)
        return job

    touched, rest = _touched_faces(
        photo, base, hole, sample_size, faces, detector, known_faces, only_faces=beyond_faces == "keep"
    )
    job.notes += note_turns([face for _, face in touched])
    if rest.any():
        what = "{share} of the mask lies outside the filled faces' crops: "
        share = format_share(rest.sum() / hole.sum())
        if beyond_faces == "keep":
            job.notes.append(Note("mask-beyond-faces", what + "left as it was", share=share))
            job.hole = hole = hole & ~rest
        else:
            what += "filled as with {region}"
            job.notes.append(Note("mask-beyond-faces", what, share=share, region=Argument("region", "image")))
            under = rest.copy()
            for aligned_face, _ in touched:
                _reach_under(under, aligned_face, hole, rest)
            job.crops = cut_squares(base, hole, sample_size, own=under)
    base = job.base = np.array(base)
    for aligned_face, _ in touched:
        _hide(base, hole, aligned_face)
    for _, face in touched:
        # Cut again, now that nothing of the hole's old content can blur over its edge.
        job.face_squares.append(FaceSquare(base, face, sample_size, hole, rest))
    return job


def _reach_under(own: np.ndarray, aligned: AlignedFace, hole: np.ndarray, rest: np.ndarray) -> None:
    """Add to `own` bool `[H, W]` the part of the hole where a face's fill changes into what lies beyond."""
    seam = measure_seam_distance(aligned, rest)
    if seam is None:
        return
    left, top, right, bottom = aligned.box
    band = (seam <= TONE_BAND * aligned.size).astype(np.uint8)
    near = sample_nearest(band, shift_target(aligned.matrix, left, top), right - left, bottom - top)
    own[aligned.box.slices] |= hole[aligned.box.slices] & (near > 0)


def _touched_faces(
    photo: Photo,
    rgb: np.ndarray,
    hole: np.ndarray,
    size: int,
    faces: str | Sequence[int],
    detector: str | Detector | None,
    known_faces: Sequence[Face] | None,
    only_faces: bool,
) -> tuple[list[tuple[AlignedFace, Face]], np.ndarray]:
    """The faces to fill, left to right, aligned and as they were found; and the part of the hole that is no face's.

    Each pixel of the hole belongs to the face in whose crop it lies nearest to the centre. When the photo
    shows no face under the mask, it is searched again with the hole painted over in its surroundings'
    colours: scribbles and bars hide a face from a detector more than a smooth patch does. Turned copies come
    last, and with them the faces that are not sure.
    """
    picture, count = as_uint8(rgb), 0
    searches = _search(picture, hole, detector) if known_faces is None else [(known_faces, True)]
    for found, are_sure in searches:
        count = max(count, len(found))
        if not found or not are_sure:
            continue
        chosen = select_faces(found, faces)
        inside = [face for face in chosen if is_centred_inside(face, hole.shape)]
        aligned = [align_face(rgb, face, size) for face in inside]
        owners, rest = _assign(aligned, hole)
        if owners:
            owned = [(aligned[owner], inside[owner]) for owner in owners]
            return sorted(owned, key=lambda pair: pair[1].index), rest
    aligned_way = "{aligned} where the whole picture is one aligned face"
    anywhere = "Use {region} for a hole anywhere, or " + aligned_way
    region, whole = Argument("region", "image"), Argument("aligned", True)
    if count == 0:
        advice = "Pass " + aligned_way if only_faces else anywhere
        raise Refusal("no-face", "no face was found", advice, photo.name, region=region, aligned=whole)
    who = "the face" if count == 1 else f"any of the {count} faces"
    advice = "Mark a part of a face" if only_faces else anywhere
    what = "the mask does not touch {who}"
    raise Refusal(
        "mask-beside-faces", what, advice, photo.name, who=who, count=count, region=region, aligned=whole
    )


def _search(
    picture: np.ndarray, hole: np.ndarray, detector: str | Detector | None
) -> Iterator[tuple[list[Face], bool]]:
    """Find faces in the uint8 picture, then in a copy with the hole painted over; and whether to rely on them.

    Both are searched upright at first. In the end whatever there is must do, that of turned copies before.
    """
    searched = []
    for prepare in (lambda: picture, lambda: paint_over(picture, hole)):
        copy = prepare()
        found = detect_faces(copy, detector=detector, turned=False)
        are_sure = any(face.score >= MIN_SURE_SCORE for face in found)
        searched.append((copy, found, are_sure))
        yield found, are_sure
    for copy, found, are_sure in searched:
        if not are_sure:  # those that are were of no use
            yield detect_faces(copy, detector=detector, turned="only") or found, True


def paint_over(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Copy the uint8 picture and paint its hole in its surroundings' colours, computed on a bounded size."""
    height, width = hole.shape
    shrink = min(1.0, SEARCH_SIDE / max(height, width))
    small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small_hole = resize(hole.astype(np.float32), small) > 0
    smooth = fill_smoothly(as_float(cv2.resize(picture, small, interpolation=cv2.INTER_NEAREST)), small_hole)
    large = cv2.resize(from_float(smooth, np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(hole[..., None], large, picture)


def is_centred_inside(face: Face, shape: tuple[int, ...]) -> bool:
    """Whether the middle of a face's square lies in a photo of (height, width): others are not filled."""
    centre = ffhq_quad(face.landmarks).mean(axis=0)
    return bool((centre > 0).all() and centre[0] < shape[1] - 1 and centre[1] < shape[0] - 1)


def _assign(aligned: list[AlignedFace], hole: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Which faces have a part of the hole in their crops, and the part that lies in none, bool `[H, W]`."""
    outer = Box.around_mask(hole)
    if outer is None:
        return [], hole
    owner = np.full(hole[outer.slices].shape, -1, dtype=np.int16)
    nearest = np.full(owner.shape, np.inf, dtype=np.float32)
    for index, face in enumerate(aligned):
        box = face.box.intersection(outer)
        if box is None:
            continue
        x, y = target_coordinates(face.matrix, box)
        middle = (face.size - 1) / 2
        distance = np.maximum(np.abs(x - middle), np.abs(y - middle)) / (face.size / 2)
        view = np.s_[
            box.top - outer.top : box.bottom - outer.top, box.left - outer.left : box.right - outer.left
        ]
        better = (distance <= 1) & (distance < nearest[view]) & hole[box.slices]
        nearest[view][better] = distance[better]
        owner[view][better] = index
    rest = hole.copy()
    rest[outer.slices] &= owner < 0
    return [index for index in range(len(aligned)) if (owner == index).any()], rest


def _hide(base: np.ndarray, hole: np.ndarray, face: AlignedFace) -> None:
    """Paint the hole around a face in the colours of its surroundings."""
    # As far out as the filter that shrinks the crop can reach.
    reach = 8 + math.ceil(4 * max(1.0, 1 / np.hypot(*face.matrix[:, 0])))
    box = Box.around_points(face.quad, hole.shape[0], hole.shape[1], reach).slices
    inside = hole[box]
    base[box][inside] = from_float(fill_smoothly(as_float(base[box]), inside)[inside], base.dtype)


def plan_restoration(
    photo: Photo,
    *,
    sample_size: int,
    aligned: bool,
    faces: str | Sequence[int],
    detector: str | Detector | None,
    min_face_size: float,
    known_faces: Sequence[Face] | None = None,
    enlarges: bool = False,
) -> PhotoJob:
    """Find and align the faces of one photo; what cannot be restored is left with a note.

    Args:
        photo: as it came.
        sample_size: side of the squares in pixels.
        aligned: the photo itself is one aligned face.
        faces: "all", "largest" or indices from left to right.
        detector: see `detect_faces`.
        min_face_size: smaller faces are left; pixels, shorter side of the box.
        known_faces: all faces of the photo, where they were found before.
        enlarges: the photo comes back larger, and what is not restored as the rest of it.

    Raises:
        ValueError: a face index that the photo does not have.
    """
    job = PhotoJob(photo, np.zeros(photo.pixels.shape[:2], dtype=bool))
    if aligned:
        job.notes += note_shape(photo.size)
        job.crops.append(frame_whole(photo.rgb, sample_size))
        return job
    left = "enlarged as the rest" if enlarges else "left as it was"
    mode = photo.to_smooth_mode().mode
    if enlarges and mode != photo.mode:
        few = "black and white has" if photo.mode == "1" else "its palette has"
        what = "{few} no colours for an enlarged picture: the mode {old} becomes {new}"
        job.notes.append(Note("enlarged-mode", what, few=few, old=photo.mode, new=mode))
    rgb = photo.rgb
    limit = min(min_face_size, SMALLEST_DETECTED)
    if known_faces is None:
        found = detect_faces(as_uint8(rgb), faces=faces, min_size=limit, detector=detector)
    else:
        found = select_faces(known_faces, faces)
    if not found:
        outcome = "is only enlarged" if enlarges else "comes back as it was"
        job.notes.append(
            Note(
                "no-face",
                "no face was found: the photo {outcome}",
                "For a picture that is one aligned face pass {aligned}",
                outcome=outcome,
                aligned=Argument("aligned", True),
            )
        )
    job.notes += note_turns(found)
    for face in sorted(found, key=lambda face: face.index):
        side = min(face.box[2] - face.box[0], face.box[3] - face.box[1])
        if side < min_face_size:
            what = "face {face} is {side:.0f} pixels wide, below {limit}: {left}"
            least = Argument("min_face_size", float(min_face_size))
            job.notes.append(Note("face-small", what, face=face.index, side=side, limit=least, left=left))
            continue
        try:
            job.face_squares.append(FaceSquare(rgb, face, sample_size))
        except ValueError as error:
            what = "face {face} cannot be aligned ({why}): {left}"
            job.notes.append(Note("face-not-alignable", what, face=face.index, why=str(error), left=left))
            continue
        eyes, mouth = face.landmarks[:2], face.landmarks[3:5].mean(axis=0)
        ratio = np.hypot(*(eyes[1] - eyes[0])) / max(np.hypot(*(mouth - eyes.mean(axis=0))), 1e-6)
        if ratio < PROFILE_RATIO:
            what = "face {face} is turned far to the side: check the result"
            job.notes.append(Note("face-in-profile", what, face=face.index))
    return job


def _enlargement(rgb: np.ndarray, large: np.ndarray) -> float:
    """How much larger the background hook's picture is. ValueError when it is no enlarged copy."""
    (height, width), found = rgb.shape[:2], list(large.shape)
    if large.ndim != 3 or large.shape[2] != 3 or large.dtype != rgb.dtype:
        raise ValueError(
            f"the background hook must return {rgb.dtype} [H, W, 3] like the photo it gets, "
            f"it returned {large.dtype} {found}"
        )
    factor = large.shape[1] / width
    if factor < 1 or abs(large.shape[0] - height * factor) > 1:
        raise ValueError(
            f"the background hook must enlarge both sides by one factor of at least 1; "
            f"it made {found[:2]} of {[height, width]}"
        )
    return factor
