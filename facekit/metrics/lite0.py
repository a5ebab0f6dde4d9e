"""One set of pictures against another through EfficientNet-Lite0, in one call: for training scripts.

Its weights come with a package, so the numbers can be had where nothing can be downloaded. They are no FID or KID of
the Inception network and compare with none.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
from PIL import Image

from facekit.metrics.distribution import kernel_distance
from facekit.metrics.networks import Features, features_of, lite0_features

Picture = Image.Image | np.ndarray | torch.Tensor


def pooled_features(pictures: Iterable[Picture], device: str | torch.device = "cpu") -> np.ndarray:
    """Pooled features of EfficientNet-Lite0, [N, 1280], for `kernel_distance`, `frechet_distance` and the like.

    Args:
        pictures: all of one size; each a PIL image, read as RGB, a uint8 array [H, W, 3] or a tensor of floats
            [3, H, W] in [-1, 1], which is clipped and rounded as it would be for a file. An array or tensor [N, ...]
            is an iterable of such.
        device: where the network runs; it is kept there for the next call.

    Raises:
        WeightsUnavailable: the package that carries the ImageNet weights, or timm, is not installed.
        ValueError: there is no picture, one is of another kind or not finite, or their sizes differ.
    """
    return features_of(_network(str(device)), map(as_uint8, pictures))


def lite0_kernel_distance(
    real: Iterable[Picture], fake: Iterable[Picture], device: str | torch.device = "cpu"
) -> float:
    """KID (Lite0) of two sets of pictures, of any sizes; smaller is better, and about 0 is one distribution.

    Who compares many sets with the same real pictures takes `pooled_features` of those once, and `kernel_distance`.

    Raises:
        WeightsUnavailable, ValueError: see `pooled_features`; ValueError too for fewer than two pictures of a kind.
    """
    return kernel_distance(pooled_features(real, device), pooled_features(fake, device))


@cache
def _network(device: str) -> Features:
    return lite0_features(device)


def as_uint8(picture: Picture) -> np.ndarray:
    """One picture, as `pooled_features` takes it, as uint8 [H, W, 3]. Raises ValueError as it does."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if isinstance(picture, torch.Tensor) and picture.ndim == 3 and len(picture) == 3:
        if picture.is_floating_point():
            if not picture.isfinite().all():  # rounding would make black pixels of them
                raise ValueError("a picture holds NaN or infinite numbers")
            pixels = picture.detach().float().clamp(-1, 1).add(1).mul(127.5).round().byte()
            return pixels.permute(1, 2, 0).cpu().numpy()
    elif isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] == (3,):
        return picture
    raise ValueError(
        "a picture is a PIL image, a uint8 array [H, W, 3] or a tensor of floats [3, H, W], not "
        f"{type(picture).__name__} of {getattr(picture, 'dtype', 'unknown type')} {list(np.shape(picture))}"
    )
