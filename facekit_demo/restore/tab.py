"""The Restore tab: a photo with people, damaged; the same people, sharp."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from facekit.faces import Face
from facekit.faces.selection import parse_selection
from facekit.images.photo import Photo
from facekit.pipelines.restore import FaceRestoreOutput
from facekit_demo.common.candidates import KEPT, MAX_CANDIDATES, CandidatePanel, as_many_as_fit
from facekit_demo.common.damage import PRESETS, damage_photo, face_side
from facekit_demo.common.detector_view import build_section
from facekit_demo.common.face_view import WorkingPhoto, face_at, found_text, look_at, numbered
from facekit_demo.common.gallery import restore_examples
from facekit_demo.common.running import (
    DEVICE_QUEUE,
    friendly,
    load_pipeline,
    made_by,
    on_gpu,
    open_photo,
    save_for_download,
    seeded,
    unnamed,
)
from facekit_demo.common.widgets import (
    QUIET,
    example_row,
    photo_chooser,
    seed_number,
)
from facekit_demo.common.words import page_words
from facekit_demo.restore.result import WORDS, candidates_of


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = restore_examples()
    working = gr.State(None, time_to_live=KEPT)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("### 1. Choose a photo")
            photo = photo_chooser("restore")
            with gr.Column(visible=False) as panel:
                found = gr.Markdown(elem_id="restore-found")
                view = gr.Image(
                    show_label=False,
                    interactive=False,
                    format="png",
                    buttons=[],
                    alt_text="The photo, with a frame and number on every face",
                    elem_id="restore-faces",
                )
                chosen = gr.CheckboxGroup(
                    [], label="Which faces?", visible=False, elem_id="restore-chosen", elem_classes="ticks"
                )
                whole = gr.Checkbox(
                    False,
                    label="The picture is one face and nothing else",
                    visible=False,
                    elem_id="restore-whole",
                )
                fidelity = gr.Slider(
                    0,
                    1,
                    value=0.5,
                    step=0.05,
                    label="True to the photo",
                    info="0: sharper, but more freely drawn. 1: shapes and colours stay as in the photo.",
                    elem_id="restore-fidelity",
                )
                run = gr.Button("2. Restore", variant="primary", size="lg", elem_id="restore-run")
                back = gr.Button("Back to the original", visible=False, elem_id="restore-back")
                with gr.Accordion("More", open=False, elem_id="restore-more"):
                    count = gr.Slider(
                        1,
                        MAX_CANDIDATES,
                        value=1,
                        step=1,
                        label="Candidates",
                        info="Several results to pick from; each takes as long as one.",
                        elem_id="restore-count",
                    )
                    seed = seed_number("The same number gives the same result.")
                with gr.Accordion(
                    "Is the photo good already? Damage it", open=False, elem_id="restore-damaging"
                ):
                    gr.Markdown(
                        "A damaged copy takes its place, to show what restoring does.", elem_classes="hint"
                    )
                    severity = gr.Slider(
                        0, 1, value=0.5, step=0.05, label="How badly?", elem_id="restore-severity"
                    )
                    preset = gr.Dropdown(PRESETS, value=PRESETS[0][1], label="Kind of damage")
                    damage = gr.Button("Damage this photo", elem_id="restore-damage")
            samples = example_row("restore", examples)
        with gr.Column(elem_classes="work"):
            result = CandidatePanel(
                "restore",
                "The face cut out upright, what the model imagines after each step of its search for the "
                "person's style, and the restored face.",
                columns=3,
            )
            queued: dict[str, Any] = {"concurrency_id": DEVICE_QUEUE, "concurrency_limit": 1}
            build_section(working, result.picked, queued)

    looked = [working, panel, found, view, chosen, whole, back]
    outcome, download = result.components, result.download

    @friendly
    def show_photo(path: str | None) -> list[Any]:
        return _looking(look_at(path)) + result.updates()

    @friendly
    def show_example(index: int) -> list[Any]:
        return [str(examples[index]), *_looking(look_at(str(examples[index]))), *result.updates()]

    @friendly
    def show_damaged(path: str | None, severity: float, preset: str, seed: int) -> list[Any]:
        image, original = open_photo(path), look_at(path)
        side = face_side(image, original.faces)
        copy = damage_photo(image, side, severity, preset, int(seed or 0))
        saved = save_for_download(copy, f"{Path(path).stem}-damaged.png", download)
        return _looking(look_at(saved, damaged=True)) + result.updates()

    def show_chosen(state: WorkingPhoto | None, numbers: list[int]) -> Any:
        return numbered(state, numbers) if state else gr.skip()

    def point_at(state: WorkingPhoto | None, numbers: list[int], event: gr.SelectData) -> Any:
        touched = face_at(state, event.index) if state and len(state.restorable) > 1 else None
        return gr.skip() if touched is None else sorted({*numbers} ^ {touched})

    @friendly
    def restore_faces(
        state: WorkingPhoto | None,
        numbers: list[int],
        whole: bool,
        fidelity: float,
        count: int,
        seed: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
    ) -> list[Any]:
        if state is None:
            raise ValueError("choose a photo first")
        numbers = sorted(set(numbers or []) & set(state.restorable))
        if not whole and not state.restorable:
            raise ValueError("there is no face in this photo that can be restored; the photo is unchanged")
        if not whole and not numbers:
            raise ValueError("tick at least one face, then press Restore")
        image = open_photo(state.path)
        count, remarks = as_many_as_fit(count, image.size)
        output = _infer(unnamed(image), numbers, state.faces, whole, fidelity, count, seed, progress)
        origin = made_by("restore")
        candidates = candidates_of(output, image, Path(state.path).stem, download, numbers, origin)
        return result.updates(candidates, [*remarks, *(page_words(note, WORDS) for note in output.notes)])

    @friendly
    def restore_files(
        photo: str, faces: str, fidelity: float, candidates: int, seed: int
    ) -> tuple[list[str], str]:
        image = open_photo(photo)
        output = _infer(unnamed(image), parse_selection(faces), None, False, fidelity, candidates, seed)
        origin = made_by("restore") if output.faces[0] else None
        paths = [
            save_for_download(picture, f"{Path(photo).stem}-restored-{number}.png", download, origin)
            for number, picture in enumerate(output.images, 1)
        ]
        return paths, "\n".join(page_words(note, WORDS) for note in output.notes)

    opened = photo.upload(show_photo, photo, looked + outcome, **QUIET, **queued)
    opened.failure(
        lambda: [None, *_looking(None), *result.updates()], None, [photo, *looked, *outcome], **QUIET
    )
    photo.clear(lambda: _looking(None) + result.updates(), None, looked + outcome, **QUIET)
    samples.click(show_example, samples, [photo, *looked, *outcome], **QUIET, **queued)
    damage.click(show_damaged, [photo, severity, preset, seed], looked + outcome, **QUIET, **queued)
    back.click(show_photo, photo, looked + outcome, **QUIET, **queued)
    chosen.change(show_chosen, [working, chosen], view, **QUIET)
    view.select(point_at, [working, chosen], chosen, **QUIET)
    run.click(
        restore_faces,
        [working, chosen, whole, fidelity, count, seed],
        outcome,
        api_visibility="private",
        scroll_to_output=True,
        show_progress_on=result.slider,
        **queued,
    )
    with gr.Group(visible=False):
        # The named endpoint for programs: a file in, files out, no state of the page.
        api_faces = gr.Textbox("all", label="faces")
        api_results = gr.File(label="restored photos", file_count="multiple")
        api_notes = gr.Textbox(label="notes")
        gr.Button().click(
            restore_files,
            [photo, api_faces, fidelity, count, seed],
            [api_results, api_notes],
            api_name="restore",
            api_description=(
                "Restore the faces of a photo. faces: 'all', 'largest' or numbers from left to right such as "
                "'0,2'. Gives one PNG for each candidate, and remarks."
            ),
            **queued,
        )


@on_gpu
def _infer(
    image: Photo,
    numbers: str | Sequence[int],
    found: Sequence[Face] | None,
    whole: bool,
    fidelity: float,
    count: int,
    seed: int,
    progress: gr.Progress | None = None,
) -> FaceRestoreOutput:
    """Run the pipeline. `found`: the faces that are known already; without them they are sought."""
    if not 1 <= count <= MAX_CANDIDATES:
        raise ValueError(f"candidates must lie between 1 and {MAX_CANDIDATES}, got {count}")
    width, height = image.size
    if whole and width != height:
        raise ValueError(f"The picture is {width}x{height}; one face alone must be square. Crop it first.")
    if progress:
        progress(0, desc="Getting ready")
    pipe = load_pipeline("restore")

    def report(pipe: Any, step: int, _timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if progress:
            progress((step + 1, len(pipe.scheduler.timesteps) + 1), desc="Restoring", unit="steps")
        return kwargs

    try:
        return pipe(
            image,
            aligned=whole,
            faces=numbers,
            known_faces=None if found is None else [found],
            fidelity=fidelity,
            num_images=int(count),
            generator=seeded(seed),
            return_aligned=progress is not None,
            watermark=True,
            output_type="photo",
            callback_on_step_end=report,
        )
    except ValueError as error:
        raise ValueError(page_words(error, WORDS)) from error


def _looking(state: WorkingPhoto | None) -> list[Any]:
    """Updates of the photo's side: with a photo it opens, without one it closes."""
    if state is None:
        return [
            None,
            gr.update(visible=False),
            "",
            None,
            gr.update(choices=[], value=[], visible=False),
            gr.update(value=False, visible=False),
            gr.update(visible=False),
        ]
    able = state.restorable
    return [
        state,
        gr.update(visible=True),
        found_text(state),
        numbered(state, able),
        gr.update(choices=[(f"Face {number}", number) for number in able], value=able, visible=len(able) > 1),
        gr.update(value=False, visible=not state.faces),
        gr.update(visible=state.damaged),
    ]
