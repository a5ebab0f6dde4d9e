"""Begin EXE-GAN's decoder as the face prior: codes then make a face from the first step on.

The generator's decoder has the layers of a StyleGAN2 generator; only its style vectors are longer (the global code c
beside w_i) and its first map comes from the encoder. With the numbers for c at zero, the first map the prior's
constant and the encoder's maps quiet, it draws what the prior does.
"""

import torch

from facekit.models.layers.linear import EqualizedLinear
from facekit.models.layers.modulated import StyledConv, ToRGB
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.stylegan2 import StyleGAN2Generator

QUIET = 0.1  # of the encoder's maps, and of the codes that no exemplar gives
ACTIVATION = 2**0.5


@torch.no_grad()
def start_from_prior(generator: MultiStyleGenerator, prior: StyleGAN2Generator, first_level: int = 0) -> None:
    """Give the decoder the prior's weights, in place.

    The codes below `first_exemplar_style` begin at the prior's mean and have little effect.

    Args:
        prior: at least as large, with the generator's `style_dim` and widths.
        first_level: the first of the levels that get them; a generator that has just grown keeps what it has learned.

    Raises:
        ValueError: the prior has another `style_dim`, other widths, or is smaller.
    """
    for name in ("style_dim", "channel_base", "max_channels"):
        if prior.config[name] != generator.config[name]:
            raise ValueError(
                f"the prior has {name} {prior.config[name]}, the generator {generator.config[name]}; "
                "they must be the same"
            )
    if prior.num_levels < len(generator.levels):
        raise ValueError(
            f"a prior of {prior.config.sample_size} pixels is too small for {generator.config.sample_size}"
        )
    if first_level == 0:
        _first_map(generator, prior)
        _layer(generator, prior, generator.conv, prior.conv, 0)
        _layer(generator, prior, generator.to_rgb, prior.to_rgb, 1)
        for level in generator.encoder:
            level.conv.conv.weight *= QUIET
            level.down.conv.weight /= QUIET
    for index in range(first_level, len(generator.levels)):
        mine, its = generator.levels[index], prior.levels[index]
        _layer(generator, prior, mine.up, its.up, 2 * index + 1)
        _layer(generator, prior, mine.conv, its.conv, 2 * index + 2)
        _layer(generator, prior, mine.to_rgb, its.to_rgb, 2 * index + 3)


def _first_map(generator: MultiStyleGenerator, prior: StyleGAN2Generator) -> None:
    """Make the bias behind c the prior's constant, seen through the inverse of leaky ReLU."""
    generator.bottleneck.conv.weight *= QUIET
    generator.from_global.weight *= QUIET
    constant = prior.constant.flatten() / ACTIVATION
    generator.from_global.bias.copy_(torch.where(constant > 0, constant, constant / 0.2))


def _layer(
    generator: MultiStyleGenerator,
    prior: StyleGAN2Generator,
    mine: StyledConv | ToRGB,
    its: StyledConv | ToRGB,
    code: int,
) -> None:
    """Copy a layer; of its style vector, which is longer, the numbers for c get no weight."""
    state, own = its.state_dict(), mine.state_dict()
    for name, value in own.items():
        if not name.endswith("affine.weight"):
            value.copy_(state[name])
    for (name, module), (_, source) in zip(mine.named_modules(), its.named_modules(), strict=True):
        if not (isinstance(module, EqualizedLinear) and name.endswith("affine")):
            continue
        weight = source.weight * (source.scale / module.scale)
        bias = source.bias.clone()
        if code < generator.config.first_exemplar_style:
            bias += source.weight @ prior.latent_avg[code] * source.scale
            weight = weight * QUIET
        module.weight.zero_()
        module.weight[:, : prior.config.style_dim] = weight
        module.bias.copy_(bias)
