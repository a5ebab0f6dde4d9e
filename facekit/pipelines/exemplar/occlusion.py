"""Masks for guided recovery (thesis Section 5.4.4): what glasses or a face mask hide, from five landmarks."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from facekit.faces.detect import Detector, Face, detect_faces
from facekit.faces.selection import select_faces
from facekit.images.photo import Photo, as_uint8
from facekit.notes import Argument, Refusal

Occlusion = Literal["glasses", "lower_face"]
OCCLUSIONS: tuple[Occlusion, ...] = ("glasses", "lower_face")

# In the face's own frame: u along the eyes in units of the eye distance, v from the eyes towards the mouth in units
# of their distance to it.
GLASSES_CENTRE, GLASSES_HALF_SIZE = (0.0, 0.05), (1.2, 0.52)
LOWER_FACE = (
    (-1.2, 0.3),
    (-0.45, 0.22),
    (0.0, 0.18),
    (0.45, 0.22),
    (1.2, 0.3),
    (1.1, 1.1),
    (0.65, 1.75),
    (0.0, 1.95),
    (-0.65, 1.75),
    (-1.1, 1.1),
)
# Seen from the side eyes move together while glasses and mask do not: eye distance is at least this share of the
# distance from eyes to mouth.
NARROWEST = 0.8
# Eyes and mouth in a picture that is one aligned face, as shares of its side (they follow from the FFHQ crop of a
# face whose eyes are as far apart as eyes and mouth).
ALIGNED_LANDMARKS = ((0.3725, 0.474), (0.6275, 0.474), (0.5, 0.62), (0.41, 0.735), (0.59, 0.735))
_SHIFT = 4  # fractional bits of OpenCV's polygon corners


def draw_occlusion_mask(
    kind: Occlusion, landmarks: np.ndarray | Face | None, shape: tuple[int, int]
) -> np.ndarray:
    """The region that glasses or a face mask would hide, bool `[H, W]`.

    Args:
        kind: "glasses" (eyes with their brows and temples) or "lower_face" (nose, mouth, cheeks and chin).
        landmarks: a face, or its landmarks [5, 2] in pixels; None: the whole picture is one aligned face.
        shape: (H, W) of the picture.

    Raises:
        ValueError: another kind.
    """
    if kind not in OCCLUSIONS:
        raise ValueError(f"{kind!r} cannot be recovered; choose one of {', '.join(map(repr, OCCLUSIONS))}.")
    if landmarks is None:
        points = np.array(ALIGNED_LANDMARKS) * (shape[1], shape[0]) - 0.5
    else:
        points = np.asarray(
            landmarks.landmarks if isinstance(landmarks, Face) else landmarks, dtype=np.float64
        )
    eyes = points[:2].mean(axis=0)
    down = points[3:5].mean(axis=0) - eyes
    across = points[1] - points[0]
    width, height = np.hypot(*across), np.hypot(*down)
    if width < NARROWEST * height:
        # The line from eye to eye is unsure too, where the eyes are close together.
        upright = np.array([down[1], -down[0]]) / max(height, 1e-6)
        across = upright * NARROWEST * height
    outline = np.array(LOWER_FACE) if kind == "lower_face" else _draw_rounded_rectangle()
    corners = eyes + outline[:, :1] * across + outline[:, 1:] * down
    mask = np.zeros(shape, dtype=np.uint8)
    fixed = np.rint(np.clip(corners, -1e6, 1e6) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, shift=_SHIFT)
    return mask.astype(bool)


def _draw_rounded_rectangle(corners: int = 64) -> np.ndarray:
    """Outline [N, 2] of glasses in the face's frame: a superellipse of exponent 4."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.array(GLASSES_CENTRE) + np.array(GLASSES_HALF_SIZE) * np.sign(direction) * np.sqrt(
        np.abs(direction)
    )


def propose_mask(
    photo: Photo,
    kind: Occlusion,
    aligned: bool,
    faces: str | Sequence[int],
    detector: str | Detector | None,
    known_faces: Sequence[Face] | None = None,
) -> tuple[np.ndarray, Sequence[Face] | None]:
    """Where the chosen faces' glasses or face masks are, bool `[H, W]`, and all faces of the photo.

    An aligned photo is not searched: then the faces are `known_faces`.

    Raises:
        ValueError: another kind, no face (unless `aligned`), or a face index that is not there.
    """
    shape = (photo.size[1], photo.size[0])
    if aligned:
        return draw_occlusion_mask(kind, None, shape), known_faces
    found = detect_faces(as_uint8(photo.rgb), detector=detector) if known_faces is None else known_faces
    if not found:
        raise Refusal(
            "no-face",
            "no face was found, so no mask can be proposed",
            "Draw the mask, or pass {aligned} where the whole picture is one aligned face",
            photo.name,
            aligned=Argument("aligned", True),
        )
    chosen = select_faces(found, faces)
    if not chosen:
        raise ValueError(
            'faces is an empty list. Say "all", "largest" or the indices of the faces to recover.'
        )
    return np.logical_or.reduce([draw_occlusion_mask(kind, face, shape) for face in chosen]), found
