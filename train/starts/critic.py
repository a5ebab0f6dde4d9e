"""The discriminator that a training starts from."""

from collections.abc import Callable
from typing import Any

from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from train.engine.stage import Network, load_component
from train.starts.grow import grow


def build_critic(
    options: dict[str, Any], init_from: str | None, say: Callable[[str], None]
) -> StyleGAN2Discriminator:
    """The discriminator of `init_from`, grown to the `sample_size` of `options`, or a new one with these options.

    Args:
        options: of `StyleGAN2Discriminator`.
        init_from: folder or Hub id; where it has no discriminator, a new one is built.
        say: tells the person at the terminal which it was.

    Raises:
        ValueError: see `grow`.
    """
    if init_from is not None:
        try:
            critic = load_component(StyleGAN2Discriminator, init_from, "discriminator")
        except OSError:
            say(f"{init_from} has no discriminator: it starts afresh")
        else:
            return grow_to(critic, options["sample_size"], say)
    return StyleGAN2Discriminator(**options)


def grow_to(network: Network, size: int, say: Callable[[str], None]) -> Network:
    """A StyleGAN2 network for pictures of `size` pixels: itself where it is one, else grown. Raises as `grow` does."""
    if network.config.sample_size == size:
        return network
    large = type(network).from_config({**network.config, "sample_size": size})
    grow(network, large)
    say(f"{type(network).__name__}: grown from {network.config.sample_size} to {size} pixels")
    return large
