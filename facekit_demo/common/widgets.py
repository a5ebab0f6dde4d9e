"""Pieces of the page that every tab has: chooser, examples, result. Their ids start with the tab's `task`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

MAX_SEED = 2**31 - 1
KEPT = 3600  # seconds that a visitor's state is kept
# Events that only show things; they are no business of programs.
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}


def sampled(component: Component, sample: Any) -> Any:
    """The component, whose sample value in the documentation of the API is `sample`, not Gradio's."""
    component.example_payload = lambda: sample
    return component


def picture_file(name: str, label: str = "", **options: Any) -> gr.File:
    """A file of a picture; programs read of it as `name` and see NAME.png for a sample."""
    sample = {"path": f"{name.replace(' ', '-')}.png", "meta": {"_type": "gradio.FileData"}}
    return sampled(gr.File(label=label or name, **options), sample)


def photo_chooser(task: str) -> gr.File:
    """Where a photo is dropped or picked."""
    return picture_file(
        "photo",
        "Photo",
        show_label=False,
        file_types=["image"],
        height=120,
        elem_id=f"{task}-photo",
        elem_classes="chooser",
    )


def example_row(task: str, photos: Sequence[Path]) -> gr.Dataset:
    """Photos to try with one click; its event gets the index of the photo."""
    gr.Markdown("Or try an example:", elem_classes="hint")
    return gr.Dataset(
        components=[gr.Image(visible=False)],
        samples=[[str(photo)] for photo in photos],
        type="index",
        label="Examples",
        show_label=False,
        elem_id=f"{task}-examples",
    )


def seed_number(info: str) -> gr.Number:
    """The seed of all randomness."""
    return gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, info=info)


def variety_slider() -> gr.Slider:
    """Truncation of random codes."""
    return gr.Slider(
        0, 1, value=1, step=0.05, label="Variety", info="Less of it: variations alike, fewer failures."
    )


def found_note(task: str) -> gr.Markdown:
    """What is said of the faces of the photo, beside it."""
    return gr.Markdown(elem_id=f"{task}-found")


def notes_box(task: str) -> gr.Markdown:
    """Remarks about the result, hidden while there are none."""
    return gr.Markdown(visible=False, elem_id=f"{task}-notes")


def shown_notes(notes: Sequence[str]) -> Any:
    """The update that shows notes as a list, or hides the box."""
    return gr.update(value="\n".join(f"- {note}" for note in notes), visible=bool(notes))


def result_slider(task: str) -> gr.ImageSlider:
    """Before and after, one over the other."""
    return gr.ImageSlider(
        show_label=False,
        interactive=False,
        buttons=["fullscreen"],
        max_height=640,
        elem_id=f"{task}-result",
        elem_classes="before-after",
    )


def step_gallery(columns: int) -> gr.Gallery:
    """Pictures of the steps that led to a result."""
    return gr.Gallery(
        show_label=False,
        columns=columns,
        height=None,
        object_fit="contain",
        format="webp",
        interactive=False,
        buttons=["fullscreen"],
        elem_classes="pictures",
    )


def pick_gallery(task: str, name: str, columns: int, faces: bool = True) -> gr.Gallery:
    """A row of pictures, one of which can be tapped; `faces` are shown as squares, all else whole."""
    return gr.Gallery(
        show_label=False,
        columns=columns,
        height=None,
        allow_preview=False,
        object_fit="cover" if faces else "contain",
        format="webp",
        interactive=False,
        buttons=[],
        elem_id=f"{task}-{name}",
        elem_classes=["pictures", "faces"] if faces else "pictures",
    )
