"""The networks that EXE-GAN's training starts from, and whether they fit each other."""

from collections.abc import Callable
from typing import Any

from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from train.engine.stage import load_component
from train.exemplar.config import ExemplarConfig
from train.starts.from_prior import start_from_prior
from train.starts.grow_exemplar import grow_generator
from train.starts.quiet import quieten_styles


def build_generator(
    config: ExemplarConfig, encoder: StyleEncoder, say: Callable[[str], None]
) -> MultiStyleGenerator:
    """Build a new generator for the encoder's codes, or load that of `init_from`.

    A loaded one gets a sketch channel and grows to a larger `sample_size` where the options say so; `say` tells the
    person at the terminal.

    Raises:
        ValueError: the generator of `init_from` is another than the options say, or it reads sketches and the run has
            none; or the prior does not fit.
    """
    options: dict[str, Any] = {"style_dim": encoder.config.style_dim, "use_sketch": config.sketches.read}
    options |= config.multi_style_generator
    if config.init_from is None:
        generator = MultiStyleGenerator(**options)
        if config.quiet_styles:
            # The exemplar's and random codes speak softly, the global code not at all.
            quieten_styles(generator, range(generator.config.style_dim), share=0.2)
        if config.prior is not None:
            start_from_prior(generator, load_component(StyleGAN2Generator, config.prior, "prior"))
    else:
        generator = load_component(MultiStyleGenerator, config.init_from, "multi_style_generator")
        if config.sketches.read and not generator.config.use_sketch:
            generator = generator.sketch_variant()
        size = options.pop("sample_size", generator.config.sample_size)
        for name, value in config.multi_style_generator.items():
            if name != "sample_size" and generator.config.get(name) != value:
                raise ValueError(
                    f"{config.init_from} has {name} {generator.config.get(name)}, the options say {value}"
                )
        if size != generator.config.sample_size:
            small, generator = generator, generator.from_config({**generator.config, "sample_size": size})
            grow_generator(small, generator)
            if config.prior is not None:
                prior = load_component(StyleGAN2Generator, config.prior, "prior")
                start_from_prior(generator, prior, first_level=len(small.levels))
            say(f"generator: grown from {small.config.sample_size} to {size} pixels")
    if generator.config.use_sketch != config.sketches.read:
        wanted = str(generator.config.use_sketch).lower()
        raise ValueError(f"the generator has use_sketch {wanted}: say --sketches.read {wanted}")
    return generator


def choose_layers(config: ExemplarConfig, encoder: StyleEncoder, generator: MultiStyleGenerator) -> list[int]:
    """Choose phi of Eq. 5.1: the indices of the codes that the exemplar gives, in order.

    The generator's `first_exemplar_style` becomes the first of them.

    Raises:
        ValueError: the encoder does not give these codes, or codes of another length.
    """
    count, given = generator.num_styles, encoder.config
    if given.num_styles < count or given.style_dim != generator.config.style_dim:
        raise ValueError(
            f"the style encoder gives {given.num_styles} codes of {given.style_dim} numbers, the generator reads "
            f"{count} of {generator.config.style_dim}"
        )
    layers = config.exemplar_layers
    layers = range(generator.config.first_exemplar_style, count) if layers is None else layers
    layers = sorted(set(layers))
    if not given.first_style <= layers[0] <= layers[-1] < count:
        raise ValueError(
            f"exemplar_layers are {layers[0]} to {layers[-1]}; generator and style encoder share the codes "
            f"{given.first_style} to {count - 1}"
        )
    generator.register_to_config(first_exemplar_style=layers[0])
    return layers
