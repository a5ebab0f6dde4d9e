"""The result side of a tab that offers several candidates: before and after, a row to pick from, a download."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.base import Component
from PIL import Image

from facekit.faces import Face, ffhq_quad
from facekit.images.photo import Photo
from facekit.provenance import Provenance
from facekit_demo.common.comparison import Compared, Comparison, compare, cut, face_box, face_places
from facekit_demo.common.first_look import sample_result
from facekit_demo.common.main_button import failure_box
from facekit_demo.common.running import save_for_download
from facekit_demo.common.saved_format import Download, Saved
from facekit_demo.common.widgets import (
    KEPT,
    QUIET,
    notes_box,
    pick_gallery,
    shown_notes,
    step_gallery,
)

Captioned = list[tuple[Image.Image, str]]
MAX_CANDIDATES = 4
MANY_PIXELS = 25_000_000  # every candidate is a whole photo in memory, so of larger photos there is one
THUMBNAIL = 320  # pixels of a candidate in the row


@dataclass(frozen=True, eq=False)
class Candidate:
    """One result.

    Attributes:
        saved: the file of the photo's own size.
        compared: the photo before and after.
        thumbnail: the largest of the faces that were worked on.
        steps: how it was done, in pictures.
    """

    saved: Saved
    compared: Compared
    thumbnail: Image.Image
    steps: Captioned = field(default_factory=list)


class CandidatePanel:
    """Lays the result side out inside an open column; picking a candidate works from then on.

    Args:
        task: what the parts' ids start with.
        explanation: what the pictures of `Candidate.steps` show.
        columns: of them in a row.

    Attributes:
        components: all that an update of the result side goes to, see `updates`.
        failure: says why the last run gave nothing.
        slider: before and after.
        download: the buttons and the file, in whose cache results are.
        picked: state with the file of the candidate that is shown, a `Saved`, or None.
    """

    def __init__(self, task: str, explanation: str, columns: int) -> None:
        gr.Markdown("## Result")
        notes = notes_box(task)
        sample_result(task)
        self.failure = failure_box(task)
        self.comparison = Comparison(task)
        self.slider = self.comparison.slider
        with gr.Column(visible=False) as picking:
            gr.Markdown("Pick the one you like:", elem_classes="hint")
            variants = pick_gallery(task, "variants", MAX_CANDIDATES, faces=False)
        self.download = Download(task)
        with gr.Accordion("How it was done", open=False, visible=False, elem_id=f"{task}-steps") as how:
            gr.Markdown(explanation, elem_classes="hint")
            gallery = step_gallery(columns=columns)
        results = gr.State(None, time_to_live=KEPT)
        self.picked = gr.State(None, time_to_live=KEPT)
        self.download.wire_saved(self.picked)
        self.components = [
            notes,
            *self.comparison.components,
            picking,
            variants,
            *self.download.components,
            how,
            gallery,
            results,
            self.picked,
        ]
        shown = [*self.comparison.components, gallery, self.picked]
        variants.select(self._pick, results, shown, **QUIET)

    def updates(self, candidates: Sequence[Candidate] = (), notes: Sequence[str] = ()) -> list[Any]:
        """Updates of `components`: the first candidate is shown; called with nothing, the side is cleared."""
        first = candidates[0] if candidates else None
        several = len(candidates) > 1
        pictures = [(one.thumbnail, str(place)) for place, one in enumerate(candidates, 1)]
        return [
            shown_notes(notes),
            *self.comparison.updates(first and first.compared),
            gr.update(visible=several),
            gr.update(value=pictures if several else [], selected_index=0 if several else None),
            *self.download.updates(first is not None),
            gr.update(visible=bool(first and first.steps)),
            first.steps if first else [],
            list(candidates) or None,
            first and first.saved,
        ]

    def _pick(self, state: list[Candidate] | None, event: gr.SelectData) -> list[Any]:
        """Show the candidate that was tapped."""
        if not state:
            return [gr.skip()] * (len(self.comparison.components) + 2)
        picked = state[event.index]
        return [*self.comparison.updates(picked.compared), picked.steps, picked.saved]


def count_slider(
    task: str, value: int, label: str = "Variations", info: str = "Results to pick from."
) -> gr.Slider:
    """How many candidates there are to be, `value` at first."""
    return gr.Slider(1, MAX_CANDIDATES, value=value, step=1, label=label, info=info, elem_id=f"{task}-count")


def candidates_of(
    images: Sequence[Photo],
    photo: Photo,
    source: str,
    faces: list[Face],
    name: str,
    download: Download,
    provenance: Provenance | None,
    steps: Sequence[Captioned],
) -> list[Candidate]:
    """The candidates among which visitors pick: files for `download`, and pictures for the screen.

    Args:
        images: results for `photo`.
        source: the photo's file.
        faces: those that were worked on.
        name: of the files, without their ending; several are numbered.
        provenance: what the files say of their origin, see `save_for_download`.
        steps: of each result, how it was done.
    """
    candidates = []
    for number, (image, how) in enumerate(zip(images, steps, strict=True), 1):
        suffix = f"-{number}" if len(images) > 1 else ""
        saved = download.save(image, f"{name}{suffix}.png", source, provenance)
        compared = compare(photo, image, face_places(faces, photo.size), (source, saved.path))
        candidates.append(Candidate(saved, compared, _thumbnail(image, faces), how))
    return candidates


def save_candidates(
    images: Sequence[Photo], name: str, component: Component, provenance: Provenance | None
) -> list[str]:
    """Files of all results for programs: always numbered, otherwise as those of `candidates_of`."""
    return [
        save_for_download(image, f"{name}-{number}.png", component, provenance)
        for number, image in enumerate(images, 1)
    ]


def as_many_as_fit(count: int, size: tuple[int, int]) -> tuple[int, list[str]]:
    """How many candidates of a photo of `size` there are, and what to tell people about it."""
    if count > 1 and size[0] * size[1] > MANY_PIXELS:
        return 1, ["The photo is too large for several candidates, so there is one."]
    return count, []


def _thumbnail(photo: Photo, faces: Sequence[Face]) -> Image.Image:
    """The largest face of a result, for which versions differ most to the eye; all of it where there are none."""
    boxes = [face_box(face, photo.size) for face in faces] or [(0, 0, *photo.size)]
    return cut(photo, max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])), THUMBNAIL)


def around_faces(shown: Image.Image, faces: list[Face], scale: float) -> Image.Image:
    """The part of a screen copy that holds the aligned faces; all of it where there are none."""
    if not faces:
        return shown
    corners = np.concatenate([ffhq_quad(face.landmarks) for face in faces]) * scale
    low = np.floor(np.maximum(corners.min(axis=0), 0))
    high = np.ceil(np.minimum(corners.max(axis=0), shown.size))
    return shown.crop((*(int(value) for value in low), *(int(value) for value in high)))
