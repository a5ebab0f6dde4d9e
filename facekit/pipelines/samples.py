"""What runs through the networks of a pipeline: order, randomness and batches of samples."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from facekit.faces.squares import Region
from facekit.images.photo import Photo, fitting_profile, from_float
from facekit.images.tensors import deliver
from facekit.pipelines.tint import Tint, tinted

Pictures = list[Image.Image] | list[np.ndarray] | np.ndarray | list[torch.Tensor] | torch.Tensor


def check_generators(
    generator: torch.Generator | Sequence[torch.Generator] | None, count: int, what: str = "photos"
) -> torch.Generator | list[torch.Generator] | None:
    """The source of randomness as a call goes on with it: one, or a list with one for each of `count` photos.

    Raises:
        TypeError: something else than generators.
        ValueError: more or fewer of them than photos.
    """
    given = list(generator) if isinstance(generator, list | tuple) else generator
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, torch.Generator | None):
            raise TypeError(
                f"generator is a {type(one).__name__}. Pass torch.Generator().manual_seed(SEED), or a list with one "
                f"for each of the {what}."
            )
    if isinstance(given, list) and len(given) != count:
        raise ValueError(f"{len(given)} generators for {count} {what}. Pass one, or one for each.")
    return given


def region_batch(regions: Sequence[Region], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Squares as `[N, 3, S, S]` in [-1, 1] and holes `[N, 1, S, S]`, float32 on `device`."""
    images = np.stack([region.image for region in regions]).transpose(0, 3, 1, 2)
    holes = np.stack([region.hole for region in regions])[:, None]
    known = torch.from_numpy(images * np.float32(2) - np.float32(1)).to(device)
    return known, torch.from_numpy(holes.astype(np.float32)).to(device)


def order_samples(face_counts: list[int], num_images: int) -> tuple[list[int], list[int]]:
    """For every sample, in the order photo, candidate, face: its photo, and its place among all faces."""
    owners, sources, first = [], [], 0
    for photo, count in enumerate(face_counts):
        for _ in range(num_images):
            owners += [photo] * count
            sources += range(first, first + count)
        first += count
    return owners, sources


def sample_generators(
    generator: torch.Generator | list[torch.Generator] | None, owners: list[int]
) -> list[torch.Generator]:
    """One CPU generator for each sample, so that batches and devices do not change what is drawn."""
    generators = []
    for owner in owners:
        source = generator[owner] if isinstance(generator, list) else generator
        device = "cpu" if source is None else source.device
        seed = torch.randint(2**62, (1,), generator=source, device=device)
        generators.append(torch.Generator().manual_seed(int(seed)))
    return generators


def in_parts(compute: Callable[[slice], torch.Tensor], count: int, most: int) -> torch.Tensor:
    """`compute` of the rows 0 to `count` - 1, at most `most` at a time."""
    return torch.cat([compute(slice(start, min(start + most, count))) for start in range(0, count, most)])


def to_squares(
    images: torch.Tensor,
    tints: Sequence[Tint | None] | None = None,
    painted: Sequence[np.ndarray | None] | None = None,
) -> list[np.ndarray]:
    """`[N, 3, S, S]` in [-1, 1] -> float32 `[S, S, 3]` in [0, 1] each.

    Args:
        tints: the tone of the photo that each one goes into, see `facekit.pipelines.tint`; None for one in colour.
        painted: bool `[S, S]` where one has colours that were asked for, or None.
    """
    squares = list(((images + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
    tints = [None] * len(squares) if tints is None else tints
    painted = [None] * len(squares) if painted is None else painted
    return [tinted(*square) for square in zip(squares, tints, painted, strict=True)]


def deliver_squares(
    squares: Sequence[np.ndarray], output_type: str, photo: Photo | None = None
) -> Pictures | list[Photo]:
    """Squares float32 `[S, S, 3]` in [0, 1] in the form of `output_type`, see `deliver`.

    `photo`: what they were cut from; its colour profile goes with them, and in a `Photo` its depth.
    """
    if not squares:
        return []
    info = {}
    if photo is not None and "icc_profile" in photo.info:
        info = fitting_profile({"icc_profile": photo.info["icc_profile"]}, "RGB")
    if output_type in ("pil", "photo"):
        deep = photo is not None and photo.is_deep and output_type == "photo"
        squares = [from_float(square, np.uint16 if deep else np.uint8) for square in squares]
    return deliver([Photo(np.ascontiguousarray(square), "RGB", info=info) for square in squares], output_type)
