"""The Inpaint tab: a photo, a painted mask, a filled photo."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from facekit.images.photo import Photo, load_image
from facekit.notes import Kind, Refusal
from facekit.pipelines.inpaint import FaceInpaintOutput
from facekit_demo.common.candidates import Captioned
from facekit_demo.common.comparison import compare, face_places, mask_place
from facekit_demo.common.detail import detail_box, load_detail, made_with_detail, make_detail_ready
from facekit_demo.common.expectation import timed_run
from facekit_demo.common.gallery import inpaint_examples
from facekit_demo.common.main_button import MainButton
from facekit_demo.common.masked_photo import MaskedPhoto
from facekit_demo.common.model_chooser import ModelChooser, model_parameter
from facekit_demo.common.painting import brush_editor, mask_chooser, open_mask, painted_mask
from facekit_demo.common.result_side import ResultSide
from facekit_demo.common.running import (
    ON_DEVICE,
    STEP_SIDE,
    friendly,
    load_pipeline,
    make_ready,
    on_gpu,
    open_photo,
    preview,
    save_for_download,
    seeded,
    unnamed,
)
from facekit_demo.common.widgets import example_row, found_note, photo_chooser, picture_file, seed_number
from facekit_demo.common.words import in_page_words, no_face_note, page_words

TASK = "inpaint"
NO_FACE_NOTE = no_face_note("so what you paint is filled from what is around it", "")
REGIONS = ["auto", "face", "image"]
# Refusals of a mask that lies on no face: then it is filled from what is around it.
BESIDE_FACES = {"no-face", "mask-beside-faces"}
BESIDE = "What you painted is not on a face, so it was filled from what is around it."
# Notes and refusals that the page words in its own way.
WORDS: dict[Kind, str] = {
    "mask-beyond-faces": "a part of what you painted lies beyond the face: it was filled from what is around it",
}
MAX_STEPS = 9
STEPS_PIXELS = 25_000_000  # every step keeps a whole photo in memory, so larger photos go without


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = inpaint_examples()
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("## 1. Choose a photo")
            chooser = photo_chooser(TASK)
            with gr.Column(visible=False) as panel:
                found = found_note(TASK)
                gr.Markdown("## 2. Paint over what should be filled")
                editor = brush_editor(TASK)
                model = ModelChooser(TASK)
                run = MainButton(TASK, "3. Fill in", "Filling in…")
                with gr.Accordion("More", open=False, elem_id=f"{TASK}-more"):
                    mask_file = mask_chooser(TASK)
                    steps = gr.Slider(
                        0,
                        MAX_STEPS,
                        value=0,
                        step=1,
                        label="Steps",
                        info="0: as many as the model learnt with. More takes longer.",
                    )
                    seed = seed_number(
                        "The number that chance starts from: the same one gives the same filling again."
                    )
                    detail = detail_box(TASK, model)
            samples = example_row(TASK, [example.photo for example in examples])
        with gr.Column(elem_classes=["work", "results"]):
            result = ResultSide(
                TASK,
                "How it was filled, step by step",
                "The model fills the holes in one pass or several, and each corrects the one before. Beside every "
                "pass: where it changed something, bright for much.",
            )

    photo = MaskedPhoto(chooser, panel, found, NO_FACE_NOTE, editor, mask_file, examples, samples)
    settings = [steps, seed, detail]
    _wire_photo(photo, result)
    model.wire(result.failure)
    _wire_filling(run, photo, [*settings, model.active], result)
    _offer_to_programs(chooser, settings, result)


def _wire_photo(photo: MaskedPhoto, result: ResultSide) -> None:
    """Let a photo, an example or the result be worked on, and its mask be read from a file."""
    shown = [*photo.components, *result.components]

    def begin(path: str | None, mask: Image.Image | None) -> list[Any]:
        return [*photo.opened(preview(open_photo(path)), mask), *result.updates()]

    photo.wire_photo(
        begin,
        lambda: [*photo.closed(), *result.updates()],
        shown,
        going_on=(result.download.again.click, result.saved),
    )
    photo.wire_mask_file()


def _wire_filling(run: MainButton, photo: MaskedPhoto, settings: Sequence[Any], result: ResultSide) -> None:
    """Let the button fill what is painted."""

    def fill(
        photo_path: str | None,
        painting: dict[str, Any] | None,
        steps: int,
        seed: int,
        detail: bool,
        model: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
    ) -> list[Any]:
        image = open_photo(photo_path)
        mask = painted_mask(painting, image.size)
        make_ready(TASK, model, progress)
        make_detail_ready(detail, progress)
        with timed_run(TASK, image.size, model):
            output, remarks = _infer(unnamed(image), mask, "auto", steps, seed, detail, model, progress)
            filled = output.images[0]
            origin = made_with_detail(TASK, model, detail)
            saved = result.download.save(filled, _file_name(photo_path), photo_path, origin)
            places = face_places((output.faces or [[]])[0], image.size) or [mask_place(mask)]
            compared = compare(image, filled, places, (photo_path, saved.path))
        notes = [page_words(note, WORDS) for note in output.notes]
        return result.updates([*remarks, *notes], compared, saved, step_pictures(output))

    inputs = [photo.chooser, photo.editor, *settings]
    run.wire(fill, inputs, result.components, photo.chooser, photo.found, result, settings[-1])


def _offer_to_programs(photo: gr.File, settings: Sequence[Any], result: ResultSide) -> None:
    """The named endpoint for programs: files in, a file out, no editor state."""

    @friendly
    def fill_files(
        photo: str,
        mask: str,
        region: str = "auto",
        steps: int = 0,
        seed: int = 0,
        model: str | None = None,
        detail: bool = True,
    ) -> tuple[str, str]:
        image = open_photo(photo)
        make_ready(TASK, model)
        make_detail_ready(detail)
        hole = open_mask(mask, image.size)
        output, remarks = _infer(unnamed(image), hole, region, steps, seed, detail, model)
        notes = [*remarks, *(page_words(note, WORDS) for note in output.notes)]
        path = save_for_download(
            output.images[0], _file_name(photo), result.download.file, made_with_detail(TASK, model, detail)
        )
        return path, "\n".join(notes)

    with gr.Group(visible=False):
        mask = picture_file("mask")
        region = gr.Radio(REGIONS, value="auto", label="region")
        filled, notes = gr.File(label="filled photo"), gr.Textbox(label="notes")
        gr.Button().click(
            fill_files,
            [photo, mask, region, *settings[:-1], model_parameter(TASK), settings[-1]],
            [filled, notes],
            api_name=TASK,
            api_description=(
                "Fill the white part of the mask in the photo. region: 'face', 'image' for all else, or 'auto', which "
                "sees what the mask lies on. steps: passes of the model, 0 for as many as it learnt with. detail: "
                "whether a restorer goes over filled faces. Gives a PNG, and remarks."
            ),
            **ON_DEVICE,
        )


def _file_name(path: str) -> str:
    return f"{Path(path).stem}-filled.png"


@on_gpu
def _infer(
    image: Photo,
    mask: Image.Image,
    region: str,
    steps: int,
    seed: int,
    detail: bool,
    model: str | None = None,
    progress: gr.Progress | None = None,
) -> tuple[FaceInpaintOutput, list[str]]:
    """Run the pipeline; also gives what is to be said of the region that was chosen. With `progress` for the page."""
    if steps not in range(MAX_STEPS + 1):
        raise ValueError(f"steps must be a whole number from 0 to {MAX_STEPS}, got {steps}")
    if progress:
        progress(0, desc="Getting ready")
    pipe, restorer = load_pipeline(TASK, model), load_detail(detail)
    total = int(steps) or pipe.config["num_inference_steps"]

    def report(_pipe: Any, step: int, _timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if progress:
            progress((step + 1, total), desc="Filling in", unit="steps")
        return kwargs

    def run(region: str) -> FaceInpaintOutput:
        return pipe(
            image,
            mask,
            region=region,
            num_inference_steps=total,
            restore_with=restorer,
            watermark=True,
            output_type="photo",
            generator=seeded(seed),
            return_steps=progress is not None and math.prod(image.size) <= STEPS_PIXELS,
            callback_on_step_end=report,
        )

    with in_page_words(WORDS):
        try:
            return run("face" if region == "auto" else region), []
        except Refusal as refusal:
            if region != "auto" or refusal.message.kind not in BESIDE_FACES:
                raise
        return run("image"), [BESIDE]


def step_pictures(output: FaceInpaintOutput) -> Captioned:
    """What each step filled in, and what it changed; nothing where the steps were not kept."""
    if output.steps is None:
        return []
    pictures = []
    for number, (picture, change) in enumerate(zip(output.steps[0], output.heat_maps()[0], strict=True), 1):
        pictures.append((preview(picture, STEP_SIDE), f"Step {number}"))
        pictures.append((preview(load_image(change), STEP_SIDE), f"Change {number}"))
    return pictures
