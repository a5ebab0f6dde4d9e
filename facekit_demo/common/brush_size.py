"""The slider for the size of a canvas's brush, which at first suits photo and faces. `canvas.js` moves the brush."""

from collections.abc import Sequence

import gradio as gr
import numpy as np

from facekit.faces import Face, detect_faces
from facekit.images.photo import Photo
from facekit_demo.common.face_view import SMALLEST_RESTORED, width_of
from facekit_demo.common.running import preview

MASK_BRUSH = 0.04  # of a photo's shorter side, the diameter of a brush for masks at first
FACE_BRUSH = 0.15  # of a face, at most
USUAL_SIDE = 960  # pixels, the shorter side of a canvas for which the radii of other brushes are meant
LOOKED_AT = 640  # pixels of the longer side of the copy in which faces are measured
SMALLEST = 20.0  # pixels of a face there


def size_slider(canvas: str, brush: gr.Brush) -> gr.HTML:
    """The slider, laid out before the editor with the id `canvas`, which draws with `brush`."""
    share = MASK_BRUSH if brush.default_size == "auto" else 2 * brush.default_size / USUAL_SIDE
    return gr.HTML(_slider(canvas, share), elem_classes="brush-above", padding=False)


def _slider(canvas: str, share: float) -> str:
    """A slider that stands at a diameter, given as a share of the photo's shorter side, unless it was moved."""
    name = f"{canvas}-size"
    return (
        f'<div class="brush-size"><label for="{name}" title="Keys: [ and ]">Brush size</label>'
        f'<input id="{name}" type="range" min="0" data-canvas="{canvas}" data-share="{share:.4f}">'
        f'<output for="{name}"></output></div>'
    )


def fit_to_faces(canvas: str, photo: Photo) -> tuple[str, bool]:
    """A mask's slider for the faces of a photo; also whether one that is large enough is seen at a glance."""
    shown = preview(photo, LOOKED_AT).convert("RGB")
    faces = detect_faces(np.asarray(shown), min_size=SMALLEST, turned=False)
    enlarged = photo.size[0] / shown.width
    large_enough = any(width_of(face) * enlarged >= SMALLEST_RESTORED for face in faces)
    return _slider(canvas, share_of(faces, min(shown.size))), large_enough


def share_of(faces: Sequence[Face], side: int) -> float:
    """The diameter of a mask's brush at first, as a share of the shorter side of a photo, which is `side` pixels.

    Where most faces are small, as in a group photo, it is small as well: one stroke must not cover a face.
    """
    if not faces:
        return MASK_BRUSH
    return min(MASK_BRUSH, FACE_BRUSH * float(np.median([width_of(face) for face in faces])) / side)
