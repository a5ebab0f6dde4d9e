"""The result side of a tab with one result: before and after, a download, and how it came about."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from facekit_demo.common.candidates import KEPT, Captioned
from facekit_demo.common.comparison import Compared, Comparison
from facekit_demo.common.first_look import sample_result
from facekit_demo.common.main_button import failure_box
from facekit_demo.common.saved_format import Download, Saved
from facekit_demo.common.widgets import (
    notes_box,
    shown_notes,
    step_gallery,
)


class ResultSide:
    """Lays the result side out inside an open column.

    Args:
        task: what the parts' ids start with.
        steps: title of the fold with the pictures of the steps.
        hint: what these are.

    Attributes:
        components: what `updates` updates.
        failure: says why the last run gave nothing.
        slider: before and after.
        download: the buttons and the file, in whose cache results are.
        saved: state with the result's file, a `Saved`, or None.
    """

    def __init__(self, task: str, steps: str, hint: str) -> None:
        gr.Markdown("## Result")
        notes = notes_box(task)
        sample_result(task)
        self.failure = failure_box(task)
        self.comparison = Comparison(task)
        self.slider = self.comparison.slider
        self.download = Download(task)
        with gr.Accordion(steps, open=False, visible=False, elem_id=f"{task}-steps") as how:
            gr.Markdown(hint, elem_classes="hint")
            gallery = step_gallery(columns=2)
        self.saved = gr.State(None, time_to_live=KEPT)
        self.download.wire_saved(self.saved)
        self.components = [
            notes,
            *self.comparison.components,
            *self.download.components,
            how,
            gallery,
            self.saved,
        ]

    def updates(
        self,
        notes: Sequence[str] = (),
        compared: Compared | None = None,
        saved: Saved | None = None,
        pictures: Captioned | None = None,
    ) -> list[Any]:
        """Updates of `components`; called with nothing, the side is cleared."""
        return [
            shown_notes(notes),
            *self.comparison.updates(compared),
            *self.download.updates(saved is not None),
            gr.update(visible=bool(pictures)),
            pictures or [],
            saved,
        ]
