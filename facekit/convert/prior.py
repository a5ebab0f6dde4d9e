"""A file with a StyleGAN2 generator -> a folder for `StyleGAN2Generator`, the prior of training and of pipelines.

Read is the layout of the widely used PyTorch port (`g_ema`: `style.1`, `conv1`, `convs.0`, `to_rgbs.0`, ...), in which
most StyleGAN2 weights are passed on, and the same network as `decoder.*` in the files of e4e and pSp.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.convert.common import (
    State,
    latent_average,
    load_exactly,
    state_part,
    sub_state,
    whole_state,
    write_network,
)
from facekit.convert.stylegan2 import count_levels, generator_state
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.weights.checkpoints import read_checkpoint

AVERAGED = "g_ema"
DECODER = "decoder."
# What every generator of the layout has, of whatever size.
TYPICAL = ("input.input", "style.1.weight")


def read_generator(path: str | Path) -> tuple[State, Tensor | None, str]:
    """The published state dict of a file's generator, its mean style where the file has one, and its place's name.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read.
        ValueError: a pickle of NVIDIA, a file that could run code, or one without a generator.
    """
    if Path(path).suffix == ".pkl":
        raise ValueError(
            f"{path} is a pickle as NVIDIA publishes its networks: it holds Python code that would be run, so it is "
            f"not opened. Turn it into a PyTorch file with a state dict {AVERAGED!r} where you trust it, and convert "
            "that"
        )
    content = read_checkpoint(path)
    average = latent_average(content, str(path)) if "latent_avg" in content else None
    if AVERAGED in content:
        return sub_state(content, AVERAGED, str(path)), average, f"entry {AVERAGED!r} of {path}"
    if "state_dict" in content:
        return state_part(content, DECODER, str(path)), average, f"the decoder of {path}"
    if TYPICAL[0] in content:
        bare = {key: value for key, value in content.items() if key != "latent_avg"}
        return whole_state(bare, str(path)), average, str(path)
    return sub_state(content, AVERAGED, str(path)), average, str(path)  # refuses it, naming what is there


def read_shape(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The options of a `StyleGAN2Generator` that a published state dict fits.

    Raises:
        ValueError: it is no StyleGAN2 generator in this layout; the message names the first key that it lacks.
    """
    levels = count_levels(state)
    last = f"to_rgbs.{levels - 1}.conv.weight"
    missing = [key for key in (*TYPICAL, last) if key not in state]
    if missing:
        raise ValueError(
            f"{source} is no StyleGAN2 generator in the layout with {AVERAGED!r}: no {missing[0]!r}"
        )
    if state["input.input"].ndim != 4 or state[last].ndim != 5 or state["style.1.weight"].ndim != 2:
        raise ValueError(
            f"{source} is no StyleGAN2 generator in the layout with {AVERAGED!r}: other dimensions"
        )
    sample_size = 4 * 2**levels
    return {
        "sample_size": sample_size,
        "style_dim": state["style.1.weight"].shape[1],
        "channel_base": state[last].shape[2] * sample_size,
        "max_channels": state["input.input"].shape[1],
        "num_mapping_layers": sum(re.fullmatch(r"style\.\d+\.weight", key) is not None for key in state),
    }


def load_generator(path: str | Path) -> StyleGAN2Generator:
    """The generator of a file, of the size and widths that the file has.

    Where the file has no mean style, `latent_avg` is the mean of 4,096 random ones. Errors as in `convert`.
    """
    state, average, source = read_generator(path)
    shape = read_shape(state, source)
    network = load_exactly(
        lambda: StyleGAN2Generator(**shape), lambda: generator_state(state, average), source
    )
    if average is None:
        network.latent_avg.copy_(network.mean_style(4096, torch.Generator().manual_seed(0)))
    return network


def convert(
    path: str | Path, output: str | Path, dtype: torch.dtype = torch.float32, overwrite: bool = False
) -> None:
    """Write a file's generator as a folder for `StyleGAN2Generator.from_pretrained`, complete or not at all.

    Args:
        path: file with `g_ema`, with `state_dict` and in it `decoder.*` (e4e, pSp), or the bare state dict.
        output: folder to write.
        dtype: number type of the written weights.
        overwrite: replace an existing folder.

    Raises:
        OSError: the file cannot be read, or the folder cannot be written.
        ValueError: a pickle of NVIDIA, a file that holds more than tensors and plain values, or another layout.
    """
    write_network(load_generator(path), output, dtype, overwrite)
