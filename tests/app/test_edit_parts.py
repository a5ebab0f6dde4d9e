"""The Edit tab without a browser: what was drawn, its history and session, its words, its endpoint."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio.state_holder import SessionState
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from skimage import data

from facekit.conditions.semantics import CLASS_NAMES, PALETTE
from facekit.images.formats import FORMATS
from facekit.notes import Note
from facekit.provenance import inspect
from facekit_demo import build_app
from facekit_demo.common.comparison import with_room
from facekit_demo.common.painting import painted, strokes_of
from facekit_demo.common.saved_format import own_format
from facekit_demo.common.words import page_words
from facekit_demo.edit import result as edit_result
from facekit_demo.edit.guides import MAX_SLIDERS, Guides, change_sliders
from facekit_demo.edit.layers import fogged, layer_of, painted_colors, painted_parts, part_name, parts_layer
from facekit_demo.edit.outcome import ResultSide
from facekit_demo.edit.pasting import Placing
from facekit_demo.edit.result import (
    STRENGTHS,
    WORDS,
    Wishes,
    open_saved,
    open_work,
    packed,
    paste_in,
    run_edit,
)
from facekit_demo.edit.tab import stop_words
from tests.app.visitor import changed
from tests.tiny.networks import tiny_text_guide
from tests.tiny.pipelines import tiny_edit_pipeline

BOX = np.s_[84:125, 174:276]  # the astronaut's eyes
HAIR, SKIN = CLASS_NAMES.index("hair"), CLASS_NAMES.index("skin")


def painting(*layers: np.ndarray) -> dict:
    return {"layers": [Image.fromarray(layer) for layer in layers]}


def strip(color: tuple[int, ...], columns: slice) -> np.ndarray:
    layer = np.zeros((20, 40, 4), np.uint8)
    layer[:, columns] = (*color, 255)
    return layer


def test_every_class_has_a_name_of_its_own() -> None:
    names = [part_name(label) for label in range(len(CLASS_NAMES))]
    assert len(set(names)) == 19 and not any("_" in name for name in names)


def test_later_layers_lie_on_top() -> None:
    assert layer_of(None) is None and layer_of(painting(np.zeros((4, 4, 4), np.uint8))) is None
    joined = np.asarray(layer_of(painting(strip((1, 2, 3), np.s_[:20]), strip((9, 9, 9), np.s_[10:30]))))
    assert joined[0, 5].tolist() == [1, 2, 3, 255] and joined[0, 15].tolist() == [9, 9, 9, 255]
    assert joined[0, 35, 3] == 0


def test_clearing_empties_every_canvas() -> None:
    app = build_app(("edit",))
    (event,) = [event for event in app.fns.values() if event.name == "clear_drawings"]
    for _ in range(2):
        # In a thread of its own: a browser of another test may keep a loop running in this one.
        with ThreadPoolExecutor(1) as aside:
            sent = aside.submit(
                asyncio.run, app.process_api(event, [None], state=SessionState(app))
            ).result()["data"]
        mask, *canvases = (part for part in sent if "open" not in part)
        emptied = [mask, *(canvas["value"] for canvas in canvases)]
        assert len(emptied) == 4 and not any(each["layers"] or each["background"] for each in emptied)


def test_painted_parts_are_labels_where_colours_blend_too() -> None:
    layer = strip(PALETTE[HAIR], np.s_[:20])
    layer[:, 20:30, :3], layer[:, 20:30, 3] = PALETTE[SKIN], 255
    layer[:, 20, :3] = (np.array(PALETTE[HAIR]) + PALETTE[SKIN]) // 2
    layer[:, 30] = (*PALETTE[SKIN], 40)  # the faint rim of a stroke
    labels = painted_parts(painting(layer), (80, 40))
    assert labels.shape == (40, 80) and set(np.unique(labels)) == {HAIR, SKIN, 255}
    assert (
        (labels[:, :40] == HAIR).all() and (labels[:, 44:60] == SKIN).all() and (labels[:, 60:] == 255).all()
    )
    assert painted_parts(painting(strip((128, 128, 128), np.s_[:9])), (80, 40)) is None


def test_parts_become_a_layer_and_labels_again() -> None:
    labels = np.where(np.arange(40) < 20, HAIR, SKIN).astype(np.uint8)[None].repeat(20, 0)
    labels[:, 35:] = 255
    shown, mask = Image.new("RGB", (40, 20)), Image.fromarray(strip((255,) * 3, np.s_[10:]))
    mask = mask.getchannel("A")
    layer = np.asarray(parts_layer(labels, shown, None))
    np.testing.assert_array_equal(painted_parts(painting(layer), (40, 20)), labels)
    under = painted_parts(painting(np.asarray(parts_layer(labels, shown, mask))), (40, 20))
    assert (under[:, :10] == 255).all() and (under[:, 10:] == labels[:, 10:]).all()


def test_painted_colours_and_the_pale_mask() -> None:
    colors = np.asarray(painted_colors(painting(strip((10, 200, 30), np.s_[:20])), (80, 40)))
    assert (
        colors.shape == (40, 80, 4) and colors[0, 39].tolist() == [10, 200, 30, 255] and colors[0, 40, 3] == 0
    )
    assert painted_colors(None, (80, 40)) is None
    pale = np.asarray(fogged(Image.new("RGB", (40, 20)), Image.fromarray(colors[..., 3])))
    assert (pale[:, :20] > 100).all() and not pale[:, 20:].any()


def guides(names: tuple[str, ...] = (), **changed: object) -> Guides:
    """What the page sends when all is as at first but for what is `changed`."""
    usual = {"style": "none", "row": None, "pose": "keep", "pose_path": None, "prompt": "", "steps": 100}
    usual |= {"count": 1, "variety": 0, "psi": 1, "names": names}
    values = [*(usual | changed).values(), *[0.0] * MAX_SLIDERS, *[1.0] * len(STRENGTHS)]
    values[len(usual) + 1] = 1.5
    return Guides.of(values)


def test_an_object_is_put_in_with_its_rim_as_the_mask(editor, files, tmp_path) -> None:
    work = open_work(str(files / "photo.png"))
    photo = np.asarray(work.session.image)
    red = np.zeros((80, 80, 4), np.uint8)
    red[20:60, 10:70] = (200, 30, 30, 255)
    cut, whole = tmp_path / "cut.png", tmp_path / "whole.png"
    Image.fromarray(red).save(cut)
    Image.fromarray(red[..., :3]).save(whole)
    for wrong, message in (
        (Placing(None, None, 50, 25, 40), "Choose a picture"),
        (Placing(str(whole), None, 50, 25, 40), "Paint over the object"),
        (Placing(str(whole), painting(np.zeros((80, 80, 4), np.uint8)), 50, 25, 40), "Paint over the object"),
    ):
        with pytest.raises(ValueError, match=message):
            paste_in(work, wrong)
    assert not work.session.steps and len(work.pictures) == 1
    rim, _ = paste_in(work, Placing(str(cut), None, 50, 25, 40))
    first = np.asarray(work.session.image)
    height, width = photo.shape[:2]
    rows, columns = np.nonzero((first != photo).any(2))
    assert abs(columns.mean() - width / 2) < 2 and abs(rows.mean() - height / 4) < 2
    assert abs(np.ptp(columns) + 1 - 0.4 * width) < 2 and len(work.pictures) == 2
    assert rim.size == (width, height) and 0 < (np.asarray(rim) > 0).mean() < 0.2
    # The same, cut out by hand.
    work.go_to(0)
    stroke = np.zeros((80, 80, 4), np.uint8)
    stroke[20:60, 10:70, 3] = 255
    paste_in(work, Placing(str(whole), painting(stroke), 50, 25, 40))
    np.testing.assert_array_equal(np.asarray(work.session.image), first)


def test_guides_become_wishes() -> None:
    wishes = guides(("age", "smile"), style="self", pose="front", prompt=" old ", count=3).wishes()
    assert (wishes["example"], wishes["pose"], wishes["prompt"]) == ("self", "front", " old ")
    assert wishes["attributes"] == {"age": 0, "smile": 1.5} and set(wishes["strengths"]) == set(STRENGTHS)
    assert (wishes["count"], wishes["variety"], wishes["psi"]) == (3, 0, 1)
    with pytest.raises(ValueError, match="choose a face as the example"):
        guides(style="other").wishes()
    with pytest.raises(ValueError, match="choose a picture"):
        guides(pose="picture").wishes()


def test_any_guide_says_what_should_be_there() -> None:
    mask = Image.new("L", (8, 8), 255)
    assert not Wishes(mask, prompt=" ", attributes={"smile": 0.0}, strengths={"sketch": 0.5}).is_guided
    guides = [
        {"sketch": mask},
        {"color": mask},
        {"semantics": "map.png"},
        {"example": "self"},
        {"pose": "front"},
    ]
    for guide in (*guides, {"prompt": "old"}, {"attributes": {"smile": -1}}, {"variety": 0.5}):
        assert Wishes(mask, **guide).is_guided, guide
        assert Wishes(mask, **guide).is_recoloring == ("color" in guide)
        assert Wishes(mask, **guide | {"color": mask}).is_recoloring == ("color" in guide)


def test_every_attribute_has_its_slider() -> None:
    names = [f"a{number}" for number in range(40)]
    values = [float(place) for place in range(MAX_SLIDERS)]
    shown, *sliders = change_sliders(["a39", *names[1:MAX_SLIDERS]], names[:MAX_SLIDERS], *values)
    assert shown[:2] == ["a39", "a1"] and len(sliders) == MAX_SLIDERS
    assert [slider["value"] for slider in sliders] == [0, *values[1:]]
    assert (sliders[0]["label"], sliders[0]["visible"]) == ("A39", True)
    shown, *sliders = change_sliders([], names[:MAX_SLIDERS], *values)
    assert shown == [] and not any(slider["visible"] or slider["value"] for slider in sliders)


def test_sliders_of_the_head_have_plain_names() -> None:
    labels = [edit_result.slider_label(name) for name in ("yaw", "pitch", "hair_colour")]
    assert labels == ["Look to one side or the other", "Look up or down", "Hair colour"]


def test_a_ready_mask_is_see_through_and_read_back_whole() -> None:
    mask = Image.fromarray(np.where(np.arange(40) < 20, 255, 0).astype(np.uint8)[None].repeat(20, 0))
    ready = painted(Image.new("RGB", (40, 20)), mask)
    assert ready["layers"][0].getextrema()[3] == (0, 0x99)
    assert not changed(strokes_of(ready, (40, 20)), mask).any()


@pytest.fixture
def editor(monkeypatch) -> None:
    pipe = tiny_edit_pipeline(parser=True)
    monkeypatch.setattr(edit_result, "pipeline", lambda: pipe)


def test_history_goes_to_a_file_and_back(editor, files, tmp_path, monkeypatch) -> None:
    work = open_work(str(files / "photo.png"))
    mask = Image.open(files / "mask.png")
    for seed in (1, 2):
        run_edit(work, Wishes(mask, example="self", attributes={"smile": 2}, seed=seed))
    assert len(work.pictures) == 3
    twice = work.session.image
    work.go_to(1)
    once = work.session.image
    work.go_to(9)
    assert not changed(work.session.image, twice).any() and changed(once, twice).any()
    work.go_to(1)
    component = gr.File()
    component.GRADIO_CACHE = str(tmp_path)
    again = open_saved(packed(work, component))
    assert again.stem == "photo" and again.session.position == 1 and len(again.pictures) == 3
    assert not changed(again.session.image, once).any()
    run_edit(again, Wishes(mask, seed=3))
    assert len(again.pictures) == 3 and not again.session.can_redo
    (tmp_path / "no.zip").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"no\.zip"):
        open_saved(str(tmp_path / "no.zip"))


def test_history_shows_the_place_that_changed(editor, files) -> None:
    work = open_work(str(files / "photo.png"))
    run_edit(work, Wishes(Image.open(files / "mask.png"), attributes={"smile": 2}, seed=1))
    whole, edited = work.pictures
    patch = work.session.steps[0].patch
    height, width = patch.after.shape[:2]
    box = with_room((patch.left, patch.top, patch.left + width, patch.top + height), work.photo.size)
    part = work.session.image.convert("RGB").crop(box)
    assert part.width < work.photo.size[0] / 2 and max(edited.size) == min(max(part.size), 192)
    assert abs(edited.width / edited.height - part.width / part.height) < 0.02
    shrunk = part.resize(edited.size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(edited, float) - np.asarray(shrunk)).mean() < 2
    assert np.asarray(whole).mean() != np.asarray(edited).mean()


def test_a_result_is_saved_in_the_format_of_its_photo_or_another(editor, files, tmp_path) -> None:
    Image.open(files / "photo.png").convert("RGB").save(tmp_path / "photo.jpg", quality=95)
    with gr.Blocks():
        side = ResultSide("edit")
    side.download.file.GRADIO_CACHE = str(tmp_path / "cache")
    work = open_work(str(tmp_path / "photo.jpg"))
    run_edit(work, Wishes(Image.open(files / "mask.png"), attributes={"smile": 2}))
    for wanted, name, kind in (("same", "photo-edited.jpg", "JPEG"), ("png", "photo-edited.png", "PNG")):
        path = Path(side._make_file(work, wanted))
        with Image.open(path) as saved:
            assert (path.name, saved.format, saved.size) == (name, kind, work.photo.size)
        assert inspect(path).metadata.kind == "edited"
    with pytest.raises(ValueError, match="not written as gif"):
        side._make_file(work, "gif")
    assert own_format(str(files / "photo.png")) is FORMATS["png"]


def test_candidates_of_the_last_edit_can_be_chosen(editor, files) -> None:
    work = open_work(str(files / "photo.png"))
    mask = Image.open(files / "mask.png")
    run_edit(work, Wishes(mask, example="self", count=3, psi=0.7))
    assert len(work.variants) == 3 and len(work.pictures) == 2 and work.chosen == 0
    first = work.session.image
    work.choose(2)
    second = work.session.image
    assert work.chosen == 2 and changed(first, second).any()
    assert not changed(work.pictures[1], work.variants[2]).any()
    work.choose(0)
    assert not changed(first, work.session.image).any()
    work.go_to(0)
    assert work.chosen is None
    work.go_to(1)
    assert work.chosen == 0
    run_edit(work, Wishes(mask, variety=1.0))
    assert work.chosen is None and not work.variants and work.session.steps[-1].settings["variety"] == 1


def test_words_say_what_to_download(editor, files, monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setenv("FACEKIT_CLIP_MODEL", str(tmp_path / "none"))
    edit_result.words_work.cache_clear()
    with caplog.at_level("WARNING", logger="facekit.demo"):
        assert not edit_result.words_work()
    assert "hf download" in caplog.text
    work = open_work(str(files / "photo.png"))
    with pytest.raises(OSError, match="hf download"):
        run_edit(work, Wishes(Image.open(files / "mask.png"), prompt="old"))
    assert not work.session.steps


def test_a_search_for_words_can_be_stopped(editor, files, monkeypatch) -> None:
    guide = tiny_text_guide()
    monkeypatch.setattr(edit_result, "text_guide", lambda _name: guide)
    work, seen = open_work(str(files / "photo.png")), []

    def progress(place: object, desc: str, **_options: object) -> None:
        if desc == "Following the words":
            seen.append(place)
        if len(seen) == 3:
            stop_words(work)

    wishes = Wishes(Image.open(files / "mask.png"), prompt="old", steps=20, example="self")
    run_edit(work, wishes, progress)
    assert len(seen) <= 4 and len(work.session.steps) == 1
    # The next search is another one.
    seen.extend([None] * 10)
    run_edit(work, wishes, progress)
    assert len(seen) > 20
    stop_words(None)


def test_messages_are_in_the_words_of_the_page(editor, files) -> None:
    with pytest.raises(ValueError, match="No face was found in the photo"):
        open_work(str(files / "empty.png"))
    drawing = {"share": "30%", "drawing": "semantic map"}
    note = Note("drawing-partly-outside", "{share} of the {drawing} lies outside the mask", **drawing)
    assert page_words(note, WORDS) == "30% of the parts lie outside the mask and are ignored."


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """photo.png, mask.png, line.png, map.png, paint.png, face.png, empty.png."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.fromarray(data.astronaut())
    photo.save(folder / "photo.png")
    photo.crop((100, 0, 356, 256)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "face.png")
    mask, line = np.zeros((512, 512), np.uint8), np.zeros((512, 512), np.uint8)
    mask[BOX], line[100:104, 190:260] = 255, 255
    paint = np.zeros((512, 512, 4), np.uint8)
    paint[90:110, 190:250] = (20, 60, 200, 255)
    drawn = {"mask": mask, "line": line, "empty": np.zeros_like(mask), "paint": paint}
    drawn["map"] = np.where(mask > 0, SKIN, 255).astype(np.uint8)
    for name, picture in drawn.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder


def call(client, files, **options) -> tuple[str, str]:
    given = {"photo": "photo.png", "mask": "mask.png", "sketch": None, "semantics": None, "color": None}
    given |= {"exemplar": None, "pose_from": None}
    settings = {"attributes": None, "pose": "keep", "prompt": "", "strengths": None, "seed": 3} | options
    named = {name: settings.pop(name, usual) for name, usual in given.items()}
    handles = {name: file and handle_file(files / file) for name, file in named.items()}
    return client.predict(**handles, **settings, api_name="/edit")


def test_endpoint_keeps_strands_where_colours_alone_are_given(client, files) -> None:
    hole = np.zeros((512, 512), bool)
    hole[BOX] = True

    def edited(**options) -> np.ndarray:
        return np.asarray(Image.open(call(client, files, detail=False, **options)[0]).convert("RGB"))

    kept, anew = edited(color="paint.png"), edited(color="paint.png", keep_detail=False)
    difference = (kept != anew).any(-1)
    assert difference[hole].mean() > 0.5 and not difference[~hole].any()
    drawn = [edited(color="paint.png", sketch="line.png", keep_detail=wanted) for wanted in (True, False)]
    assert np.array_equal(*drawn), "where shapes are drawn the fill is the model's"


def test_endpoint_edits_the_mask_alone_after_each_guidance(client, files) -> None:
    photo, hole = Image.open(files / "photo.png"), np.zeros((512, 512), bool)
    hole[BOX] = True
    path, notes = call(client, files)
    plain = Image.open(path)
    assert changed(photo, plain)[hole].mean() > 0.8 and not changed(photo, plain)[~hole].any() and notes == ""
    told = inspect(path)
    assert told.metadata.kind == "edited" and told.watermark.found
    everything = {"sketch": "line.png", "semantics": "map.png", "color": "paint.png", "exemplar": "face.png"}
    for options in (
        everything | {"strengths": {"sketch": 0.5}},
        {"attributes": {"smile": 2}},
        {"pose": "front"},
        {"pose": "picture", "pose_from": "face.png"},
    ):
        other = Image.open(call(client, files, **options)[0])
        assert changed(plain, other)[hole].any() and not changed(photo, other)[~hole].any(), options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "empty.png"}, "empty"),
        ({"photo": "empty.png"}, "no face was found"),
        ({"attributes": {"beard": 1}}, "known are age, smile"),
        ({"strengths": {"sketch": 3}}, "strength of sketch is 3"),
        ({"pose": "picture"}, "pose_from is missing"),
        ({"exemplar": "mask.png"}, "mask.png shows no face"),
        ({"prompt": "old"}, "hf download"),
    ],
)
def test_endpoint_refuses_with_a_reason(client, files, options, message) -> None:
    with pytest.raises(AppError, match=f"(?i){message}"):
        call(client, files, **options)
