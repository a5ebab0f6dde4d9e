"""Published state dicts -> ours: style encoders (e4e, pSp, 26-channel), code diffuser, identity encoders.

Pure functions on state dicts without their file's prefix. ValueError for keys that are missing or unknown.
"""

import re
from collections.abc import Mapping, MutableMapping

import torch

State = dict[str, torch.Tensor]

STAGE_STARTS = (0, 3, 7, 21, 24)
_STYLE_BOUNDS = (0, 3, 7)
_UNIT = {
    "0": "norm1",
    "1": "conv1",
    "2": "activation",
    "3": "conv2",
    "4": "norm2",
    "5.fc1": "gate.squeeze",
    "5.fc2": "gate.excite",
}
_OUTPUT = {"0": "map_norm", "3": "linear", "4": "embedding_norm"}
_TACC = [
    (r"attention_layer\.q_matrix", "channel_query"),
    (r"attention_layer\.k_matrix", "channel_key"),
    (r"attention_layer\.v_matrix", "channel_value"),
    (r"q_matrix", "position_query"),
    (r"k_matrix", "position_key"),
    (r"v_matrix", "position_value"),
    (r"gamma_\.0", "scale.linear1"),
    (r"gamma_\.1", "scale.norm"),
    (r"gamma_\.3", "scale.linear2"),
    (r"beta_\.0", "shift.linear1"),
    (r"beta_\.1", "shift.norm"),
    (r"beta_\.3", "shift.linear2"),
]


def style_encoder_state(
    state: MutableMapping[str, torch.Tensor],
    latent_avg: torch.Tensor,
    num_styles: int | None = None,
    first_style: int = 0,
) -> State:
    """IR-SE50 with map-to-style heads (`input_layer`, `body`, `styles`, `latlayer*`) -> `StyleEncoder`.

    `num_styles`: how many of the heads to keep, all when None; `first_style`: heads before it are left out.
    `latent_avg` [n, style_dim], n >= num_styles, stands in another place of the published files.
    Head weights are taken out of `state` as they are stacked, so that no second copy of a gigabyte is held.
    """
    heads = 1 + max((int(m[1]) for key in state if (m := re.match(r"styles\.(\d+)\.", key))), default=-1)
    num_styles = heads if num_styles is None else num_styles
    if not 0 <= first_style < num_styles <= heads:
        raise ValueError(
            f"the file has {heads} style heads; heads {first_style} to {num_styles - 1} are asked for"
        )
    if latent_avg.ndim != 2 or latent_avg.shape[0] < num_styles:
        raise ValueError(f"latent_avg must be [{num_styles} or more, D], not {list(latent_avg.shape)}")
    renamed: State = {"latent_avg": latent_avg[:num_styles].clone()}
    for key in [key for key in state if not key.startswith("styles.")]:
        # The gates' 1x1 convolutions [O, I, 1, 1] are linear layers [O, I] here.
        renamed[_backbone_key(key)] = state[key].flatten(1) if ".fc" in key else state[key]
    bounds = (*_STYLE_BOUNDS, max(num_styles, _STYLE_BOUNDS[-1]))
    for level in range(3):
        low, high = max(bounds[level], first_style), min(bounds[level + 1], num_styles)
        members = list(range(low, high))
        if members:
            renamed |= _stack_heads(state, members, f"heads.{level}")
    unknown = [key for key in state if key.startswith("styles.") and _head_index(key) < num_styles]
    unknown = [key for key in unknown if _head_index(key) >= first_style]
    if unknown:
        raise ValueError(f"{len(unknown)} keys do not belong to the published layout, such as {unknown[0]!r}")
    return renamed


def _head_index(key: str) -> int:
    return int(key.split(".")[1])


def _backbone_key(key: str) -> str:
    stem = re.fullmatch(r"input_layer\.(\d)\.(.+)", key)
    if stem:
        return f"backbone.stem.{stem[1]}.{stem[2]}"
    lateral = re.fullmatch(r"latlayer(\d)\.(.+)", key)
    if lateral:
        return f"lateral{lateral[1]}.{lateral[2]}"
    unit = re.fullmatch(r"body\.(\d+)\.(res|shortcut)_layer\.(5\.fc\d|\d)\.(.+)", key)
    if not unit or int(unit[1]) >= STAGE_STARTS[-1]:
        raise ValueError(f"key {key!r} does not belong to the published layout of IR-SE50")
    index = int(unit[1])
    stage = max(i for i, start in enumerate(STAGE_STARTS) if start <= index)
    module = _UNIT[unit[3]] if unit[2] == "res" else f"shortcut.{unit[3]}"
    return f"backbone.stages.{stage}.{index - STAGE_STARTS[stage]}.{module}.{unit[4]}"


def _stack_heads(state: MutableMapping[str, torch.Tensor], members: list[int], prefix: str) -> State:
    pattern = rf"styles\.{members[0]}\.convs\.(\d+)\.weight"
    depth = sum(re.fullmatch(pattern, key) is not None for key in state)
    places = [(f"convs.{2 * n}.weight", f"weights.{n}") for n in range(depth)]
    places += [(f"convs.{2 * n}.bias", f"biases.{n}") for n in range(depth)]
    places += [("linear.weight", "linear_weight"), ("linear.bias", "linear_bias")]
    stacked: State = {}
    for published, ours in places:
        keys = [f"styles.{member}.{published}" for member in members]
        missing = [key for key in keys if key not in state]
        if missing:
            raise ValueError(f"the style encoder lacks {missing[0]!r}")
        tensors = [state.pop(key) for key in keys]
        stacked[f"{prefix}.{ours}"] = torch.stack(tensors)
    return stacked


def code_diffuser_state(state: Mapping[str, torch.Tensor]) -> State:
    """`att_mapper` of the published file -> `CodeDiffuser`."""
    renamed: State = {}
    for key, value in state.items():
        block = re.fullmatch(r"att_mapper\.(\d+)\.(.+)\.(weight|bias)", key)
        ours = block and next((name for rule, name in _TACC if re.fullmatch(rule, block[2])), None)
        if block is None or ours is None:
            raise ValueError(f"key {key!r} does not belong to the published layout of the code diffuser")
        renamed[f"blocks.{block[1]}.{ours}.{block[3]}"] = value
    return renamed


def identity_encoder_state(state: Mapping[str, torch.Tensor]) -> State:
    """A bare ResNet state dict in torchvision's naming -> `IdentityEncoder`, which keeps that naming."""
    return dict(state)


def arcface_state(state: Mapping[str, torch.Tensor]) -> State:
    """IR-SE50 with its output layer (`input_layer`, `body`, `output_layer`) -> `ArcFaceEncoder`."""
    renamed: State = {}
    for key, value in state.items():
        head, _, rest = key.removeprefix("output_layer.").partition(".")
        if key.startswith("output_layer.") and head in _OUTPUT:
            renamed[f"{_OUTPUT[head]}.{rest}"] = value
        else:
            renamed[_backbone_key(key)] = value.flatten(1) if ".fc" in key else value
    return renamed
