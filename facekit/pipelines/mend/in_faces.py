"""Which part of the damage lies in faces, where a network that knows faces fills it."""

from collections.abc import Sequence

import cv2
import numpy as np

from facekit.faces.align import align_face
from facekit.faces.detect import Detector, Face, detect_faces
from facekit.faces.geometry import target_coordinates
from facekit.faces.jobs import is_centred_inside, paint_over
from facekit.images.photo import Photo, as_uint8
from facekit.pipelines.mend.fill import measure_thickness

# Of a face's square, from its middle: beyond is hair and wall, and the filled part needs something around it.
INNER = 0.8
# In sides of the face's square: what is thinner is filled better at the photo's own resolution.
THINNEST = 3 / 256


def find_faces(photo: Photo, hole: np.ndarray, detector: str | Detector | None) -> list[Face]:
    """All faces of a photo; the hole bool `[H, W]`, painted over, hides fewer than damage does."""
    picture = as_uint8(photo.rgb)
    found = detect_faces(paint_over(picture, hole), detector=detector) if hole.any() else []
    return found or detect_faces(picture, detector=detector)


def damage_in_faces(photo: Photo, hole: np.ndarray, faces: Sequence[Face], sample_size: int) -> np.ndarray:
    """The part of the hole bool `[H, W]` that lies in faces and is thick enough to need a network that knows them."""
    part = np.zeros_like(hole)
    if not hole.any():
        return part
    rgb = photo.rgb
    for face in faces:
        if not is_centred_inside(face, hole.shape):
            continue
        try:
            aligned = align_face(rgb, face, sample_size)
        except ValueError:  # its landmarks coincide: filled as the rest of the photo
            continue
        box = aligned.box
        x, y = target_coordinates(aligned.matrix, box)
        middle = (sample_size - 1) / 2
        inside = np.maximum(np.abs(x - middle), np.abs(y - middle)) <= INNER * sample_size / 2
        own = hole[box.slices] & inside
        if not own.any():
            continue
        _, labels = cv2.connectedComponents(own.astype(np.uint8), connectivity=8)
        side = sample_size / float(np.hypot(*aligned.matrix[:, 0]))
        part[box.slices] |= own & (measure_thickness(own, labels) >= THINNEST * side)[labels]
    return part
