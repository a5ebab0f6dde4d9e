"""Progressive growing of EXE-GAN's generator: at a larger size it begins with the picture it had, enlarged.

New layers at the input pass the masked picture on as pairs (x, -x): leaky ReLU lets both signs through, and the
difference of a pair is a multiple of x. So the old layers read what they learned from: the picture, made smaller by the
FIR filter.
"""

import re

import torch
from torch import Tensor

from facekit.models.layers.linear import ConvLayer
from facekit.models.multi_style import MultiStyleGenerator

# leaky(x) - leaky(-x) = GAIN x, with the activation's slope 0.2 and factor sqrt(2).
GAIN = 1.2 * 2**0.5


@torch.no_grad()
def grow_generator(small: MultiStyleGenerator, large: MultiStyleGenerator) -> None:
    """Give `large`, which differs in `sample_size` alone, what `small` has learned, in place.

    Raises:
        ValueError: `large` is the smaller one, they differ in more than the size, or `large` is too narrow at the new
            sizes to pass the picture on (fewer than 8 channels; 10 with a sketch).
    """
    steps = len(large.levels) - len(small.levels)
    inputs = small.stem.conv.weight.shape[1]
    if steps < 0:
        raise ValueError(
            f"pictures of {small.config.sample_size} pixels cannot grow to {large.config.sample_size}"
        )
    narrow = min((level.conv.conv.weight.shape[0] for level in large.encoder[:steps]), default=2 * inputs)
    if narrow < 2 * inputs:
        raise ValueError(f"{narrow} channels are too few to grow through: {2 * inputs} are needed")
    state = large.state_dict()
    for name, value in small.state_dict().items():
        if steps and name.startswith("stem."):
            continue
        name = re.sub(r"^encoder\.(\d+)\.", lambda m: f"encoder.{int(m[1]) + steps}.", name)
        if name not in state or state[name].shape != value.shape:
            raise ValueError(f"{name} differs between the generators: only sample_size may")
        state[name] = value
    large.load_state_dict(state)
    for level in large.levels[len(small.levels) :]:
        level.to_rgb.weight.zero_()
        level.to_rgb.bias.zero_()
    if steps:
        _pass_input_on(small, large, steps)


def _pass_input_on(small: MultiStyleGenerator, large: MultiStyleGenerator, steps: int) -> None:
    """Let the new levels pass the input on as pairs, and the last of them do what the old stem did."""
    old = small.stem.conv
    inputs = old.weight.shape[1]
    one = torch.eye(inputs, device=old.weight.device)
    pairs = torch.stack([one, -one], 1).flatten(0, 1)
    values = pairs.t() / GAIN
    _write(large.stem, pairs)
    for index, level in enumerate(large.encoder[:steps]):
        _write(level.conv, pairs @ values)
        if index < steps - 1:
            _write(level.down, pairs @ values)
        else:
            _write(level.down, old.weight[:, :, 0, 0] * old.scale @ values, small.stem.activate.bias)


def _write(layer: ConvLayer, weight: Tensor, bias: Tensor | None = None) -> None:
    """Let the first outputs be `weight` [out, in] times the first inputs of the same pixel, plus `bias`."""
    rows, columns = weight.shape
    kernel = layer.conv.weight
    middle = kernel.shape[-1] // 2
    kernel[:rows] = 0
    kernel[:rows, :columns, middle, middle] = weight / layer.conv.scale
    layer.activate.bias[:rows] = 0 if bias is None else bias
