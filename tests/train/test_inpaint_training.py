"""GRIG training end to end on tiny networks: losses fall, runs resume exactly, every variant of the thesis runs."""

import json
import math
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
from facekit.losses.adversarial import (
    forged_patch_discriminator_loss,
    soft_patch_discriminator_loss,
    soft_patch_generator_loss,
    soften_mask,
)
from facekit.losses.perceptual import LPIPSLoss, feature_matching_loss
from facekit.models.face_parser import FaceParser
from facekit.models.residual_inpainter import ResidualInpainter
from tests.train.conftest import TINY
from train.engine.config import read_config, read_yaml
from train.inpaint.config import InpaintConfig
from train.inpaint.losses import Shown, diversity_loss
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


@pytest.mark.slow
def test_training_learns_and_writes_a_pipeline(tmp_path: Path, tiny_config: Path) -> None:
    output = tmp_path / "run"
    options = {"max_steps": 30, "shots": 2, "flip": "false", "augment": "''", "single_step_iterations": 99}
    options |= {"pixel_weight": 20, "learning_rate": 0.005, "average.min_decay": 0, "average.decay": 0.5}
    train(tiny_config, output, *(str(part) for key, value in options.items() for part in (f"--{key}", value)))
    pixel = curve(output, "generator_pixel")
    assert np.mean(pixel[-5:]) < 0.8 * np.mean(pixel[:5])
    pipe = FaceInpaintPipeline.from_pretrained(output / "pipeline")
    assert pipe.config["num_inference_steps"] == 1, "as many as it was trained with"
    photo = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    filled = np.asarray(pipe(photo, mask, region="image").images[0])
    assert (filled[mask == 0] == 90).all()


@pytest.mark.slow
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


@pytest.mark.slow
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
    pipe = FaceInpaintPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    photo, hole = np.full((64, 64, 3), 90, np.uint8), np.zeros((64, 64), bool)
    hole[20:40, 20:40] = True
    filled = np.asarray(pipe(photo, hole, aligned=True).images[0])
    assert (filled[~hole] == 90).all() and (filled[hole] != 90).any()


@pytest.mark.slow
def test_thesis_forms_train_and_load(tmp_path: Path, tiny_config: Path) -> None:
    options = ["--form", "thesis"]
    before = train(tiny_config, tmp_path / "start", "--max_steps", "1", "--learning_rate", "0", *options)
    after = train(tiny_config, tmp_path / "run", "--max_steps", "2", *options)
    kernel = "context.latent.0.attention.to_qkv"
    assert f"{kernel}.u" in after and not torch.equal(before[f"{kernel}.weight"], after[f"{kernel}.weight"])
    pipe = FaceInpaintPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert pipe.residual_inpainter.config.form == "thesis"
    start = ["--init_from", str(tmp_path / "run" / "pipeline"), "--max_steps", "1"]
    with pytest.raises(ValueError, match=r"has the thesis form, .* say --form thesis"):
        train(tiny_config, tmp_path / "other", *start)
    train(tiny_config, tmp_path / "same", *start, *options)


def test_the_form_is_said_once() -> None:
    """Options of a network are replaced as a whole, and the form would go with them unsaid."""
    for name in ("inpainter", "projected"):
        with pytest.raises(ValueError, match=f"say --form, not {name}"):
            InpaintConfig(data="folder", output_dir="runs/x", max_steps=1, **{name: {"form": "thesis"}})
    given = read_yaml(ROOT / "train/configs/inpaint/thesis.yaml") | {"inpainter": {"style_dim": 64}}
    assert InpaintConfig(data="folder", output_dir="runs/x", **given).form == "thesis"


@pytest.mark.parametrize(
    ("preset", "batches", "augment"),
    [
        ("thesis", 400_000, "color,translation"),
        ("thesis-large", 1_000_000, ""),
        ("thesis-large-places365", 2_000_000, ""),
    ],
)
def test_thesis_presets_have_the_constants_of_the_thesis(preset: str, batches: int, augment: str) -> None:
    """Sections 4.2.1, 4.3.1, 4.3.2 and 4.3.3, whatever the defaults of the options become."""
    given = read_yaml(ROOT / f"train/configs/inpaint/{preset}.yaml")
    assert (given["max_steps"], given["augment"]) == (batches, augment)
    assert given["pictures"]["perceptual"] == "lpips" and given["pictures"]["perceptual_weight"] == 1.5
    assert (given["adversarial"]["weight"], given["adversarial"]["patch_weight"]) == (1, 1)
    assert (given["reasoning_steps"], given["batch_size"], given["masks"]) == (3, 8, {"kind": "cmod"})
    assert (given["learning_rate"], given["betas"]) == (2e-4, [0.5, 0.999])
    assert given["form"] == "thesis" and "inpainter" not in given
    assert given["projected"] == {"backbone": "tf_efficientnet_lite1"}
    config = InpaintConfig(data="folder", output_dir="runs/x", **given)
    assert (config.validation.best, config.validation.masks) == ("fid", {"kind": "centre"})
    assert config.pictures.lpips_net == "vgg" and config.adversarial.mask_patch_loss
    with torch.device("meta"):
        assert ResidualInpainter(**config.inpainter).config.sample_size == 256


@pytest.mark.slow
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


def test_the_soft_mask_blurs_the_rim_by_loops() -> None:
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., :, 48:] = 1
    soft = soften_mask(mask, (12, 12))
    weights = [math.exp(-((offset / 10) ** 2) / 2) for offset in range(-35, 36)]
    for cell in range(12):
        pixels = []
        for x in range(8 * cell, 8 * cell + 8):
            inside = [w for w, offset in zip(weights, range(-35, 36), strict=True) if x + offset >= 48]
            pixels.append(sum(inside) / sum(weights))
        assert soft[0, 0, 6, cell].item() == pytest.approx(sum(pixels) / 8, abs=1e-5)
    # Far wider than the rim itself, and known and hole stay what they are far from it.
    assert soft[0, 0, 6, 0] == 0 and soft[0, 0, 6, 11] == pytest.approx(1)
    assert 0.1 < soft[0, 0, 6, 4] < 0.5 < soft[0, 0, 6, 7] < 0.9


def test_soft_patch_losses_by_hand() -> None:
    """AOT-GAN's: truth is 1 everywhere, a completed picture 1 - soft mask; the generator's term counts in the hole."""
    real, fake = torch.tensor([[[[1.0, 0.5]]]]), torch.tensor([[[[0.5, 0.5]]]])
    soft = torch.tensor([[[[0.25, 1.0]]]])
    wanted = (0 + 0.25) / 2 + ((0.5 - 0.75) ** 2 + (0.5 - 0.0) ** 2) / 2
    assert soft_patch_discriminator_loss(real, fake, soft).item() == pytest.approx(wanted)
    hole = torch.zeros(1, 1, 4, 8)
    hole[..., 4:] = 1
    fake = torch.tensor([[[[-3.0, 0.2]]]])
    assert soft_patch_generator_loss(fake, hole).item() == pytest.approx(0.8**2 / 2)
    assert soft_patch_generator_loss(fake, None).item() == pytest.approx((16 + 0.8**2) / 2)


def test_ablation_d_trains_by_the_soft_losses(tmp_path: Path, tiny_config: Path) -> None:
    argv = ["--config", str(tiny_config), "--output_dir", str(tmp_path / "run"), "--ablation", "D"]
    AcceleratorState._reset_state(reset_partial_state=True)
    losses = InpaintTrainer(read_config(InpaintConfig, argv)).losses
    patch = losses.patch
    assert patch is not None
    real, fake = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    patch.eval()
    with torch.no_grad():
        on_real, on_fake = patch.discriminator(real), patch.discriminator(fake)
        soft = soften_mask(mask, on_fake.shape[-2:])
        wanted = (on_real - 1).square().mean() + (on_fake + soft - 1).square().mean()
        assert patch(real, fake, mask).item() == pytest.approx(wanted.item(), rel=1e-5)
        _, terms = losses.generator_loss(Shown(fake, real, mask, {}, {}))
        assert terms["generator_patch"].item() == pytest.approx(
            soft_patch_generator_loss(on_fake, mask).item(), rel=1e-5
        )


def test_diversity_by_hand() -> None:
    image, mask = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    mask[:, :, :2] = 1
    other = image.clone()
    other[0, 0, 0, 0] = 0.6  # 0.6 / (3 channels of 8 pixels)
    other[0, :, 3] = 9  # outside the hole
    other[1] = 1
    assert diversity_loss(image, other, mask, 0.1).item() == pytest.approx((0.1 - 0.6 / 24 + 0) / 2)


@pytest.mark.slow
def test_diversity_keeps_codes_from_being_ignored(tmp_path: Path, tiny_config: Path, pictures: Path) -> None:
    """Seeds then fill differently, as validation says and the pipeline shows; without the term they hardly do."""
    inpainter = json.dumps(TINY["inpainter"] | {"style_dim": 8, "num_mapping_layers": 2})
    chosen = {"inpainter": inpainter, "max_steps": 15, "reasoning_steps": 1, "learning_rate": 0.005}
    chosen |= {"pictures.perceptual": "none", "adversarial.weight": 0, "adversarial.patch_weight": 0}
    chosen |= {"pixel_weight": 1, "average.decay": 0, "average.min_decay": 0, "statistics_batches": 2}
    chosen |= {
        "validation.data": pictures,
        "validation.split": "train",
        "validation.every": 15,
        "validation.images": 4,
    }
    options = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
    found = {}
    for weight in (0, 3):
        folder = tmp_path / str(weight)
        train(tiny_config, folder, *options, "--diversity_weight", str(weight), "--diversity_margin", "0.3")
        (found[weight],) = curve(folder, "validation_diversity")
        assert Image.open(folder / "samples" / "validation-000000015.png").size == (4 * 64, 4 * 64)
    assert found[3] > 3 * found[0] > 0
    terms = curve(tmp_path / "3", "generator_diversity")
    assert np.mean(terms[-5:]) < 0.8 * np.mean(terms[:3]) and not curve(tmp_path / "0", "generator_diversity")

    pipe = FaceInpaintPipeline.from_pretrained(tmp_path / "3" / "pipeline")
    photo = Image.open(pictures / "00.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255

    def fill(*seeds: int, max_batch_size: int = 8) -> list[np.ndarray]:
        source = [torch.Generator().manual_seed(seed) for seed in seeds]
        options = {"region": "image", "crop": "whole", "max_batch_size": max_batch_size}
        filled = pipe([photo] * len(seeds), mask, generator=source, **options)
        return [np.asarray(image, np.float32)[16:48, 16:48] for image in filled.images]

    first, second, again = fill(1, 2, 1)
    assert np.abs(first - second).mean() > 5 and np.array_equal(first, again)
    assert all(
        np.abs(a - b).max() <= 1 for a, b in zip(fill(1, 2, max_batch_size=1), (first, second), strict=True)
    )


def test_diversity_resumes_and_needs_codes(tmp_path: Path, tiny_config: Path) -> None:
    inpainter = ["--inpainter", json.dumps(TINY["inpainter"] | {"style_dim": 8, "num_mapping_layers": 2})]
    options = [*inpainter, "--diversity_weight", "1", "--update_order", "published", "--reasoning_steps", "2"]
    options += ["--gradient_accumulation_steps", "2"]
    whole = train(tiny_config, tmp_path / "whole", "--max_steps", "2", *options)
    train(tiny_config, tmp_path / "parts", "--max_steps", "1", *options)
    assert same(whole, train(tiny_config, tmp_path / "parts", "--max_steps", "2", *options))
    with pytest.raises(ValueError, match=r"this inpainter has none: give it inpainter: \{style_dim: 64\}"):
        train(tiny_config, tmp_path / "refused", "--diversity_weight", "1")
    with pytest.raises(ValueError, match="diversity_margin above 0"):
        train(tiny_config, tmp_path / "refused", *inpainter, "--diversity_margin", "0")


def test_feature_matching_is_zero_on_equal_features_only() -> None:
    features = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    assert feature_matching_loss(features, features).item() == 0
    assert feature_matching_loss(features, [f + 1 for f in features]).item() > 0.1
