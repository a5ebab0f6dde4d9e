"""Putting an object of another photo into the one under edits: its picture, a brush to cut it out, place and size."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from facekit_demo.common.painting import EMPTY_EDITOR, brush_editor, editor_with, strokes_of
from facekit_demo.common.running import friendly, open_photo, preview
from facekit_demo.common.widgets import QUIET

WIDE = 40  # percent of the photo, at first


@dataclass(frozen=True)
class Placing:
    """What the panel says, in the order of `PastePanel.components`: a file, what was painted on it, and percents."""

    path: str | None
    painting: dict[str, Any] | None
    across: float
    down: float
    wide: float

    def arguments(self, size: tuple[int, int]) -> dict[str, Any]:
        """Arguments of `EditSession.paste` for a photo of `size`. Raises ValueError or OSError with advice."""
        if not self.path:
            raise ValueError("choose a picture of the object first")
        picture = open_photo(self.path)
        mask: Image.Image | None = None
        if not is_cut_out(self.path):
            mask = strokes_of(self.painting, picture.size)
            if mask is None:
                raise ValueError("paint over the object in its picture, so that it can be cut out")
        width, height = size
        return {
            "object": picture,
            "mask": mask,
            "place": (self.across / 100 * width, self.down / 100 * height),
            "width": max(self.wide / 100 * width, 1),
        }


def is_cut_out(path: str) -> bool:
    """Whether a picture has transparent parts, and so needs no painting. Raises as `open_photo` does."""
    alpha = open_photo(path).alpha
    return alpha is not None and bool((alpha == 0).any())


class PastePanel:
    """Lays the panel out inside an open column and shows the object's picture where it must be cut out.

    Args:
        task: what the parts' ids start with.

    Attributes:
        components: all that `Placing` is made of.
        run: the button that puts the object in.
        closed: what empties the panel for a new photo: its parts, and the arguments of their updates.
    """

    def __init__(self, task: str) -> None:
        with gr.Accordion("Put in", open=False, elem_id=f"{task}-pasting") as panel:
            gr.Markdown(
                "Put in a hat, glasses or another object first. Choose a picture of it. "
                "A cut-out (a PNG with a transparent background) is taken as it is; on any "
                "other picture paint over the object.",
                elem_classes="hint",
            )
            file = gr.File(
                label="A picture of the object",
                file_types=["image"],
                height=120,
                elem_id=f"{task}-object",
            )
            canvas = brush_editor(task, "object-canvas", visible=False)
            across = gr.Slider(
                0, 100, value=50, step=1, label="From left to right, %", elem_id=f"{task}-across"
            )
            down = gr.Slider(0, 100, value=25, step=1, label="From top to bottom, %", elem_id=f"{task}-down")
            wide = gr.Slider(
                1, 150, value=WIDE, step=1, label="Width, % of the photo", elem_id=f"{task}-wide"
            )
            self.run = gr.Button("Put it in", size="md", elem_id=f"{task}-paste")
            gr.Markdown(
                "Then its rim is painted as the mask: press Edit to make it seamless. Undo takes it out again.",
                elem_classes="hint",
            )
        self.components = [file, canvas, across, down, wide]
        hidden: dict[str, Any] = {"value": EMPTY_EDITOR, "visible": False}
        self.closed = {file: {"value": None}, canvas: hidden, panel: {"open": False}}

        @friendly
        def show_object(path: str | None) -> Any:
            if path is None or is_cut_out(path):
                return gr.update(**hidden)
            return editor_with(preview(open_photo(path))) | {"visible": True}

        shown = file.upload(show_object, file, canvas, **QUIET)
        shown.failure(lambda: [None, gr.update(**hidden)], None, [file, canvas], **QUIET)
        file.clear(lambda: gr.update(**hidden), None, canvas, **QUIET)
