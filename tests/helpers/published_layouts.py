"""State dicts of small networks of ours under the names that published files use."""

import re

import torch
from torch import Tensor

from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator


def publish_generator(network: StyleGAN2Generator) -> dict[str, Tensor]:
    """A StyleGAN2 generator in the layout with `g_ema`; its mean style, which stands beside, is left out."""
    modules = {"conv": "conv1", "to_rgb": "to_rgb1"}
    for k in range(network.num_levels):
        modules |= {
            f"levels.{k}.up": f"convs.{2 * k}",
            f"levels.{k}.conv": f"convs.{2 * k + 1}",
            f"levels.{k}.to_rgb": f"to_rgbs.{k}",
        }
    state = {}
    for key, value in network.state_dict().items():
        if key == "latent_avg":
            continue
        if key == "constant":
            state["input.input"] = value
        elif key.startswith("noise_"):
            state[f"noises.{key}"] = value
        elif mapping := re.fullmatch(r"mapping\.layers\.(\d+)\.(weight|bias)", key):
            state[f"style.{int(mapping[1]) + 1}.{mapping[2]}"] = value
        else:
            place = max((ours for ours in modules if key.startswith(ours + ".")), key=len)
            rest = key.removeprefix(place + ".")
            rest = {"weight": "conv.weight", "noise.strength": "noise.weight"}.get(rest, rest)
            rest = re.sub(r"^(conv\.)?modulation\.affine\.", "conv.modulation.", rest)
            if rest == "conv.weight":
                value = value[None]
            elif rest == "bias":
                value = value.reshape(1, 3, 1, 1)
            state[f"{modules[place]}.{rest}"] = value
    state["convs.0.conv.blur.kernel"] = torch.ones(4, 4)
    return state


UNITS = {
    "norm1": "res_layer.0",
    "conv1": "res_layer.1",
    "activation": "res_layer.2",
    "conv2": "res_layer.3",
    "norm2": "res_layer.4",
    "gate.squeeze": "res_layer.5.fc1",
    "gate.excite": "res_layer.5.fc2",
    "shortcut.0": "shortcut_layer.0",
    "shortcut.1": "shortcut_layer.1",
}
STAGES = (0, 3, 7, 21)
LEVELS = (0, 3, 7)


def publish_encoder(network: StyleEncoder) -> dict[str, Tensor]:
    """A style encoder of 3, 4, 14 and 3 units in e4e's layout; its mean code, which stands beside, is left out."""
    state = {}
    for key, value in network.state_dict().items():
        if key == "latent_avg":
            continue
        if head := re.fullmatch(r"heads\.(\d)\.(weights|biases|linear_weight|linear_bias)\.?(\d*)", key):
            kind = {"weights": "weight", "biases": "bias"}.get(head[2], head[2].removeprefix("linear_"))
            part = f"convs.{2 * int(head[3])}" if head[3] else "linear"
            for index, one in enumerate(value, LEVELS[int(head[1])]):
                state[f"styles.{index}.{part}.{kind}"] = one
        elif unit := re.fullmatch(r"backbone\.stages\.(\d)\.(\d+)\.(.+)\.(\w+)", key):
            name = f"body.{STAGES[int(unit[1])] + int(unit[2])}.{UNITS[unit[3]]}.{unit[4]}"
            state[name] = value[..., None, None] if ".fc" in name else value
        else:
            key = re.sub(r"^backbone\.stem", "input_layer", key)
            state[re.sub(r"^lateral(\d)", r"latlayer\1", key)] = value
    return state
