"""Restoration before other programs look at a photo (thesis section 3.4): landmarks and emotions, before and after."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from facekit.faces import Face, align_face, detect_faces
from facekit.faces.detect import Detector
from facekit.hub.starters import starter
from facekit.images.photo import ImageInput, Photo, as_uint8, load_image
from facekit.images.tensors import expect_kind
from facekit.metrics.networks import emotion_recogniser, fan_landmarks
from facekit.pipelines.restore import FaceRestoreOutput, FaceRestorePipeline

FAN = "fan"
CROP = 224  # pixels, what the emotion networks read
POINT, EDGE = (45, 212, 191), (15, 23, 42)  # colours of a landmark
OWN_OPTIONS = ("num_images", "output_type", "return_dict", "return_aligned")

Landmarks = Callable[[np.ndarray], np.ndarray | None]
Recogniser = Callable[[Sequence[np.ndarray]], list[str]]


@dataclasses.dataclass(frozen=True, eq=False)
class RestoredLandmarks:
    """What a detector finds in a photo before and after its faces were restored.

    Attributes:
        image: the restored photo.
        before, after: for each face that was found, from left to right, its points `[P, 2]` float64 in the photo's
            pixels; 5 points of the face detectors, 68 of FAN. The lists may differ in length.
        notes: remarks of the pipeline.
        truth: the same of the undamaged photo, where it was given; else None.
    """

    image: Image.Image
    before: list[np.ndarray]
    after: list[np.ndarray]
    notes: list[str]
    truth: list[np.ndarray] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class RestoredEmotions:
    """The emotion that a recogniser sees in every restored face, before and after.

    Attributes:
        image: the restored photo.
        faces: where the faces are, from left to right; empty with `aligned=True`.
        before, after: for each face the emotion's name.
        notes: remarks of the pipeline.
        truth: the same of the undamaged photo, where it was given; else None.
    """

    image: Image.Image
    faces: list[Face]
    before: list[str]
    after: list[str]
    notes: list[str]
    truth: list[str] | None = None


def restored_landmarks(
    photo: ImageInput,
    pipeline: FaceRestorePipeline | None = None,
    detector: str | Detector = "mtcnn",
    find: Landmarks | None = None,
    truth: ImageInput | None = None,
    **options: Any,
) -> RestoredLandmarks:
    """Find landmarks, restore the photo, find them again (thesis section 3.4.1, Fig. 3.10).

    Args:
        photo: what `facekit.images.photo.load_image` takes.
        pipeline: None loads the starter model.
        detector: five points by a detector of `facekit.faces.detect_faces` (a name or a callable), or "fan": 68
            points of one face by face-alignment's FAN, which the thesis uses (extra `landmarks`).
        find: a function uint8 `[H, W, 3]` -> points `[P, 2]` or None, in place of the detector.
        truth: the photo before it was damaged, where it is known: its points are found too.
        options: further arguments of the pipeline's call, for example `aligned=True` or `fidelity`. The faces to
            restore are found by the bundled detector, whatever `detector` is.

    Raises:
        WeightsUnavailable: FAN is asked for and cannot be loaded.
        ValueError: what the detector or the pipeline refuses, or an option that would give more than one result.
    """
    _check_options(options)
    picture = load_image(photo)
    original = None if truth is None else load_image(truth)
    if find is None and detector == FAN:
        find = fan_landmarks()
    before = find_points(as_uint8(picture.rgb), detector, find)
    output = _restore(picture, pipeline, options)
    (restored,) = expect_kind(output.images, Image.Image)
    after = find_points(as_uint8(load_image(restored).rgb), detector, find)
    true = None if original is None else find_points(as_uint8(original.rgb), detector, find)
    return RestoredLandmarks(restored, before, after, list(output.notes), true)


def restored_emotions(
    photo: ImageInput,
    pipeline: FaceRestorePipeline | None = None,
    recogniser: Recogniser | None = None,
    truth: ImageInput | None = None,
    **options: Any,
) -> RestoredEmotions:
    """Name the emotion of every face that is restored, before and after (thesis section 3.4.2).

    Each time the recogniser sees the same upright crop of 224 x 224 pixels, placed by the landmarks that the
    pipeline found.

    Args:
        photo, pipeline, options: as in `restored_landmarks`.
        recogniser: faces uint8 `[H, W, 3]` -> names; None is emotiefflib's (extra `emotion`), the successor of the
            network in the thesis.
        truth: the photo before it was damaged, where it is known, of the same size: emotions are named there too.

    Raises:
        WeightsUnavailable: emotiefflib or its weights cannot be loaded; nothing was restored then.
        ValueError: what the pipeline refuses, an option that would give more than one result, or a truth of another
            size, where the faces' places would not fit.
    """
    _check_options(options)
    picture = load_image(photo)
    original = None if truth is None else load_image(truth)
    if original is not None and original.rgb.shape != picture.rgb.shape:
        sizes = " and ".join("x".join(map(str, side.rgb.shape[1::-1])) for side in (original, picture))
        raise ValueError(f"truth and photo are {sizes} pixels. Pass the undamaged photo in the photo's size.")
    recogniser = recogniser or emotion_recogniser()
    output = _restore(picture, pipeline, options)
    (restored,), (faces,) = expect_kind(output.images, Image.Image), output.faces
    sides = [as_uint8(picture.rgb), as_uint8(load_image(restored).rgb)]
    places = None if options.get("aligned") else faces
    before, after = (name_emotions(rgb, places, recogniser) for rgb in sides)
    true = None if original is None else name_emotions(as_uint8(original.rgb), places, recogniser)
    return RestoredEmotions(restored, faces, before, after, list(output.notes), true)


def name_emotions(rgb: np.ndarray, faces: Sequence[Face] | None, recogniser: Recogniser) -> list[str]:
    """Name the emotion of every face of a photo uint8 `[H, W, 3]`; with None the whole photo is one aligned face."""
    if faces is None:
        crops = [np.asarray(Image.fromarray(rgb).resize((CROP, CROP)))]
    else:
        crops = [align_face(rgb, face, CROP).image for face in faces]
    return [str(name) for name in recogniser(crops)] if crops else []


def _check_options(options: dict[str, Any]) -> None:
    wrong = [name for name in OWN_OPTIONS if name in options]
    if wrong:
        raise ValueError(
            f"{wrong[0]} cannot be set here, where one photo gives one result; call the pipeline for more."
        )


def _restore(
    photo: Photo, pipeline: FaceRestorePipeline | None, options: dict[str, Any]
) -> FaceRestoreOutput:
    if pipeline is None:
        pipeline = FaceRestorePipeline.from_pretrained(starter("face-restore"))
    return pipeline(photo, **options)


def find_points(
    rgb: np.ndarray, detector: str | Detector = "mtcnn", find: Landmarks | None = None
) -> list[np.ndarray]:
    """The landmarks `[P, 2]` float64 of every face in a photo uint8 `[H, W, 3]`; arguments as in `restored_landmarks`.

    FAN is asked for by `find`, not by name.
    """
    if find is None:
        return [face.landmarks for face in detect_faces(np.ascontiguousarray(rgb), detector=detector)]
    points = find(np.ascontiguousarray(rgb))
    return [] if points is None else [np.asarray(points, np.float64)]


def draw_points(picture: Image.Image, faces: Sequence[np.ndarray]) -> Image.Image:
    """A copy of an RGB picture with the landmarks `[P, 2]` of each face on it, in its pixels (thesis Fig. 3.10)."""
    drawn = picture.copy()
    canvas = ImageDraw.Draw(drawn)
    for points in faces:
        # Five begin with the eyes; of a whole mask of points the eyes are a quarter apart.
        eyes = np.hypot(*(points[1] - points[0])) if len(points) == 5 else np.ptp(points, axis=0).max() / 4
        radius = float(np.clip(0.06 * eyes, 2, 8))
        for x, y in points:
            box = (x - radius, y - radius, x + radius, y + radius)
            canvas.ellipse(box, fill=POINT, outline=EDGE, width=max(1, round(radius / 4)))
    return drawn
