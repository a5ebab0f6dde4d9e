"""A family whose stages look trained: networks that take milliseconds, checkpoints' notes and curves, no training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from facekit import StyleEncoder, StyleGAN2Generator
from facekit.pipelines.sample import CODES_FILE
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)
from train.starters.family import Family

SIZE = 64
SHARP_STEPS = 2  # that the last inpainter takes; neither the pipeline's default nor the bundled model's
LOSSES = [
    {"step": step, "samples": 8 * step, "restorer_l1": 1 / step, "restorer_imagenet": 2 / step}
    for step in (10, 20, 30)
]
# The best ImageNet distance is not the last one, and does not go with the best PSNR.
SCORES = [
    {"step": step, "samples": 8 * step, "validation_imagenet": distance, "validation_psnr": 20 + step / 10}
    for step, distance in ((15, 0.9), (25, 0.5), (35, 0.7))
]


def write_pictures(folder: Path, count: int) -> Path:
    """Noise that is no face; every third picture is larger, gray and not square."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        shape = (90, 70) if i % 3 == 2 else (SIZE, SIZE, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def write_autoencoder(folder: Path) -> None:
    """A generator with codes of four faces, a style encoder."""
    torch.manual_seed(0)
    prior = StyleGAN2Generator(SIZE, 16, channel_base=512, max_channels=16, num_mapping_layers=2)
    prior.save_pretrained(folder / "prior")
    save_file({"w_plus": torch.randn(4, prior.num_styles, 16).half()}, folder / "prior" / CODES_FILE)
    encoder = StyleEncoder(
        sample_size=32,
        num_styles=10,
        stem_channels=8,
        channels=(8, 12, 16, 16),
        num_blocks=(1, 1, 1, 1),
        se_reduction=4,
        style_dim=16,
    )
    encoder.save_pretrained(folder / "style_encoder")


def write_stage(
    family: Family,
    stage: str,
    write: Callable[[Path], Any],
    kept: str = "pipeline",
    curves: Sequence[dict[str, float]] = (),
    **options: Any,
) -> None:
    """A finished stage, whose networks lie in the folder `kept`; `options` are those that its run was given."""
    folder = family.folder(stage)
    checkpoint = folder / "checkpoints" / "step-000000040"
    checkpoint.mkdir(parents=True)
    config = {"data": dict(family.data), "output_dir": str(folder), "batch_size": 8} | options
    best = {"imagenet": 0.5} if kept == "best" else {}
    state = {"step": 40, "samples_seen": 320, "best": best, "minutes": 1.25, "config": config}
    (checkpoint / "run.json").write_text(json.dumps(state))
    if curves:
        (folder / "curves.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curves))
    write(folder / kept)
    (folder / "done").touch()


def write_family(family: Family) -> None:
    """All stages of a family of 64 pixels, finished."""
    edit = tiny_edit_pipeline(directions=False).save_pretrained
    restored = tiny_restore_pipeline(identity=False).save_pretrained
    inpainted = tiny_inpaint_pipeline().save_pretrained
    sharpened = tiny_inpaint_pipeline(SHARP_STEPS).save_pretrained

    def pipeline_of(stage: str) -> str:
        return str(family.folder(stage) / "pipeline")

    write_stage(family, "autoencoder", write_autoencoder)
    write_stage(family, "restorer-plain", restored, curves=LOSSES)
    write_stage(family, "inpaint", inpainted)
    write_stage(family, "inpaint-sharp", sharpened, "best", SCORES, init_from=pipeline_of("inpaint"))
    write_stage(family, "code-diffuser", restored)
    more = {
        "adversarial": {"critic": "projected"},
        "mixed_precision": "bf16",
        "init_from": pipeline_of("restorer-plain"),
    }
    write_stage(family, "restorer", restored, "best", LOSSES + SCORES, **more)
    write_stage(family, "exemplar", tiny_exemplar_pipeline().save_pretrained)
    write_stage(family, "encoder-multimodal", edit, init_from=pipeline_of("autoencoder"))
    write_stage(family, "latent-warper", edit)
    write_stage(family, "edit", edit)
