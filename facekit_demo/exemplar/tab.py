"""The Exemplar tab: a painted hole in a face is filled in the manner of another face."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from facekit.pipelines.exemplar.occlusion import Occlusion, propose_mask
from facekit_demo.common.candidates import (
    MAX_CANDIDATES,
    CandidatePanel,
    as_many_as_fit,
    candidates_of,
    count_slider,
    save_candidates,
)
from facekit_demo.common.canvas_traffic import with_strokes
from facekit_demo.common.detail import detail_box, made_with_detail, make_detail_ready
from facekit_demo.common.exemplar_faces import FaceRow, only_face_in
from facekit_demo.common.expectation import timed_run
from facekit_demo.common.gallery import exemplar_examples
from facekit_demo.common.main_button import MainButton
from facekit_demo.common.masked_photo import MaskedPhoto
from facekit_demo.common.model_chooser import ModelChooser, model_parameter
from facekit_demo.common.painting import (
    EMPTY_EDITOR,
    PENCIL,
    brush_editor,
    editor_with,
    mask_chooser,
    open_mask,
    open_sketch,
    painted,
    painted_mask,
    pencil_brush,
    strokes_of,
)
from facekit_demo.common.running import (
    AT_WORK,
    ON_DEVICE,
    friendly,
    make_ready,
    open_photo,
    preview,
    unnamed,
)
from facekit_demo.common.widgets import (
    QUIET,
    example_row,
    found_note,
    photo_chooser,
    picture_file,
    seed_number,
    variety_slider,
)
from facekit_demo.common.words import in_page_words, no_face_note, page_words, stopping
from facekit_demo.exemplar.faces import FacePanels
from facekit_demo.exemplar.result import (
    TAKEN,
    WORDS,
    Settings,
    draw_mixes,
    infer,
)

TASK = "exemplar"
NO_FACE_NOTE = stopping(no_face_note("so there is nothing to fill in"))
HIDING: list[tuple[str, Occlusion]] = [("glasses hide", "glasses"), ("a face mask hides", "lower_face")]
Painting = dict[str, Any] | None


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = exemplar_examples()
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("### 1. Choose a photo")
            chooser = photo_chooser(TASK)
            with gr.Column(visible=False) as panel:
                found = found_note(TASK)
                gr.Markdown("### 2. Paint over what should change")
                editor = brush_editor(TASK)
                recover = _recover_buttons()
                drawing, pencil, refresh = _drawing_panel()
                gr.Markdown("### 3. Choose a face as the example")
                faces = FacePanels(TASK)
                model = ModelChooser(TASK)
                run = MainButton(TASK, "4. Fill in", "Filling in…")
                with gr.Accordion("More", open=False, elem_id=f"{TASK}-more"):
                    settings = [faces.share, *_further_settings(model)]
                    mask_file = mask_chooser(TASK)
            samples = example_row(TASK, [example.photo for example in examples])
        with gr.Column(elem_classes=["work", "results"]):
            result = CandidatePanel(
                TASK,
                "The example as the model sees it, and the part of it that lies under the hole.",
                columns=3,
            )

    drawings = {pencil: {"value": EMPTY_EDITOR}, drawing: {"open": False}} | faces.emptied
    photo = MaskedPhoto(chooser, panel, found, NO_FACE_NOTE, editor, mask_file, examples, samples, drawings)
    _wire_photo(photo, faces, result)
    _wire_recovery(photo, recover)
    showing = functools.partial(gr.on, [drawing.expand, refresh.click])
    with_strokes(showing, _show_hole, [chooser, editor, pencil], pencil, **QUIET)
    model.wire(result.failure)
    inputs = [chooser, editor, pencil, faces.row, *settings, model.active]
    _wire_filling(run, inputs, found, result)
    _wire_comparing(inputs, faces)
    _offer_to_programs(chooser, settings, result)


def _recover_buttons() -> list[gr.Button]:
    """A button for each thing that hides a part of a face, in the order of `HIDING`."""
    gr.Markdown(
        "Or uncover a face: choose what hides it, then another picture of the same person below.",
        elem_classes="hint",
    )
    with gr.Row():
        return [
            gr.Button(f"Recover what {hides}", size="md", elem_id=f"{TASK}-{kind}") for hides, kind in HIDING
        ]


def _drawing_panel() -> tuple[gr.Accordion, gr.ImageEditor, gr.Button]:
    """The panel for lines, its canvas, and the button that shows there what was painted since."""
    with gr.Accordion(
        "Draw lines into it: hair, glasses, a beard", open=False, elem_id=f"{TASK}-drawing"
    ) as drawing:
        gr.Markdown(
            "What you painted is white here. Lines that you draw into it guide the shapes.",
            elem_classes="hint",
        )
        pencil = brush_editor(TASK, "pencil", pencil_brush())
        refresh = gr.Button("Painted more? Show it here", size="md", elem_id=f"{TASK}-refresh")
    return drawing, pencil, refresh


def _further_settings(model: ModelChooser) -> list[Any]:
    """The components of `Settings` from `count` on, in its order."""
    count = count_slider(TASK, MAX_CANDIDATES)
    strength = gr.Slider(
        0,
        1,
        value=1,
        step=0.05,
        label="Like the example",
        info="0: any face. 1: as much like the example as the model can.",
        elem_id=f"{TASK}-strength",
    )
    taken = gr.Radio(TAKEN, value="all", label="What comes from the example")
    psi = variety_slider()
    grain = gr.Checkbox(True, label="Fine random detail, such as pores and single hairs")
    seed = seed_number("The same number gives the same variations.")
    return [count, strength, psi, taken, grain, seed, detail_box(TASK, model)]


def _wire_photo(photo: MaskedPhoto, faces: FacePanels, result: CandidatePanel) -> None:
    """Let a photo, an example or a result be worked on, and its mask be read from a file."""
    shown = [*photo.components, *result.components]

    def begin(path: str | None, mask: Image.Image | None) -> list[Any]:
        return [*photo.opened(preview(open_photo(path)), mask), *result.updates()]

    @friendly
    def offer(is_example: bool, _path: str | None, row: FaceRow | None) -> list[Any]:
        return faces.offered(row, choose_one=is_example)

    photo.wire_photo(
        begin,
        lambda: [*photo.closed(), *result.updates()],
        shown,
        given=[faces.row],
        offered=faces.components,
        offer=offer,
        going_on=(result.download.again.click, result.picked),
    )
    photo.wire_mask_file()


def _wire_recovery(photo: MaskedPhoto, recover: Sequence[gr.Button]) -> None:
    """Let each button paint over what something hides."""

    @friendly
    def propose(kind: Occlusion, photo_path: str | None, painting: Painting) -> Any:
        image = open_photo(photo_path)
        with in_page_words(WORDS):
            proposed, _ = propose_mask(image, kind, False, "all", None)
        own = strokes_of(painting, image.size)
        mask = proposed if own is None else proposed | (np.asarray(own) > 0)
        return painted(preview(image), Image.fromarray(mask.astype(np.uint8) * 255))

    for button, (_, kind) in zip(recover, HIDING, strict=True):
        with_strokes(
            button.click,
            functools.partial(propose, kind),
            [photo.chooser, photo.editor],
            photo.editor,
            **QUIET,
            **ON_DEVICE,
        )


@friendly
def _show_hole(photo_path: str | None, painting: Painting, drawn: Painting) -> Any:
    """The photo, white where the mask is painted, under the lines."""
    shown = preview(open_photo(photo_path)).convert("RGB")
    mask = strokes_of(painting, shown.size)
    if mask is None:
        gr.Info("Paint over a part of the photo first; lines count inside it.")
    else:
        shown.paste((255, 255, 255), (0, 0), mask)
    return editor_with(shown, strokes_of(drawn, shown.size), PENCIL)


def _wire_filling(run: MainButton, inputs: Sequence[Any], found: gr.Markdown, result: CandidatePanel) -> None:
    """Let the button fill what is painted."""

    def fill(
        photo_path: str | None,
        painting: Painting,
        drawn: Painting,
        row: FaceRow | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
        *values: Any,
    ) -> list[Any]:
        image = open_photo(photo_path)
        mask = painted_mask(painting, image.size)
        if row is None or row.face(0) is None:
            raise ValueError("choose a face as the example: tap one of the row, or use a picture of your own")
        settings = Settings(*values)
        count, remarks = as_many_as_fit(settings.count, image.size)
        settings = replace(settings, count=count)
        sketch = strokes_of(drawn, image.size)
        make_ready(TASK, settings.model, progress)
        make_detail_ready(settings.detail, progress)
        with timed_run(TASK, image.size, settings.model):
            output, steps = infer(
                unnamed(image), mask, row.face(0), row.face(1), sketch, None, settings, progress
            )
            faces = (output.faces or [[]])[0]
            name, how = f"{Path(photo_path).stem}-filled", [steps] * len(output.images)
            origin = made_with_detail(TASK, settings.model, settings.detail)
            candidates = candidates_of(
                output.images, image, photo_path, faces, name, result.download, origin, how
            )
        return result.updates(candidates, [*remarks, *(page_words(note, WORDS) for note in output.notes)])

    run.wire(fill, inputs, result.components, inputs[0], found, result, inputs[-1])


def _wire_comparing(inputs: Sequence[Any], faces: FacePanels) -> None:
    """Let the button show every mix of the two faces."""

    @friendly
    def compare(
        photo_path: str | None,
        painting: Painting,
        drawn: Painting,
        row: FaceRow | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
        *values: Any,
    ) -> list[Any]:
        image = open_photo(photo_path)
        mask = painted_mask(painting, image.size)
        first, second = (None, None) if row is None else (row.face(0), row.face(1))
        if first is None or second is None:
            raise ValueError("a mix needs two faces: tap one in the upper row and one in the lower")
        sketch, settings = strokes_of(drawn, image.size), Settings(*values)
        make_ready(TASK, settings.model, progress)
        make_detail_ready(settings.detail, progress)
        return faces.compared(draw_mixes(unnamed(image), mask, first, second, sketch, settings, progress))

    with_strokes(
        faces.compare.click,
        compare,
        inputs,
        [faces.comparison, faces.mixes],
        show_progress_on=faces.compare,
        **AT_WORK,
    )


def _offer_to_programs(photo: gr.File, settings: Sequence[Any], result: CandidatePanel) -> None:
    """The named endpoint for programs: files in, files out, no state of the page."""

    @friendly
    def fill_files(
        photo: str,
        mask: str | None = None,
        exemplar: str | None = None,
        second_exemplar: str | None = None,
        sketch: str | None = None,
        recover: str = "nothing",
        share: float = 0.5,
        candidates: int = 1,
        strength: float = 1.0,
        psi: float = 1.0,
        taken: str = "all",
        grain: bool = True,
        seed: int = 0,
        model: str | None = None,
        detail: bool = True,
    ) -> tuple[list[str], str]:
        image = open_photo(photo)
        if not exemplar:
            raise ValueError("exemplar is missing: pass a picture with one face")
        make_ready(TASK, model)
        make_detail_ready(detail)
        output, _ = infer(
            unnamed(image),
            open_mask(mask, image.size) if mask else None,
            only_face_in(exemplar),
            only_face_in(second_exemplar) if second_exemplar else None,
            open_sketch(sketch, image.size),
            None if recover == "nothing" else recover,
            Settings(share, candidates, strength, psi, taken, grain, seed, detail, model),
        )
        name = f"{Path(photo).stem}-filled"
        paths = save_candidates(
            output.images, name, result.download.file, made_with_detail(TASK, model, detail)
        )
        return paths, "\n".join(page_words(note, WORDS) for note in output.notes)

    with gr.Group(visible=False):
        files = [picture_file(name) for name in ("mask", "exemplar", "second exemplar", "sketch")]
        recover = gr.Radio(["nothing", "glasses", "lower_face"], value="nothing", label="recover")
        filled = gr.File(label="filled photos", file_count="multiple")
        notes = gr.Textbox(label="notes")
        gr.Button().click(
            fill_files,
            [photo, *files, recover, *settings[:-1], model_parameter(TASK), settings[-1]],
            [filled, notes],
            api_name=TASK,
            api_description=(
                "Fill the white part of the mask in the photo after the exemplar, a picture of one face. recover: "
                "'glasses' or 'lower_face' fill what hides them; mask may be null then. second_exemplar (mixed in by "
                "share) and sketch (lines in the hole) may be null. detail: whether a restorer goes over filled faces. "
                "Gives one PNG for each candidate, and remarks."
            ),
            **ON_DEVICE,
        )
