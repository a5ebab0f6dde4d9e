"""The faces to fill a hole after on the Exemplar tab: a row for the first, and one for a second to be mixed in."""

from pathlib import Path
from typing import Any

import gradio as gr

from facekit_demo.common.candidates import KEPT, Captioned
from facekit_demo.common.exemplar_faces import (
    FaceRow,
    face_gallery,
    faces_in,
    new_row,
    shown_row,
    upload_button,
)
from facekit_demo.common.running import ON_DEVICE, friendly
from facekit_demo.common.widgets import QUIET, pick_gallery
from facekit_demo.exemplar.result import SHARES

MIXES_IN_ROW = 4


class FacePanels:
    """Lays the rows out inside an open column; choosing faces works from then on.

    Args:
        task: what the parts' ids start with.

    Attributes:
        row: state with the `FaceRow`.
        components: what `offered` updates.
        share: how much of the second face is mixed in.
        compare: the button that asks for every mix.
        comparison, mixes: where they are shown; a tap on one sets the share.
    """

    def __init__(self, task: str) -> None:
        self.row = gr.State(None, time_to_live=KEPT)
        gr.Markdown("These people do not exist. Tap one, or use a picture.", elem_classes="hint")
        first = face_gallery(task, "faces")
        with gr.Row():
            first_upload = upload_button(task, "own")
            others = gr.Button("Other people", size="md", elem_id=f"{task}-others")
        with gr.Accordion("Mix in a second face", open=False, elem_id=f"{task}-mixing"):
            second = face_gallery(task, "second")
            with gr.Row():
                second_upload = upload_button(task, "second-own")
                single = gr.Button("No second face", size="md", elem_id=f"{task}-single")
            self.share = gr.Slider(
                0,
                1,
                value=0.5,
                step=0.1,
                label="How much of the second face",
                info="Colours and other fine traits change over first, shapes last.",
                elem_id=f"{task}-share",
            )
            self.compare = gr.Button("Compare every mix", size="md", elem_id=f"{task}-compare")
            with gr.Column(visible=False) as self.comparison:
                gr.Markdown(
                    "From the first face alone to the second alone. Tap the mix you like.",
                    elem_classes="hint",
                )
                self.mixes = pick_gallery(task, "mixes", MIXES_IN_ROW)
        self.components = [self.row, first, second]
        self._wire_choosing(first, second)
        self.mixes.select(_take_share, None, self.share, **QUIET)
        self._wire_changing(others, single, (first_upload, second_upload))

    @property
    def emptied(self) -> dict[Any, dict[str, Any]]:
        """What begins anew with each photo, and the arguments of its `gr.update`: no mixes are shown."""
        return {self.comparison: {"visible": False}, self.mixes: {"value": []}}

    def compared(self, mixes: Captioned) -> list[Any]:
        """Updates of `comparison` and `mixes` that show every mix."""
        return [gr.update(visible=True), gr.update(value=mixes, selected_index=None)]

    def offered(self, row: FaceRow | None, choose_one: bool) -> list[Any]:
        """Updates of `components` for a new photo; with `choose_one` an example is chosen if none was."""
        row = row or new_row()
        if choose_one and row.face(0) is None and row.faces:
            row = row.choose(0, 0)
        return shown_row(row)

    def _wire_choosing(self, first: gr.Gallery, second: gr.Gallery) -> None:
        def choose_first(row: FaceRow | None, event: gr.SelectData) -> Any:
            return row.choose(0, event.index) if row else gr.skip()

        def choose_second(row: FaceRow | None, event: gr.SelectData) -> Any:
            return row.choose(1, event.index) if row else gr.skip()

        # In the queue of the work itself, so that a choice made before a click on Fill in counts for it.
        for gallery, choose in ((first, choose_first), (second, choose_second)):
            gallery.select(
                choose, self.row, self.row, api_visibility="private", show_progress="hidden", **ON_DEVICE
            )

    def _wire_changing(
        self, others: gr.Button, single: gr.Button, uploads: tuple[gr.UploadButton, gr.UploadButton]
    ) -> None:
        def show_others(row: FaceRow | None) -> list[Any]:
            return shown_row(row.others()) if row else [gr.skip()] * 3

        def forget_second(row: FaceRow | None) -> list[Any]:
            return shown_row(row.choose(1, None)) if row else [gr.skip()] * 3

        others.click(show_others, self.row, self.components, **QUIET, **ON_DEVICE)
        single.click(forget_second, self.row, self.components, **QUIET, **ON_DEVICE)
        for which, upload in enumerate(uploads):
            upload.upload(
                lambda path, row, which=which: _add_own(which, path, row),
                [upload, self.row],
                self.components,
                **QUIET,
                **ON_DEVICE,
            )


def _take_share(event: gr.SelectData) -> float:
    return SHARES[event.index]


@friendly
def _add_own(which: int, path: str | None, row: FaceRow | None) -> list[Any]:
    found = faces_in(path)
    if len(found) > 1:
        gr.Warning(
            f"{Path(path).name} shows {len(found)} faces. They lead the row now: tap the one you mean."
        )
    return shown_row((row or new_row()).with_own(found, which))
