"""Tiny networks and label maps for the trainings of FACEMUG."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from tests.train.tiny_stages import DISCRIMINATOR, ENCODER, PRIOR

# A tiny run of `train.multimodal`, but for `style_encoder`, `prior` and `semantics_folder`.
MULTIMODAL: dict[str, Any] = {
    "aggregation": {"channels": 4},
    "refiner": {"global_dim": 8, "dropout": 0.0},
    "discriminator": DISCRIMINATOR | {"stddev_group": 1},
    "masks": {"kind": "centre"},
    "pictures.perceptual": "feature_matching",
    "adversarial.r1_every": 2,
    "guidance.thin_sketch": 0.0,
}


def label_maps(pictures: Path, folder: Path) -> Path:
    """A map for each picture: background left, hair right, a left eye in the upper left quarter, unknown below."""
    folder.mkdir(exist_ok=True)
    for path in sorted(pictures.glob("*.png")):
        labels = np.zeros((64, 64), np.uint8)
        labels[:, 32:] = 17
        labels[8:24, 8:24] = 4
        labels[56:] = 255
        Image.fromarray(labels).save(folder / path.name)
    return folder


def tiny_edit_guides(folder: Path) -> Path:
    """Prior of 16 pixels, encoder of 26 channels for its codes, RGB encoder (`teacher`) and identity encoder."""
    torch.manual_seed(0)
    prior = StyleGAN2Generator(**PRIOR)
    prior.latent_avg.copy_(prior.mean_style(64).expand_as(prior.latent_avg))
    prior.save_pretrained(folder / "prior")
    for name, channels in (("style_encoder", 26), ("teacher", 3)):
        encoder = StyleEncoder(num_styles=6, style_dim=8, in_channels=channels, **ENCODER)
        encoder.latent_avg.copy_(prior.latent_avg)
        encoder.save_pretrained(folder / name)
    IdentityEncoder(32, (1, 1, 1, 1), 8, 16).save_pretrained(folder / "identity_encoder")
    return folder
