"""The Edit tab: a part of a face is changed by drawings, faces, sliders and words, again and again."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from facekit_demo.common.candidates import KEPT
from facekit_demo.common.exemplar_faces import only_face_in
from facekit_demo.common.gallery import exemplar_examples
from facekit_demo.common.painting import (
    EMPTY_EDITOR,
    brush_editor,
    editor_with,
    mask_chooser,
    open_mask,
    open_sketch,
    painted,
    strokes_of,
)
from facekit_demo.common.running import (
    DEVICE_QUEUE,
    friendly,
    made_by,
    open_photo,
    preview,
    save_for_download,
)
from facekit_demo.common.widgets import (
    QUIET,
    download_button,
    example_row,
    notes_box,
    photo_chooser,
    pick_gallery,
    result_slider,
    seed_number,
    shown_notes,
)
from facekit_demo.edit.guides import GuidePanels, Guides
from facekit_demo.edit.layers import (
    canvas_with,
    closed_canvases,
    colors_canvas,
    fogged,
    layer_of,
    painted_colors,
    painted_parts,
    parts_canvas,
    parts_layer,
    pencil_canvas,
)
from facekit_demo.edit.result import (
    Wishes,
    Work,
    attribute_names,
    open_saved,
    open_work,
    packed,
    pair,
    parts_of,
    run_edit,
)

TASK = "edit"
COLUMNS = 6  # of the history
Painting = dict[str, Any] | None


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    examples = exemplar_examples()
    queued: dict[str, Any] = {"concurrency_id": DEVICE_QUEUE, "concurrency_limit": 1}
    work = gr.State(None, time_to_live=KEPT)
    with gr.Row(equal_height=False):
        with gr.Column(elem_classes="work"):
            gr.Markdown("### 1. Choose a photo")
            photo = photo_chooser(TASK)
            with gr.Column(visible=False) as editing_panel:
                gr.Markdown("### 2. Paint over what may change")
                gr.Markdown("This is the mask. All else stays as it is, to the pixel.", elem_classes="hint")
                editor = brush_editor(TASK)
                clear = gr.Button("Clear mask and drawings", size="md", elem_id=f"{TASK}-clear")
                gr.Markdown("### 3. Say what should be there")
                gr.Markdown("Use one of these, several, or none.", elem_classes="hint")
                pencil = pencil_canvas(TASK)
                parts, start = parts_canvas(TASK)
                colors = colors_canvas(TASK)
                guides = GuidePanels(TASK, queued)
                with gr.Accordion("More", open=False, elem_id=f"{TASK}-more"):
                    seed = seed_number("Another number gives another result.")
                    mask_file = mask_chooser(TASK)
                run = gr.Button("4. Edit", variant="primary", size="lg", elem_id=f"{TASK}-run")
            samples = example_row(TASK, [example.photo for example in examples])
            open_session = gr.UploadButton(
                "Go on with a saved session", file_types=[".zip"], size="md", elem_id=f"{TASK}-open"
            )
        with gr.Column(elem_classes="work"):
            gr.Markdown("### Result")
            notes = notes_box(TASK)
            slider = result_slider(TASK)
            with gr.Column(visible=False) as history_panel:
                with gr.Row():
                    undo = gr.Button("Undo", elem_id=f"{TASK}-undo")
                    redo = gr.Button("Redo", elem_id=f"{TASK}-redo")
                gr.Markdown("Tap a step to go back to it, or forth:", elem_classes="hint")
                history = pick_gallery(TASK, "history", COLUMNS)
            download = download_button(TASK)
            with gr.Accordion(
                "Save the session", open=False, visible=False, elem_id=f"{TASK}-session"
            ) as session_panel:
                gr.Markdown("Photo, edits and drawings in one file, to go on later.", elem_classes="hint")
                pack = gr.Button("Make the file", size="md", elem_id=f"{TASK}-pack")
                archive = gr.File(
                    label="Session", interactive=False, visible=False, elem_id=f"{TASK}-archive"
                )

    canvases = (pencil, parts, colors)
    layers = [canvas.editor for canvas in canvases]
    closing = [component for canvas in canvases for component in (canvas.editor, canvas.panel)]
    outcome = [work, notes, slider, history_panel, history, undo, redo, download, session_panel, archive]
    fresh = [editing_panel, editor, mask_file, *closing, *guides.opening, *outcome]

    def results(done: Work | None, said: list[str] | None = None) -> list[Any]:
        """Updates of `outcome`."""
        if done is None or len(done.pictures) < 2:
            hidden = gr.update(visible=False)
            return [
                done,
                shown_notes([]),
                None,
                hidden,
                [],
                *[hidden] * 4,
                gr.update(value=None, visible=False),
            ]
        session, path = done.session, None
        if session.position:
            origin = made_by(TASK)
            path = save_for_download(session.photo, f"{done.stem}-edited.png", download, origin)
        captions = ["Photo", *(f"Edit {number}" for number in range(1, len(done.pictures)))]
        steps = list(zip(done.pictures, captions, strict=True))
        return [
            done,
            shown_notes(said or []),
            pair(done),
            gr.update(visible=True),
            gr.update(value=steps, selected_index=session.position),
            gr.update(visible=True, interactive=session.can_undo),
            gr.update(visible=True, interactive=session.can_redo),
            gr.update(value=path, visible=path is not None),
            gr.update(visible=True),
            gr.update(value=None, visible=False),
        ]

    def begun(done: Work, mask: Image.Image | None = None) -> list[Any]:
        """Updates of `fresh` for a photo that was just opened."""
        canvas = editor_with(preview(done.photo), mask)
        return [
            *(gr.update(visible=True), canvas, None),
            *closed_canvases(),
            *guides.opened(),
            *results(done),
        ]

    def ended() -> list[Any]:
        """Updates of `fresh` where there is no photo."""
        kept = [gr.skip()] * len(guides.opening)
        return [gr.update(visible=False), EMPTY_EDITOR, None, *closed_canvases(), *kept, *results(None)]

    @friendly
    def show_photo(path: str | None) -> list[Any]:
        return begun(open_work(path))

    @friendly
    def show_example(index: int) -> list[Any]:
        example = examples[index]
        return [str(example.photo), *begun(open_work(str(example.photo)), Image.open(example.mask))]

    @friendly
    def show_session(path: str | None) -> list[Any]:
        return [None, *begun(open_saved(path))]

    @friendly
    def show_mask(path: str | None, done: Work | None) -> Any:
        if not path or done is None:
            return gr.skip()
        return painted(preview(done.photo), open_mask(path, done.photo.size))

    def clear_drawings(done: Work | None) -> list[Any]:
        canvas = EMPTY_EDITOR if done is None else editor_with(preview(done.photo))
        return [canvas, *closed_canvases()]

    @friendly
    def show_canvas(done: Work | None, painting: Painting, drawn: Painting) -> Any:
        shown = preview(_there(done).photo)
        mask = strokes_of(painting, shown.size)
        if mask is None:
            gr.Info("Paint the mask first; drawings count inside it.")
        return canvas_with(fogged(shown, mask), layer_of(drawn))

    @friendly
    def start_parts(done: Work | None, painting: Painting) -> Any:
        current = _there(done)
        labels = parts_of(current)
        shown = preview(current.photo)
        mask = strokes_of(painting, shown.size)
        return canvas_with(fogged(shown, mask), parts_layer(labels, shown, mask))

    @friendly
    def edit_photo(
        done: Work | None,
        painting: Painting,
        lines: Painting,
        map_: Painting,
        paint: Painting,
        seed: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
        *values: Any,
    ) -> list[Any]:
        current = _there(done)
        size = current.photo.size
        mask = strokes_of(painting, size)
        if mask is None:
            raise ValueError("paint over the part that may change, then press Edit")
        wishes = Wishes(
            mask,
            strokes_of(lines, size),
            painted_parts(map_, size),
            painted_colors(paint, size),
            seed=seed,
            **Guides.of(values).wishes(attribute_names()),
        )
        remarks = run_edit(current, wishes, progress)
        return [*results(current, remarks), _under_strokes(current, painting)]

    @friendly
    def move(to: Callable[[int], int], done: Work | None, painting: Painting) -> list[Any]:
        current = _there(done)
        current.go_to(to(current.session.position))
        return [*results(current), _under_strokes(current, painting)]

    def pick(done: Work | None, painting: Painting, event: gr.SelectData) -> list[Any]:
        return move(lambda _position: event.index, done, painting)

    @friendly
    def pack_session(done: Work | None) -> Any:
        return gr.update(value=packed(done, archive), visible=True)

    @friendly
    def edit_files(
        photo: str,
        mask: str,
        sketch: str | None,
        semantics: str | None,
        color: str | None,
        exemplar: str | None,
        attributes: dict[str, float] | None,
        pose: str,
        pose_from: str | None,
        prompt: str,
        strengths: dict[str, float] | None,
        seed: int,
    ) -> tuple[str, str]:
        image = open_photo(photo)
        if pose == "picture" and not pose_from:
            raise ValueError("pose_from is missing: pass a picture with one face")
        for name, given in (("attributes", attributes), ("strengths", strengths)):
            if given is not None and not isinstance(given, dict):
                raise ValueError(f'{name} must be a JSON object such as {{"smile": 2}}')
        wishes = Wishes(
            open_mask(mask, image.size),
            sketch=open_sketch(sketch, image.size),
            semantics=semantics or None,
            color=color or None,
            example=only_face_in(exemplar) if exemplar else None,
            pose={"front": "front", "keep": None}[pose] if pose != "picture" else only_face_in(pose_from),
            attributes=attributes or {},
            prompt=prompt,
            strengths=strengths or {},
            seed=seed,
        )
        done = open_work(photo)
        remarks = run_edit(done, wishes)
        origin = made_by(TASK)
        path = save_for_download(done.session.photo, f"{Path(photo).stem}-edited.png", download, origin)
        return path, "\n".join(remarks)

    shown = photo.upload(show_photo, photo, fresh, **QUIET, **queued)
    shown.failure(lambda: [None, *ended()], None, [photo, *fresh], **QUIET)
    photo.clear(ended, None, fresh, **QUIET)
    samples.click(show_example, samples, [photo, *fresh], **QUIET, **queued)
    open_session.upload(show_session, open_session, [photo, *fresh], **QUIET, **queued)
    masked = mask_file.upload(show_mask, [mask_file, work], editor, **QUIET)
    masked.failure(lambda: None, None, mask_file, **QUIET)
    clear.click(clear_drawings, work, [editor, *closing], **QUIET)
    for canvas in canvases:
        gr.on(
            [canvas.panel.expand, canvas.refresh.click],
            show_canvas,
            [work, editor, canvas.editor],
            canvas.editor,
            **QUIET,
        )
    start.click(start_parts, [work, editor], parts.editor, **QUIET, **queued)
    run.click(
        edit_photo,
        [work, editor, *layers, seed, *guides.components],
        [*outcome, editor],
        api_visibility="private",
        scroll_to_output=True,
        show_progress_on=slider,
        **queued,
    )
    # Past the queue, in which the edit itself is running.
    guides.stop.click(stop_words, work, None, queue=False, **QUIET)
    # In the queue of the work itself, so that no step is taken back while another one is made.
    for button, by in ((undo, -1), (redo, 1)):
        button.click(
            functools.partial(move, lambda position, by=by: position + by),
            [work, editor],
            [*outcome, editor],
            **QUIET,
            **queued,
        )
    history.select(pick, [work, editor], [*outcome, editor], **QUIET, **queued)
    pack.click(pack_session, work, archive, **QUIET)
    with gr.Group(visible=False):
        # The named endpoint for programs: files in, a file out, no state of the page.
        api_files = [gr.File(label=label) for label in ("mask", "sketch", "semantics", "color", "exemplar")]
        api_attributes, api_strengths = gr.JSON(label="attributes"), gr.JSON(label="strengths")
        api_pose = gr.Radio(["keep", "front", "picture"], value="keep", label="pose")
        api_pose_from = gr.File(label="pose from")
        api_prompt = gr.Textbox("", label="prompt")
        api_result, api_notes = gr.File(label="edited photo"), gr.Textbox(label="notes")
        gr.Button().click(
            edit_files,
            [photo, *api_files, api_attributes, api_pose, api_pose_from, api_prompt, api_strengths, seed],
            [api_result, api_notes],
            api_name="edit",
            api_description=(
                "Edit the white part of the mask in the photo. What guides it may be null: sketch (lines), semantics "
                "(labels 0 to 18 or the palette's colours), color (strokes on a transparent layer), exemplar (a "
                'picture with one face), attributes such as {"smile": 2}, prompt. pose: "keep", "front", or "picture" '
                'with pose_from. strengths: 0 to 1 for each kind of guidance, such as {"sketch": 0.5}.'
            ),
            **queued,
        )


def stop_words(done: Work | None) -> None:
    """Let the words' search that is running end with the best that it found."""
    if done is not None:
        done.stop.touch()


def _there(done: Work | None) -> Work:
    if done is None:
        raise ValueError("choose a photo first")
    return done


def _under_strokes(done: Work, painting: Painting) -> Any:
    """The update that puts the photo as it is now under the mask."""
    return canvas_with(preview(done.photo), layer_of(painting))
