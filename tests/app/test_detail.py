"""What is done to filled faces afterwards: the box that lets the model of Restore go over them, and matched tones."""

from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from skimage import data

from facekit.provenance import inspect
from facekit_demo.common.detail import detail_box, find_restorer
from tests.app.visitor import changed


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photo.png with one face, mask.png over its middle, and another face, face.png."""
    folder = tmp_path_factory.mktemp("detail")
    photo, mask = Image.fromarray(data.astronaut()), Image.new("L", (512, 512))
    mask.paste(255, (195, 85, 255, 165))
    photo.save(folder / "photo.png")
    mask.save(folder / "mask.png")
    photo.crop((100, 0, 356, 256)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "face.png")
    return folder


@pytest.mark.parametrize("tab", ["inpaint", "exemplar", "edit"])
def test_a_program_has_filled_faces_restored_or_not(
    client: Client, files: Path, tiny_restorer: Path, tab: str
) -> None:
    given = {name: handle_file(files / f"{name}.png") for name in ("photo", "mask")}
    if tab != "inpaint":
        given |= {"exemplar": handle_file(files / "face.png"), "sketch": None}
    if tab == "exemplar":
        given |= {"second_exemplar": None}
    if tab == "edit":
        given |= {"semantics": None, "color": None, "pose_from": None, "attributes": None, "strengths": None}
    results = []
    for detail in (True, False):
        made, _ = client.predict(**given, seed=1, detail=detail, api_name=f"/{tab}")
        results.append(Image.open(made if isinstance(made, str) else made[0]))
    hole = np.asarray(Image.open(files / "mask.png")) > 0
    named = [inspect(result.filename).metadata.model for result in results]
    assert named[0] == f"{named[1]} and {tiny_restorer.name}"
    difference = changed(*results)
    assert difference[hole].mean() > 0.5 and not difference[~hole].any()


def test_a_program_has_tones_matched_or_not(client: Client, files: Path) -> None:
    given = {name: handle_file(files / f"{name}.png") for name in ("photo", "mask")}
    given |= {"exemplar": handle_file(files / "face.png"), "sketch": None}
    given |= {"semantics": None, "color": None, "pose_from": None, "attributes": None, "strengths": None}
    results = []
    for matched in ("yes", "no", "as the model does"):
        made, _ = client.predict(**given, seed=1, detail=False, tones=matched, api_name="/edit")
        results.append(Image.open(made))
    hole = np.asarray(Image.open(files / "mask.png")) > 0
    matched, unmatched, as_model = results
    difference = changed(matched, unmatched)
    assert difference[hole].any() and not difference[~hole].any()
    assert not changed(unmatched, as_model).any(), "the tiny model matches none"


def test_the_box_is_ticked_where_the_bundled_model_fills(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    monkeypatch.delenv("FACEKIT_INPAINT_MODEL", raising=False)
    assert detail_box("inpaint").value is True
    monkeypatch.setenv("FACEKIT_INPAINT_MODEL", f"{tiny_model},starter")
    assert detail_box("inpaint").value is False


def test_the_bundled_restorer_comes_first_then_one_that_is_here(
    monkeypatch: pytest.MonkeyPatch, tiny_restorer: Path
) -> None:
    for offered, taken in (
        ("published,starter", "starter"),
        (f"ORG/NAME,{tiny_restorer}", tiny_restorer.name),
        ("ORG/NAME", "ORG/NAME"),
    ):
        monkeypatch.setenv("FACEKIT_RESTORE_MODEL", offered)
        assert find_restorer() == taken
