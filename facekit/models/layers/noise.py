"""StyleGAN2's noise, which is added after a convolution: drawn, or stored with the network."""

from collections.abc import Sequence
from typing import Literal

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

Generators = torch.Generator | list[torch.Generator] | None

# "random": drawn at every call; "fixed": the maps stored with the network; "none": zeros; or one map for each layer.
Noise = Literal["random", "fixed", "none"] | Sequence[torch.Tensor]


class NoiseInjection(nn.Module):
    """x + strength * n with one learned strength and noise n [B, 1, H, W] shared by the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1))

    def scale_noise(
        self,
        x: torch.Tensor,
        noise: torch.Tensor | None = None,
        generator: Generators = None,
        gain: float = 1.0,
    ) -> torch.Tensor:
        """gain * strength * n, what to add to the map `x` [B, C, H, W].

        Args:
            x: gives shape, dtype and device.
            noise: n, [B or 1, 1, H, W]; None: drawn from N(0, 1).
            generator: source of the noise that is drawn.
            gain: factor.

        Returns:
            [B or 1, 1, H, W].

        Raises:
            ValueError: `noise` does not fit the map.
        """
        # A strength of zero is no case of its own: looking at it would wait for the device and end a compiled graph.
        shape = (x.shape[0], 1, *x.shape[2:])
        if noise is None:
            # Drawn in float32 whatever the network's precision, so that a seed means the same picture.
            noise = randn_tensor(shape, generator=generator, device=x.device, dtype=torch.float32)
        elif noise.shape[-2:] != x.shape[2:] or noise.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"noise of shape {tuple(noise.shape)} was given for a layer that needs {shape}")
        return (noise * (self.strength * gain)).to(x.dtype)

    def forward(
        self, x: torch.Tensor, noise: torch.Tensor | None = None, generator: Generators = None
    ) -> torch.Tensor:
        return x + self.scale_noise(x, noise, generator)


def store_noise(network: nn.Module, sizes: Sequence[int]) -> None:
    """Give a network its "fixed" noise: for each side in `sizes` a buffer `noise_i` [1, 1, side, side], N(0, 1)."""
    for index, size in enumerate(sizes):
        network.register_buffer(f"noise_{index}", torch.randn(1, 1, size, size))


def choose_noise_maps(network: nn.Module, noise: Noise, sizes: Sequence[int]) -> list[torch.Tensor | None]:
    """Choose the map of every noise layer of a network.

    Args:
        network: one with the buffers of `store_noise`.
        noise: see `Noise`.
        sizes: sides of the maps, as given to `store_noise`.

    Returns:
        A map [1 or B, 1, side, side] for each layer, or None where the layer is to draw it.

    Raises:
        ValueError: `noise` is another word, or another number of maps.
    """
    count = len(sizes)
    if not isinstance(noise, str):
        if len(noise) != count:
            raise ValueError(f"{count} noise maps are needed, {len(noise)} were given")
        return list(noise)
    if noise == "random":
        return [None] * count
    if noise == "fixed":
        return [network.get_buffer(f"noise_{index}") for index in range(count)]
    if noise == "none":
        zero = network.get_buffer("noise_0").new_zeros(1)
        return [zero.expand(1, 1, size, size) for size in sizes]
    raise ValueError(f"noise is 'random', 'fixed', 'none' or a list of {count} maps, not {noise!r}")
