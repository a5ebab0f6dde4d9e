"""What attribute directions do in pictures: by number, through the encoder, and by eye, on a sheet."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator


def shrink_prior(prior: StyleGAN2Generator, size: int) -> StyleGAN2Generator:
    """The same generator, stopped at a smaller size: its RGB heads add up, so smaller pictures are whole ones."""
    if size >= prior.config.sample_size:
        return prior
    small = StyleGAN2Generator.from_config({**prior.config, "sample_size": size}).eval()
    known = prior.state_dict() | {"latent_avg": prior.latent_avg[: small.num_styles]}
    small.load_state_dict({name: known[name] for name in small.state_dict()})
    return small


@torch.inference_mode()
def measure_in_pictures(
    scores: Callable[[Tensor], dict[str, Tensor]],
    directions: dict[str, Tensor],
    codes: Tensor,
    prior: StyleGAN2Generator,
    encoder: StyleEncoder,
) -> dict[str, dict[str, float]]:
    """How far the scores move for a unit of each direction: codes [M, n, D] at -2 and +2, rendered, encoded again.

    `scores`: codes -> score of each attribute [M], in standard deviations.
    """

    def read(shifted: Tensor) -> dict[str, Tensor]:
        return scores(encoder(prior(w_plus=shifted, noise="fixed").image.float().clamp(-1, 1)).float())

    table = {}
    for name, direction in directions.items():
        low, high = read(codes - 2 * direction), read(codes + 2 * direction)
        table[name] = {other: round(float((high[other] - low[other]).mean()) / 4, 3) for other in high}
    return table


@torch.inference_mode()
def write_sheet(path: Path, prior: StyleGAN2Generator, codes: Tensor, directions: dict[str, Tensor]) -> None:
    """For each direction and each of the codes [M, n, D] a row of pictures from -3 to 3."""
    rows = []
    for direction in directions.values():
        for base in codes:
            shifted = torch.stack([base + amount * direction for amount in range(-3, 4)])
            image = prior(w_plus=shifted, noise="fixed").image.float().clamp(-1, 1).add(1).mul(127.5).byte()
            rows.append(np.concatenate(list(image.permute(0, 2, 3, 1).numpy()), 1))
    Image.fromarray(np.concatenate(rows)).save(path)
