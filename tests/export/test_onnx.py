"""`facekit export` and `facekit.onnx`: graphs give what the pipelines give, without PyTorch, or are not written."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facekit import (
    CodeDiffusionScheduler,
    ExemplarInpaintPipeline,
    FaceEditPipeline,
    FaceRestorePipeline,
    MultiStyleGenerator,
)
from facekit.export.check import compare, draw_faces
from facekit.export.graphs import plan_export
from facekit.export.write import TOLERANCE, export_onnx
from facekit.notes import MissingPackage
from facekit.onnx import DESCRIPTION, EXPORT_PACKAGES, OnnxPipeline, check_packages
from facekit_cli.main import main
from tests.tiny.networks import tiny_style_encoder, wake
from tests.tiny.pipelines import (
    prepare,
    tiny_edit_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

SIZE = 32


def small_pipeline() -> ExemplarInpaintPipeline:
    """As `tiny_exemplar_pipeline`, for faces of 32 pixels, and with matched tones: exporting takes seconds."""
    torch.manual_seed(0)
    widths = {"style_dim": 16, "channel_base": 512, "max_channels": 16, "global_dim": 16}
    pipeline = ExemplarInpaintPipeline(
        style_encoder=tiny_style_encoder(8, first_style=2, reading="psp"),
        multi_style_generator=MultiStyleGenerator(SIZE, num_mapping_layers=1, **widths),
        match_tones=True,
    )
    wake(pipeline.multi_style_generator, heads=0.1)
    prepare(pipeline)
    return pipeline


def matching_edit_pipeline() -> FaceEditPipeline:
    pipeline = tiny_edit_pipeline()
    pipeline.register_to_config(match_tones=True)
    return pipeline


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pipeline, exported by the command; whoever changes files copies it first."""
    folder = tmp_path_factory.mktemp("export")
    small_pipeline().save_pretrained(folder / "model")
    (folder / "model" / "README.md").write_text("---\nlicense: mit\n---\n# Small\n")
    assert main(["export", str(folder / "model"), "--output", str(folder / "exemplar-onnx")]) == 0
    assert {path.name for path in folder.iterdir()} == {"model", "exemplar-onnx"}
    return folder / "exemplar-onnx"


@pytest.fixture
def fill(exported: Path) -> OnnxPipeline:
    return OnnxPipeline(exported)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Three faces uint8 [3, 32, 32, 3]."""
    return np.stack([(face // 257).astype(np.uint8) for face in draw_faces(3, SIZE)])


@pytest.fixture
def mask() -> np.ndarray:
    hole = np.zeros((SIZE, SIZE), dtype=bool)
    hole[10:22, 8:24] = True
    return hole


def test_the_description_says_what_is_there(exported: Path) -> None:
    description = json.loads((exported / DESCRIPTION).read_text())
    assert (description["task"], description["size"]) == ("exemplar-inpaint", SIZE)
    assert description["model"] == str(exported.parent / "model")
    assert (description["licence"], description["card"]) == ("mit", "README.md")
    assert "# Small" in (exported / "README.md").read_text()
    encoder, generator, _tones = description["graphs"]
    assert encoder["inputs"] == [{"name": "exemplar", "shape": [3, SIZE, SIZE], "holds": "-1 to 1"}]
    assert [port["name"] for port in generator["inputs"]] == ["image", "mask", "style_codes", "z", "noise"]
    assert {port["name"] for port in description["randomness"]} == {"z", "noise"}
    assert description["sha256"].keys() == {"style_encoder.onnx", "generator.onnx", "tones.onnx", "README.md"}
    assert sorted(path.name for path in exported.iterdir()) == sorted([*description["sha256"], DESCRIPTION])
    assert all(0 < graph["largest_difference"] <= TOLERANCE for graph in description["graphs"])


def test_a_face_is_filled_without_torch(exported: Path, faces: np.ndarray, mask: np.ndarray) -> None:
    np.savez(exported.parent / "case.npz", faces=faces, mask=mask)
    program = """
import sys
import numpy as np
from facekit.onnx import OnnxPipeline
folder, case = sys.argv[1:]
with np.load(case) as given:
    faces, mask = given["faces"], given["mask"]
fill = OnnxPipeline(folder)
result = fill(faces[0], mask, exemplar=faces[1])
assert result.shape == faces[0].shape and result.dtype == np.uint8
assert (result[~mask] == faces[0][~mask]).all() and (result[mask] != faces[0][mask]).any()
heavy = {"torch", "diffusers", "onnx", "onnxscript", "cv2", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(exported), str(exported.parent / "case.npz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_noise_belongs_to_seed_and_place(fill: OnnxPipeline, faces: np.ndarray, mask: np.ndarray) -> None:
    masks = np.stack([mask] * 3)
    batch = fill(faces / 255, masks, exemplar=faces[::-1], seed=3)
    alone = fill(faces[0] / 255, mask, exemplar=faces[2], seed=3)
    assert np.abs(batch[0] - alone).max() < 1e-5
    other = fill(faces[0] / 255, mask, exemplar=faces[2], seed=4)
    assert np.abs(other - alone).max() > 1e-3


def test_a_whole_photo_keeps_what_lies_outside(fill: OnnxPipeline, faces: np.ndarray) -> None:
    from skimage.data import astronaut

    photo = astronaut()
    hole = np.zeros(photo.shape[:2], dtype=np.uint8)
    hole[100:150, 190:260] = 255
    result = fill.on_photo(photo, hole, exemplar=faces[0]).pixels
    assert (result[hole == 0] == photo[hole == 0]).all()
    assert (result[hole > 0] != photo[hole > 0]).mean() > 0.5


def test_what_does_not_fit_is_refused(fill: OnnxPipeline, faces: np.ndarray, mask: np.ndarray) -> None:
    face, other = faces[:2]
    with pytest.raises(ValueError, match="exemplar-inpaint needs mask"):
        fill(face, exemplar=other)
    with pytest.raises(ValueError, match="takes no fidelity"):
        fill(face, mask, exemplar=other, fidelity=0.5)
    with pytest.raises(ValueError, match=r"exemplar has the shape \[16, 16, 3\]; \[32, 32, 3\]"):
        fill(face, mask, exemplar=other[:16, :16])
    with pytest.raises(ValueError, match=r"mask has the shape \[2, 32, 32\]; \[32, 32\]"):
        fill(face, np.stack([mask, mask]), exemplar=other)
    with pytest.raises(ValueError, match="image has numbers outside 0 to 1"):
        fill(face.astype(np.float32), mask, exemplar=other)
    with pytest.raises(ValueError, match="image is int64"):
        fill(face.astype(np.int64), mask, exemplar=other)
    with pytest.raises(ValueError, match="noise has codes; drawn are z, noise"):
        fill(face, mask, exemplar=other, noise={"codes": np.zeros(3)})


def test_a_damaged_folder_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="name a folder that `facekit export` wrote"):
        OnnxPipeline(tmp_path)
    folder = shutil.copytree(exported, tmp_path / "copy")
    graph = folder / "generator.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with pytest.raises(ValueError, match=r"generator\.onnx is damaged"):
        OnnxPipeline(folder)


def test_another_network_is_noticed(exported: Path) -> None:
    """The check that decides can fail: the graphs are held against networks that they were not made of."""
    pipeline = small_pipeline()
    with torch.no_grad():
        pipeline.multi_style_generator.from_global.bias += 0.1
    found = compare(exported, plan_export(pipeline), pipeline)
    assert found.graphs["style_encoder"] <= TOLERANCE
    assert found.graphs["generator"] > TOLERANCE and found.chain > TOLERANCE


def test_restoration_without_a_diffuser_has_two_graphs() -> None:
    parts = tiny_restore_pipeline(identity=False).components | {"code_diffuser": None, "scheduler": None}
    plan = plan_export(FaceRestorePipeline(**parts))
    assert [graph.name for graph in plan.graphs] == ["style_encoder", "restorer"]


@torch.no_grad()
def test_steps_that_draw_noise_take_it_as_an_input() -> None:
    """With the posterior's variance every step but the last draws noise."""
    scheduler = CodeDiffusionScheduler()
    parts = tiny_restore_pipeline(identity=False).components | {"scheduler": scheduler}
    denoise = plan_export(FaceRestorePipeline(**parts)).graphs[1]
    assert [port.name for port in denoise.inputs] == ["latents", "style_codes", "step_noise"]
    assert denoise.inputs[2].shape == (3, 12, 16)
    latents, codes, noise = (torch.randn(2, *port.shape) for port in denoise.inputs)
    expected = latents
    for step, timestep in enumerate((3, 2, 1, 0)):
        fresh = noise[:, step] if step < 3 else None
        predicted = parts["code_diffuser"](expected, timestep, codes)
        expected = scheduler.step(predicted, timestep, expected, variance_noise=fresh).prev_sample
    assert torch.equal(denoise.module(latents, codes, noise), expected)
    assert not torch.equal(denoise.module(latents, codes, noise + 1), expected)


def test_a_word_that_names_no_model_is_refused_at_once(capsys: pytest.CaptureFixture) -> None:
    assert main(["export", "nothing", "--output", "mo"]) == 2
    said = capsys.readouterr().err
    assert "nothing is no folder, and no model's name: say face-restore, " in said


def test_missing_packages_are_named_with_what_to_install() -> None:
    what = r"needs the package nobody_has_it\. Install it with `pip install 'facekit\[export\]'`"
    with pytest.raises(MissingPackage, match=what):
        check_packages({**EXPORT_PACKAGES, "nobody_has_it": EXPORT_PACKAGES["onnx"]}, "export to ONNX")


def test_one_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", "face-prior", "--output", str(tmp_path / "out")]) == 2
    assert "name the folder of a pipeline, not of one network" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_refused(exported: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", "face-restore", "--output", str(exported)]) == 2
    assert "say --overwrite" in capsys.readouterr().err
    assert (exported / "generator.onnx").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda: tiny_restore_pipeline(identity=False), matching_edit_pipeline], ids=["restore", "edit"]
)
def test_graphs_give_what_the_pipeline_gives(make: Callable, tmp_path: Path) -> None:
    found = export_onnx(make(), tmp_path / "onnx")
    assert 0 < found.largest <= TOLERANCE
    assert len(found.graphs) == len(OnnxPipeline(tmp_path / "onnx").description["graphs"])


@pytest.mark.slow
def test_exported_restoration_averages_mirror_images_as_the_model_does(tmp_path: Path) -> None:
    folder = tmp_path / "onnx"
    found = export_onnx(tiny_restore_pipeline(identity=False, self_ensemble=True), folder)
    assert 0 < found.largest <= TOLERANCE
    face = draw_faces(1, 64)[0] / np.float32(65535)
    restore = OnnxPipeline(folder)
    alone, twin = (restore(given, self_ensemble=False) for given in (face, face[:, ::-1]))
    assert np.abs(alone - twin[:, ::-1]).max() > 0.01
    np.testing.assert_allclose(restore(face), (alone + twin[:, ::-1]) / 2, atol=1e-6)
    with pytest.raises(ValueError, match="self_ensemble is 'no'; it must be True or False"):
        restore(face, self_ensemble="no")
    # As folders say that were exported before there was the setting.
    description = json.loads((folder / DESCRIPTION).read_text())
    assert description["settings"].pop("self_ensemble") is True
    (folder / DESCRIPTION).write_text(json.dumps(description))
    np.testing.assert_array_equal(OnnxPipeline(folder)(face), alone)


def test_as_many_steps_as_the_model_takes() -> None:
    pipeline = tiny_inpaint_pipeline()
    pipeline.register_to_config(num_inference_steps=2)
    assert plan_export(pipeline).settings == {"steps": 2}


@pytest.mark.slow
def test_graphs_that_differ_are_not_kept(tmp_path: Path) -> None:
    """With no difference allowed even good graphs are refused; those of inpainting are good, as the report says."""
    lines: list[str] = []
    with pytest.raises(ValueError, match="nothing was written"):
        export_onnx(tiny_inpaint_pipeline(), tmp_path / "onnx", tolerance=0, report=lines.append)
    assert list(tmp_path.iterdir()) == []
    told = [float(number) for line in lines for number in re.findall(r"differ.* by at most (\S+)", line)]
    assert len(told) == 2 and all(0 < number <= TOLERANCE for number in told)
