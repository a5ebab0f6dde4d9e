"""What the exemplar pipeline will do with each photo and exemplar, settled before a network runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from facekit.faces import Face, align_face, detect_faces
from facekit.faces.squares import CropRegion
from facekit.images.masks import MaskInput, load_strokes
from facekit.images.photo import Photo, as_float, as_uint8, resize
from facekit.pipelines.exemplar.occlusion import Occlusion, occlusion_mask
from facekit.pipelines.inpaint_plan import FaceRegion, Job, plan_job
from facekit.pipelines.people import known_faces, turn_notes

# A stroke is kept where it covers this share of a pixel of the network's picture.
STROKE_COVER = 0.1
# A face more than this many times as wide as the network's picture comes out softer than its surroundings.
COARSEST = 4.0


@dataclass
class ExemplarFace:
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
    notes: list[str] = field(default_factory=list)


@dataclass
class ExemplarJob:
    """One photo with the squares to fill, and what is drawn into them.

    Attributes:
        job: photo, hole and squares.
        sketches: strokes bool `[S, S]` for every square; None without a sketch.
    """

    job: Job
    sketches: list[np.ndarray] | None = None


def plan_exemplar(photo: Photo, size: int, aligned: bool, face: str | int, detector: Any) -> ExemplarFace:
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
        width, height = photo.size
        if width != height:
            raise ValueError(
                f"{photo.name} is {width}x{height}; an aligned face is square. Crop it, or leave out "
                "exemplar_aligned=True to have the face found."
            )
        image = np.clip(resize(as_float(photo.rgb), (size, size)), 0, 1)
        return _noted(ExemplarFace(photo, image, float(width)), size)
    options = {} if detector is None else {"detector": detector}
    wanted = face if isinstance(face, str) else [face]
    found = detect_faces(as_uint8(photo.rgb), faces="all" if wanted == "only" else wanted, **options)
    if not found:
        raise ValueError(
            f"{photo.name} shows no face. Choose another picture, or pass exemplar_aligned=True where "
            "the whole picture is one aligned face."
        )
    if len(found) > 1:
        raise ValueError(
            f'{photo.name} shows {len(found)} faces. Say which: exemplar_face="largest", or an index '
            f"from 0 to {len(found) - 1}, counted from the left."
        )
    cut = align_face(photo.rgb, found[0], size)
    side = size / np.hypot(*cut.matrix[:, 0])
    notes = turn_notes(found, "the exemplar")
    return _noted(ExemplarFace(photo, as_float(cut.image), float(side), notes), size)


def _noted(exemplar: ExemplarFace, size: int) -> ExemplarFace:
    if exemplar.side < size / 2:
        exemplar.notes.append(
            f"the exemplar's face is cut from {exemplar.side:.0f} pixels and seen at {size}: "
            "it shows less detail than the fill could have"
        )
    return exemplar


def propose_mask(
    photo: Photo, kind: Occlusion, aligned: bool, faces: str | Sequence[int], detector: Any
) -> tuple[np.ndarray, list[Face]]:
    """Where the chosen faces' glasses or face masks are, bool `[H, W]`, and all faces of the photo.

    Raises:
        ValueError: another kind, no face (unless `aligned`), or a face index that is not there.
    """
    shape = (photo.size[1], photo.size[0])
    if aligned:
        return occlusion_mask(kind, None, shape), []
    options, picture = {} if detector is None else {"detector": detector}, as_uint8(photo.rgb)
    found = detect_faces(picture, **options)
    if not found:
        raise ValueError(
            f"{photo.name}: no face was found, so no mask can be proposed. Draw the mask, or pass aligned=True "
            "where the whole picture is one aligned face."
        )
    chosen = detect_faces(picture, faces=faces, detector=known_faces(found), turned=False)
    if not chosen:
        raise ValueError(
            'faces is an empty list. Say "all", "largest" or the indices of the faces to recover.'
        )
    return np.logical_or.reduce([occlusion_mask(kind, face, shape) for face in chosen]), found


def load_sketches(
    sketch: MaskInput | Sequence[MaskInput] | None, photos: Sequence[Photo], max_pixels: int | None
) -> list[tuple[np.ndarray, list[str]] | None]:
    """Strokes bool `[H, W]` for every photo, from one sketch for all or one for each.

    Raises:
        ValueError: neither one sketch nor as many as photos, or whatever `load_strokes` refuses.
    """
    if sketch is None:
        return [None] * len(photos)
    sketches = list(sketch) if isinstance(sketch, list | tuple) else [sketch]
    if len(sketches) not in (1, len(photos)):
        raise ValueError(
            f"{len(sketches)} sketches for {len(photos)} photos. Pass one sketch for all, or one for each."
        )
    names = [f"sketch {index}" if len(sketches) > 1 else "sketch" for index in range(len(photos))]
    return [
        load_strokes(sketches[index % len(sketches)], photo.size, name=name, max_pixels=max_pixels)
        for index, (photo, name) in enumerate(zip(photos, names, strict=True))
    ]


def plan_photo(
    photo: Photo,
    mask: tuple[np.ndarray, list[str]] | None,
    sketch: tuple[np.ndarray, list[str]] | None,
    *,
    sample_size: int,
    aligned: bool,
    faces: str | Sequence[int],
    detector: Any,
    recover: Occlusion | None,
) -> ExemplarJob:
    """Find what to fill in one photo: the mask, what `recover` proposes, or both together.

    Raises:
        ValueError: see `plan_job` and `propose_mask`.
    """
    shape = (photo.size[1], photo.size[0])
    hole, notes = (np.zeros(shape, dtype=bool), []) if mask is None else mask
    if recover is not None:
        proposed, found = propose_mask(photo, recover, aligned, faces, detector)
        hole = hole | proposed
        # The faces are known already.
        detector = known_faces(found) if found else detector
    job = plan_job(
        photo,
        hole,
        notes,
        sample_size=sample_size,
        region="image" if aligned else "face",
        crop="whole",
        faces=faces,
        detector=detector,
        beyond_faces="keep",
    )
    for region in job.regions:
        side = _side(region, sample_size)
        if side > COARSEST * sample_size:
            job.notes.append(
                f"a filled face is {side:.0f} pixels wide in the photo and {sample_size} in the network: "
                "it will look softer than its surroundings"
            )
    if sketch is None:
        return ExemplarJob(job)
    strokes, sketch_notes = sketch
    job.notes += sketch_notes
    outside = strokes & ~job.hole
    if outside.any():
        share = outside.sum() / strokes.sum()
        job.notes.append(f"{share:.0%} of the sketch lies outside the hole and is ignored")
    inside = (strokes & job.hole).astype(np.float32)
    sketches = [(region.view(inside) >= STROKE_COVER) & region.hole for region in job.regions]
    return ExemplarJob(job, sketches)


def _side(region: FaceRegion | CropRegion, sample_size: int) -> float:
    """Width of a square in pixels of the photo."""
    if isinstance(region, FaceRegion):
        return float(sample_size / np.hypot(*region.aligned.matrix[:, 0]))
    return float(max(region.own.shape))


def check_layers(layers: Sequence[int], known: Sequence[int], name: str) -> list[int]:
    """Indices of codes in order. ValueError, naming the argument, for one that is not among `known`."""
    wrong = [i for i in layers if isinstance(i, bool) or not isinstance(i, Integral) or i not in known]
    if wrong:
        raise ValueError(
            f"{name} has {wrong[0]!r}; the codes that an exemplar gives here are "
            f"{', '.join(map(str, known)) or 'none'}."
        )
    return sorted({int(i) for i in layers})


def second_layers(style_layers: int | Sequence[int] | None, layers: Sequence[int]) -> list[int]:
    """Which of the exemplars' `layers` the second exemplar gives.

    Args:
        style_layers: a crossover (from this index on), the indices themselves, or None for the later half.

    Raises:
        ValueError: a crossover or index out of range.
    """
    layers = list(layers)
    if style_layers is None:
        return layers[len(layers) // 2 :]
    if not isinstance(style_layers, Integral) or isinstance(style_layers, bool):
        return check_layers(style_layers, layers, "style_layers")
    low, high = (layers[0], layers[-1] + 1) if layers else (0, 0)
    if not low <= style_layers <= high:
        raise ValueError(
            f"the crossover style_layers is {style_layers}; it must lie between {low} (all codes from the second "
            f"exemplar) and {high} (all from the first)."
        )
    return [layer for layer in layers if layer >= style_layers]


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
