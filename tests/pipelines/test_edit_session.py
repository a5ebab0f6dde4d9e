"""Edit sessions: edit after edit, undo, redo, and files that can be opened without trust."""

import base64
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import IFD, Base

from facekit import FaceEditPipeline
from facekit.images.exif import MAKER_NOTE, load_exif
from facekit.images.photo import Photo, load_image, write_picture
from facekit.images.xmp import NAMESPACES
from facekit.pipelines.edit.cache import EditCache
from facekit.pipelines.edit.session import store as edit_store
from facekit.pipelines.edit.session.script import read_script
from facekit.pipelines.edit.session.session import EditSession
from tests.helpers.masks import box_mask
from tests.tiny.networks import tiny_text_guide
from tests.tiny.pipelines import tiny_edit_pipeline


@pytest.fixture(scope="module")
def pipe() -> FaceEditPipeline:
    return tiny_edit_pipeline()


def random_edit(random: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    """A mask somewhere on one of the faces and any guidance, within the mask and beyond."""
    height, width = shape[:2]

    def box(least: int, most: int) -> np.ndarray:
        side = random.integers(least, most, 2)
        x = int(random.choice([125, width - 130])) if width > 256 else 125
        left, top = x - side[0] // 2 + random.integers(-20, 20), 120 - side[1] // 2 + random.integers(-20, 20)
        return box_mask(shape, (left, top, left + side[0], top + side[1]))

    arguments: dict[str, Any] = {"mask": box(15, 60), "seed": int(random.integers(1000))}
    if random.random() < 0.4:
        arguments["sketch"] = box(2, 60) & (np.arange(width) % 5 == 0)
    if random.random() < 0.4:
        arguments["semantics"] = random.integers(0, 19, (height, width)).astype(np.uint8)
    if random.random() < 0.4:
        arguments["color"] = random.integers(0, 256, (height, width, 4)).astype(np.uint8)
    if random.random() < 0.3:
        arguments["exemplar"] = "self"
    if random.random() < 0.3:
        arguments["attributes"] = {"smile": float(random.normal())}
    if random.random() < 0.2:
        arguments["pose_from"] = "front"
    return arguments


@pytest.mark.parametrize("aligned", [False, True])
def test_twenty_edits_never_touch_a_pixel_outside_the_union_of_their_masks(
    pipe: FaceEditPipeline, portrait: np.ndarray, couple: np.ndarray, aligned: bool
) -> None:
    photo = portrait if aligned else couple
    session = pipe.edit_session(photo, aligned=aligned)
    random = np.random.default_rng(5)
    union = np.zeros(photo.shape[:2], dtype=bool)
    for _ in range(20):
        arguments = random_edit(random, photo.shape)
        before = np.asarray(session.image)
        session.edit(**arguments)
        after, mask = np.asarray(session.image), arguments["mask"]
        np.testing.assert_array_equal(after[~mask], before[~mask])
        union |= mask
    final = np.asarray(session.image)
    np.testing.assert_array_equal(final[~union], photo[~union])
    assert (final[union] != photo[union]).mean() > 0.8 and len(session.history) == 20
    while session.can_undo:
        session.undo()
    np.testing.assert_array_equal(np.asarray(session.image), photo)


def test_undo_redo_and_a_new_edit_after_undo(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    session = pipe.edit_session(portrait)
    assert not session.can_undo and not session.can_redo
    for move in (session.undo, session.redo):
        with pytest.raises(ValueError, match="there is no edit"):
            move()
    seen = [np.asarray(session.image)]
    for seed in (1, 2):
        session.edit(eyes, seed=seed)
        seen.append(np.asarray(session.image))
    assert (seen[1] != seen[2]).any()
    for expected in (seen[1], seen[0]):
        np.testing.assert_array_equal(np.asarray(session.undo()), expected)
    np.testing.assert_array_equal(np.asarray(session.redo()), seen[1])
    assert session.can_redo and len(session.history) == 1 and len(session.steps) == 2
    session.edit(eyes, seed=2)
    assert not session.can_redo
    np.testing.assert_array_equal(np.asarray(session.image), seen[2])
    # An edit that is refused leaves everything as it was.
    with pytest.raises(ValueError, match="known are age, smile"):
        session.edit(eyes, attributes={"beard": 1})
    with pytest.raises(ValueError, match="the mask of image is empty"):
        session.edit(np.zeros_like(eyes))
    assert len(session.history) == 2
    np.testing.assert_array_equal(np.asarray(session.image), seen[2])


def test_the_seed_of_an_edit_is_kept(pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray) -> None:
    session = pipe.edit_session(portrait, aligned=True)
    first = session.edit(eyes).images[0]
    seed = session.history[0].settings["seed"]
    session.undo()
    np.testing.assert_array_equal(np.asarray(session.edit(eyes, seed=seed).images[0]), np.asarray(first))
    # The same as the pipeline's own call.
    generator = torch.Generator().manual_seed(seed)
    alone = pipe(portrait, eyes, aligned=True, generator=generator).images[0]
    np.testing.assert_array_equal(np.asarray(alone), np.asarray(first))


def test_candidates_can_be_chosen(pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray) -> None:
    session = pipe.edit_session(portrait)
    images = [np.asarray(i) for i in session.edit(eyes, num_images=3, choice=1, seed=1).images]
    np.testing.assert_array_equal(np.asarray(session.image), images[1])
    np.testing.assert_array_equal(np.asarray(session.choose(2)), images[2])
    assert session.history[0].settings["choice"] == 2
    for index in (3, -1):
        with pytest.raises(ValueError, match=rf"candidate {index} .* it has \[0, 1, 2\]"):
            session.choose(index)
    session.edit(eyes, seed=2)
    with pytest.raises(ValueError, match="it has"):
        session.choose(1)
    with pytest.raises(ValueError, match="choice is 2; with 2 candidates"):
        session.edit(eyes, num_images=2, choice=2)


def test_a_repeated_edit_computes_only_what_changed(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    ran: list[str] = []
    hooks = [
        component.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, component in pipe.components.items()
        if isinstance(component, torch.nn.Module)
    ]
    try:
        session = pipe.edit_session(portrait)
        star = np.ascontiguousarray(portrait[:, ::-1])
        strokes = eyes & (np.arange(256) % 8 == 0)
        session.edit(eyes, sketch=strokes, exemplar=star, attributes={"smile": 1})
        encoded = ["aggregation", "refiner"]
        assert ran == ["style_encoder", "style_encoder", "latent_warper", *encoded, "prior", "refiner"]
        # The mask hides what the first edit made there, so the networks see the same photo.
        for arguments, expected in (
            ({"attributes": {"smile": 2}}, ["latent_warper", "prior", "refiner"]),
            ({"attributes": {"smile": 2}, "seed": 7}, ["latent_warper", "prior", "refiner"]),
        ):
            ran.clear()
            session.edit(eyes, sketch=strokes, exemplar=star, **arguments)
            assert ran == expected
        ran.clear()
        session.edit(eyes, exemplar=star)
        assert ran == ["style_encoder", "latent_warper", *encoded, "prior", "refiner"]
        session.undo()
        ran.clear()
        session.edit(eyes, sketch=strokes, exemplar=star)
        assert ran == ["latent_warper", "prior", "refiner"]
        # Text: the optimisation is kept too.
        guide = tiny_text_guide()
        text = {"prompt": "old", "text_guide": guide, "num_inference_steps": 2}
        first = session.edit(eyes, **text, noise="none").images[0]
        session.undo()
        ran.clear()
        again = session.edit(eyes, **text, noise="none").images[0]
        assert ran == ["prior", "refiner"]
        np.testing.assert_array_equal(np.asarray(first), np.asarray(again))
    finally:
        for hook in hooks:
            hook.remove()


def test_the_cache_has_a_limit() -> None:
    cache = EditCache(limit=3 * 40)
    computed: list[int] = []

    def compute(places: list[int]) -> list[tuple[torch.Tensor, ...]]:
        computed.extend(places)
        return [(torch.full((10,), float(place)),) for place in places]

    rows = cache.fetch([b"a", b"b", b"a"], compute, 1)
    assert [float(row[0][0]) for row in rows] == [0, 1, 0] and computed == [0, 1]
    cache.fetch([b"c", b"d"], compute, 8)
    assert cache.used == 120
    computed.clear()
    cache.fetch([b"b", b"a"], compute, 8)
    assert computed == [1]
    cache.clear()
    assert cache.used == 0


@pytest.fixture(scope="module")
def edited(pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray) -> EditSession:
    """A session with every kind of guidance, one edit taken back."""
    session = pipe.edit_session(portrait)
    paint = np.zeros((256, 256, 4), dtype=np.uint8)
    paint[90:110, 95:140] = (30, 200, 60, 255)
    mouth = box_mask(eyes.shape, (100, 125, 150, 150))
    session.edit(eyes, sketch=eyes & (np.arange(256) % 8 == 0), semantics={"skin": True}, seed=3)
    session.edit(mouth, color=paint, exemplar=portrait[:, ::-1], attributes={"smile": 2}, seed=4)
    session.edit(
        eyes | mouth, exemplar="self", pose_from="front", strengths={"pose": 0.5}, num_images=2, choice=1
    )
    session.edit(mouth, seed=9, noise="none")
    session.undo()
    return session


@pytest.mark.parametrize("name", ["session", "session.zip"])
def test_saving_and_loading(
    pipe: FaceEditPipeline, edited: EditSession, tmp_path: Path, portrait: np.ndarray, name: str
) -> None:
    path = tmp_path / name
    edited.save(path)
    edited.save(path)  # an earlier session may be replaced
    assert [file.name for file in tmp_path.iterdir()] == [name]
    loaded = EditSession.load(pipe, path)
    np.testing.assert_array_equal(np.asarray(loaded.image), np.asarray(edited.image))
    assert (loaded.position, len(loaded.steps)) == (3, 4)
    for step, expected in zip(loaded.steps, edited.steps, strict=True):
        assert step.settings == expected.settings and step.notes == expected.notes
        assert step.pictures.keys() == expected.pictures.keys()
        for key, picture in step.pictures.items():
            np.testing.assert_array_equal(picture, expected.pictures[key])
    edited.redo()
    np.testing.assert_array_equal(np.asarray(loaded.redo()), np.asarray(edited.image))
    edited.undo()
    while loaded.can_undo:
        loaded.undo()
    np.testing.assert_array_equal(np.asarray(loaded.image), portrait)
    # It goes on without looking for faces again, and its edits can be replayed.
    assert len(loaded.faces) == 1
    for arguments in read_script(path):
        loaded.edit(**arguments)
    loaded.undo()
    np.testing.assert_array_equal(np.asarray(loaded.image), np.asarray(edited.image))
    if name == "session":
        replayed = pipe.edit_session(portrait)
        for arguments in read_script(path / "session.json")[:3]:
            replayed.edit(**arguments)
        np.testing.assert_array_equal(np.asarray(replayed.image), np.asarray(edited.image))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "CMYK", "I;16", "float", "uint16"])
def test_photos_of_every_mode_survive(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray, tmp_path: Path, mode: str
) -> None:
    if mode == "float":
        photo: Any = portrait / np.float32(255)
    elif mode == "uint16":
        photo = portrait.astype(np.uint16) * 250
    elif mode == "I;16":
        photo = Image.fromarray(portrait[..., 0].astype(np.uint16) * 250)
    else:
        photo = Image.fromarray(portrait).convert(mode)
    session = pipe.edit_session(photo, aligned=True)
    session.edit(eyes, seed=1)
    session.save(tmp_path / "s.zip")
    loaded = EditSession.load(pipe, tmp_path / "s.zip")
    assert loaded.photo.pixels.dtype == session.photo.pixels.dtype and loaded.aligned
    np.testing.assert_array_equal(loaded.photo.pixels, session.photo.pixels)
    assert loaded.photo.palette == session.photo.palette
    np.testing.assert_array_equal(np.asarray(loaded.undo()), np.asarray(session.undo()))


def test_a_session_keeps_sixteen_bits_and_what_the_file_told(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray, tmp_path: Path
) -> None:
    deep = portrait.astype(np.uint16) * 256 + np.arange(portrait.shape[1])[:, None]
    told = {"text": {"Title": "Grandma"}, "icc_profile": b"profile", "dpi": (300.0, 300.0)}
    photo = Photo(deep.astype(np.uint16), "RGB", info=told)
    session = pipe.edit_session(photo, aligned=True)
    output = session.edit(eyes, seed=1, output_type="photo")
    assert output.images[0].pixels.dtype == np.uint16 and not output.notes
    session.save(tmp_path / "s.zip")
    loaded = EditSession.load(pipe, tmp_path / "s.zip")
    assert loaded.photo.info == told
    np.testing.assert_array_equal(loaded.photo.pixels, session.photo.pixels)
    write_picture(loaded.photo, tmp_path / "a.png", "PNG")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png").pixels[~eyes], deep[~eyes])
    assert any("gives 8 bits" in note for note in session.edit(eyes, seed=2).notes)


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None], mend: bool) -> None:
    """Change a saved zip; with `mend` its digests are computed anew, as a forger would."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("session.json"))
    change(manifest, files)
    if mend:
        manifest["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        manifest["digest"] = edit_store._digest(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("session.json", json.dumps(manifest))
        for name, content in files.items():
            archive.writestr(name, content)


def test_what_a_session_tells_is_cleaned_as_that_of_a_file(
    pipe: FaceEditPipeline, edited: EditSession, tmp_path: Path
) -> None:
    def pack(content: bytes) -> str:
        return base64.b64encode(content).decode()

    preview = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(preview, "JPEG")
    block = Image.Exif()
    block[Base.Artist] = "A. Photographer"
    block[IFD.Exif] = {MAKER_NOTE: b"Maker\0" + preview.getvalue()}
    packet = (
        f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}"><rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}"><rdf:Description '
        f'xmlns:d="a:b" d:title="Grandma" d:preview="{pack(preview.getvalue())}"/></rdf:RDF></x:xmpmeta>'
    )
    told = {"exif": pack(block.tobytes()), "xmp": pack(packet.encode()), "text": {"Title": "half \ud800"}}
    damaged = {"exif": pack(b"garbage!" * 5), "xmp": pack(b"<"), "text": 5, "dpi": ["x", 10**400]}
    wrong = {"dpi": [-1.0, 1e300], "transparency": [1, 2]}
    for info, kept in ((told, {"exif", "xmp", "text"}), (damaged, set()), (wrong, set())):
        edited.save(tmp_path / "s.zip")
        rewrite(tmp_path / "s.zip", _set("photo", "info", value=info), True)
        photo = EditSession.load(pipe, tmp_path / "s.zip").photo
        assert set(photo.info) == kept and len(photo.notes) == (2 if info is damaged else 0)
        for suffix, kind in (("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF"), ("webp", "WEBP")):
            write_picture(photo, tmp_path / f"a.{suffix}", kind)
        if kept:
            back = load_image(tmp_path / "a.png")
            assert load_exif(back.info["exif"])[Base.Artist] == "A. Photographer"
            assert b"\xff\xd8\xff" not in back.info["exif"]
            assert b"Grandma" in back.info["xmp"] and b"preview" not in back.info["xmp"]


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def _set(*keys: Any, value: Any) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    def change(manifest: dict[str, Any], _: dict[str, bytes]) -> None:
        place: Any = manifest
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def _file(name: str, content: bytes) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    return lambda _, files: files.__setitem__(name, content)


WHITE = png(np.full((256, 256, 3), 255, np.uint8))


@pytest.mark.parametrize(
    ("change", "mend", "message"),
    [
        (_set("position", value=1), False, "session.json was changed"),
        (_set("edits", 0, "seed", value=5), False, "session.json was changed"),
        (_file("photo.png", WHITE), False, "photo.png was changed"),
        (_file("edits/9/mask.png", WHITE), False, "files were added"),
        (lambda _, files: files.pop("edits/1/mask.png"), False, "files were added or taken away"),
        (_file("../evil.png", WHITE), True, "'../evil.png', which is no file of an edit session"),
        (_file("/etc/evil.png", WHITE), True, "which is no file of an edit session"),
        (_file("edits/1/evil.py", b"import os"), True, "which is no file of an edit session"),
        (_file("edits/1/evil.pkl", b"cos"), True, "which is no file of an edit session"),
        (_file("photo.png", b"no picture"), True, "photo.png is no picture"),
        (_file("photo.png", png(np.zeros((10, 20_000), np.uint8))), True, "the limit is 100,000"),
        (_file("edits/1/result.png", WHITE), True, "outside"),
        (_set("edits", 0, "result", "top", value=-5), True, "a result lies outside the photo"),
        (_set("edits", 0, "result", "top", value=250), True, "a result lies outside the photo"),
        (_set("edits", 0, "result", "left", value=88), True, "changes pixels outside its mask"),
        (_set("edits", 0, "mask", value="edits/7/mask.png"), True, "no edit session that can be opened"),
        (_set("edits", 0, "mask", value=["x"]), True, "no edit session that can be opened"),
        (_set("edits", 0, "semantics", value="photo.png"), True, "photo.png does not fit"),
        (_set("edits", 0, "seed", value="5"), True, "seed is '5'; expected int"),
        (_set("edits", 0, "run", value="rm"), True, "has 'run'; known are mask, sketch"),
        (_set("edits", value={}), True, '"edits" must be a list'),
        (_set("position", value=99), True, "aligned or position is wrong"),
        (_set("faces", value=[]), True, "the faces are missing"),
        (_set("faces", 0, "landmarks", value=[[1, 2]]), True, "a face is wrong"),
        (_set("photo", "mode", value="RGBX"), True, "a photo of mode 'RGBX'"),
        (_set("photo", "mode", value="CMYK"), True, "do not fit its mode"),
        (_set("version", value=2), True, "version 2; this facekit reads"),
        (lambda manifest, _: manifest.pop("photo"), True, "no edit session that can be opened"),
    ],
)
def test_a_changed_session_is_refused(
    pipe: FaceEditPipeline,
    edited: EditSession,
    tmp_path: Path,
    change: Callable[[dict[str, Any], dict[str, bytes]], None],
    mend: bool,
    message: str,
) -> None:
    path = tmp_path / "session.zip"
    edited.save(path)
    rewrite(path, change, mend)
    with pytest.raises(ValueError, match=message):
        EditSession.load(pipe, path, max_pixels=100_000)


def test_what_is_no_session_is_refused(pipe: FaceEditPipeline, edited: EditSession, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        EditSession.load(pipe, tmp_path / "none.zip")
    for name, content in (("text.zip", b"hello"), ("empty.zip", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="is no edit session"):
            EditSession.load(pipe, tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"it has no session\.json"):
        EditSession.load(pipe, tmp_path / "folder")
    (tmp_path / "folder" / "session.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="the JSON cannot be read"):
        EditSession.load(pipe, tmp_path / "folder")
    # A cut-off file, a zip that unpacks to too much, a link out of a folder.
    path = tmp_path / "session.zip"
    edited.save(path)
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="is no edit session"):
        EditSession.load(pipe, tmp_path / "cut.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.png", bytes(30_000_000))
    with pytest.raises(ValueError, match="holds 30,000,000 bytes; the limit is 20,000,000"):
        EditSession.load(pipe, tmp_path / "bomb.zip", max_bytes=20_000_000)
    edited.save(tmp_path / "linked")
    (tmp_path / "linked" / "photo.png").unlink()
    os.symlink("/etc/hostname", tmp_path / "linked" / "photo.png")
    with pytest.raises(ValueError, match=r"photo\.png is a link"):
        EditSession.load(pipe, tmp_path / "linked")
    # Saving replaces sessions only.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    for name in ("mine", "mine/thesis.txt"):
        with pytest.raises(ValueError, match="exists and is no edit session"):
            edited.save(tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"


def test_a_session_needs_a_face(pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"no face was found\. Pass aligned=True"):
        pipe.edit_session(np.zeros((100, 100, 3), np.uint8))
    session = pipe.edit_session(portrait)
    with pytest.raises(ValueError, match="edit has 'beard'; known are mask, sketch"):
        session.edit(eyes, beard=1)
    with pytest.raises(ValueError, match="an edit takes one"):
        session.edit(eyes, exemplar=[portrait, portrait])
    with pytest.raises(ValueError, match=r"seed is 1\.5; expected int"):
        session.edit(eyes, seed=1.5)
    with pytest.raises(ValueError, match="an edit keeps its settings as JSON"):
        session.edit(eyes, text_options={"generator": torch.Generator()})
