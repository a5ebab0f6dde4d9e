"""What the restoration pipeline will do with each photo, settled before a network runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from facekit.faces import AlignedFace, Face, align_face, detect_faces, paste_faces
from facekit.images.photo import Photo, as_float, as_uint8, from_float, resize
from facekit.pipelines.people import turn_notes
from facekit.pipelines.tint import Tint, tints_of
from facekit.provenance.watermark import mark

Background = Callable[[np.ndarray], np.ndarray]

SMALLEST_DETECTED = 20.0
# Eye distance in units of the eye-to-mouth distance: about 1 from the front, below this nearly in profile.
PROFILE_RATIO = 0.4


@dataclass
class RestoreJob:
    """One photo and the aligned faces that are restored in it.

    Attributes:
        photo: as it came.
        aligned: the faces, left to right; empty with `whole`.
        whole: the photo itself is one aligned face.
        notes: remarks for the user.
    """

    photo: Photo
    sample_size: int
    aligned: list[AlignedFace] = field(default_factory=list)
    whole: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def faces(self) -> list[Face]:
        """The faces that are restored, left to right."""
        return [face.face for face in self.aligned]

    @cached_property
    def inputs(self) -> list[np.ndarray]:
        """What the networks see: float32 `[S, S, 3]` in [0, 1] for each face."""
        if self.whole:
            side = (self.sample_size, self.sample_size)
            return [np.clip(resize(as_float(self.photo.rgb), side), 0, 1)]
        return [as_float(face.image) for face in self.aligned]

    @property
    def tints(self) -> list[Tint | None]:
        """The tone of a photo without colours, for each of `inputs`; None where there is colour."""
        return tints_of(self.photo, None, [(image, None) for image in self.inputs])

    def finished(
        self, restored: Sequence[np.ndarray], background: Background | None, watermark: bool = False
    ) -> Photo:
        """The photo with its restored faces, float32 `[S, S, 3]` in [0, 1] each.

        Without a background hook every pixel outside the faces' feathered regions keeps its numbers.
        `watermark`: draw the invisible mark of `facekit.provenance.watermark` into the faces' changed pixels.
        """
        if self.whole:
            picture = resize(restored[0], self.photo.size)
            rgb = from_float(picture, self.photo.rgb.dtype)
            where = np.ones(rgb.shape[:2], dtype=bool)
            return self.photo.edited(mark(rgb, where) if watermark else rgb, where)
        if background is not None:
            return self._on_background(restored, background, watermark)
        if not self.aligned:
            return self.photo
        rgb = self.photo.rgb
        canvas = paste_faces(rgb, list(zip(self.aligned, restored, strict=True)))
        where = np.zeros(rgb.shape[:2], dtype=bool)
        for face in self.aligned:
            left, top, right, bottom = face.box
            box = np.s_[top:bottom, left:right]
            where[box] |= (canvas[box] != rgb[box]).any(-1)
        return self.photo.edited(mark(canvas, where) if watermark else canvas, where)

    def _on_background(
        self, restored: Sequence[np.ndarray], background: Background, watermark: bool
    ) -> Photo:
        rgb = self.photo.rgb
        large = np.asarray(background(rgb))
        factor = _enlargement(rgb, large)
        edits = []
        for face, picture in zip(self.aligned, restored, strict=True):
            landmarks = (face.face.landmarks + 0.5) * factor - 0.5
            edits.append((align_face(large, landmarks, self.sample_size), picture))
        pixels = paste_faces(large, edits)
        if watermark:
            pixels = mark(pixels, (pixels != large).any(-1))
        return self.photo.enlarged(pixels)

    def labelled_notes(self, count: int, output_type: str) -> list[str]:
        """Notes of the photo and the job, with the photo's name in front when there are several photos."""
        notes = [*self.photo.remarks(output_type), *self.notes]
        return [f"{self.photo.name}: {note}" for note in notes] if count > 1 else notes


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


def plan_aligned(photo: Photo, sample_size: int) -> RestoreJob:
    """A photo that is one aligned face. ValueError unless it is square."""
    width, height = photo.size
    if width != height:
        raise ValueError(
            f"{photo.name} is {width}x{height}; an aligned face is square. Crop it, or leave out aligned=True "
            "to have the faces found and aligned."
        )
    return RestoreJob(photo, sample_size, whole=True)


def plan_photo(
    photo: Photo,
    sample_size: int,
    faces: str | Sequence[int],
    detector: Any,
    min_face_size: float,
    enlarges: bool = False,
) -> RestoreJob:
    """Find and align the faces of one photo; what cannot be restored is left with a note.

    `enlarges`: the photo comes back larger, and what is not restored as the rest of it.

    Raises:
        ValueError: a face index that the photo does not have.
    """
    job = RestoreJob(photo, sample_size)
    left = "enlarged as the rest" if enlarges else "left as it was"
    mode = photo.without_steps().mode
    if enlarges and mode != photo.mode:
        few = "black and white has" if photo.mode == "1" else "its palette has"
        job.notes.append(f"{few} no colours for an enlarged picture: the mode {photo.mode} becomes {mode}")
    rgb = photo.rgb
    options = {} if detector is None else {"detector": detector}
    limit = min(min_face_size, SMALLEST_DETECTED)
    found = detect_faces(as_uint8(rgb), faces=faces, min_size=limit, **options)
    if not found:
        outcome = "is only enlarged" if enlarges else "comes back as it was"
        job.notes.append(
            f"no face was found: the photo {outcome}. For a picture that is one aligned face pass aligned=True"
        )
    job.notes += turn_notes(found)
    for face in sorted(found, key=lambda face: face.index):
        side = min(face.box[2] - face.box[0], face.box[3] - face.box[1])
        if side < min_face_size:
            job.notes.append(
                f"face {face.index} is {side:.0f} pixels wide, below min_face_size={min_face_size:g}: {left}"
            )
            continue
        try:
            job.aligned.append(align_face(rgb, face, sample_size))
        except ValueError as error:
            job.notes.append(f"face {face.index} cannot be aligned ({error}): {left}")
            continue
        eyes, mouth = face.landmarks[:2], face.landmarks[3:5].mean(axis=0)
        ratio = np.hypot(*(eyes[1] - eyes[0])) / max(np.hypot(*(mouth - eyes.mean(axis=0))), 1e-6)
        if ratio < PROFILE_RATIO:
            job.notes.append(f"face {face.index} is turned far to the side: check the result")
    return job
