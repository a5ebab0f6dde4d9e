"""Published StyleGAN2-style state dicts -> ours: generator, discriminator, the networks of VSPBFR and EXE-GAN.

Pure functions on state dicts without their file's prefix. FIR kernels are constants here, so `*.kernel`
entries are left out; kernels lose their leading axis of one. ValueError for a key that the layout does not
have.
"""

import re
from collections.abc import Mapping

import torch

State = dict[str, torch.Tensor]
Rules = list[tuple[str, str]]

_STYLED = [
    (r"conv\.weight", "conv.weight"),
    (r"conv\.modulation\.(weight|bias)", r"conv.modulation.affine.\1"),
    (r"noise\.weight", "noise.strength"),
    (r"activate\.bias", "activate.bias"),
]
_SMART = [
    (r"ModulatedConv2ds\.(\d)\.weight", r"weight.\1"),
    (r"modulation\.(weight|bias)", r"modulation.affine.\1"),
    (r"fusion\.0\.weight", "fusion.weight"),
    (r"fusion\.1\.bias", "fusion_activate.bias"),
    (r"noise\.weight", "noise.strength"),
    (r"activate\.bias", "activate.bias"),
]
_RGB = [
    (r"bias", "bias"),
    (r"conv\.weight", "weight"),
    (r"conv\.modulation\.(weight|bias)", r"modulation.affine.\1"),
]
_MULTI_DILATION = [
    (r"dilated_convs\.(\d)\.weight", r"weight.\1"),
    (r"fusion\.0\.weight", "fusion.weight"),
    (r"fusion\.1\.bias", "fusion_activate.bias"),
    (r"activate\.bias", "activate.bias"),
]
_PLAIN = [(r"0\.weight", "conv.weight"), (r"1\.bias", "activate.bias")]
_DOWN = [(r"1\.weight", "conv.weight"), (r"2\.bias", "activate.bias")]
_LINEAR = [(r"(weight|bias)", r"\1")]


def _rename(
    state: Mapping[str, torch.Tensor], modules: list[tuple[str, str, Rules]], ignored: str = r"$^"
) -> State:
    """Move every module of the published layout to its place here.

    `modules` lists (published prefix, our prefix, rules for the rest of the key). Parts `weight.0`,
    `weight.1`, ... of one kernel are joined along the outputs.
    """
    renamed: State = {}
    unknown = []
    for key, value in state.items():
        if key.endswith(".kernel") or re.fullmatch(ignored, key):
            continue
        for prefix, ours, rules in modules:
            rest = key.removeprefix(prefix + ".")
            found = next((rule for rule in rules if rest != key and re.fullmatch(rule[0], rest)), None)
            if found:
                renamed[f"{ours}.{re.sub(*found, rest)}"] = _drop_leading_axis(value)
                break
        else:
            unknown.append(key)
    if unknown:
        raise ValueError(
            f"{len(unknown)} keys do not belong to the published layout, among them {unknown[0]!r}"
        )
    return _join_parts(renamed)


def _drop_leading_axis(value: torch.Tensor) -> torch.Tensor:
    if value.ndim == 5:
        return value[0]
    # RGB biases are stored as maps [1, 3, 1, 1], unlike every other bias.
    return value.flatten() if value.ndim == 4 and value.shape[0] == 1 and value.shape[2:] == (1, 1) else value


def _join_parts(state: State) -> State:
    joined: State = {}
    parts: dict[str, dict[int, torch.Tensor]] = {}
    for key, value in state.items():
        part = re.fullmatch(r"(.*weight)\.(\d)", key)
        if part:
            parts.setdefault(part[1], {})[int(part[2])] = value
        else:
            joined[key] = value
    for key, pieces in parts.items():
        joined[key] = torch.cat([pieces[index] for index in sorted(pieces)])
    return joined


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    """How many modules of a numbered list the state dict holds."""
    return 1 + max((int(m[1]) for key in state if (m := re.match(pattern, key))), default=-1)


def _mapping(state: Mapping[str, torch.Tensor]) -> list[tuple[str, str, Rules]]:
    return [
        (f"style.{i + 1}", f"mapping.layers.{i}", _LINEAR)
        for i in range(_count(state, r"style\.(\d+)\.") - 1)
    ]


def count_levels(state: Mapping[str, torch.Tensor]) -> int:
    """How many resolutions above 4x4 a published generator has, by its RGB heads."""
    return _count(state, r"to_rgbs\.(\d+)\.")


def generator_state(state: Mapping[str, torch.Tensor], latent_avg: torch.Tensor | None = None) -> State:
    """StyleGAN2 generator (`conv1`, `convs.*`, `to_rgbs.*`, `style.*`, ...) -> `StyleGAN2Generator`.

    `latent_avg` [n, style_dim] or [style_dim] stands elsewhere in the published file; zeros when None.
    """
    levels = count_levels(state)
    modules = [*_mapping(state), ("conv1", "conv", _STYLED), ("to_rgb1", "to_rgb", _RGB)]
    for k in range(levels):
        modules += [
            (f"convs.{2 * k}", f"levels.{k}.up", _STYLED),
            (f"convs.{2 * k + 1}", f"levels.{k}.conv", _STYLED),
            (f"to_rgbs.{k}", f"levels.{k}.to_rgb", _RGB),
        ]
    renamed = _rename(state, modules, ignored=r"input\.input|noises\.noise_\d+")
    renamed["constant"] = state["input.input"]
    renamed |= {key.removeprefix("noises."): state[key] for key in state if key.startswith("noises.")}
    styles, width = 2 * levels + 2, state["conv1.conv.modulation.weight"].shape[1]
    average = torch.zeros(width) if latent_avg is None else latent_avg
    average = average if average.ndim == 1 else average[:styles]
    renamed["latent_avg"] = average.expand(styles, width).clone()
    return renamed


def discriminator_state(state: Mapping[str, torch.Tensor]) -> State:
    """StyleGAN2 discriminator (`encoder_input_convs`, `encoder_convs.*`, ...) -> `StyleGAN2Discriminator`."""
    modules = [
        ("encoder_input_convs", "stem", _PLAIN),
        ("final_conv", "final_conv", _PLAIN),
        ("final_linear.0", "final_linear", _LINEAR),
        ("final_linear.1", "logit", _LINEAR),
    ]
    for k in range(_count(state, r"encoder_convs\.(\d+)\.")):
        published, ours = f"encoder_convs.{k}", f"blocks.{k}"
        modules += [
            (f"{published}.conv1", f"{ours}.conv1", _PLAIN),
            (f"{published}.conv2", f"{ours}.conv2", _DOWN),
            (f"{published}.skip", f"{ours}.skip", _DOWN),
        ]
    return _rename(state, modules)


def restorer_state(state: Mapping[str, torch.Tensor]) -> State:
    """VSPBFR's restoration network (`g_ema`) -> `RestoreAutoEncoder`, without its unused noise maps."""
    modules = [
        *_mapping(state),
        ("down_from_big", "stem", _MULTI_DILATION),
        ("final_layer", "bottleneck", _MULTI_DILATION),
        ("final_linear.0", "to_global", _LINEAR),
        ("final_transfer", "from_global", _LINEAR),
        ("conv1", "conv", _SMART),
        ("to_rgb1", "to_rgb", _RGB),
    ]
    for k in range(count_levels(state)):
        modules += [
            (f"encoder_convs.{2 * k}", f"encoder.{k}.smart", _SMART),
            (f"encoder_convs.{2 * k + 1}", f"encoder.{k}.down", _STYLED),
            (f"convs.{2 * k}", f"decoder.{k}.up", _STYLED),
            (f"convs.{2 * k + 1}", f"decoder.{k}.smart", _SMART),
            (f"to_rgbs.{k}", f"decoder.{k}.to_rgb", _RGB),
        ]
    return _rename(state, modules, ignored=r"noises\.noise_\d+")


def multi_style_state(state: Mapping[str, torch.Tensor]) -> State:
    """EXE-GAN's generator (`g_ema`) -> `MultiStyleGenerator`, `latent_avg` (which no file holds) left at zero."""
    modules = [
        *_mapping(state),
        ("down_from_big", "stem", _PLAIN),
        ("final_layer", "bottleneck", _PLAIN),
        ("final_linear.0", "to_global", _LINEAR),
        ("final_transfer", "from_global", _LINEAR),
        ("conv1", "conv", _STYLED),
        ("to_rgb1", "to_rgb", _RGB),
    ]
    for k in range(count_levels(state)):
        modules += [
            (f"encoder_convs.{2 * k}", f"encoder.{k}.conv", _PLAIN),
            (f"encoder_convs.{2 * k + 1}", f"encoder.{k}.down", _DOWN),
            (f"convs.{2 * k}", f"levels.{k}.up", _STYLED),
            (f"convs.{2 * k + 1}", f"levels.{k}.conv", _STYLED),
            (f"to_rgbs.{k}", f"levels.{k}.to_rgb", _RGB),
        ]
    renamed = _rename(state, modules, ignored=r"noises\.noise_\d+")
    renamed |= {key.removeprefix("noises."): state[key] for key in state if key.startswith("noises.")}
    renamed["latent_avg"] = torch.zeros(state["style.1.weight"].shape[1])
    return renamed
