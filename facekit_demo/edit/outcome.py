"""The result side of the Edit tab: before and after, the history of edits, and files of result and session."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from facekit.images.formats import FORMATS
from facekit_demo.common.candidates import KEPT, MAX_CANDIDATES
from facekit_demo.common.comparison import Comparison
from facekit_demo.common.detail import made_with_detail
from facekit_demo.common.first_look import sample_result
from facekit_demo.common.main_button import failure_box
from facekit_demo.common.running import friendly, save_for_download
from facekit_demo.common.saved_format import LOSSLESS, Download, Saved, wanted_format
from facekit_demo.common.widgets import (
    QUIET,
    notes_box,
    pick_gallery,
    shown_notes,
)
from facekit_demo.edit.result import Work, compared

COLUMNS = 6  # of the history


class ResultSide:
    """Lays the result side out inside an open column.

    Args:
        task: what the parts' ids start with.

    Attributes:
        work: state with the `Work`.
        components: what `updates` updates; `work` is one of them.
        failure: says why the last run gave nothing.
        slider: before and after.
        variants: candidates of the last edit, to pick from.
        undo, redo, history: go to another edit.
        going_on: event after which `saved` is there, to be gone on with.
        download: has the file made, when it is asked for, and saved.
        saved: state with the result as a file, a `Saved`, once `going_on` asked for it.
        pack, archive: make a file of the session, and where it is then.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.work = gr.State(None, time_to_live=KEPT)
        gr.Markdown("### Result")
        notes = notes_box(task)
        sample_result(task)
        self.failure = failure_box(task)
        self.comparison = Comparison(task)
        self.slider = self.comparison.slider
        with gr.Column(visible=False) as picking:
            gr.Markdown("Pick the one you like:", elem_classes="hint")
            self.variants = pick_gallery(task, "variants", MAX_CANDIDATES, faces=False)
        with gr.Column(visible=False) as history_panel:
            with gr.Row():
                self.undo = gr.Button("Undo", elem_id=f"{task}-undo")
                self.redo = gr.Button("Redo", elem_id=f"{task}-redo")
            gr.Markdown("Tap a step to go back to it, or forth:", elem_classes="hint")
            self.history = pick_gallery(task, "history", COLUMNS)
        self.download = Download(task)
        self.download.wire(self._make_file, [self.work])
        self.saved = gr.State(None, time_to_live=KEPT)
        making = self.download.again.click(friendly(self._keep_file), self.work, self.saved, **QUIET)
        self.going_on = making.success
        with gr.Accordion("Save the session", open=False, visible=False, elem_id=f"{task}-session") as saving:
            gr.Markdown("Photo, edits and drawings in one file, to go on later.", elem_classes="hint")
            self.pack = gr.Button("Make the file", size="md", elem_id=f"{task}-pack")
            self.archive = gr.File(
                label="Session", interactive=False, visible=False, elem_id=f"{task}-archive"
            )
        self.components = [
            self.work,
            notes,
            *self.comparison.components,
            picking,
            self.variants,
            history_panel,
            self.history,
            self.undo,
            self.redo,
            *self.download.components,
            saving,
            self.archive,
        ]

    def updates(self, done: Work | None, said: Sequence[str] = ()) -> list[Any]:
        """Updates of `components`: what was done, with remarks; cleared while there is no edit."""
        unpacked = gr.update(value=None, visible=False)
        if done is None or len(done.pictures) < 2:
            hidden = gr.update(visible=False)
            cleared = self.comparison.updates(None)
            moves = [hidden, hidden, *self.download.updates(False)]
            return [done, shown_notes(()), *cleared, hidden, [], hidden, [], *moves, hidden, unpacked]
        session = done.session
        captions = ["Photo", *(f"Edit {number}" for number in range(1, len(done.pictures)))]
        steps = list(zip(done.pictures, captions, strict=True))
        return [
            done,
            shown_notes(said),
            *self.comparison.updates(compared(done)),
            gr.update(visible=done.chosen is not None),
            gr.update(value=done.variants, selected_index=done.chosen),
            gr.update(visible=True),
            gr.update(value=steps, selected_index=session.position),
            gr.update(visible=True, interactive=session.can_undo),
            gr.update(visible=True, interactive=session.can_redo),
            *self.download.updates(session.position > 0),
            gr.update(visible=True),
            unpacked,
        ]

    def _make_file(self, done: Work | None, wanted: str) -> str:
        """The result as a file of the photo's own size, made when it is asked for: that takes seconds."""
        if done is None or not done.session.position:
            raise ValueError("there is no edit yet")
        name, origin = f"{done.stem}-edited.png", made_with_detail(self.task, None, done.is_restored)
        kind = wanted_format(wanted, done.format)
        return save_for_download(done.session.photo, name, self.download.file, origin, kind)

    def _keep_file(self, done: Work | None) -> Saved:
        path = self._make_file(done, LOSSLESS)
        return Saved(
            path, FORMATS[LOSSLESS], made_with_detail(self.task, None, done is not None and done.is_restored)
        )
