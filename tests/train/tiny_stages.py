"""Runs of all stages over `train.engine.stage` on networks that take seconds."""

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.schedulers import CodeDiffusionScheduler
from train.engine.config import read_config
from train.engine.groups import nest
from train.engine.stage import Stage, StageConfig

Trainer = TypeVar("Trainer", bound=Stage)
PRIOR = {"sample_size": 16, "style_dim": 8, "channel_base": 128, "max_channels": 16, "num_mapping_layers": 2}
DISCRIMINATOR = {"channel_base": 128, "max_channels": 16, "stddev_group": 2}
ENCODER = {
    "sample_size": 32,
    "stem_channels": 8,
    "channels": [8, 8, 16, 16],  # 1x1 convolutions of stride 2 on 4 channels crash in oneDNN 3.x
    "num_blocks": [1, 1, 1, 1],
    "se_reduction": 2,
    "coarse_styles": 2,
    "middle_styles": 4,
}
RUN: dict[str, Any] = {
    "max_steps": 4,
    "batch_size": 2,
    "log_every": 1,
    "sample_every": 0,
    "checkpoint_every": 1000,
    "tracker": "none",
}


def write_config(folder: Path, pictures: Path, **options: Any) -> Path:
    """A YAML file of a tiny run; `output_dir` is left to the command line."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(nest(RUN | {"data": str(pictures)} | options)))
    return path


def make_trainer(
    trainer: type[Trainer], options: type[StageConfig], config: Path, output: Path, **changes: Any
) -> Trainer:
    """A trainer that stands before its first step; `changes` are options, texts as they are typed."""
    argv = ["--config", str(config), "--output_dir", str(output)]
    for name, value in changes.items():
        if not isinstance(value, str | Path):
            value = yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()
        argv += [f"--{name}", str(value)]
    AcceleratorState._reset_state(reset_partial_state=True)  # several runs of one process
    return trainer(read_config(options, argv))


def run(
    trainer: type[Stage], options: type[StageConfig], config: Path, output: Path, **changes: Any
) -> dict[str, torch.Tensor]:
    """Train, and return the weights of every component written, by component and name."""
    make_trainer(trainer, options, config, output, **changes).train()
    return weights(output / "pipeline")


def weights(pipeline: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name}.{name}": value
        for path in sorted(pipeline.glob("*/*.safetensors"))
        for name, value in load_file(path).items()
    }


def curve(output: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (output / "curves.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def tiny_prior(folder: Path) -> Path:
    """A generator with a mean style, and its discriminator, as `train.prior` writes them."""
    torch.manual_seed(0)
    prior = StyleGAN2Generator(**PRIOR)
    prior.latent_avg.copy_(prior.mean_style(64).expand_as(prior.latent_avg))
    prior.save_pretrained(folder / "prior")
    StyleGAN2Discriminator(sample_size=16, **DISCRIMINATOR).save_pretrained(folder / "discriminator")
    return folder


def tiny_guides(folder: Path) -> Path:
    """Prior, style encoder and code diffuser with its scheduler, as a restorer needs them."""
    tiny_prior(folder)
    StyleEncoder(num_styles=6, style_dim=8, **ENCODER).save_pretrained(folder / "style_encoder")
    CodeDiffuser(num_styles=6, style_dim=8, num_blocks=1).save_pretrained(folder / "code_diffuser")
    CodeDiffusionScheduler.published().save_pretrained(folder / "scheduler")
    return folder


# A tiny run of `train.exemplar`, but for its `style_encoder`.
EXEMPLAR: dict[str, Any] = {
    "multi_style_generator": {
        "sample_size": 16,
        "channel_base": 128,
        "max_channels": 16,
        "global_dim": 16,
        "num_mapping_layers": 2,
        "first_exemplar_style": 2,
        "dropout": 0.0,
    },
    "discriminator": {"stddev_group": 1},
    "masks": {"kind": "ratio", "low": 0.2, "high": 0.5},
    "spatial.weights": {"kernel_size": 8, "sigma": 3.0},
    "pictures.perceptual": "feature_matching",
    "latent_samples": 64,
    "adversarial.r1_every": 2,
}


def tiny_exemplar_guides(folder: Path) -> Path:
    """A pSp encoder of the codes 2 to 7, and an identity encoder."""
    torch.manual_seed(0)
    options = ENCODER | {"num_styles": 8, "first_style": 2, "style_dim": 8, "reading": "psp"}
    StyleEncoder(**options).save_pretrained(folder / "style_encoder")
    IdentityEncoder(32, (1, 1, 1, 1), 8, 16).save_pretrained(folder / "identity_encoder")
    return folder
