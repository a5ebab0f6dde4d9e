"""The whole family trained for two minutes on a processor, by the real command, and a stage that is stopped twice."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import facekit
from facekit.hub.publish import plan_push
from train.engine.checkpoints import find_checkpoints
from train.starters.family import STAGES
from train.starters.sheets import draw_regions, load_astronaut

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64
RESTORER = (
    "{sample_size: 64, style_dim: 16, channel_base: 256, max_channels: 16, global_dim: 16, num_mapping_layers: 2,"
    " residual: true, dropout: 0.0}"
)
# Networks that take a step in a fraction of a second; what a stage says of its networks is replaced as a whole.
TINY = {
    "autoencoder.prior": (
        "{sample_size: 64, style_dim: 16, channel_base: 256, max_channels: 16, num_mapping_layers: 2}"
    ),
    "autoencoder.encoder": (
        "{sample_size: 64, num_styles: 10, stem_channels: 8, channels: [8, 8, 16, 16], num_blocks: [1, 1, 1, 1],"
        " se_reduction: 2}"
    ),
    "autoencoder.latent_samples": "16",
    "restorer-plain.restorer": RESTORER,
    "restorer.restorer": RESTORER,
    "restorer.validation.every": "5",
    "inpaint.inpainter": (
        "{sample_size: 64, stem_channels: 4, encoder_channels: [8, 8, 8], dim: 8, num_blocks: [1, 1, 1, 1],"
        " num_refinement_blocks: 1, num_heads: [1, 1, 2, 2]}"
    ),
    "inpaint.statistics_batches": "2",
    "inpaint.checkpoint_every": "4",
    "inpaint-sharp.validation.every": "5",
    "code-diffuser.diffuser": "{num_blocks: 1}",
    "exemplar.multi_style_generator": (
        "{sample_size: 64, channel_base: 256, max_channels: 16, global_dim: 16, num_mapping_layers: 2, dropout: 0.0,"
        " first_exemplar_style: 2}"
    ),
    "exemplar.latent_samples": "64",
    "edit.aggregation": "{channels: 4}",
    "edit.refiner": "{sample_size: 64, global_dim: 16, dropout: 0.0, skips: true}",
    "edit.validation.every": "5",
}


def write_faces(folder: Path, count: int, seed: int) -> Path:
    """Faces of nobody, of 64 or 80 pixels; every third one is gray."""
    folder.mkdir()
    for i, face in enumerate(facekit.sample_faces(count, generator=torch.Generator().manual_seed(seed))):
        side = 80 if i % 2 else SIZE
        face.resize((side, side), Image.Resampling.LANCZOS).convert("L" if i % 3 == 2 else "RGB").save(
            folder / f"{i:02d}.png"
        )
    return folder


def command(folder: Path, *options: str) -> list[str]:
    more = ["--data", str(folder / "FACES"), "--output", str(folder / "out"), "--size", str(SIZE)]
    more += ["--batch_size", "2", "--mixed_precision", "no", *options]
    tiny = [f"{name}={value}" for name, value in TINY.items()]
    return [sys.executable, "-u", "-m", "train.starters", *more, "--set", *tiny]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}


def finished(folder: Path, *options: str, limit: int | None = None) -> tuple[int, str]:
    """Exit code and words of a launch; `limit`: bytes of the largest file that it may write."""

    def allow() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command(folder, *options),
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=allow,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_family_from_nothing(tmp_path: Path) -> None:
    write_faces(tmp_path / "FACES", 12, 0)
    held = write_faces(tmp_path / "HELD", 3, 1)
    options = ["--minutes", "2", "--parallel", "2", "--validation", str(held), "--validation_split", "train"]
    code, said = finished(tmp_path, *options)
    assert code == 0, said
    assert "FACES: 12 pictures" in said and "note" not in said
    output, names = tmp_path / "out", [name for name, stage in STAGES.items() if SIZE in stage.sizes]
    assert all(f"{name}: done" in said for name in names)
    minutes = {name: state(output, name)["minutes"] for name in names if name != "directions"}
    planned = json.loads((output / "plan.json").read_text())
    for name, value in minutes.items():
        assert planned[name]["minutes"] <= value < planned[name]["minutes"] + 1, name

    face, mask = load_astronaut(SIZE), draw_regions(SIZE)["eyes"].astype(np.uint8) * 255
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "face-restore": (facekit.FaceRestorePipeline, {}),
        "face-inpaint": (facekit.FaceInpaintPipeline, {"mask": mask}),
        "exemplar-inpaint": (facekit.ExemplarInpaintPipeline, {"mask": mask, "exemplar": face}),
        "face-edit": (facekit.FaceEditPipeline, {"mask": mask, "exemplar": "self"}),
    }
    for name, (pipeline, given) in calls.items():
        loaded = pipeline.from_pretrained(output / f"{name}-starter-{SIZE}")
        assert loaded(face, aligned=True, **given).images[0].size == (SIZE, SIZE)
    assert facekit.sample_faces(1, output / f"face-prior-starter-{SIZE}")[0].size == (SIZE, SIZE)
    assert len(loaded.attribute_names) == 10 and loaded.face_parser is not None
    for folder in output.glob(f"*-starter-{SIZE}"):
        assert plan_push(folder).problems == []
    restored = (output / f"face-restore-starter-{SIZE}" / "README.md").read_text()
    assert "but of `restorer` those of the best `imagenet`" in restored and "model-index" in restored
    assert all(f"| {name} | " in (output / "table.md").read_text() for name in minutes)

    before = {name: state(output, name) for name in minutes}
    code, said = finished(tmp_path, *options)
    assert code == 0 and all(f"{name}: done before" in said for name in names)
    assert {name: state(output, name) for name in minutes} == before, "a finished stage is not run again"


def state(output: Path, stage: str) -> dict[str, Any]:
    return json.loads((find_checkpoints(output / "stages" / stage)[-1] / "run.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stage_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """On a single picture: by a disk that takes no more, then by a kill of all its processes."""
    write_faces(tmp_path / "FACES", 1, 0)
    options = ["--minutes", "0.4", "--only", "inpaint"]
    output = tmp_path / "out"
    code, said = finished(tmp_path, *options, limit=100_000)
    assert code == 1 and "inpaint: failed with code 1" in said, said
    assert "inpaint did not end; the same command goes on" in said and not find_checkpoints(
        output / "stages" / "inpaint"
    )

    with subprocess.Popen(
        command(tmp_path, *options), cwd=ROOT, env=environment(tmp_path), start_new_session=True
    ) as launched:
        deadline = time.monotonic() + 300
        while not find_checkpoints(output / "stages" / "inpaint") and time.monotonic() < deadline:
            time.sleep(0.2)
        os.killpg(launched.pid, signal.SIGKILL)
    found = find_checkpoints(output / "stages" / "inpaint")
    assert found and not (output / "stages" / "inpaint" / "done").exists()
    step = state(output, "inpaint")["step"]

    code, said = finished(tmp_path, *options)
    assert code == 0 and f"wrote {output / f'face-inpaint-starter-{SIZE}'}" in said, said
    log = (output / "stages" / "inpaint" / "log.txt").read_text()
    assert f"resumed {output / 'stages' / 'inpaint'} at step {step}" in log
    assert state(output, "inpaint")["step"] > step and state(output, "inpaint")["minutes"] >= 0.4
    assert plan_push(output / f"face-inpaint-starter-{SIZE}").problems == []
