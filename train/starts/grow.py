"""Progressive growing (Karras et al. 2018): networks trained on small pictures go on as networks of larger ones.

A step at half the size costs a quarter, so a starter that has to learn on a CPU sees most of its pictures small. Layers
of the same resolution keep their weights; those of new resolutions start afresh. New RGB heads start at zero, so that a
grown generator begins with its old picture, enlarged.
"""

import re

import torch
from torch import nn

from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator

# Lists of layers that begin with the largest resolution: old entries move behind the new ones.
LARGEST_FIRST = {StyleGAN2Discriminator: ("blocks",)}
# Layers at the resolution of the picture, whose width depends on it.
AT_PICTURE_SIZE = {StyleGAN2Discriminator: ("stem.",)}


@torch.no_grad()
def grow(small: nn.Module, large: nn.Module) -> list[str]:
    """Copy the weights of a trained network into one of the same kind for larger pictures, in place.

    Args:
        small, large: generators or discriminators of StyleGAN2 that differ in `sample_size` alone.

    Returns:
        The names of weights of `large` that were not copied, sorted.

    Raises:
        ValueError: they are of different kinds, `large` is the smaller one, or they differ in more than the size.
    """
    kind = type(large)
    if type(small) is not kind or kind not in (StyleGAN2Generator, StyleGAN2Discriminator):
        raise ValueError(f"a {type(small).__name__} cannot grow into a {kind.__name__}")
    if small.config.sample_size > large.config.sample_size:
        raise ValueError(
            f"pictures of {small.config.sample_size} pixels cannot grow to {large.config.sample_size}"
        )
    steps = (large.config.sample_size // small.config.sample_size).bit_length() - 1
    state, fresh = large.state_dict(), set(large.state_dict())
    for name, value in small.state_dict().items():
        if steps and name.startswith(AT_PICTURE_SIZE.get(kind, ())):
            continue
        for stack in LARGEST_FIRST.get(kind, ()):
            name = re.sub(rf"^{stack}\.(\d+)\.", lambda m, s=stack: f"{s}.{int(m[1]) + steps}.", name)
        if name == "latent_avg":
            # New codes begin at the mean of the old ones' last.
            value = torch.cat([value, value[-1:].expand(len(state[name]) - len(value), -1)])
        if name not in state or state[name].shape != value.shape:
            raise ValueError(
                f"{name} has the shape {list(value.shape)}, the larger network's is "
                f"{list(state[name].shape) if name in state else 'missing'}: only sample_size may differ"
            )
        state[name] = value
        fresh.discard(name)
    large.load_state_dict(state)
    if kind is StyleGAN2Generator:
        for level in large.levels[len(small.levels) :]:
            level.to_rgb.weight.zero_()
            level.to_rgb.bias.zero_()
    return sorted(fresh)
