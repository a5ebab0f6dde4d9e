"""The Restore tab: a photo with people, damaged; the same people, sharp."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from facekit.faces import Face
from facekit.faces.selection import parse_selection
from facekit.images.photo import Photo
from facekit.pipelines.restore import FaceRestoreOutput, FaceRestorePipeline
from facekit_demo.common.candidates import (
    KEPT,
    MAX_CANDIDATES,
    CandidatePanel,
    as_many_as_fit,
    candidates_of,
    count_slider,
    save_candidates,
)
from facekit_demo.common.carrying import carry_photo, carry_result
from facekit_demo.common.damage import PRESETS, damage_photo, face_side
from facekit_demo.common.detector_view import build_section
from facekit_demo.common.expectation import timed_run
from facekit_demo.common.face_view import WorkingPhoto, face_number, look_at
from facekit_demo.common.gallery import restore_examples
from facekit_demo.common.main_button import MainButton
from facekit_demo.common.model_chooser import ModelChooser, model_parameter
from facekit_demo.common.running import (
    ON_DEVICE,
    friendly,
    load_pipeline,
    made_by,
    make_ready,
    model_source,
    on_gpu,
    open_photo,
    save_for_download,
    seeded,
    unnamed,
)
from facekit_demo.common.saved_format import Saved
from facekit_demo.common.widgets import QUIET, example_row, photo_chooser, seed_number
from facekit_demo.common.words import in_page_words, page_words
from facekit_demo.restore.faces import FaceChooser
from facekit_demo.restore.result import WORDS, step_pictures

TASK = "restore"


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = restore_examples()
    working = gr.State(None, time_to_live=KEPT)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("## 1. Choose a photo")
            photo = photo_chooser(TASK)
            with gr.Column(visible=False) as panel:
                faces = FaceChooser(TASK, working)
                fidelity = _fidelity_slider()
                model = ModelChooser(TASK)
                run = MainButton(TASK, "2. Restore", "Restoring…")
                back = gr.Button("Back to the original", visible=False, elem_id=f"{TASK}-back")
                average, count, seed = _further_settings()
                damage, severity, preset = _damage_settings()
            samples = example_row(TASK, examples)
        with gr.Column(elem_classes=["work", "results"]):
            result = CandidatePanel(
                TASK,
                "For the curious: the face cut out upright; blurred sketches of what the model knows of the person "
                "after each step of its search, which are no results yet; and the restored face. Of a photo that was "
                "damaged here also what the model makes of the original, and the original.",
                columns=3,
            )
            build_section(working, result.picked)

    shown = [working, panel, back, *faces.components, *result.components]

    def looking(state: WorkingPhoto | None) -> list[Any]:
        """Updates of `shown`: with a photo its side opens, without one it closes; the result goes."""
        opened, copy = state is not None, state is not None and state.damaged
        panels = [gr.update(visible=opened), gr.update(visible=copy)]
        return [state, *panels, *faces.updates(state), *result.updates()]

    @friendly
    def show_photo(path: str | None) -> list[Any]:
        return looking(look_at(path))

    @friendly
    def show_carried(path: str | None) -> list[Any]:
        return [path, *looking(look_at(path))]

    def show_example(index: int) -> list[Any]:
        return show_carried(str(examples[index]))

    def show_result(saved: Saved | None) -> list[Any]:
        # It is gone after a second press, or a long time.
        return [gr.skip()] * (1 + len(shown)) if saved is None else show_carried(saved.path)

    @friendly
    def show_damaged(path: str | None, severity: float, preset: str, seed: int) -> list[Any]:
        image, original = open_photo(path), look_at(path)
        side = face_side(image, original.faces)
        copy = damage_photo(image, side, severity, preset, int(seed or 0))
        saved = save_for_download(copy, f"{Path(path).stem}-damaged.png", result.download.file)
        return looking(look_at(saved, original=path))

    opening = photo.upload(show_photo, photo, shown, **QUIET, **ON_DEVICE)
    opening.failure(lambda: [None, *looking(None)], None, [photo, *shown], **QUIET)
    photo.clear(lambda: looking(None), None, shown, **QUIET)
    arrived = carry_photo(photo, result.picked)
    if arrived is not None:
        arrived.change(show_carried, arrived, [photo, *shown], **QUIET, **ON_DEVICE)
    going_on = carry_result(result.download.again.click, result.picked, photo)
    going_on(show_result, result.picked, [photo, *shown], **QUIET, **ON_DEVICE)
    samples.click(show_example, samples, [photo, *shown], **QUIET, **ON_DEVICE)
    damage.click(show_damaged, [photo, severity, preset, seed], shown, **QUIET, **ON_DEVICE)
    back.click(show_photo, photo, shown, **QUIET, **ON_DEVICE)
    model.wire(result.failure)
    model.active.change(_own_settings, model.active, [fidelity, average], **QUIET)
    settings = [working, faces.chosen, faces.whole, fidelity, average, count, seed]
    _wire_restoring(run, photo, faces.found, settings, result, model.active)
    _offer_to_programs([fidelity, count, seed], average, photo, result)


def _fidelity_slider() -> gr.Slider:
    return gr.Slider(
        0,
        1,
        value=_own_settings()[0],
        step=0.05,
        label="True to the photo",
        info="0: sharper, but more freely drawn. 1: shapes and colours stay as in the photo.",
        elem_id=f"{TASK}-fidelity",
    )


def _own_settings(model: str | None = None) -> tuple[float, bool]:
    """What the model says of fidelity and self-ensemble; the network's own picture where it cannot be read yet."""
    try:
        config = FaceRestorePipeline.load_config(model_source(TASK, model))
    except OSError:
        config = {}
    return config.get("fidelity", 0.0), config.get("self_ensemble", False)


def _further_settings() -> tuple[gr.Checkbox, gr.Slider, gr.Number]:
    """Whether two restorations are averaged, how many candidates, and the seed."""
    with gr.Accordion("More", open=False, elem_id=f"{TASK}-more"):
        average = gr.Checkbox(
            _own_settings()[1],
            label="Mean of two",
            info="The mirror image is restored too, and both are averaged: truer, softer, slower.",
            elem_id=f"{TASK}-average",
        )
        count = count_slider(
            TASK,
            1,
            "Versions",
            "Several results to pick from. They differ little.",
        )
        seed = seed_number("The number that chance starts from: the same one gives the same result again.")
    return average, count, seed


def _damage_settings() -> tuple[gr.Button, gr.Slider, gr.Dropdown]:
    """The button that damages the photo, how badly, and how."""
    with gr.Accordion("Is the photo good already? Damage it", open=False, elem_id=f"{TASK}-damaging"):
        gr.Markdown("A damaged copy takes its place, to show what restoring does.", elem_classes="hint")
        severity = gr.Slider(0, 1, value=0.5, step=0.05, label="How badly?", elem_id=f"{TASK}-severity")
        preset = gr.Dropdown(PRESETS, value=PRESETS[0][1], label="Kind of damage")
        damage = gr.Button("Damage this photo", elem_id=f"{TASK}-damage")
    return damage, severity, preset


def _wire_restoring(
    run: MainButton,
    photo: gr.File,
    found: gr.Markdown,
    settings: Sequence[Any],
    result: CandidatePanel,
    active: gr.State,
) -> None:
    """Let the button restore the chosen faces of the working photo."""

    def restore_faces(
        state: WorkingPhoto | None,
        numbers: list[int],
        whole: bool,
        fidelity: float,
        average: bool,
        count: int,
        seed: int,
        model: str | None,
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
        truth = None if state.original is None else open_photo(state.original)
        make_ready(TASK, model, progress)
        with timed_run(TASK, image.size, model):
            output = _infer(
                unnamed(image),
                numbers,
                state.faces,
                whole,
                fidelity,
                average,
                count,
                seed,
                model,
                progress,
                truth,
            )
            called = [face_number(index) for index in numbers]
            steps = [step_pictures(output, index, called) for index in range(len(output.images))]
            faces = (output.faces or [[]])[0]
            name, origin = f"{Path(state.path).stem}-restored", made_by(TASK, model)
            candidates = candidates_of(
                output.images, image, state.path, faces, name, result.download, origin, steps
            )
        return result.updates(candidates, [*remarks, *(page_words(note, WORDS) for note in output.notes)])

    run.wire(restore_faces, [*settings, active], result.components, photo, found, result, active)


def _offer_to_programs(
    settings: Sequence[Any], average: gr.Checkbox, photo: gr.File, result: CandidatePanel
) -> None:
    """The named endpoint for programs: a file in, files out, no state of the page."""

    @friendly
    def restore_files(
        photo: str,
        faces: str = "all",
        fidelity: float = 0.5,
        candidates: int = 1,
        seed: int = 0,
        model: str | None = None,
        self_ensemble: bool = True,
    ) -> tuple[list[str], str]:
        image = open_photo(photo)
        make_ready(TASK, model)
        output = _infer(
            unnamed(image),
            parse_selection(faces),
            None,
            False,
            fidelity,
            self_ensemble,
            candidates,
            seed,
            model,
        )
        origin = made_by(TASK, model) if output.faces[0] else None
        paths = save_candidates(output.images, f"{Path(photo).stem}-restored", result.download.file, origin)
        return paths, "\n".join(page_words(note, WORDS, first_face=0) for note in output.notes)

    with gr.Group(visible=False):
        faces, model = gr.Textbox("all", label="faces"), model_parameter(TASK)
        files = gr.File(label="restored photos", file_count="multiple")
        notes = gr.Textbox(label="notes")
        gr.Button().click(
            restore_files,
            [photo, faces, *settings, model, average],
            [files, notes],
            api_name=TASK,
            api_description=(
                "Restore the faces of a photo. faces: 'all', 'largest' or numbers from left to right, "
                "counted from 0, such as '0,2'. self_ensemble: restore the mirror image of each face too and "
                "give the mean of both. Gives one PNG for each candidate, and remarks."
            ),
            **ON_DEVICE,
        )


@on_gpu
def _infer(
    image: Photo,
    numbers: str | Sequence[int],
    found: Sequence[Face] | None,
    whole: bool,
    fidelity: float,
    average: bool,
    count: int,
    seed: int,
    model: str | None = None,
    progress: gr.Progress | None = None,
    truth: Photo | None = None,
) -> FaceRestoreOutput:
    """Run the pipeline.

    Args:
        found: the faces that are known already; without them they are sought.
        model: see `model_source`.
        truth: the undamaged photo, where it was damaged here; with `progress`, whose pictures show it.
    """
    if not 1 <= count <= MAX_CANDIDATES:
        raise ValueError(f"candidates must lie between 1 and {MAX_CANDIDATES}, got {count}")
    width, height = image.size
    if whole and width != height:
        raise ValueError(f"The picture is {width}x{height}; one face alone must be square. Crop it first.")
    if progress:
        progress(0, desc="Getting ready")
    pipe = load_pipeline(TASK, model)

    def report(pipe: Any, step: int, _timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if progress:
            progress((step + 1, len(pipe.scheduler.timesteps) + 1), desc="Restoring", unit="steps")
        return kwargs

    with in_page_words(WORDS):
        return pipe(
            image,
            aligned=whole,
            faces=numbers,
            known_faces=None if found is None else [found],
            fidelity=fidelity,
            self_ensemble=average,
            num_images=int(count),
            generator=seeded(seed),
            return_aligned=progress is not None,
            truth=truth,
            watermark=True,
            output_type="photo",
            callback_on_step_end=report,
        )
