"""Faces that set the style or the pose of others: found once in a picture and cut out as a photo's faces are."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facekit.faces.align import align_face
from facekit.faces.detect import Detector, detect_faces
from facekit.faces.jobs import note_shape, note_turns
from facekit.faces.squares import frame_whole
from facekit.images.photo import ImageInput, Photo, as_float, as_uint8, from_float, load_images
from facekit.notes import Argument, Note, Refusal


@dataclass
class ReferenceFace:
    """An exemplar as the style encoder sees it.

    Attributes:
        photo: as it came.
        image: float32 `[S, S, 3]` in [0, 1], the aligned face.
        side: side of the crop in pixels of the photo.
        notes: remarks for the user.
    """

    photo: Photo
    image: np.ndarray
    side: float
    notes: list[Note] = field(default_factory=list)


References = ImageInput | ReferenceFace | Sequence[ImageInput | ReferenceFace]


def find_reference(
    photo: Photo, size: int, aligned: bool, face: str | int, detector: str | Detector | None
) -> ReferenceFace:
    """Find the face of an exemplar and cut it out as the photo's face is cut.

    Args:
        size: side S of the square.
        aligned: the picture is one aligned face already.
        face: "only", "largest" or an index from left to right.
        detector: see `facekit.faces.detect_faces`.

    Raises:
        ValueError: no face, several with "only", or an index that is not there.
    """
    if aligned:
        square = frame_whole(photo.rgb, size)
        notes = note_shape(photo.size, "the exemplar", "exemplar_aligned")
        return _note_size(ReferenceFace(photo, square.image, square.side, notes), size)
    wanted = face if isinstance(face, str) else [face]
    found = detect_faces(as_uint8(photo.rgb), faces="all" if wanted == "only" else wanted, detector=detector)
    if not found:
        raise Refusal(
            "no-face-in-reference",
            "{name} shows no face",
            "Choose another picture, or pass {aligned} where the whole picture is one aligned face",
            name=photo.name,
            aligned=Argument("exemplar_aligned", True),
        )
    if len(found) > 1:
        raise Refusal(
            "several-faces-in-reference",
            "{name} shows {count} faces",
            'Say which: {face}="largest", or an index from 0 to {last}, counted from the left',
            name=photo.name,
            count=len(found),
            last=len(found) - 1,
            face=Argument("exemplar_face"),
        )
    cut = align_face(photo.rgb, found[0], size)
    side = size / np.hypot(*cut.matrix[:, 0])
    notes = note_turns(found, "the exemplar")
    return _note_size(ReferenceFace(photo, as_float(cut.image), float(side), notes), size)


def _note_size(exemplar: ReferenceFace, size: int) -> ReferenceFace:
    """Add a note where the face is much smaller than the network's picture."""
    if exemplar.side < size / 2:
        what = (
            "the exemplar's face is cut from {side:.0f} pixels and seen at {size}: it shows less detail than the fill "
            "could have"
        )
        exemplar.notes.append(Note("reference-small", what, side=exemplar.side, size=size))
    return exemplar


def find_references(
    pictures: References,
    size: int,
    *,
    aligned: bool,
    face: str | int,
    detector: str | Detector | None,
    max_pixels: int | None,
    name: str,
    rounds: bool = False,
) -> list[ReferenceFace]:
    """Find and cut out the faces of exemplars or pose references; those found before are taken as they are.

    Args:
        pictures: one or several.
        size: side S of the squares.
        aligned, face, detector: see `find_reference`.
        max_pixels: refuse larger pictures before they are decoded; None lifts the limit.
        name: how messages call a picture that has no name.
        rounds: round pixels to whole 8-bit numbers, so that a picture of them says all.

    Raises:
        FileNotFoundError, TypeError: a picture is missing or of an unknown kind.
        ValueError: a picture is refused (see `load_image`), shows no face, or several where one is to be chosen.
    """
    if face not in ("only", "largest") and (isinstance(face, bool) or not isinstance(face, int)):
        raise ValueError(f"exemplar_face is {face!r}; say 'only', 'largest' or an index from left to right.")

    def look_at(photo: Photo) -> ReferenceFace:
        found = find_reference(photo, size, aligned, face, detector)
        return (
            replace(found, image=as_float(from_float(found.image, np.dtype(np.uint8)))) if rounds else found
        )

    def take(known: ReferenceFace) -> ReferenceFace:
        if known.image.shape != (size, size, 3):
            raise ValueError(
                f"{name} was cut out at {known.image.shape[0]} pixels and this model works at {size}. Pass the picture."
            )
        return known

    if isinstance(pictures, ReferenceFace):
        return [take(pictures)]
    if not isinstance(pictures, list | tuple):
        photos = load_images(pictures, max_pixels=max_pixels, name=name)  # type: ignore[arg-type]  # refuses the rest
        return [look_at(photo) for photo in photos]
    if not pictures:
        raise ValueError(f"{name} is an empty list. Pass at least one picture.")
    names = [f"{name} {index}" if len(pictures) > 1 else name for index in range(len(pictures))]
    # All are read before the first is searched: a broken one is told at once.
    entries = [
        picture
        if isinstance(picture, ReferenceFace)
        else load_images(picture, max_pixels=max_pixels, name=label)[0]
        for picture, label in zip(pictures, names, strict=True)
    ]
    return [take(entry) if isinstance(entry, ReferenceFace) else look_at(entry) for entry in entries]


def pair_up(photos: int, exemplars: int) -> list[tuple[int, int]]:
    """Which photo is filled after which exemplar: one for one, one exemplar for all, or all for one photo.

    Raises:
        ValueError: neither.
    """
    if photos != exemplars and 1 not in (photos, exemplars):
        raise ValueError(
            f"{exemplars} exemplars for {photos} photos. Pass one exemplar for all photos, one for each, or several "
            "for one photo."
        )
    return [(i % photos, i % exemplars) for i in range(max(photos, exemplars))]


def same_picture(a: Photo, b: Photo) -> bool:
    """Whether two photos show the same colours, pixel by pixel."""
    return a.size == b.size and bool(np.array_equal(as_uint8(a.rgb), as_uint8(b.rgb)))
