"""The Old photo tab: a worn print; what is damaged is found and filled, the faces made sharp, contrast brought back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from facekit.images.masks import format_share
from facekit.images.photo import Photo, same_pixels
from facekit.notes import Kind
from facekit.pipelines.mend.pipeline import PhotoMendOutput, PhotoMendPipeline
from facekit.provenance import Provenance, merge
from facekit_demo.common.candidates import Captioned
from facekit_demo.common.canvas_traffic import with_photo
from facekit_demo.common.comparison import Place, compare, face_places, mask_place
from facekit_demo.common.expectation import timed_run
from facekit_demo.common.gallery import mend_examples
from facekit_demo.common.latest import Latest
from facekit_demo.common.main_button import MainButton
from facekit_demo.common.masked_photo import MaskedPhoto
from facekit_demo.common.model_chooser import ModelChooser, model_parameter
from facekit_demo.common.painting import brush_editor, mask_chooser, open_mask, painted, strokes_of
from facekit_demo.common.result_side import ResultSide
from facekit_demo.common.running import (
    ON_DEVICE,
    STEP_SIDE,
    friendly,
    load_pipeline,
    made_by,
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

TASK = "mend"
NO_FACE_NOTE = no_face_note(
    "so none is made sharp, unless the damage hid it. Damage is filled all the same", ""
)
# The steps that a visitor switches, by what the page calls them.
FILL, FACES = "Fill the damage", "Make the faces sharp"
STEPS = {"fill": "Damage filled", "faces": "Faces made sharp", "contrast": "Contrast brought back"}
WORKING = {
    "find": "Looking for damage",
    "fill": "Filling the damage",
    "faces": "Making the faces sharp",
    "contrast": "Bringing back contrast",
}
# Notes and refusals that the page words in its own way.
WORDS: dict[Kind, str] = {
    "no-face": "no face was found, so none was made sharp",
    "damage-none": "no damage was found. Paint over what should be filled, if there is something",
    "damage-too-large": "{share} of the photo would be filled, which is too much: from less than half of a photo the "
    "rest cannot be told. Paint over the damage alone",
}


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = mend_examples()
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("## 1. Choose a photo")
            chooser = photo_chooser(TASK)
            with gr.Column(visible=False) as panel:
                found = found_note(TASK)
                gr.Markdown("## 2. Paint over the damage, or let it be found")
                gr.Markdown(
                    "Paint nothing, and the damage is found and filled. Or have it shown first: then paint over "
                    "what was missed, and rub out what is no damage.",
                    elem_classes="hint",
                )
                editor = brush_editor(TASK)
                find = gr.Button("Show the damage first, to correct it", size="md", elem_id=f"{TASK}-find")
                looked = gr.Markdown(elem_id=f"{TASK}-looked", elem_classes="answer")
                steps = gr.CheckboxGroup(
                    [FILL, FACES],
                    value=[FILL, FACES],
                    label="What is done",
                    elem_id=f"{TASK}-what",
                    elem_classes="ticks",
                )
                contrast = gr.Slider(
                    0,
                    1,
                    value=0,
                    step=0.05,
                    label="Bring back contrast",
                    info="For faded prints; 0 leaves it as it is.",
                    elem_id=f"{TASK}-contrast",
                )
                model = ModelChooser(TASK)
                run = MainButton(TASK, "3. Mend", "Mending…")
                with gr.Accordion("More", open=False, elem_id=f"{TASK}-more"):
                    mask_file = mask_chooser(TASK)
                    seed = seed_number(
                        "The number that chance starts from: the same one gives the same filling again."
                    )
            samples = example_row(TASK, [example.photo for example in examples])
        with gr.Column(elem_classes=["work", "results"]):
            result = ResultSide(
                TASK,
                "Steps",
                "What was found, and the photo after each step. To undo a step, take its tick away and mend again.",
            )

    photo = MaskedPhoto(
        chooser, panel, found, NO_FACE_NOTE, editor, mask_file, examples, samples, {looked: {"value": ""}}
    )
    _wire_photo(photo, result)
    _wire_finding(find, looked, photo, model)
    model.wire(result.failure)
    _wire_mending(run, photo, [steps, contrast, seed, model.active], result)
    _offer_to_programs(chooser, contrast, seed, result)


def _wire_photo(photo: MaskedPhoto, result: ResultSide) -> None:
    """Let a photo, the example or the result be worked on, and its mask be read from a file."""
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


def _wire_finding(button: gr.Button, looked: gr.Markdown, photo: MaskedPhoto, model: ModelChooser) -> None:
    """Let a button put what is damaged on the canvas, where it can be painted on and rubbed out, and say how much."""

    def look_at(path: str | None, chosen: str | None) -> list[Any]:
        image = open_photo(path)
        make_ready(TASK, chosen)
        mask = _find(image, chosen)
        if not mask.any():
            return [gr.skip(), page_words(WORDS["damage-none"], {})]
        found = f"{format_share(mask.mean())} of the photo looks damaged: it is marked on the photo above."
        return [painted(preview(image), _as_picture(mask)), found]

    @friendly
    def show_damage(latest: Latest, path: str | None, chosen: str | None) -> list[Any]:
        updates = latest.only_at(path, lambda: look_at(path, chosen))
        return [gr.skip(), gr.skip()] if updates is None else updates

    inputs = [photo.latest, photo.chooser, model.active]
    with_photo(
        button.click,
        photo.editor,
        show_damage,
        inputs,
        [photo.editor, looked],
        trigger_mode="multiple",  # also while it looks at the photo before
        api_visibility="private",
        **ON_DEVICE,
    )


def _wire_mending(run: MainButton, photo: MaskedPhoto, settings: Sequence[Any], result: ResultSide) -> None:
    """Let the button do all that is ticked; what was found is on the canvas then."""

    def mend_photo(  # not `mend`: Gradio would take that name from the endpoint
        path: str | None,
        painting: dict[str, Any] | None,
        steps: list[str],
        contrast: float,
        seed: int,
        model: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
    ) -> list[Any]:
        image = open_photo(path)
        if not steps and not contrast:
            raise ValueError("tick what is to be done, or bring back contrast")
        drawn = strokes_of(painting, image.size) if FILL in steps else None
        damage = ("find" if drawn is None else drawn) if FILL in steps else None
        _make_all_ready(model, progress)
        with timed_run(TASK, image.size, model):
            output = _infer(unnamed(image), damage, FACES in steps, contrast, seed, model, progress)
            mended, mask = output.images[0], output.masks[0]
            saved = result.download.save(mended, _file_name(path), path, _origin(image, output, model))
            places = [*face_places(output.faces[0], image.size), *_damage_places(mask)]
            compared = compare(image, mended, places, (path, saved.path))
        filled = [f"{format_share(mask.mean())} of the photo was filled."] if mask.any() else []
        notes = [*filled, *(page_words(note, WORDS) for note in output.notes)]
        found = drawn is None and mask.any()
        canvas = painted(preview(image), _as_picture(mask)) if found else gr.skip()
        return [canvas, *result.updates(notes, compared, saved, _step_pictures(output, image))]

    inputs = [photo.chooser, photo.editor, *settings]
    outputs = [photo.editor, *result.components]
    run.wire(mend_photo, inputs, outputs, photo.chooser, photo.found, result, settings[-1])


def _offer_to_programs(photo: gr.File, contrast: gr.Slider, seed: gr.Number, result: ResultSide) -> None:
    """The named endpoint for programs: files in, files out, no editor state."""

    @friendly
    def mend_file(
        photo: str,
        mask: str | None = None,
        fill: bool = True,
        restore_faces: bool = True,
        contrast: float = 0.0,
        seed: int = 0,
        model: str | None = None,
    ) -> tuple[str, str, str]:
        image = open_photo(photo)
        damage = (open_mask(mask, image.size) if mask else "find") if fill else None
        _make_all_ready(model)
        output = _infer(unnamed(image), damage, restore_faces, contrast, seed, model)
        picture = output.images[0]
        mended = save_for_download(
            picture, _file_name(photo), result.download.file, _origin(image, output, model)
        )
        found = Photo(output.masks[0].astype(np.uint8) * 255, "L", name="damage")
        filled = save_for_download(found, f"{Path(photo).stem}-damage.png", result.download.file)
        return mended, filled, "\n".join(page_words(note, WORDS) for note in output.notes)

    with gr.Group(visible=False):
        mask = picture_file("mask")
        fill = gr.Checkbox(True, label="fill")
        restore_faces = gr.Checkbox(True, label="restore faces")
        mended, filled = gr.File(label="mended photo"), gr.File(label="what was filled")
        notes = gr.Textbox(label="notes")
        gr.Button().click(
            mend_file,
            [photo, mask, fill, restore_faces, contrast, seed, model_parameter(TASK)],
            [mended, filled, notes],
            api_name=TASK,
            api_description=(
                "Mend an old photo: find what is damaged, or take it from the mask (white), fill it, make the faces "
                "sharp, bring back contrast (0 to 1). Gives a PNG, the mask of what was filled, and remarks."
            ),
            **ON_DEVICE,
        )


def _make_all_ready(model: str | None, progress: gr.Progress | None = None) -> None:
    """Fetch what is not here of the models that mending calls."""
    make_ready(TASK, model, progress)
    for name in ("inpaint", "restore"):
        make_ready(name, None, progress)


def _pipeline(model: str | None) -> PhotoMendPipeline:
    """The method's pipeline, which fills and restores by those of the other tabs, each of them loaded once."""
    own = load_pipeline(TASK, model)
    return PhotoMendPipeline(own.damage_finder, load_pipeline("inpaint"), load_pipeline("restore"))


@on_gpu
def _find(image: Photo, model: str | None) -> np.ndarray:
    return load_pipeline(TASK, model).find_damage(image, max_pixels=None)


@on_gpu
def _infer(
    image: Photo,
    damage: Image.Image | str | None,
    restore_faces: bool,
    contrast: float,
    seed: int,
    model: str | None = None,
    progress: gr.Progress | None = None,
) -> PhotoMendOutput:
    """Run the pipeline. With `progress` for the page."""
    if progress:
        progress(0, desc="Getting ready")

    def tell(step: str, done: int, total: int) -> None:
        if progress:
            progress((done, total), desc=WORKING[step], unit="parts")

    with in_page_words(WORDS):
        return _pipeline(model)(
            image,
            damage=damage,
            restore_faces=restore_faces,
            contrast=contrast,
            generator=seeded(seed),
            watermark=True,
            return_steps=progress is not None,
            output_type="photo",
            tell=tell,
        )


def _step_pictures(output: PhotoMendOutput, image: Photo) -> Captioned:
    """The photo with what was found, and after each step."""
    if not output.steps:
        return []
    pictures: Captioned = []
    if output.masks[0].any():
        marked = image.rgb.copy()
        marked[output.masks[0]] = (np.array((255, 90, 60)) / 255 * _white(marked)).astype(marked.dtype)
        pictures.append((preview(Photo(marked, "RGB"), STEP_SIDE), "Damage"))
    return pictures + [
        (preview(picture, STEP_SIDE), STEPS[name]) for name, picture in output.steps[0].items()
    ]


def _white(pixels: np.ndarray) -> float:
    """The largest number of a picture's type."""
    return 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)


def _damage_places(mask: np.ndarray) -> list[Place]:
    return [mask_place(_as_picture(mask))] if mask.any() else []


def _as_picture(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _origin(photo: Photo, output: PhotoMendOutput, model: str | None) -> Provenance | None:
    """What a file says of its origin; None where nothing was changed."""
    if same_pixels(photo, output.images[0]):
        return None
    return merge([made_by(TASK, model), *(made_by(name) for name in output.parts[0])])


def _file_name(path: str) -> str:
    return f"{Path(path).stem}-mended.png"
