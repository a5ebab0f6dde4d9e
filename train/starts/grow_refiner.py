"""Progressive growing of FACEMUG's refinement auto-encoder: it begins with the picture it had, enlarged.

Only networks with `skips=True` grow: at every size they read the features, made smaller, and write RGB. So a new size
begins without effect: its encoder layer gives zeros to the sizes below, its RGB layer adds nothing to their picture.
The aggregation works at any size and is copied as it is.
"""

import re

import torch

from facekit.models.layers.linear import ConvLayer
from facekit.models.refiner import RefinementAutoEncoder


@torch.no_grad()
def grow_refiner(small: RefinementAutoEncoder, large: RefinementAutoEncoder) -> None:
    """Give `large`, which differs in `sample_size` alone, what `small` has learned, in place.

    Where the features, made smaller, are those that `small` was given, the picture is the old one, enlarged.

    Raises:
        ValueError: one of them has no `skips`, `large` is the smaller one, or they differ in more than the size.
    """
    if not (small.config.skips and large.config.skips):
        raise ValueError("a refiner grows only with skips=True, at both sizes: train it so from the start")
    steps = len(large.encoder) - len(small.encoder)
    if steps < 0:
        raise ValueError(
            f"pictures of {small.config.sample_size} pixels cannot grow to {large.config.sample_size}"
        )
    state = large.state_dict()
    for name, value in small.state_dict().items():
        # The encoder and its stems count from the largest size down.
        name = re.sub(r"^(encoder|stems)\.(\d+)\.", lambda m: f"{m[1]}.{int(m[2]) + steps}.", name)
        if name not in state or state[name].shape != value.shape:
            raise ValueError(f"{name} differs between the refiners: only sample_size may")
        state[name] = value
    large.load_state_dict(state)
    if steps:
        _silence(large.encoder[steps - 1].down)
    for head in large.to_rgb[len(small.to_rgb) :]:
        head.weight.zero_()
        head.bias.zero_()


def _silence(layer: ConvLayer) -> None:
    """Let a layer give zeros; its kernel learns from the first step on."""
    layer.conv.weight.zero_()
    layer.activate.bias.zero_()
