"""The faces of the photo on the Restore tab: shown with their numbers, ticked or tapped."""

from typing import Any

import gradio as gr
from gradio.components.base import Component

from facekit_demo.common.face_view import WorkingPhoto, face_at, face_number, found_text, numbered
from facekit_demo.common.screen import screen_file
from facekit_demo.common.widgets import QUIET, found_note


class FaceChooser:
    """Lays the photo and its faces out inside an open column; ticking and tapping work from then on.

    Args:
        task: what the parts' ids start with.
        working: state with the `WorkingPhoto`.

    Attributes:
        components: what `updates` updates.
        found: what is said of the faces.
        chosen: indices of the ticked faces.
        whole: whether the picture is one face and nothing else.
    """

    def __init__(self, task: str, working: Component) -> None:
        self.found = found_note(task)
        view = gr.Image(
            show_label=False,
            interactive=False,
            buttons=[],
            alt_text="The photo, with a frame and number on every face",
            elem_id=f"{task}-faces",
        )
        self.chosen = gr.CheckboxGroup(
            [], label="Which faces?", visible=False, elem_id=f"{task}-chosen", elem_classes="ticks"
        )
        self.whole = gr.Checkbox(
            False, label="The picture is one face and nothing else", visible=False, elem_id=f"{task}-whole"
        )
        self.components = [self.found, view, self.chosen, self.whole]
        self.chosen.change(_show_chosen, [working, self.chosen], view, **QUIET)
        self.whole.change(_say_what_counts, [working, self.whole], self.found, **QUIET)
        view.select(_point_at, [working, self.chosen], self.chosen, **QUIET)

    def updates(self, state: WorkingPhoto | None) -> list[Any]:
        """Updates of `components` for a photo, or where there is none."""
        if state is None:
            hidden = gr.update(choices=[], value=[], visible=False)
            return ["", None, hidden, gr.update(value=False, visible=False)]
        able = state.restorable
        faces = [(f"Face {face_number(index)}", index) for index in able]
        return [
            found_text(state),
            screen_file(numbered(state, able)),
            gr.update(choices=faces, value=able, visible=len(able) > 1),
            gr.update(value=False, visible=not state.faces),
        ]


def _show_chosen(state: WorkingPhoto | None, numbers: list[int]) -> Any:
    return screen_file(numbered(state, numbers)) if state else gr.skip()


def _say_what_counts(state: WorkingPhoto | None, whole: bool) -> Any:
    return found_text(state, whole) if state else gr.skip()


def _point_at(state: WorkingPhoto | None, numbers: list[int], event: gr.SelectData) -> Any:
    touched = face_at(state, event.index) if state and len(state.restorable) > 1 else None
    return gr.skip() if touched is None else sorted({*numbers} ^ {touched})
