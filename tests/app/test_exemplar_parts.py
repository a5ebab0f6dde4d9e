"""The Exemplar tab without a browser: the row of faces, what its settings mean, its words, its endpoint."""

from pathlib import Path

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from skimage import data

from facekit.faces import detect_faces
from facekit.images.photo import load_image
from facekit_demo.common.candidates import around_faces
from facekit_demo.common.exemplar_faces import ExampleFace, FaceRow, generated_faces, only_face_in
from facekit_demo.common.running import STEP_SIDE, preview
from facekit_demo.exemplar.result import SHARES, Settings, crossover, draw_mixes, infer, taken_layers
from tests.app.visitor import changed

LAYERS = list(range(4, 14))
BOX = np.s_[84:125, 174:276]  # the astronaut's eyes


def test_the_first_faces_are_drawn_already() -> None:
    faces = generated_faces(0)
    assert len(faces) == 12 and generated_faces(0) is faces
    for face in faces:
        picture = np.asarray(face.source)
        assert picture.shape == (256, 256, 3) and face.index is None
        assert detect_faces(np.pad(picture, ((64, 64), (64, 64), (0, 0)), mode="reflect"))


def face(index: int | None = None) -> ExampleFace:
    return ExampleFace("own.png", index, Image.new("RGB", (8, 8)))


@pytest.fixture
def people(monkeypatch) -> dict[int, tuple[ExampleFace, ...]]:
    """Three generated faces in each batch."""
    batches = {batch: (face(), face(), face()) for batch in range(3)}
    monkeypatch.setattr("facekit_demo.common.exemplar_faces.generated_faces", batches.get)
    return batches


def test_an_own_face_leads_the_row_and_is_chosen(people) -> None:
    row = FaceRow(people[0]).choose(0, 2).choose(1, 0)
    own = face(0)
    grown = row.with_own([own], 0)
    assert grown.face(0) is own and grown.face(1) is people[0][0]
    assert len(grown.faces) == len(set(grown.faces)) == 4 and grown.faces[0] is own


def test_several_own_faces_leave_the_choice_open(people) -> None:
    own = [face(0), face(1)]
    row = FaceRow(people[0]).choose(0, 1).with_own(own, 0)
    assert row.face(0) is None and list(row.faces[:2]) == own and len(row.faces) == 5


def test_other_people_leave_what_is_chosen(people) -> None:
    own = face(0)
    row = FaceRow(people[0]).choose(1, 1).with_own([own], 0).others()
    assert row.face(0) is own and row.face(1) is people[0][1]
    assert set(row.faces) == {own, people[0][1], *people[1]}


def test_old_own_faces_leave_the_row(people) -> None:
    row = FaceRow(people[0])
    for _ in range(20):
        row = row.with_own([face(0)], 0)
    assert len(row.faces) <= 10 and row.face(0) is row.faces[0]


def test_share_of_the_second_face_is_a_crossover() -> None:
    assert [crossover(LAYERS, share) for share in (0, 0.5, 1)] == [14, 9, 4]
    assert [crossover(LAYERS[5:], share) for share in (0, 1)] == [14, 9]


def test_what_comes_from_the_example() -> None:
    assert taken_layers(LAYERS, "all") == LAYERS
    assert taken_layers(LAYERS, "shapes") + taken_layers(LAYERS, "colours") == LAYERS


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """photo.png, mask.png, line.png, two examples (a.png, b.png), friends.png (two faces), nobody.png."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.fromarray(data.astronaut())
    photo.save(folder / "photo.png")
    mask, line = np.zeros((512, 512), np.uint8), np.zeros((512, 512), np.uint8)
    mask[BOX] = 255
    line[100:104, 190:260] = 255
    for name, picture in (("mask", mask), ("line", line), ("nobody", np.zeros_like(mask))):
        Image.fromarray(picture).save(folder / f"{name}.png")
    portrait = photo.crop((100, 0, 356, 256)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    portrait.save(folder / "a.png")
    portrait.point(lambda value: value // 2).save(folder / "b.png")
    friends = Image.new("RGB", (512, 256))
    for left in (0, 256):
        friends.paste(portrait, (left, 0))
    friends.save(folder / "friends.png")
    return folder


def call(client, files, **options) -> tuple[list[str], str]:
    names = {
        "photo": "photo.png",
        "mask": "mask.png",
        "exemplar": "a.png",
        "second_exemplar": None,
        "sketch": None,
    }
    settings = {
        "recover": "nothing",
        "share": 0.5,
        "candidates": 1,
        "strength": 1,
        "psi": 1,
        "taken": "all",
        "grain": True,
        "seed": 3,
    }
    given = {name: options.pop(name, usual) for name, usual in names.items()}
    handles = {name: file and handle_file(files / file) for name, file in given.items()}
    return client.predict(**handles, **(settings | options), api_name="/exemplar")


def test_endpoint_fills_the_hole_alone(client, files) -> None:
    photo, hole = Image.open(files / "photo.png"), np.zeros((512, 512), bool)
    hole[BOX] = True
    paths, notes = call(client, files, candidates=2)
    first, second = map(Image.open, paths)
    difference = changed(photo, first)
    assert difference[hole].mean() > 0.8 and not difference[~hole].any() and notes == ""
    assert changed(first, second).any()
    for options in ({"exemplar": "b.png"}, {"second_exemplar": "b.png"}, {"sketch": "line.png"}, {"seed": 4}):
        (other,), _ = call(client, files, **options)
        assert changed(first, Image.open(other))[hole].any(), options


def test_endpoint_recovers_without_a_mask(client, files) -> None:
    (path,), _ = call(client, files, mask=None, recover="lower_face")
    difference = changed(Image.open(files / "photo.png"), Image.open(path))
    assert (
        difference[115:165, 190:260].mean() > 0.8
        and not difference[:100].any()
        and not difference[180:].any()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exemplar": "friends.png"}, "friends.png shows 2 faces"),
        ({"exemplar": "nobody.png"}, "nobody.png shows no face"),
        ({"exemplar": None}, "exemplar is missing"),
        ({"mask": None}, "mask is missing"),
        ({"photo": "nobody.png"}, "no face was found"),
        ({"share": 2}, "2"),
        ({"candidates": 9}, "9"),
        ({"strength": -1}, "-1"),
    ],
)
def test_endpoint_refuses_with_a_reason(client, files, options, message) -> None:
    with pytest.raises(AppError, match=f"(?i){message}"):
        call(client, files, **options)


def test_every_mix_is_what_filling_in_makes(files) -> None:
    photo, mask = load_image(files / "photo.png"), Image.open(files / "mask.png")
    faces = [only_face_in(str(files / name)) for name in ("a.png", "b.png")]
    mixes = draw_mixes(photo, mask, *faces, None, Settings(seed=3))
    assert [text for _, text in mixes] == [f"{10 * place}%" for place in range(11)]
    output, _ = infer(photo, mask, *faces, None, None, Settings(share=SHARES[7], count=1, seed=3))
    shown = preview(output.images[0])
    alone = around_faces(shown, output.faces[0], 1)
    alone.thumbnail((STEP_SIDE, STEP_SIDE), Image.Resampling.LANCZOS)
    assert not changed(alone, mixes[7][0]).any()
    assert changed(mixes[0][0], mixes[10][0]).any()


def test_empty_mask_gives_the_photo_back(client, files) -> None:
    (path,), notes = call(client, files, mask="nobody.png")
    assert not changed(Image.open(files / "photo.png"), Image.open(path)).any()
    assert "mask is empty" in notes
