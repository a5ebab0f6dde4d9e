"""What attribute directions change in pictures: in numbers, through the encoder, and for the eye, on a sheet."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator


def shrink_prior(prior: StyleGAN2Generator, size: int) -> StyleGAN2Generator:
    """The same generator for smaller pictures: its RGB heads add up, so that it can stop at any size.

    A generator that is no larger than `size` is returned as it is.
    """
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
    """Measure how far scores change for a unit of each direction, in pictures: codes are moved, painted, encoded again.

    Args:
        scores: codes -> scores [M] of each attribute, in standard deviations.
        directions: [n, D] by name.
        codes: [M, n, D]; they are moved by -2 and by +2.

    Returns:
        For each direction the mean change of each attribute's score.
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
    """Write a picture: for each direction [n, D] and each of the codes [M, n, D] a row, moved by -3 to 3."""
    rows = []
    for direction in directions.values():
        for base in codes:
            shifted = torch.stack([base + amount * direction for amount in range(-3, 4)])
            image = prior(w_plus=shifted, noise="fixed").image.float().clamp(-1, 1).add(1).mul(127.5).byte()
            rows.append(np.concatenate(list(image.permute(0, 2, 3, 1).numpy()), 1))
    Image.fromarray(np.concatenate(rows)).save(path)
