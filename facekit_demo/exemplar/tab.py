"""The Exemplar tab: a painted hole in a face is filled in the manner of another face."""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from facekit.pipelines.exemplar.occlusion import Occlusion, propose_mask
from facekit_demo.common.candidates import KEPT, MAX_CANDIDATES, CandidatePanel, as_many_as_fit
from facekit_demo.common.exemplar_faces import (
    FaceRow,
    face_gallery,
    faces_in,
    new_row,
    only_face_in,
    shown_row,
    upload_button,
)
from facekit_demo.common.gallery import exemplar_examples
from facekit_demo.common.painting import (
    EMPTY_EDITOR,
    brush_editor,
    editor_with,
    mask_chooser,
    open_mask,
    open_sketch,
    painted,
    painted_mask,
    strokes_of,
)
from facekit_demo.common.running import (
    DEVICE_QUEUE,
    friendly,
    made_by,
    open_photo,
    preview,
    save_for_download,
    unnamed,
)
from facekit_demo.common.widgets import QUIET, example_row, photo_chooser, seed_number
from facekit_demo.common.words import page_words
from facekit_demo.exemplar.result import (
    TAKEN,
    WORDS,
    Settings,
    candidates_of,
    infer,
)

TASK = "exemplar"
PENCIL = "#1d1d1f"
HIDING: list[tuple[str, Occlusion]] = [("glasses hide", "glasses"), ("a face mask hides", "lower_face")]


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = exemplar_examples()
    row = gr.State(None, time_to_live=KEPT)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("### 1. Choose a photo")
            photo = photo_chooser(TASK)
            with gr.Column(visible=False) as editing_panel:
                gr.Markdown("### 2. Paint over what should change")
                editor = brush_editor(TASK)
                gr.Markdown(
                    "Or uncover a face: choose what hides it, then another picture of the same person below.",
                    elem_classes="hint",
                )
                with gr.Row():
                    recover = [
                        gr.Button(f"Recover what {hides}", size="md", elem_id=f"{TASK}-{kind}")
                        for hides, kind in HIDING
                    ]
                with gr.Accordion(
                    "Draw lines into it: hair, glasses, a beard", open=False, elem_id=f"{TASK}-drawing"
                ) as drawing:
                    gr.Markdown(
                        "What you painted is white here. Lines that you draw into it guide the shapes.",
                        elem_classes="hint",
                    )
                    pencil = brush_editor(
                        TASK,
                        "pencil",
                        gr.Brush(3, colors=[PENCIL], default_color=PENCIL, color_mode="fixed"),
                    )
                    refresh = gr.Button("Painted more? Show it here", size="md", elem_id=f"{TASK}-refresh")
                gr.Markdown("### 3. Choose a face as the example")
                gr.Markdown("These people do not exist. Tap one, or use a picture.", elem_classes="hint")
                first = face_gallery(TASK, "faces")
                with gr.Row():
                    first_upload = upload_button(TASK, "own")
                    others = gr.Button("Other people", size="md", elem_id=f"{TASK}-others")
                with gr.Accordion("Mix in a second face", open=False, elem_id=f"{TASK}-mixing"):
                    second = face_gallery(TASK, "second")
                    with gr.Row():
                        second_upload = upload_button(TASK, "second-own")
                        single = gr.Button("No second face", size="md", elem_id=f"{TASK}-single")
                    share = gr.Slider(
                        0,
                        1,
                        value=0.5,
                        step=0.1,
                        label="How much of the second face",
                        info="Colours and other fine traits change over first, shapes last.",
                        elem_id=f"{TASK}-share",
                    )
                run = gr.Button("4. Fill in", variant="primary", size="lg", elem_id=f"{TASK}-run")
                with gr.Accordion("More", open=False, elem_id=f"{TASK}-more"):
                    count = gr.Slider(
                        1,
                        MAX_CANDIDATES,
                        value=MAX_CANDIDATES,
                        step=1,
                        label="Variations",
                        info="Results to pick from.",
                        elem_id=f"{TASK}-count",
                    )
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
                    psi = gr.Slider(
                        0,
                        1,
                        value=1,
                        step=0.05,
                        label="Variety",
                        info="Less of it: variations alike, fewer failures.",
                    )
                    grain = gr.Checkbox(True, label="Fine random detail, such as pores and single hairs")
                    seed = seed_number("The same number gives the same variations.")
                    mask_file = mask_chooser(TASK)
            samples = example_row(TASK, [example.photo for example in examples])
        with gr.Column(elem_classes="work"):
            result = CandidatePanel(
                TASK,
                "The example as the model sees it, and the part of it that lies under the hole.",
                columns=3,
                again="Edit this result",
            )

    choice = [row, first, second]
    editing = [editor, pencil, drawing, editing_panel, mask_file]
    outcome = result.components
    everything = [photo, *editing, *choice, *outcome]
    options = [share, count, strength, psi, taken, grain, seed]

    @friendly
    def show_photo(path: str | None, row: FaceRow | None) -> list[Any]:
        return [*_editing(preview(open_photo(path))), *shown_row(row or new_row()), *result.updates()]

    @friendly
    def show_example(index: int, row: FaceRow | None) -> list[Any]:
        example, row = examples[index], row or new_row()
        if row.face(0) is None and row.faces:
            row = row.choose(0, 0)
        shown = _editing(preview(open_photo(str(example.photo))), Image.open(example.mask))
        return [str(example.photo), *shown, *shown_row(row), *result.updates()]

    @friendly
    def show_result(path: str | None) -> list[Any]:
        return [path, *_editing(preview(open_photo(path))), *result.updates()]

    @friendly
    def show_mask(path: str | None, photo_path: str | None) -> Any:
        if not path:
            return gr.skip()
        image = open_photo(photo_path)
        return painted(preview(image), open_mask(path, image.size))

    @friendly
    def propose(kind: Occlusion, photo_path: str | None, painting: dict[str, Any] | None) -> Any:
        image = open_photo(photo_path)
        try:
            proposed, _ = propose_mask(image, kind, False, "all", None)
        except ValueError as error:
            raise ValueError(page_words(error, WORDS)) from error
        own = strokes_of(painting, image.size)
        mask = proposed if own is None else proposed | (np.asarray(own) > 0)
        return painted(preview(image), Image.fromarray(mask.astype(np.uint8) * 255))

    @friendly
    def show_hole(
        photo_path: str | None, painting: dict[str, Any] | None, drawn: dict[str, Any] | None
    ) -> Any:
        shown = preview(open_photo(photo_path)).convert("RGB")
        mask = strokes_of(painting, shown.size)
        if mask is None:
            gr.Info("Paint over a part of the photo first; lines count inside it.")
        else:
            shown.paste((255, 255, 255), (0, 0), mask)
        return editor_with(shown, strokes_of(drawn, shown.size), PENCIL)

    def choose_first(row: FaceRow | None, event: gr.SelectData) -> Any:
        return row.choose(0, event.index) if row else gr.skip()

    def choose_second(row: FaceRow | None, event: gr.SelectData) -> Any:
        return row.choose(1, event.index) if row else gr.skip()

    @friendly
    def add_own(which: int, path: str | None, row: FaceRow | None) -> list[Any]:
        found = faces_in(path)
        if len(found) > 1:
            gr.Warning(
                f"{Path(path).name} shows {len(found)} faces. They lead the row now: tap the one you mean."
            )
        return shown_row((row or new_row()).with_own(found, which))

    @friendly
    def fill(
        photo_path: str | None,
        painting: dict[str, Any] | None,
        drawn: dict[str, Any] | None,
        row: FaceRow | None,
        share: float,
        count: int,
        strength: float,
        psi: float,
        taken: str,
        grain: bool,
        seed: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
    ) -> list[Any]:
        image = open_photo(photo_path)
        mask = painted_mask(painting, image.size)
        if row is None or row.face(0) is None:
            raise ValueError("choose a face as the example: tap one of the row, or use a picture of your own")
        count, remarks = as_many_as_fit(count, image.size)
        settings = Settings(share, count, strength, psi, taken, grain, seed)
        sketch = strokes_of(drawn, image.size)
        output, steps = infer(
            unnamed(image), mask, row.face(0), row.face(1), sketch, None, settings, progress
        )
        candidates = candidates_of(output, steps, image, Path(photo_path).stem, result.download)
        return result.updates(candidates, [*remarks, *(page_words(note, WORDS) for note in output.notes)])

    @friendly
    def fill_files(
        photo: str,
        mask: str | None,
        exemplar: str,
        second_exemplar: str | None,
        sketch: str | None,
        recover: str,
        share: float,
        candidates: int,
        strength: float,
        psi: float,
        taken: str,
        grain: bool,
        seed: int,
    ) -> tuple[list[str], str]:
        image = open_photo(photo)
        if not exemplar:
            raise ValueError("exemplar is missing: pass a picture with one face")
        output, _ = infer(
            unnamed(image),
            open_mask(mask, image.size) if mask else None,
            only_face_in(exemplar),
            only_face_in(second_exemplar) if second_exemplar else None,
            open_sketch(sketch, image.size),
            None if recover == "nothing" else recover,
            Settings(share, candidates, strength, psi, taken, grain, seed),
        )
        origin = made_by(TASK)
        paths = [
            save_for_download(picture, f"{Path(photo).stem}-filled-{number}.png", result.download, origin)
            for number, picture in enumerate(output.images, 1)
        ]
        return paths, "\n".join(page_words(note, WORDS) for note in output.notes)

    queued: dict[str, Any] = {"concurrency_id": DEVICE_QUEUE, "concurrency_limit": 1}
    shown = photo.upload(show_photo, [photo, row], [*editing, *choice, *outcome], **QUIET, **queued)
    shown.failure(
        lambda: [None, *_editing(None), *result.updates()], None, [photo, *editing, *outcome], **QUIET
    )
    photo.clear(lambda: _editing(None) + result.updates(), None, editing + outcome, **QUIET)
    samples.click(show_example, [samples, row], everything, **QUIET, **queued)
    result.again.click(show_result, result.picked, [photo, *editing, *outcome], **QUIET)
    masked = mask_file.upload(show_mask, [mask_file, photo], editor, **QUIET)
    masked.failure(lambda: None, None, mask_file, **QUIET)
    for button, (_, kind) in zip(recover, HIDING, strict=True):
        button.click(
            lambda path, painting, kind=kind: propose(kind, path, painting),
            [photo, editor],
            editor,
            **QUIET,
            **queued,
        )
    gr.on([drawing.expand, refresh.click], show_hole, [photo, editor, pencil], pencil, **QUIET)
    # In the queue of the work itself, so that a choice made before a click on Fill in counts for it.
    first.select(choose_first, row, row, api_visibility="private", show_progress="hidden", **queued)
    second.select(choose_second, row, row, api_visibility="private", show_progress="hidden", **queued)
    others.click(
        lambda row: shown_row(row.others()) if row else [gr.skip()] * 3, row, choice, **QUIET, **queued
    )
    single.click(
        lambda row: shown_row(row.choose(1, None)) if row else [gr.skip()] * 3, row, choice, **QUIET, **queued
    )
    for which, upload in enumerate([first_upload, second_upload]):
        upload.upload(
            lambda path, row, which=which: add_own(which, path, row), [upload, row], choice, **QUIET, **queued
        )
    run.click(
        fill,
        [photo, editor, pencil, row, *options],
        outcome,
        api_visibility="private",
        scroll_to_output=True,
        show_progress_on=result.slider,
        **queued,
    )
    with gr.Group(visible=False):
        # The named endpoint for programs: files in, files out, no state of the page.
        api_files = [gr.File(label=label) for label in ("mask", "exemplar", "second exemplar", "sketch")]
        api_recover = gr.Radio(["nothing", "glasses", "lower_face"], value="nothing", label="recover")
        api_results = gr.File(label="filled photos", file_count="multiple")
        api_notes = gr.Textbox(label="notes")
        gr.Button().click(
            fill_files,
            [photo, *api_files, api_recover, *options],
            [api_results, api_notes],
            api_name="exemplar",
            api_description=(
                "Fill the white part of the mask in the photo after the exemplar's face. recover: 'glasses' or "
                "'lower_face' fill what hides them; mask may be null then. second_exemplar (mixed in by share) "
                "and sketch (lines in the hole) may be null. Gives one PNG for each candidate, and remarks."
            ),
            **queued,
        )


def _editing(shown: Image.Image | None, mask: Image.Image | None = None) -> list[Any]:
    """Updates of the editing side: with a photo it opens, without one it closes; drawn lines go away."""
    canvas = EMPTY_EDITOR if shown is None else editor_with(shown, mask)
    return [canvas, EMPTY_EDITOR, gr.update(open=False), gr.update(visible=shown is not None), None]
