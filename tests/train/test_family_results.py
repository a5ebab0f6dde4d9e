"""The folders that a family ends with: networks, cards, curves and sheets, of stages that only look trained."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import facekit
from facekit.hub.publish import plan_push
from facekit.pipelines.sample import CODES_FILE
from tests.train.tiny_family import SHARP_STEPS, SIZE, write_family, write_pictures
from train.starters.family import Family, plan_stages, share_out
from train.starters.history import MEASURES, is_there, read_chain, read_history
from train.starters.kinds import KINDS
from train.starters.results import halve, write_results
from train.starters.sheets import draw_regions, load_astronaut, save_curves

NAMES = [kind.name(SIZE) for kind in KINDS]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """All models written, once for all tests."""
    folder = tmp_path_factory.mktemp("family")
    pictures = write_pictures(folder / "FACES", 5)
    rows = "".join(f'{{"file_name": "{i:02d}.png", "by": "{"ab"[i % 2]}"}}\n' for i in range(5))
    (pictures / "metadata.jsonl").write_text(rows)
    more = write_pictures(folder / "MORE faces", 2)
    held_out = write_pictures(folder / "HELD", 3)
    family = Family(
        data={str(pictures): 3.0, str(more): 1.0},
        output=folder / "out",
        validation=str(held_out),
        validation_split="train",
        size=SIZE,
        exclude={"by": ["b"]},
        parser=str(Path(__file__).resolve().parents[2] / "hub_cards" / "face-parser-starter-256"),
    )
    write_family(family)
    written = write_results(family, share_out(plan_stages(family, ["inpaint", "inpaint-sharp"]), 4, 1))
    assert [path.name for path in written] == NAMES
    return family


def card_of(family: Family, name: str) -> str:
    return (family.output / name / "README.md").read_text()


def test_what_a_broken_stage_began_from_is_no_result(family: Family, tmp_path: Path) -> None:
    given = Family(data={}, output=tmp_path, size=SIZE, starts={"inpaint": family.find_result("inpaint")})
    assert is_there(given, "inpaint") and not is_there(given, "restorer")
    given.folder("inpaint").mkdir(parents=True)
    (given.folder("inpaint") / "config.yaml").touch()
    assert not is_there(given, "inpaint")
    (given.folder("inpaint") / "done").touch()
    assert is_there(given, "inpaint")


def test_pipelines_do_by_themselves_what_the_bundled_ones_do(family: Family) -> None:
    bundled = Path(__file__).resolve().parents[2] / "hub_cards"
    for kind in KINDS[1:]:
        name = kind.name(SIZE)
        ours, theirs = (
            json.loads((folder / "model_index.json").read_text())
            for folder in (family.output / name, bundled / name.replace(f"-{SIZE}", "-256"))
        )
        settings = {
            key for key, value in theirs.items() if not key.startswith("_") and not isinstance(value, list)
        }
        settings -= set(kind.trained)
        assert {key: ours[key] for key in settings} == {key: theirs[key] for key in settings}, name


def test_an_inpainter_takes_as_many_steps_as_its_last_stage_was_trained_with(family: Family) -> None:
    written = facekit.FaceInpaintPipeline.from_pretrained(family.output / f"face-inpaint-starter-{SIZE}")
    assert written.config["num_inference_steps"] == SHARP_STEPS


@pytest.mark.parametrize("name", NAMES)
def test_could_be_pushed(family: Family, name: str) -> None:
    folder = family.output / name
    plan = plan_push(folder)
    assert plan.problems == [] and plan.left_out == []
    assert {"README.md", "samples.png"} <= {upload.path for upload in plan.uploads}
    for path in folder.rglob("*"):
        if path.is_file():
            assert str(family.output).encode() not in path.read_bytes(), path
    assert card_of(family, name).startswith("---\nlicense: other\nlibrary_name: diffusers\n")
    for picture in folder.glob("*.png"):
        Image.open(picture).verify()


def test_every_pipeline_loads_and_runs(family: Family) -> None:
    face, mask = load_astronaut(SIZE), draw_regions(SIZE)["eyes"].astype(np.uint8) * 255

    def load(cls: Any, name: str) -> Any:
        return cls.from_pretrained(family.output / f"{name}-starter-{SIZE}")

    restored = load(facekit.FaceRestorePipeline, "face-restore")(face, aligned=True).images[0]
    filled = load(facekit.FaceInpaintPipeline, "face-inpaint")(face, mask, aligned=True).images[0]
    after = load(facekit.ExemplarInpaintPipeline, "exemplar-inpaint")(face, mask, face, aligned=True).images[
        0
    ]
    edit = load(facekit.FaceEditPipeline, "face-edit")
    edited = edit(face, mask, exemplar="self", aligned=True).images[0]
    assert edit.face_parser is not None, "the parser that labelled the pictures comes along"
    assert {image.size for image in (restored, filled, after, edited)} == {(SIZE, SIZE)}
    prior = family.output / f"face-prior-starter-{SIZE}"
    assert facekit.sample_faces(1, prior)[0].size == (SIZE, SIZE)
    assert torch.equal(
        load_file(prior / CODES_FILE)["w_plus"],
        load_file(family.folder("autoencoder") / "pipeline" / "prior" / CODES_FILE)["w_plus"],
    )


def test_weights_are_stored_in_half_but_for_statistics(family: Family) -> None:
    for file in family.output.glob("*-starter-*/**/*.safetensors"):
        for name, tensor in load_file(file).items():
            wanted = torch.float32 if name.endswith(("running_mean", "running_var")) else torch.float16
            assert tensor.dtype == wanted or not tensor.is_floating_point(), (file, name)
    pipeline = facekit.FaceRestorePipeline.from_pretrained(family.output / f"face-restore-starter-{SIZE}")
    networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    assert {p.dtype for network in networks for p in network.parameters()} == {torch.float32}


def test_numbers_too_large_for_half_stay_as_they_are() -> None:
    network = facekit.MultimodalAggregation(4)
    first, *_ = network.parameters()
    first.data.fill_(1e5)
    halved = halve(network)
    assert {p.dtype for p in halved.parameters()} == {torch.float32, torch.float16}
    assert all(torch.isfinite(p).all() for p in halved.parameters())
    assert next(network.parameters()).dtype == torch.float32, "the network itself is left alone"


def test_cards_tell_of_data_and_training(family: Family) -> None:
    card = card_of(family, f"face-restore-starter-{SIZE}")
    assert "`FACES`, 3 pictures, 75% of the draws; `MORE faces`, 2 pictures, 25% of the draws" in card
    assert "Left out by their metadata: by b (2 pictures)" in card
    assert "datasets:\n- FACES\n- MORE-faces\n" in card
    assert "**restorer**: 40 steps of 8, 320 pictures seen, 1.2 minutes, bfloat16." in card
    assert "Losses: L1, ImageNet distance" in card and "`restorer-plain`" not in card
    assert "| restorer | 1.2 | 40 | 320 | 23.50 / 23.50 | 0.700 / 0.500 |" in card
    assert (
        "The model has the last networks of each stage, but of `restorer` those of the best `imagenet`."
        in card
    )
    # Where the networks that were kept were scored, not where each score was the best.
    assert "type: psnr\n      value: 22.5\n" in card and "type: imagenet\n      value: 0.5\n" in card
    assert f"Prior and RGB style encoder: those of `face-prior-starter-{SIZE}`" in card
    assert "went on from those of stage `autoencoder`" in card_of(family, f"face-edit-starter-{SIZE}")


def test_curves_and_table(family: Family) -> None:
    folder = family.output / f"face-restore-starter-{SIZE}"
    assert sorted(path.name for path in (folder / "training").iterdir()) == [
        "curves-restorer-plain.jsonl",
        "curves-restorer.jsonl",
    ]
    assert (folder / "curves.png").is_file()
    assert not (family.output / f"exemplar-inpaint-starter-{SIZE}" / "curves.png").exists()
    table = (family.output / "table.md").read_text()
    assert "| inpaint-sharp | 1.2 of 2.5 | 40 | 320 | 23.50 / 23.50 | 0.700 / 0.500 |" in table
    assert "| edit | 1.2 | 40 | 320 |" in table and f"`imagenet`: {MEASURES['imagenet'].label}" in table


def test_without_matplotlib_there_are_no_curves(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chains = [read_chain(family, "restorer")]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        assert not save_curves(chains, tmp_path / "curves.png")
    assert "matplotlib is missing" in capsys.readouterr().out
    assert save_curves(chains, tmp_path / "curves.png") and (tmp_path / "curves.png").is_file()


def test_given_networks_stand_in(family: Family, tmp_path: Path) -> None:
    folder = f"face-restore-starter-{SIZE}"
    given = Family(
        data=family.data,
        output=tmp_path / "out",
        size=SIZE,
        starts={"restorer": family.output / folder, "edit": family.find_result("autoencoder")},
        license="mit",
    )
    assert [path.name for path in write_results(given, [])] == [folder], "the other one is no editor"
    card = card_of(given, folder)
    assert "None of its networks was trained here." in card and "5 pictures" not in card
    assert f"In place of stage `restorer`: the networks of `{folder}`." in card
    assert "datasets:\n- FACES\n- MORE-faces\n" in card, "what the given one's card says"
    assert "license: mit\n" in card and "for whoever publishes" not in card
    assert plan_push(given.output / folder).problems == []
    assert "Nothing was trained." in (given.output / "table.md").read_text()


def test_a_family_that_was_moved_knows_its_stages(family: Family, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (moved / "stages").mkdir(parents=True)
    (moved / "stages" / "restorer").symlink_to(family.folder("restorer"))
    history = read_history(Family(data={}, output=moved, size=SIZE), "restorer")
    assert history is not None and history.before == "restorer-plain" and history.given is None
