"""GRIG training end to end on tiny networks: losses fall, runs resume exactly, every variant of the thesis runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from facekit import FaceInpaintPipeline
from facekit.losses.adversarial import forged_patch_discriminator_loss, soft_patch_labels
from facekit.losses.perceptual import LPIPSLoss, feature_matching_loss
from facekit.models.face_parser import FaceParser
from train.engine.config import read_config
from train.inpaint.config import InpaintConfig
from train.inpaint.trainer import InpaintTrainer

ROOT = Path(__file__).resolve().parents[2]


def train(config: Path, output: Path, *options: str) -> dict[str, torch.Tensor]:
    """The final weights of a run."""
    argv = ["--config", str(config), "--output_dir", str(output), *options]
    AcceleratorState._reset_state(
        reset_partial_state=True
    )  # one process, several runs of different precision
    InpaintTrainer(read_config(InpaintConfig, argv)).train()
    return weights_of(output / "pipeline")


def weights_of(pipeline: Path) -> dict[str, torch.Tensor]:
    return load_file(pipeline / "residual_inpainter" / "diffusion_pytorch_model.safetensors")


def curve(output: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (output / "curves.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_learns_and_writes_a_pipeline(tmp_path: Path, tiny_config: Path) -> None:
    output = tmp_path / "run"
    options = {"max_steps": 30, "shots": 2, "flip": "false", "augment": "''", "reasoning_steps": 1}
    options |= {"pixel_weight": 20, "learning_rate": 0.005, "average.min_decay": 0, "average.decay": 0.5}
    train(tiny_config, output, *(str(part) for key, value in options.items() for part in (f"--{key}", value)))
    pixel = curve(output, "generator_pixel")
    assert np.mean(pixel[-5:]) < 0.8 * np.mean(pixel[:5])
    pipe = FaceInpaintPipeline.from_pretrained(output / "pipeline")
    photo = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    filled = np.asarray(pipe(photo, mask, region="image").images[0])
    assert (filled[mask == 0] == 90).all()


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, tiny_config: Path) -> None:
    whole = train(tiny_config, tmp_path / "whole", "--max_steps", "4")
    other = train(tiny_config, tmp_path / "other", "--max_steps", "4", "--seed", "1")
    assert not same(whole, other), "the comparison below would hold for any two runs"
    train(tiny_config, tmp_path / "parts", "--max_steps", "2")
    first = json.loads((tmp_path / "parts/pipeline/training.json").read_text())
    parts = train(tiny_config, tmp_path / "parts", "--max_steps", "4")
    assert same(whole, parts)
    record = json.loads((tmp_path / "parts/pipeline/training.json").read_text())
    assert record["stage"] == "train.inpaint" and (first["steps"], record["steps"]) == (2, 4)
    assert record["pictures"] == 4 * record["batch_size"] and record["minutes"] > first["minutes"] > 0
    assert record["complete"] and record["device"] and record["processes"] == 1
    assert curve(tmp_path / "parts", "loss_patch") == curve(tmp_path / "whole", "loss_patch")


def test_a_run_out_of_its_minutes_is_not_complete(tmp_path: Path, tiny_config: Path) -> None:
    train(tiny_config, tmp_path, "--max_steps", "1000", "--max_minutes", "1e-6")
    record = json.loads((tmp_path / "pipeline/training.json").read_text())
    assert record["steps"] == 1 and not record["complete"]


def test_finished_checkpoints_are_not_overwritten_unasked(tmp_path: Path, tiny_config: Path) -> None:
    train(tiny_config, tmp_path / "run", "--max_steps", "1")
    with pytest.raises(ValueError, match="already holds checkpoints"):
        train(tiny_config, tmp_path / "run", "--max_steps", "1", "--resume", "false")


@pytest.mark.slow
def test_killed_in_the_middle_of_a_save(tmp_path: Path, tiny_config: Path) -> None:
    output = tmp_path / "killed"
    options = ["--max_steps", "6", "--checkpoint_every", "1"]
    command = [
        sys.executable,
        "-m",
        "train.inpaint",
        "--config",
        str(tiny_config),
        "--output_dir",
        str(output),
        *options,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    checkpoints = output / "checkpoints"
    caught = False
    for _ in range(4):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            names = os.listdir(checkpoints) if checkpoints.exists() else []
            if any(name.endswith(".partial") for name in names) and any(
                name.startswith("step-") for name in names
            ):
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.0005)
        caught = any(path.suffix == ".partial" for path in checkpoints.iterdir())
        if caught:
            break
    assert caught, "no save was caught half-way"
    resumed = train(tiny_config, output, *options)
    assert not list(checkpoints.glob("*.partial"))
    assert same(resumed, train(tiny_config, tmp_path / "whole", *options))


@pytest.mark.parametrize(
    "options",
    [
        *(["--ablation", name] for name in "ABCDE"),
        ["--reasoning_steps", "9"],
        [
            "--update_order",
            "published",
            "--adversarial.mask_patch_loss",
            "false",
            "--gradient_accumulation_steps",
            "2",
        ],
        ["--mixed_precision", "bf16"],
        ["--shots", "5"],
    ],
    ids=lambda options: "-".join(options).replace("--", ""),
)
def test_variants_of_the_thesis(tmp_path: Path, tiny_config: Path, options: list[str]) -> None:
    before = train(tiny_config, tmp_path / "start", "--max_steps", "1", "--learning_rate", "0", *options)
    after = train(tiny_config, tmp_path / "run", "--max_steps", "1", *options)
    assert not same(before, after)
    terms = json.loads((tmp_path / "run" / "curves.jsonl").read_text().splitlines()[0])
    assert ("loss_patch" in terms) == ("A" not in options)
    assert ("loss_projected" in terms) == ("B" not in options)


def test_best_weights_and_samples(tmp_path: Path, tiny_config: Path, pictures: Path) -> None:
    output = tmp_path / "run"
    options = ["--validation.data", str(pictures), "--validation.split", "train", "--validation.images", "3"]
    train(
        tiny_config,
        output,
        *options,
        "--validation.every",
        "1",
        "--sample_every",
        "2",
        "--tracker",
        "tensorboard",
    )
    psnr = curve(output, "validation_psnr")
    assert len(psnr) == 4
    state = json.loads(sorted(output.glob("checkpoints/step-*/run.json"))[-1].read_text())
    assert state["best"]["psnr"] == pytest.approx(max(psnr))
    FaceInpaintPipeline.from_pretrained(output / "best")
    assert Image.open(output / "samples" / "validation-000000004.png").size == (3 * 64, 3 * 64)
    assert Image.open(output / "samples" / "train-000000002.png").size == (2 * 64, 3 * 64)
    assert list(output.glob("logs/**/events.out.tfevents.*"))


def test_start_from_other_weights(tmp_path: Path, tiny_config: Path) -> None:
    first = train(tiny_config, tmp_path / "first", "--max_steps", "1")
    again = train(
        tiny_config, tmp_path / "again", "--max_steps", "1", "--learning_rate", "0",
        "--init_from", str(tmp_path / "first" / "pipeline"),
    )  # fmt: skip
    kernels = [name for name in first if name.endswith("conv.weight")]
    assert kernels
    assert all(torch.equal(first[name], again[name]) for name in kernels)
    config = (tmp_path / "again" / "pipeline" / "residual_inpainter" / "config.json").read_text()
    assert str(tmp_path) not in config


def test_measured_statistics_are_those_of_the_data(tmp_path: Path, tiny_config: Path) -> None:
    argv = ["--config", str(tiny_config), "--output_dir", str(tmp_path / "run"), "--statistics_batches", "3"]
    options = ["--freeze_batch_statistics", "true", "--reasoning_steps", "1"]
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer = InpaintTrainer(read_config(InpaintConfig, [*argv, *options]))
    network, seen = trainer.generator.network, []
    first = next(part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d))
    hook = first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].mean(dim=(0, 2, 3))))
    trainer.measure_statistics(network)
    hook.remove()
    assert len(seen) == 3
    torch.testing.assert_close(first.running_mean, torch.stack(seen).mean(dim=0))
    assert not first.training
    assert network.training
    before = first.running_mean.clone()
    trainer.train()
    assert torch.equal(first.running_mean, before), "frozen statistics moved"


def test_missing_lpips_weights_are_said_or_refused(
    tmp_path: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))  # as on a machine that never fetched them
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="LPIPS"):
        LPIPSLoss("vgg")
    options = ["--pictures.perceptual", "lpips", "--max_steps", "1"]
    with pytest.raises(OSError, match="LPIPS"):
        train(tiny_config, tmp_path / "refused", *options)
    train(tiny_config, tmp_path / "said", *options, "--pictures.substitute", "feature_matching")
    printed = capsys.readouterr()
    assert "uses feature_matching in its place" in printed.out + printed.err
    assert curve(tmp_path / "said", "generator_feature_matching")[0] > 0


def test_a_parser_may_look_at_the_fill(tmp_path: Path, tiny_config: Path) -> None:
    FaceParser(16, (4, 8)).save_pretrained(tmp_path / "parser")
    parser, weight = ["--pictures.parser", str(tmp_path / "parser")], ["--pictures.parser_weight", "2"]
    options = ["--pictures.perceptual", "none", "--max_steps", "2"]
    without = train(tiny_config, tmp_path / "without", *options)
    assert not same(without, train(tiny_config, tmp_path / "run", *options, *parser, *weight))
    assert curve(tmp_path / "run", "generator_parser")[0] > 0
    with pytest.raises(ValueError, match="parser_weight needs a network"):
        train(tiny_config, tmp_path / "refused", *options, *weight)


def test_feature_matching_needs_a_discriminator(tmp_path: Path, tiny_config: Path) -> None:
    argv = ["--config", str(tiny_config), "--output_dir", str(tmp_path / "run"), "--ablation", "A"]
    config = read_config(InpaintConfig, argv)
    config.ablation = "A"
    trainer = InpaintTrainer(config)  # the projected discriminator is left
    assert len(trainer.losses.networks) == 1


def test_forged_patch_loss_by_hand() -> None:
    real = torch.tensor([[[[2.0, 0.5]]]])
    fake = torch.tensor([[[[0.25, -3.0]]]])
    labels = torch.tensor([[[[0.0, 1.0]]]])
    # real: (0 + 0.5) / 2; kept cell: (1 - 0.25) / 2; forged cell: relu(1 - 3) = 0
    assert forged_patch_discriminator_loss(real, fake, labels).item() == pytest.approx(0.25 + 0.375)
    wrong = torch.tensor([[[[0.25, 3.0]]]])
    assert forged_patch_discriminator_loss(real, wrong, labels).item() == pytest.approx(0.25 + 0.375 + 2.0)


def test_soft_labels_blur_the_rim() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :, 32:] = 1
    labels = soft_patch_labels(mask, (8, 8))
    assert labels[0, 0, 4, 0] == 0
    assert labels[0, 0, 4, 7] == pytest.approx(1)
    assert 0.1 < labels[0, 0, 4, 3] < 0.5 < labels[0, 0, 4, 4] < 0.9


def test_feature_matching_is_zero_on_equal_features_only() -> None:
    features = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    assert feature_matching_loss(features, features).item() == 0
    assert feature_matching_loss(features, [f + 1 for f in features]).item() > 0.1
