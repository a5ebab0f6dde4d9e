"""A file of e4e's trainer with one style encoder -> a folder for `StyleEncoder`.

FACEMUG's authors publish theirs so, with 26 input channels (RGB, sketch, 19 semantic classes, colour); e4e's own file
for faces has 3. The file's frozen generator goes with it: `facekit convert stylegan2` takes that out of the same file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.convert.common import check_options, latent_average, load_exactly, state_part, write_network
from facekit.convert.encoders import STAGE_STARTS, style_encoder_state
from facekit.models.style_encoder import StyleEncoder
from facekit.weights.checkpoints import read_checkpoint

# How the encoder must have been trained to be read.
OPTIONS = {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True}
DEEPEST = f"body.{STAGE_STARTS[-1] - 1}.res_layer.5.fc1.weight"


def read_shape(state: Mapping[str, Tensor], num_styles: int | None, source: str) -> dict[str, Any]:
    """The options of a `StyleEncoder` that a published state dict fits, with as many codes as are wanted (None: all).

    Raises:
        ValueError: it is no style encoder of e4e's layout, or has fewer codes; the message says what is amiss.
    """
    starts = [f"body.{index}.res_layer.1.weight" for index in STAGE_STARTS[:-1]]
    needed = ("input_layer.0.weight", *starts, DEEPEST, "styles.0.linear.weight")
    missing = [key for key in needed if key not in state]
    if missing:
        raise ValueError(f"{source} is no style encoder of e4e's layout: it lacks {missing[0]!r}")
    heads = sum(key.startswith("styles.") and key.endswith(".linear.weight") for key in state)
    if num_styles is not None and not 1 <= num_styles <= heads:
        raise ValueError(f"{source} has {heads} codes; {num_styles} are asked for")
    # The first head halves a map of a sixteenth of the picture's side until one position is left.
    depth = sum(key.startswith("styles.0.convs.") and key.endswith(".weight") for key in state)
    channels = tuple(state[key].shape[0] for key in starts)
    return {
        "sample_size": 16 * 2**depth,
        "in_channels": state["input_layer.0.weight"].shape[1],
        "num_styles": heads if num_styles is None else num_styles,
        "stem_channels": state["input_layer.0.weight"].shape[0],
        "channels": channels,
        "se_reduction": channels[-1] // state[DEEPEST].shape[0],
        "style_dim": state["styles.0.linear.weight"].shape[0],
    }


def load_style_encoder(path: str | Path, num_styles: int | None = None) -> StyleEncoder:
    """The encoder of a file, with its first `num_styles` codes (None: all). Errors as in `convert`."""
    content, source = read_checkpoint(path), f"the encoder of {path}"
    check_options(content, OPTIONS, str(path))
    state, average = state_part(content, "encoder.", str(path)), latent_average(content, str(path))
    shape = read_shape(state, num_styles, source)
    return load_exactly(
        lambda: StyleEncoder(**shape),
        lambda: style_encoder_state(state, average, shape["num_styles"]),
        source,
    )


def convert(
    path: str | Path,
    output: str | Path,
    num_styles: int | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> None:
    """Write a file's encoder as a folder for `StyleEncoder.from_pretrained`, complete or not at all.

    Args:
        path: file with `state_dict`, in it `encoder.*`, and `latent_avg`.
        output: folder to write; training takes it as `style_encoder`.
        num_styles: how many codes to keep, those of the prior (18 at 1024 pixels, 16 at 512, 14 at 256); None: all.
        dtype: number type of the written weights.
        overwrite: replace an existing folder.

    Raises:
        OSError: the file cannot be read, or the folder cannot be written.
        ValueError: the file holds more than tensors and plain values, an encoder of another kind, or fewer codes.
    """
    write_network(load_style_encoder(path, num_styles), output, dtype, overwrite)
