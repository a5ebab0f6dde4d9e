"""What a face detector sees before and after restoring: a section of the Restore tab (thesis section 3.4.1)."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.base import Component
from PIL import Image, ImageDraw

from facekit.faces import Face, ffhq_quad
from facekit_demo.common.candidates import Captioned, around_faces
from facekit_demo.common.face_view import WorkingPhoto, find_faces
from facekit_demo.common.running import ON_DEVICE, friendly, open_photo, preview
from facekit_demo.common.widgets import QUIET, step_gallery

POINT, EDGE = (45, 212, 191), (15, 23, 42)
FRAME = 480  # pixels; smaller crops are enlarged, so that points stay apart


def build_section(working: Component, picked: Component) -> None:
    """Lay the section out inside the result's column.

    Args:
        working: state with the `WorkingPhoto`.
        picked: state with the path of the shown candidate or None; the section is there while it has one.
    """
    with gr.Accordion(
        "What a detector sees before and after", open=False, visible=False, elem_id="restore-detector"
    ) as section:
        gr.Markdown(
            "Other programs (recognition, tracking, filters) begin with finding faces and five points on each.",
            elem_classes="hint",
        )
        look = gr.Button("Look for the points", elem_id="restore-detect")
        words = gr.Markdown(elem_id="restore-detected")
        gallery = step_gallery(columns=2)

    @friendly
    def compare(state: WorkingPhoto | None, path: str | None) -> list[Any]:
        if state is None or path is None:
            raise ValueError("restore a photo first")
        restored = open_photo(path)
        found = find_faces(restored)
        shown = preview(restored).convert("RGB")
        return [
            seen_text(state.faces, found),
            seen_pictures(state.shown, shown, state.faces, found, state.scale),
        ]

    look.click(compare, [working, picked], [words, gallery], **QUIET, **ON_DEVICE)
    picked.change(
        lambda path: [gr.update(visible=path is not None), "", []], picked, [section, words, gallery], **QUIET
    )


def seen_pictures(
    before: Image.Image, after: Image.Image, faces: Sequence[Face], found: Sequence[Face], scale: float
) -> Captioned:
    """The same part of both screen copies, with the points on it. `scale`: pixels of a copy for one of the photo's."""
    pictures = []
    for picture, seen, title in ((before, faces, "Before"), (after, found, "After")):
        shown = around_faces(picture, [*faces, *found], scale)
        corner = _corner([*faces, *found], scale)
        larger = max(1.0, FRAME / max(shown.size))
        size = tuple(round(larger * side) for side in shown.size)
        shown = shown.resize(size, Image.Resampling.LANCZOS)
        canvas = ImageDraw.Draw(shown)
        for face in seen:
            points = (face.landmarks * scale - corner + 0.5) * larger
            eyes = np.hypot(*(points[1] - points[0]))
            radius = float(np.clip(0.06 * eyes, 2, 8))
            for x, y in points:
                box = (x - radius, y - radius, x + radius, y + radius)
                canvas.ellipse(box, fill=POINT, outline=EDGE, width=max(1, round(radius / 4)))
        pictures.append((shown, f"{title}: {_faces(len(seen))}"))
    return pictures


def _corner(faces: Sequence[Face], scale: float) -> np.ndarray:
    """Where `around_faces` begins, in pixels of the screen copy."""
    if not faces:
        return np.zeros(2)
    corners = np.concatenate([ffhq_quad(face.landmarks) for face in faces]) * scale
    return np.floor(np.maximum(corners.min(axis=0), 0))


def seen_text(faces: Sequence[Face], found: Sequence[Face]) -> str:
    """Both counts, and how far the points of faces found twice moved."""
    words = f"Before restoring the detector finds {_faces(len(faces))}, afterwards {_faces(len(found))}."
    moves = [move for face in faces if (move := _move(face, found)) is not None]
    if moves:
        words += (
            f" The points moved by {100 * np.mean(moves):.0f} % of the distance between the eyes on average."
        )
    return words


def _move(face: Face, found: Sequence[Face]) -> float | None:
    """Mean distance of a face's points to the nearest face's in eye distances; None where that is another face."""
    eyes = np.hypot(*(face.landmarks[1] - face.landmarks[0]))
    moves = [np.linalg.norm(other.landmarks - face.landmarks, axis=1).mean() / eyes for other in found]
    return min((move for move in moves if move < 1), default=None)


def _faces(count: int) -> str:
    return f"{count or 'no'} face{'s' * (count > 1)}"
