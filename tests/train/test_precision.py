"""`mixed_precision: auto` takes the fastest precision, the same everywhere, and leaves no trace in the run."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from facekit.models.identity_encoder import IdentityEncoder
from tests.train.precision_probe import TimedTrainer
from tests.train.test_two_processes import launch as launch_probe
from tests.train.tiny_faces import MULTIMODAL, tiny_edit_guides
from tests.train.tiny_stages import (
    DISCRIMINATOR,
    ENCODER,
    EXEMPLAR,
    PRIOR,
    RUN,
    curve,
    same,
    tiny_exemplar_guides,
    tiny_guides,
    weights,
    write_config,
)
from train.code_diffuser import __main__ as code_diffuser
from train.engine.config import read_config
from train.engine.precision import choose_precision, launch
from train.engine.run import LoopConfig
from train.engine.stage import StageConfig
from train.exemplar import __main__ as exemplar
from train.inpaint import __main__ as inpaint
from train.latent_warper import __main__ as latent_warper
from train.multimodal import __main__ as multimodal
from train.prior import __main__ as prior
from train.restorer import __main__ as restorer
from train.style_encoder import __main__ as style_encoder

PROBE = Path(__file__).with_name("precision_probe.py")


@pytest.fixture(autouse=True)
def fresh_state() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


def timed_config(pictures: Path, output: Path, **options: Any) -> StageConfig:
    return StageConfig(data=str(pictures), output_dir=str(output), **(RUN | {"max_steps": 2} | options))


def precision_of(output: Path) -> str:
    state = sorted((output / "checkpoints").glob("step-*/run.json"))[-1]
    return json.loads(state.read_text())["config"]["mixed_precision"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "breaks", "choice", "said"),
    [
        (0.0, False, "bf16", "bfloat16 0."),
        (1.0, False, "no", "bfloat16 1"),
        (0.0, True, "no", "bfloat16 not finite"),
    ],
)
def test_the_fastest_that_gives_finite_losses(
    tmp_path: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    breaks: bool,
    choice: str,
    said: str,
) -> None:
    monkeypatch.setattr(TimedTrainer, "bf16_seconds", (seconds,))
    monkeypatch.setattr(TimedTrainer, "bf16_breaks", breaks)
    launch(TimedTrainer, timed_config(pictures, tmp_path / "run", mixed_precision="auto"))
    assert (tmp_path / "run" / "pipeline" / "precision.txt").read_text() == choice
    assert precision_of(tmp_path / "run") == choice
    output = capsys.readouterr().out
    assert f"mixed_precision auto: {choice} (a step takes float32 0.2" in output and said in output


def test_a_resumed_run_keeps_its_precision(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(TimedTrainer, timed_config(pictures, tmp_path / "run", mixed_precision="bf16", max_steps=1))
    monkeypatch.setattr(TimedTrainer, "bf16_seconds", (1.0,))  # measured anew, it would be passed over
    AcceleratorState._reset_state()
    launch(TimedTrainer, timed_config(pictures, tmp_path / "run", mixed_precision="auto", max_steps=2))
    assert precision_of(tmp_path / "run") == "bf16"
    output = capsys.readouterr().out
    assert "auto: bf16, as this run began" in output and "a step takes" not in output
    AcceleratorState._reset_state()
    with pytest.raises(ValueError, match="already holds checkpoints"):
        launch(TimedTrainer, timed_config(pictures, tmp_path / "run", mixed_precision="auto", resume=False))


def test_measuring_changes_nothing(tmp_path: Path, pictures: Path) -> None:
    def states() -> list[bytes]:
        return [
            repr(random.getstate()).encode(),
            np.random.get_state()[1].tobytes(),
            torch.get_rng_state().numpy().tobytes(),
        ]

    config = timed_config(pictures, tmp_path / "run", mixed_precision="auto")
    before = states()
    assert choose_precision(TimedTrainer, config)[0] == "bf16"
    assert states() == before
    assert not (tmp_path / "run").exists()


def identity(folder: Path) -> str:
    IdentityEncoder(32, (1, 1, 1, 1), 8, 16).save_pretrained(folder / "identity")
    return str(folder / "identity")


def options_of(stage: str, folder: Path) -> dict[str, Any]:
    if stage == "prior":
        return {"prior": PRIOR, "discriminator": DISCRIMINATOR, "latent_samples": 64}
    if stage == "style_encoder":
        networks = {"joint": True, "prior": PRIOR, "encoder": ENCODER, "discriminator": DISCRIMINATOR}
        losses = {"pictures.perceptual": "feature_matching", "pictures.identity_weight": 0}
        return networks | losses | {"latent.weight": 0, "latent_samples": 4}
    if stage == "exemplar":
        guides = tiny_exemplar_guides(folder)
        return EXEMPLAR | {name: str(guides) for name in ("style_encoder", "pictures.identity_encoder")}
    if stage in ("latent_warper", "multimodal"):
        frozen = dict.fromkeys(
            ("style_encoder", "prior", "pictures.identity_encoder"), str(tiny_edit_guides(folder))
        )
        if stage == "latent_warper":
            return frozen | {"size": 32, "pictures.perceptual": "none"}
        return frozen | MULTIMODAL | {"guidance.semantics": "none"}
    guides = str(tiny_guides(folder))
    frozen = {"prior": guides, "style_encoder": guides, "pictures.perceptual": "feature_matching"}
    if stage == "code_diffuser":
        return frozen | {"pictures.identity_encoder": identity(folder), "diffuser": {"num_blocks": 1}}
    losses = {"restorer": {"global_dim": 16, "dropout": 0.0}, "discriminator": {"stddev_group": 1}}
    losses |= {"pictures.identity_weight": 0}
    return frozen | losses | {"code_diffuser": guides, "gradient_clip": 1.0}


STAGES = {
    "prior": (prior, prior.PriorConfig),
    "style_encoder": (style_encoder, style_encoder.StyleEncoderConfig),
    "code_diffuser": (code_diffuser, code_diffuser.CodeDiffuserConfig),
    "restorer": (restorer, restorer.RestorerConfig),
    "exemplar": (exemplar, exemplar.ExemplarConfig),
    "latent_warper": (latent_warper, latent_warper.LatentWarperConfig),
    "multimodal": (multimodal, multimodal.MultimodalConfig),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", list(STAGES))
def test_a_measured_run_is_the_run_of_its_choice(tmp_path: Path, pictures: Path, stage: str) -> None:
    module, config_class = STAGES[stage]
    config = write_config(tmp_path, pictures, max_steps=2, **options_of(stage, tmp_path))
    argv = ["--config", str(config), "--output_dir"]
    module.main([*argv, str(tmp_path / "auto"), "--mixed_precision", "auto"])
    choice = precision_of(tmp_path / "auto")
    assert choice in ("no", "bf16", "fp16")
    AcceleratorState._reset_state()
    module.main([*argv, str(tmp_path / "told"), "--mixed_precision", choice])
    assert same(weights(tmp_path / "auto" / "pipeline"), weights(tmp_path / "told" / "pipeline"))
    assert read_config(config_class, [*argv, "unused", "--mixed_precision", "no"]).mixed_precision == "no"


@pytest.mark.slow
def test_inpainting_too(tmp_path: Path, tiny_config: Path) -> None:
    argv = ["--config", str(tiny_config), "--max_steps", "2", "--output_dir"]
    inpaint.main([*argv, str(tmp_path / "auto"), "--mixed_precision", "auto"])
    AcceleratorState._reset_state()
    inpaint.main([*argv, str(tmp_path / "told"), "--mixed_precision", precision_of(tmp_path / "auto")])
    assert curve(tmp_path / "auto", "loss_patch") == curve(tmp_path / "told", "loss_patch")
    assert same(weights(tmp_path / "auto" / "pipeline"), weights(tmp_path / "told" / "pipeline"))


def test_an_ablation_is_applied_once(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path, pictures, max_steps=1, ablation="d", **options_of("exemplar", tmp_path))
    exemplar.main(
        ["--config", str(config), "--output_dir", str(tmp_path / "run"), "--mixed_precision", "auto"]
    )
    assert not curve(tmp_path / "run", "generator_attribute")


def test_unknown_precisions_are_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no, bf16, fp16, auto; got 'fp8'"):
        LoopConfig(output_dir="unused", max_steps=1, mixed_precision="fp8")
    with pytest.raises(ValueError, match="launch"):
        TimedTrainer(timed_config(pictures, tmp_path, mixed_precision="auto"))


@pytest.mark.slow
def test_the_slowest_process_counts_for_all(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path, pictures, max_steps=1, mixed_precision="auto")
    options = ["--config", str(config), "--output_dir", str(tmp_path / "run")]
    launch_probe(2, tmp_path / "choice", options, PROBE)
    assert [(tmp_path / f"choice.{rank}").read_text() for rank in (0, 1)] == ["no", "no"]
