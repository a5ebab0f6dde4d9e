"""Objects put into a photo before an edit: pixel by pixel, in the history, in files and in scripts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit import FaceEditPipeline
from facekit.images.photo import Photo
from facekit.pipelines.edit.session.pasting import rim_of
from facekit.pipelines.edit.session.script import read_script
from facekit.pipelines.edit.session.session import EditSession
from tests.tiny.pipelines import tiny_edit_pipeline


@pytest.fixture(scope="module")
def pipe() -> FaceEditPipeline:
    return tiny_edit_pipeline()


@pytest.fixture
def hat() -> np.ndarray:
    """A cut-out, 24 x 40 pixels: transparent but for a box of 30 x 16, whose left column is half there."""
    pixels = np.zeros((24, 40, 4), np.uint8)
    pixels[..., :3] = (250, 0, 250)  # must never show
    pixels[4:20, 5:35] = (10, 90, 200, 255)
    pixels[4:20, 5, 3] = 128
    return pixels


def test_what_is_pasted_against_a_plain_loop(portrait: np.ndarray, hat: np.ndarray) -> None:
    session = EditSession(None, portrait, aligned=True)
    result = np.asarray(session.paste(hat, place=(100, 50)))
    wanted = portrait.copy()
    for row in range(16):
        for column in range(30):
            share = 128 / 255 if column == 0 else 1.0
            y, x = 50 - 8 + row, 100 - 15 + column
            for channel, color in enumerate((10, 90, 200)):
                wanted[y, x, channel] = round(share * color + (1 - share) * portrait[y, x, channel])
    np.testing.assert_array_equal(result, wanted)


def test_an_object_is_scaled_and_cut_off_at_the_border(portrait: np.ndarray, hat: np.ndarray) -> None:
    session = EditSession(None, portrait, aligned=True)
    result = np.asarray(session.paste(hat, place=(0, 40), width=60))
    region = session.history[0].pictures["mask"]
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (
        24,
        55,
        0,
        29,
    )  # 60 x 32 pixels, the left half beyond
    np.testing.assert_array_equal(result[~region], portrait[~region])
    assert (result[30:50, 2:28] == (10, 90, 200)).all()
    small = np.asarray(EditSession(None, portrait, aligned=True).paste(hat, width=10))
    changed = (small != portrait).any(2)
    hidden = np.abs(small[changed].astype(int) - (250, 0, 250)).sum(1)
    assert 30 <= changed.sum() <= 70 and hidden.min() > 60  # in the middle; hidden colours do not show


def test_a_mask_says_what_the_object_is(portrait: np.ndarray, couple: np.ndarray) -> None:
    mask = np.zeros(couple.shape[:2], bool)
    mask[20:60, 30:90] = True
    session = EditSession(None, portrait, aligned=True)
    result = np.asarray(session.paste(couple, mask, place=(60, 40)))
    np.testing.assert_array_equal(result[20:60, 30:90], couple[20:60, 30:90])
    assert (session.history[0].pictures["mask"] == mask[:256, :256]).all()


def test_undo_redo_save_and_replay(
    pipe: FaceEditPipeline, portrait: np.ndarray, hat: np.ndarray, tmp_path: Path
) -> None:
    session = pipe.edit_session(portrait, aligned=True)
    pasted = np.asarray(session.paste(hat, place=(128, 60), width=50))
    session.edit("rim", exemplar="self", seed=4)
    rim, done = session.rim(), np.asarray(session.image)
    np.testing.assert_array_equal(done[~rim], pasted[~rim])
    assert (done[rim] != pasted[rim]).mean() > 0.5
    session.undo()
    np.testing.assert_array_equal(np.asarray(session.undo()), portrait)
    session.redo()
    np.testing.assert_array_equal(np.asarray(session.redo()), done)
    assert np.array_equal(np.asarray(session.choose(0)), done)

    session.save(tmp_path / "session.zip")
    opened = EditSession.load(pipe, tmp_path / "session.zip")
    np.testing.assert_array_equal(np.asarray(opened.image), done)
    np.testing.assert_array_equal(opened.rim(), rim)
    np.testing.assert_array_equal(opened.history[0].pictures["object"], session.history[0].pictures["object"])
    opened.undo()
    np.testing.assert_array_equal(np.asarray(opened.image), pasted)

    again = pipe.edit_session(portrait, aligned=True)
    for edit in read_script(tmp_path / "session.zip"):
        again.replay(edit)
    np.testing.assert_array_equal(np.asarray(again.image), done)


def test_a_script_pastes(
    pipe: FaceEditPipeline, portrait: np.ndarray, hat: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(hat).save(tmp_path / "hat.png")
    edits = [
        {"object": "hat.png", "place": [128, 60], "width": 50},
        {"mask": "rim", "exemplar": "self", "seed": 4},
    ]
    (tmp_path / "script.json").write_text(json.dumps({"edits": edits}))
    session, by_hand = (pipe.edit_session(portrait, aligned=True) for _ in range(2))
    outputs = [session.replay(edit, output_type="photo") for edit in read_script(tmp_path / "script.json")]
    by_hand.paste(hat, place=(128, 60), width=50)
    by_hand.edit(by_hand.rim(), exemplar="self", seed=4)
    np.testing.assert_array_equal(np.asarray(session.image), np.asarray(by_hand.image))
    assert all(isinstance(output.images[0], Photo) for output in outputs)


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        ({"object": "hat.png", "seed": 1}, "has 'seed'; known are object, object_mask, place, width"),
        ({"object": "hat.png", "sketch": "hat.png"}, "has 'sketch'"),
        ({"object": "hat.png", "place": [1]}, "place is"),
        ({"object": "hat.png", "place": "middle"}, "place is 'middle'; expected list"),
        ({"object": "hat.png", "width": 0}, "width is 0"),
        ({"object": 3}, "object is 3; expected the name of a file"),
        ({"mask": "rim", "width": 3}, "has 'width'"),
        ({"place": [1, 2]}, "has no mask"),
    ],
)
def test_scripts_that_are_wrong(edit: dict, wrong: str, hat: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(hat).save(tmp_path / "hat.png")
    (tmp_path / "script.json").write_text(json.dumps({"edits": [edit]}))
    with pytest.raises(ValueError, match=wrong):
        read_script(tmp_path / "script.json")


def test_what_cannot_be_pasted(portrait: np.ndarray, hat: np.ndarray) -> None:
    session = EditSession(None, portrait, aligned=True)
    for arguments, wrong in (
        ({"object": portrait}, "no transparency"),
        ({"object": hat[..., :3], "mask": np.zeros((24, 40), bool)}, "there is no object"),
        ({"object": np.zeros((24, 40, 4), np.uint8)}, "there is no object"),
        ({"object": hat, "mask": np.ones((40, 40), bool)}, "the object's mask"),
        ({"object": hat, "place": (-500, 20)}, "lies beside the photo"),
        ({"object": hat, "place": (float("nan"), 20)}, "x and y in pixels"),
        ({"object": hat, "width": 5000}, "1024 are possible"),
        ({"object": hat, "width": True}, "1 pixel or more"),
        ({"object": "none.png"}, "the object does not exist"),
    ):
        with pytest.raises((ValueError, OSError), match=wrong):
            session.paste(**arguments)
    with pytest.raises(ValueError, match="nothing is pasted"):
        session.rim()
    assert not session.history and np.array_equal(np.asarray(session.image), portrait)
    session.paste(hat)
    with pytest.raises(ValueError, match="1 pixel or more"):
        session.rim(0)
    session.undo()
    with pytest.raises(ValueError, match="nothing is pasted"):
        session.rim()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_photos_of_every_mode_keep_what_lies_outside(
    mode: str, portrait: np.ndarray, hat: np.ndarray
) -> None:
    image = Image.fromarray(portrait)
    image = (
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
        if mode == "I;16"
        else image.convert(mode)
    )
    session = EditSession(None, image, aligned=True)
    before = session.photo
    session.paste(hat, place=(120, 60))
    region = session.history[0].pictures["mask"]
    if mode == "P":
        np.testing.assert_array_equal(session.photo.rgb[~region], before.rgb[~region])
    else:
        np.testing.assert_array_equal(session.photo.pixels[~region], before.pixels[~region])
    assert (session.photo.rgb[region] != before.rgb[region]).any() and session.photo.mode == before.mode


def test_the_rim_lies_on_both_sides_of_the_outline() -> None:
    region = np.zeros((60, 60), bool)
    region[20:40, 30:] = True  # cut off at the right
    rim = rim_of(region, 4)
    assert rim[16:24, 40].all() and not rim[15, 40] and not rim[24, 40]
    assert rim[30, 26:34].all() and not rim[30, 25] and not rim[30, 34:].any()
