"""The Inpaint tab: a photo, a painted mask, a filled photo."""

import math
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from facekit.images.photo import Photo, load_image
from facekit.notes import Kind
from facekit.pipelines.inpaint import FaceInpaintOutput
from facekit_demo.common.gallery import inpaint_examples
from facekit_demo.common.painting import (
    EMPTY_EDITOR,
    brush_editor,
    editor_with,
    mask_chooser,
    open_mask,
    painted,
    painted_mask,
)
from facekit_demo.common.running import (
    DEVICE_QUEUE,
    STEP_SIDE,
    friendly,
    load_pipeline,
    made_by,
    on_gpu,
    open_photo,
    preview,
    save_for_download,
    seeded,
    unnamed,
)
from facekit_demo.common.widgets import (
    QUIET,
    download_button,
    example_row,
    notes_box,
    photo_chooser,
    result_slider,
    seed_number,
    shown_notes,
    step_gallery,
)
from facekit_demo.common.words import page_words

REGIONS = [("A face", "face"), ("Anything else", "image")]
ELSE = f"“{REGIONS[1][0]}”"
# Notes and refusals that the page words in its own way.
WORDS: dict[Kind, str] = {
    "no-face": f"No face was found. Choose {ELSE} and try again.",
    "mask-beside-faces": f"the mask does not touch {{who}}. Choose {ELSE} and try again.",
    "mask-beyond-faces": f"{{share}} of the mask lies outside the filled faces' crops: filled as with {ELSE}",
}
MAX_STEPS = 9
STEPS_PIXELS = 25_000_000  # every step keeps a whole photo in memory, so larger photos go without


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = inpaint_examples()
    result_path = gr.State(None, time_to_live=3600)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("### 1. Choose a photo")
            photo = photo_chooser("inpaint")
            with gr.Column(visible=False) as editing_panel:
                gr.Markdown("### 2. Paint over what should be filled")
                editor = brush_editor("inpaint")
                region = gr.Radio(
                    REGIONS, value="face", label="What did you paint on?", elem_id="inpaint-region"
                )
                run = gr.Button("3. Fill in", variant="primary", size="lg", elem_id="inpaint-run")
                with gr.Accordion("More", open=False, elem_id="inpaint-more"):
                    mask_file = mask_chooser("inpaint")
                    steps = gr.Slider(
                        1, MAX_STEPS, value=3, step=1, label="Steps", info="3 is usual; more takes longer."
                    )
                    seed = seed_number("The same number gives the same filling.")
            samples = example_row("inpaint", [example.photo for example in examples])
        with gr.Column(elem_classes="work"):
            gr.Markdown("### Result")
            notes = notes_box("inpaint")
            slider = result_slider("inpaint")
            with gr.Row():
                download = download_button("inpaint")
                again = gr.Button("Edit this result", visible=False, elem_id="inpaint-again")
            with gr.Accordion(
                "How it was filled, step by step", open=False, visible=False, elem_id="inpaint-steps"
            ) as progress_panel:
                gallery = step_gallery(columns=2)

    editing = [editor, editing_panel, mask_file]
    outcome = [notes, slider, download, again, progress_panel, gallery, result_path]

    @friendly
    def show_photo(path: str | None) -> list[Any]:
        return _editing(preview(open_photo(path))) + _outcome()

    @friendly
    def show_example(index: int) -> list[Any]:
        example = examples[index]
        shown = preview(open_photo(str(example.photo)))
        return [str(example.photo), *_editing(shown, Image.open(example.mask)), *_outcome()]

    @friendly
    def show_result(path: str | None) -> list[Any]:
        return [path, *_editing(preview(open_photo(path))), *_outcome()]

    @friendly
    def show_mask(path: str | None, photo_path: str | None) -> Any:
        if not path:
            return gr.skip()
        photo_image = open_photo(photo_path)
        return painted(preview(photo_image), open_mask(path, photo_image.size))

    @friendly
    def fill(
        photo_path: str | None,
        painting: dict[str, Any] | None,
        region: str,
        steps: int,
        seed: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
    ) -> list[Any]:
        image = open_photo(photo_path)
        mask = painted_mask(painting, image.size)
        output = _infer(unnamed(image), mask, region, steps, seed, progress)
        filled = output.images[0]
        origin = made_by("inpaint")
        path = save_for_download(filled, f"{Path(photo_path).stem}-filled.png", download, origin)
        pictures = _step_pictures(output)
        notes = [page_words(note, WORDS) for note in output.notes]
        return _outcome(notes, (preview(image), preview(filled)), path, pictures)

    @friendly
    def fill_files(photo: str, mask: str, region: str, steps: int, seed: int) -> str:
        image = open_photo(photo)
        output = _infer(unnamed(image), open_mask(mask, image.size), region, steps, seed)
        origin = made_by("inpaint")
        return save_for_download(output.images[0], f"{Path(photo).stem}-filled.png", download, origin)

    shown = photo.upload(show_photo, photo, editing + outcome, **QUIET)
    shown.failure(lambda: [None, *_editing(None), *_outcome()], None, [photo, *editing, *outcome], **QUIET)
    photo.clear(lambda: _editing(None) + _outcome(), None, editing + outcome, **QUIET)
    samples.click(show_example, samples, [photo, *editing, *outcome], **QUIET)
    masked = mask_file.upload(show_mask, [mask_file, photo], editor, **QUIET)
    masked.failure(lambda: None, None, mask_file, **QUIET)
    again.click(show_result, result_path, [photo, *editing, *outcome], **QUIET)
    run.click(
        fill,
        [photo, editor, region, steps, seed],
        outcome,
        api_visibility="private",
        concurrency_id=DEVICE_QUEUE,
        concurrency_limit=1,
        scroll_to_output=True,
        show_progress_on=slider,
    )
    with gr.Group(visible=False):
        # The named endpoint for programs: files in, a file out, no editor state.
        api_mask = gr.File(label="mask")
        api_result = gr.File(label="filled photo")
        gr.Button().click(
            fill_files,
            [photo, api_mask, region, steps, seed],
            api_result,
            api_name="inpaint",
            api_description="Fill the white part of the mask in the photo. region: 'face' or 'image'.",
            concurrency_id=DEVICE_QUEUE,
            concurrency_limit=1,
        )


@on_gpu
def _infer(
    image: Photo,
    mask: Image.Image,
    region: str,
    steps: int,
    seed: int,
    progress: gr.Progress | None = None,
) -> FaceInpaintOutput:
    """Run the pipeline; with `progress` for the page, whose words ValueErrors speak then."""
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must lie between 1 and {MAX_STEPS}, got {steps}")
    if progress:
        progress(0, desc="Getting ready")
    pipe = load_pipeline("inpaint")

    def report(_pipe: Any, step: int, _timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if progress:
            progress((step + 1, int(steps)), desc="Filling in", unit="steps")
        return kwargs

    try:
        return pipe(
            image,
            mask,
            region=region,
            num_inference_steps=int(steps),
            watermark=True,
            output_type="photo",
            generator=seeded(seed),
            return_steps=progress is not None and math.prod(image.size) <= STEPS_PIXELS,
            callback_on_step_end=report,
        )
    except ValueError as error:
        raise ValueError(page_words(error, WORDS)) from error


def _step_pictures(output: FaceInpaintOutput) -> list[tuple[Image.Image, str]]:
    if output.steps is None:
        return []
    pictures = []
    for number, (picture, change) in enumerate(zip(output.steps[0], output.heat_maps()[0], strict=True), 1):
        pictures.append((preview(picture, STEP_SIDE), f"Step {number}"))
        pictures.append((preview(load_image(change), STEP_SIDE), f"Change {number}"))
    return pictures


def _editing(shown: Image.Image | None, mask: Image.Image | None = None) -> list[Any]:
    """Updates of the editing side: with a photo it opens, without one it closes."""
    if shown is None:
        return [EMPTY_EDITOR, gr.update(visible=False), None]
    return [editor_with(shown, mask), gr.update(visible=True), None]


def _outcome(
    notes: list[str] | None = None,
    pair: tuple[Image.Image, Image.Image] | None = None,
    path: str | None = None,
    pictures: list[tuple[Image.Image, str]] | None = None,
) -> list[Any]:
    """Updates of the result side; called with nothing, it clears."""
    return [
        shown_notes(notes or []),
        pair,
        gr.update(value=path, visible=path is not None),
        gr.update(visible=path is not None),
        gr.update(visible=bool(pictures)),
        pictures or [],
        path,
    ]
