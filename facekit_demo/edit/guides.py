"""Guidance on the Edit tab that is not drawn: an example face, sliders, words, a turned head, strengths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from facekit_demo.common.candidates import KEPT, count_slider
from facekit_demo.common.exemplar_faces import (
    ExampleFace,
    FaceRow,
    face_gallery,
    faces_in,
    new_row,
    only_face_in,
    shown_row,
    upload_button,
)
from facekit_demo.common.running import ON_DEVICE, friendly
from facekit_demo.common.widgets import QUIET, variety_slider
from facekit_demo.edit.result import MAX_STEPS, STEPS, STRENGTHS, attribute_names, slider_label, words_work

MAX_SLIDERS = 16
REACH = 3  # how far a slider goes to either side
STYLES = [("Nothing", "none"), ("The face in the photo", "self"), ("Another face", "other")]
POSES = [("As it is", "keep"), ("Straight ahead", "front"), ("As in a picture", "picture")]


@dataclass(frozen=True)
class Guides:
    """What is set beside the drawings, as it comes from the page in the order of `GuidePanels.components`."""

    style: str
    row: FaceRow | None
    pose: str
    pose_path: str | None
    prompt: str
    steps: int
    count: int
    variety: float
    psi: float
    names: Sequence[str]
    sliders: Sequence[float]
    strengths: Sequence[float]

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Guides":
        """The values of the page's components."""
        fixed, rest = values[:10], values[10:]
        return cls(*fixed, rest[:MAX_SLIDERS], rest[MAX_SLIDERS:])

    def wishes(self) -> dict[str, Any]:
        """Arguments of `Wishes`. Raises ValueError or OSError with advice."""
        example: ExampleFace | str | None = "self" if self.style == "self" else None
        if self.style == "other":
            example = None if self.row is None else self.row.face(0)
            if example is None:
                raise ValueError("choose a face as the example: tap one of the row, or use a picture")
        pose: ExampleFace | str | None = "front" if self.pose == "front" else None
        if self.pose == "picture":
            if not self.pose_path:
                raise ValueError("choose a picture whose pose the face should take")
            pose = only_face_in(self.pose_path)
        return {
            "example": example,
            "pose": pose,
            "prompt": self.prompt or "",
            "steps": self.steps,
            "count": self.count,
            "variety": self.variety,
            "psi": self.psi,
            "attributes": dict(zip(self.names, self.sliders, strict=False)),
            "strengths": dict(zip(STRENGTHS, self.strengths, strict=True)),
        }


class GuidePanels:
    """Lays the panels out inside an open column and wires what they do among themselves.

    Args:
        task: what the parts' ids start with.

    Attributes:
        components: all that `Guides` is made of.
        opening: what `opened` updates.
        stop: the button that ends the words' search.
    """

    def __init__(self, task: str) -> None:
        row = gr.State(None, time_to_live=KEPT)
        with gr.Accordion("Example face", open=False, elem_id=f"{task}-example") as example_panel:
            _hint("The new part takes its style from:")
            style = gr.Radio(STYLES, value="none", show_label=False, elem_id=f"{task}-style")
            _hint("These people do not exist. Tap one, or use a picture.")
            faces = face_gallery(task, "faces")
            with gr.Row():
                upload = upload_button(task, "own")
                others = gr.Button("Other people", size="md", elem_id=f"{task}-others")
        with gr.Accordion("Sliders", open=False, elem_id=f"{task}-attributes") as attributes_panel:
            _hint(
                "0 changes nothing. They work best if “Example face” takes the style from the face in the photo."
            )
            names = gr.State([])
            which = gr.Dropdown(
                [],
                multiselect=True,
                max_choices=MAX_SLIDERS,
                visible=False,
                label="Which sliders",
                info=f"Up to {MAX_SLIDERS} at a time.",
                elem_id=f"{task}-which",
            )
            sliders = [
                gr.Slider(-REACH, REACH, value=0, step=0.1, visible=False, elem_id=f"{task}-slider-{place}")
                for place in range(MAX_SLIDERS)
            ]
        with gr.Accordion("Pose", open=False, elem_id=f"{task}-turning"):
            pose = gr.Radio(POSES, value="keep", show_label=False, elem_id=f"{task}-pose")
            pose_file = gr.File(
                label="A picture of a face in that pose",
                file_types=["image"],
                height=120,
                visible=False,
                elem_id=f"{task}-pose-picture",
            )
        with gr.Accordion("Words", open=False, elem_id=f"{task}-words") as words_panel:
            prompt = gr.Textbox(
                show_label=False, placeholder="a face with blue eyes", lines=1, elem_id=f"{task}-prompt"
            )
            _hint("In English and short, such as: a face with blue eyes. This takes a minute or more.")
            steps = gr.Slider(STEPS, MAX_STEPS, value=STEPS, step=10, label="Steps", info="More take longer.")
            self.stop = gr.Button("Stop searching", size="md", elem_id=f"{task}-stop")
        with gr.Accordion("Chance", open=False, elem_id=f"{task}-chance"):
            count = count_slider(task, 1)
            variety = gr.Slider(
                0,
                1,
                value=0,
                step=0.05,
                label="How much chance decides",
                info="0: nothing; of several variations the first, half of the others. 1: a face by chance alone.",
                elem_id=f"{task}-variety",
            )
            psi = variety_slider()
        with gr.Accordion("Strengths", open=False, elem_id=f"{task}-strengths"):
            _hint("0 is ignored, 1 is in full.")
            strengths = [
                gr.Slider(0, 1, value=1, step=0.05, label=label, elem_id=f"{task}-strength-{name}")
                for name, label in STRENGTHS.items()
            ]
        fixed = [style, row, pose, pose_file, prompt, steps, count, variety, psi, names]
        self.components = [*fixed, *sliders, *strengths]
        self.opening = [attributes_panel, which, names, *sliders, words_panel]

        choice = [row, faces]
        example_panel.expand(lambda row: shown_row(row or new_row())[:2], row, choice, **QUIET, **ON_DEVICE)
        faces.select(
            _choose, row, [row, style], api_visibility="private", show_progress="hidden", **ON_DEVICE
        )
        others.click(
            lambda row: shown_row(row.others())[:2] if row else [gr.skip()] * 2,
            row,
            choice,
            **QUIET,
            **ON_DEVICE,
        )
        upload.upload(_add_own, [upload, row], [*choice, style], **QUIET, **ON_DEVICE)
        which.input(change_sliders, [which, names, *sliders], [names, *sliders], **QUIET)
        pose.change(lambda said: gr.update(visible=said == "picture"), pose, pose_file, **QUIET)

    def opened(self) -> list[Any]:
        """Updates of `opening` for a new photo: sliders for the model's first attributes, set to 0, and a choice of
        others where there are more."""
        names = attribute_names()
        shown = list(names[:MAX_SLIDERS])
        choices = [(slider_label(name), name) for name in names]
        choosing = gr.update(choices=choices, value=shown, visible=len(names) > MAX_SLIDERS)
        words = gr.update(visible=words_work())
        return [gr.update(visible=bool(names)), choosing, shown, *_sliders_for(shown, {}), words]


def _sliders_for(names: Sequence[str], values: Mapping[str, float]) -> list[Any]:
    """Updates of all sliders: one for each name, at its value or 0, the others hidden."""
    shown = [gr.update(label=slider_label(name), value=values.get(name, 0), visible=True) for name in names]
    return shown + [gr.update(value=0, visible=False)] * (MAX_SLIDERS - len(shown))


def change_sliders(chosen: Sequence[str], shown: Sequence[str], *values: float) -> list[Any]:
    """The names of the sliders from now on, and their updates; what stays keeps its value."""
    kept = dict(zip(shown, values, strict=False))
    return [list(chosen), *_sliders_for(chosen, kept)]


def _hint(text: str) -> None:
    gr.Markdown(text, elem_classes="hint")


def _choose(row: FaceRow | None, event: gr.SelectData) -> Any:
    return [row.choose(0, event.index), "other"] if row else [gr.skip()] * 2


@friendly
def _add_own(path: str | None, row: FaceRow | None) -> list[Any]:
    found = faces_in(path)
    if len(found) > 1:
        gr.Warning(f"The picture shows {len(found)} faces. They lead the row now: tap the one you mean.")
    return [*shown_row((row or new_row()).with_own(found, 0))[:2], "other"]
