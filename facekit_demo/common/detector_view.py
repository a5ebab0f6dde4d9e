"""What other programs see before and after restoring: a section of the Restore tab (thesis section 3.4)."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.base import Component
from PIL import Image

from facekit.faces import Face, ffhq_quad
from facekit.images.photo import as_uint8
from facekit.metrics import WeightsUnavailable
from facekit.metrics.networks import emotion_recogniser
from facekit.pipelines.downstream import Recogniser, draw_points, name_emotions
from facekit_demo.common.candidates import Captioned, around_faces
from facekit_demo.common.face_view import WorkingPhoto, face_number, look_at
from facekit_demo.common.running import ON_DEVICE, friendly, open_photo
from facekit_demo.common.saved_format import Saved
from facekit_demo.common.widgets import QUIET, step_gallery

FRAME = 480  # pixels; smaller crops are enlarged, so that points stay apart


def build_section(working: Component, picked: Component) -> None:
    """Lay the section out inside the result's column.

    Args:
        working: state with the `WorkingPhoto`.
        picked: state with the file of the shown candidate, a `Saved`, or None; the section is there while it has one.
    """
    with gr.Accordion(
        "For researchers: what a detector sees before and after",
        open=False,
        visible=False,
        elem_id="restore-detector",
    ) as section:
        gr.Markdown(
            "Other programs (recognition, tracking, filters) begin with finding faces and five points on each; "
            "some name emotions.",
            elem_classes="hint",
        )
        look = gr.Button("Look for the points", elem_id="restore-detect")
        words = gr.Markdown(elem_id="restore-detected")
        gallery = step_gallery(columns=3)

    @friendly
    def compare(state: WorkingPhoto | None, saved: Saved | None) -> list[Any]:
        if state is None or saved is None:
            raise ValueError("restore a photo first")
        seen = {"Before": state, "After": look_at(saved.path)}
        if state.original is not None:
            seen["Original"] = look_at(state.original)
        words = seen_text(seen["Before"].faces, seen["After"].faces)
        sides = [(side.shown, side.faces, title) for title, side in seen.items()]
        return ["\n\n".join([words, emotions_text(seen)]), seen_pictures(sides, state.scale)]

    look.click(compare, [working, picked], [words, gallery], **QUIET, **ON_DEVICE)
    picked.change(
        lambda saved: [gr.update(visible=saved is not None), "", []],
        picked,
        [section, words, gallery],
        **QUIET,
    )


def seen_pictures(sides: Sequence[tuple[Image.Image, Sequence[Face], str]], scale: float) -> Captioned:
    """The same part of all screen copies, with the points of their faces on it (thesis Fig. 3.10).

    Args:
        sides: copy, faces and title of the photo before and after, and of the original where it is known.
        scale: pixels of a copy for one of the photo's.
    """
    pictures: Captioned = []
    everyone = [face for _, faces, _ in sides for face in faces]
    corner = _corner(everyone, scale)
    for picture, faces, title in sides:
        shown = around_faces(picture, everyone, scale)
        larger = max(1.0, FRAME / max(shown.size))
        size = tuple(round(larger * side) for side in shown.size)
        shown = shown.resize(size, Image.Resampling.LANCZOS)
        points = [(face.landmarks * scale - corner + 0.5) * larger for face in faces]
        pictures.append((draw_points(shown, points), f"{title}: {_faces(len(faces))}"))
    return pictures


def emotions_text(seen: Mapping[str, WorkingPhoto], recogniser: Recogniser | None = None) -> str:
    """The emotion of every face found before, in all photos (thesis section 3.4.2); or why there is none.

    All photos show the same crop, placed by the points found before; where none were, by those of the last photo.

    `recogniser`: as in `restored_emotions`; None is emotiefflib's, which is an extra.
    """
    found = list(seen.values())
    faces = found[0].faces or found[-1].faces
    if not faces:
        return ""
    try:
        recogniser = recogniser or _load_recogniser()
    except WeightsUnavailable as error:
        return f"Emotions are not named here: {error}."
    rows = [f"| Face | {' | '.join(seen)} |", "|---" * (len(seen) + 1) + "|"]
    named = [name_emotions(as_uint8(open_photo(side.path).rgb), faces, recogniser) for side in found]
    rows += [
        f"| {face_number(face.index)} | {' | '.join(names)} |"
        for face, *names in zip(faces, *named, strict=True)
    ]
    return "\n".join(["Emotions that a recogniser names:", "", *rows])


@cache
def _load_recogniser() -> Recogniser:
    return emotion_recogniser()


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
