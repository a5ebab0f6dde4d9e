"""The Edit tab: a part of a face is changed by drawings, faces, sliders and words, again and again."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from facekit_demo.common.canvas_traffic import with_photo, with_strokes
from facekit_demo.common.detail import detail_box, made_with_detail
from facekit_demo.common.exemplar_faces import only_face_in
from facekit_demo.common.expectation import timed_run
from facekit_demo.common.gallery import exemplar_examples
from facekit_demo.common.latest import Latest
from facekit_demo.common.main_button import MainButton
from facekit_demo.common.masked_photo import MaskedPhoto
from facekit_demo.common.painting import (
    EMPTY_EDITOR,
    brush_editor,
    editor_with,
    mask_chooser,
    open_mask,
    open_sketch,
    strokes_of,
)
from facekit_demo.common.running import (
    ON_DEVICE,
    friendly,
    open_photo,
    preview,
    save_for_download,
)
from facekit_demo.common.widgets import (
    QUIET,
    example_row,
    found_note,
    photo_chooser,
    picture_file,
    sampled,
    seed_number,
)
from facekit_demo.common.words import no_face_note, stopping
from facekit_demo.edit.board import one_at_a_time
from facekit_demo.edit.guides import GuidePanels, Guides
from facekit_demo.edit.layers import (
    Canvas,
    canvas_with,
    colors_canvas,
    fogged,
    layer_of,
    painted_colors,
    painted_parts,
    parts_canvas,
    parts_layer,
    pencil_canvas,
)
from facekit_demo.edit.outcome import ResultSide
from facekit_demo.edit.pasting import PastePanel, Placing
from facekit_demo.edit.result import (
    UNGUIDED,
    Wishes,
    Work,
    find_work,
    open_saved,
    open_work,
    packed,
    parts_of,
    paste_in,
    run_edit,
)

TASK = "edit"
# What the page and the endpoint call it, and the call's `match_tones`.
TONES = {"as the model does": None, "yes": True, "no": False}
NO_FACE_NOTE = stopping(no_face_note("so there is nothing to edit"))
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
                gr.Markdown("### 2. Paint the mask, then say what should be there")
                with gr.Column(elem_id=f"{TASK}-board", elem_classes="board") as board:
                    with gr.Accordion("Mask", open=True, elem_id=f"{TASK}-masking") as masking:
                        gr.Markdown(
                            "Paint over what may change. All else stays as it is, to the pixel. With the mask alone "
                            "the result is a rough draft: Lines, Colours, Example face or Sliders say what should "
                            "be there.",
                            elem_classes="hint",
                        )
                        editor = brush_editor(TASK)
                        clear = gr.Button("Clear mask and drawings", size="md", elem_id=f"{TASK}-clear")
                    pencil = pencil_canvas(TASK)
                    parts, start = parts_canvas(TASK)
                    colors = colors_canvas(TASK)
                    with colors.panel:
                        texture = gr.Checkbox(
                            True,
                            label="Keep strands and shapes",
                            info="Where nothing but colours is painted, only colours change, as when hair is dyed. "
                            "Without it what is there is painted anew.",
                            elem_id=f"{TASK}-texture",
                        )
                    guides = GuidePanels(TASK)
                    pasting = PastePanel(TASK)
                one_at_a_time(board, masking)
                with gr.Accordion("More", open=False, elem_id=f"{TASK}-more"):
                    seed = seed_number("Another number gives another result.")
                    detail = detail_box(TASK)
                    tones = gr.Radio(
                        list(TONES),
                        value=next(iter(TONES)),
                        label="Match tones along the mask",
                        info="Takes an edge away that shows where skin or light are of another tone. Some models do it "
                        "where no colours are painted: these count less near it.",
                        elem_id=f"{TASK}-tones",
                    )
                    mask_file = mask_chooser(TASK)
                run = MainButton(TASK, "3. Edit", "Editing…")
            samples = example_row(TASK, [example.photo for example in examples])
            saved = gr.UploadButton(
                "Go on with a saved session", file_types=[".zip"], size="md", elem_id=f"{TASK}-open"
            )
        with gr.Column(elem_classes=["work", "results"]):
            result = ResultSide(TASK)

    canvases = (pencil, parts, colors)
    drawings = pencil.closed | parts.closed | colors.closed
    begun = drawings | pasting.closed | {masking: {"open": True}}
    photo = MaskedPhoto(chooser, panel, found, NO_FACE_NOTE, editor, mask_file, examples, samples, begun)
    _wire_photo(photo, guides, result, saved)
    _wire_drawing(photo, canvases, drawings, result.work, clear)
    with_strokes(start.click, _start_parts, [result.work, editor], parts.editor, **QUIET, **ON_DEVICE)
    drawn = [editor, *(canvas.editor for canvas in canvases)]
    _wire_editing(run, photo, [*drawn, seed, detail, tones, texture, *guides.components], result)
    # Past the queue, in which the edit itself is running.
    guides.stop.click(stop_words, result.work, None, queue=False, **QUIET)
    _wire_pasting(pasting, editor, result)
    _wire_history(editor, result)
    _offer_to_programs(chooser, [seed, detail, tones, texture], result)


def _wire_photo(photo: MaskedPhoto, guides: GuidePanels, result: ResultSide, saved: gr.UploadButton) -> None:
    """Let a photo, an example or a saved session be worked on, and the mask be read from a file."""
    shown, worked = [*photo.components, *result.components], [*guides.opening, *result.components]

    # Finding faces takes seconds on a large photo, and the canvas needs none.
    def begin(path: str | None, mask: Image.Image | None) -> list[Any]:
        return [*photo.opened(preview(open_photo(path)), mask), *result.updates(None)]

    @friendly
    def find_faces(_is_example: bool, path: str | None) -> list[Any]:
        return [*guides.opened(), *result.updates(find_work(path))]

    def end() -> list[Any]:
        return [*photo.closed(), *result.updates(None)]

    @friendly
    def show_session(path: str | None, latest: Latest) -> list[Any]:
        done = open_saved(path)
        latest.choose(None)
        return [None, *photo.opened(preview(done.photo)), *guides.opened(), *result.updates(done)]

    photo.wire_photo(
        begin,
        end,
        shown,
        offered=worked,
        offer=find_faces,
        kept=result.work,
        is_work=lambda done: done is not None and bool(done.session.steps),
        needed=True,
        going_on=(result.going_on, result.saved),
    )
    opened = [photo.chooser, *photo.components, *worked]
    inputs = [saved, photo.latest]
    with_photo(saved.upload, photo.editor, show_session, inputs, opened, **QUIET, **ON_DEVICE)
    photo.wire_mask_file(result.work, lambda done: done and done.photo)


def _wire_drawing(
    photo: MaskedPhoto,
    canvases: Sequence[Canvas],
    drawings: Mapping[Any, dict[str, Any]],
    work: gr.State,
    clear: gr.Button,
) -> None:
    """Let canvases show the photo of the moment when they open or are asked to; a button empties them all."""

    @friendly
    def show_canvas(done: Work | None, painting: Painting, drawn: Painting) -> Any:
        shown = preview(_there(done).photo)
        mask = strokes_of(painting, shown.size)
        if mask is None:
            gr.Info("Paint the mask first; drawings count inside it.")
        return canvas_with(fogged(shown, mask), layer_of(drawn))

    def clear_drawings(done: Work | None) -> list[Any]:
        canvas = EMPTY_EDITOR if done is None else editor_with(preview(done.photo))
        # Made anew each time, as in `MaskedPhoto.emptied`.
        return [canvas, *(gr.update(**update) for update in drawings.values())]

    clear.click(clear_drawings, work, [photo.editor, *drawings], **QUIET)
    for canvas in canvases:
        with_strokes(
            functools.partial(gr.on, [canvas.panel.expand, canvas.refresh.click]),
            show_canvas,
            [work, photo.editor, canvas.editor],
            canvas.editor,
            **QUIET,
        )


@friendly
def _start_parts(done: Work | None, painting: Painting) -> Any:
    """The update of the canvas for parts that puts those of the photo on it."""
    current = _there(done)
    labels = parts_of(current)
    shown = preview(current.photo)
    mask = strokes_of(painting, shown.size)
    return canvas_with(fogged(shown, mask), parts_layer(labels, shown, mask))


def _wire_editing(run: MainButton, photo: MaskedPhoto, inputs: Sequence[Any], result: ResultSide) -> None:
    """Let the button edit the photo as it is now."""

    def edit_photo(
        done: Work | None,
        painting: Painting,
        lines: Painting,
        map_: Painting,
        paint: Painting,
        seed: int,
        detail: bool,
        tones: str,
        texture: bool,
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
            detail=detail,
            match_tones=TONES[tones],
            keep_detail=texture,
            **Guides.of(values).wishes(),
        )
        unguided = [] if wishes.is_guided or current.has_new_object else [UNGUIDED]
        with timed_run(TASK, size):
            remarks = run_edit(current, wishes, progress)
        return [*result.updates(current, [*unguided, *remarks]), _under_strokes(current, painting)]

    outputs = [*result.components, photo.editor]
    run.wire(edit_photo, [result.work, *inputs], outputs, photo.chooser, photo.found, result)


def _wire_pasting(panel: PastePanel, editor: gr.ImageEditor, result: ResultSide) -> None:
    """Let an object be put into the photo as it is now, with its rim as the mask of the next edit."""

    @friendly
    def paste(done: Work | None, *values: Any) -> list[Any]:
        current = _there(done)
        rim, remarks = paste_in(current, Placing(*values))
        return [*result.updates(current, remarks), editor_with(preview(current.photo), rim)]

    inputs = [result.work, *panel.components]
    with_strokes(panel.run.click, paste, inputs, [*result.components, editor], **QUIET, **ON_DEVICE)


def _wire_history(editor: gr.ImageEditor, result: ResultSide) -> None:
    """Let edits be undone, done again, gone back to, and saved."""

    @friendly
    def move(to: Callable[[int], int], done: Work | None, painting: Painting) -> list[Any]:
        current = _there(done)
        current.go_to(to(current.session.position))
        return [*result.updates(current), _under_strokes(current, painting)]

    def pick(done: Work | None, painting: Painting, event: gr.SelectData) -> list[Any]:
        return move(lambda _position: event.index, done, painting)

    @friendly
    def choose(done: Work | None, painting: Painting, event: gr.SelectData) -> list[Any]:
        current = _there(done)
        current.choose(event.index)
        return [*result.updates(current), _under_strokes(current, painting)]

    @friendly
    def pack_session(done: Work | None) -> Any:
        return gr.update(value=packed(done, result.archive), visible=True)

    inputs, outputs = [result.work, editor], [*result.components, editor]
    # In the queue of the work itself, so that no step is taken back while another one is made.
    for button, by in ((result.undo, -1), (result.redo, 1)):
        step = functools.partial(move, lambda position, by=by: position + by)
        with_strokes(button.click, step, inputs, outputs, **QUIET, **ON_DEVICE)
    with_strokes(result.history.select, pick, inputs, outputs, **QUIET, **ON_DEVICE)
    with_strokes(result.variants.select, choose, inputs, outputs, **QUIET, **ON_DEVICE)
    result.pack.click(pack_session, result.work, result.archive, **QUIET)


def _offer_to_programs(photo: gr.File, settings: Sequence[Any], result: ResultSide) -> None:
    """The named endpoint for programs: files in, a file out, no state of the page."""

    @friendly
    def edit_files(
        photo: str,
        mask: str,
        sketch: str | None = None,
        semantics: str | None = None,
        color: str | None = None,
        exemplar: str | None = None,
        attributes: dict[str, float] | None = None,
        pose: str = "keep",
        pose_from: str | None = None,
        prompt: str = "",
        strengths: dict[str, float] | None = None,
        seed: int = 0,
        detail: bool = True,
        tones: str = next(iter(TONES)),
        keep_detail: bool = True,
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
            detail=detail,
            match_tones=TONES[tones],
            keep_detail=keep_detail,
        )
        done = open_work(photo)
        remarks = run_edit(done, wishes)
        name, origin = f"{Path(photo).stem}-edited.png", made_with_detail(TASK, None, done.is_restored)
        path = save_for_download(done.session.photo, name, result.download.file, origin)
        return path, "\n".join(remarks)

    with gr.Group(visible=False):
        files = [picture_file(name) for name in ("mask", "sketch", "semantics", "color", "exemplar")]
        attributes = sampled(gr.JSON(label="attributes"), {"smile": 2})
        strengths = sampled(gr.JSON(label="strengths"), {"sketch": 0.5})
        pose = gr.Radio(["keep", "front", "picture"], value="keep", label="pose")
        pose_from = picture_file("pose from")
        prompt = gr.Textbox("", label="prompt")
        edited, notes = gr.File(label="edited photo"), gr.Textbox(label="notes")
        gr.Button().click(
            edit_files,
            [photo, *files, attributes, pose, pose_from, prompt, strengths, *settings],
            [edited, notes],
            api_name=TASK,
            api_description=(
                "Edit the white part of the mask in the photo. What guides it may be null: sketch (lines), semantics "
                "(labels 0 to 18 or the palette's colours), color (strokes on a transparent layer), exemplar (a "
                'picture with one face), attributes such as {"smile": 2}, prompt. pose: "keep", "front", or "picture" '
                'with pose_from. strengths: 0 to 1 for each kind of guidance, such as {"sketch": 0.5}. detail: '
                "whether a restorer goes over the edited faces. tones: whether steps in tone along the mask are taken "
                "away. keep_detail: whether strands and shapes stay where nothing but color is given."
            ),
            **ON_DEVICE,
        )


def stop_words(done: Work | None) -> None:
    """Let the words' search that is running end with the best that it found."""
    if done is not None:
        done.stop.touch()


def _there(done: Work | None) -> Work:
    if done is None:
        raise ValueError(
            "there is no face to edit in the photo, or it is still looked for. Wait a moment, or choose the photo again"
        )
    return done


def _under_strokes(done: Work, painting: Painting) -> Any:
    """The update that puts the photo as it is now under the mask."""
    return canvas_with(preview(done.photo), layer_of(painting))
