"""3x3 convolutions of wide layers on a CPU with a quarter of the multiplications.

Winograd's F(4x4, 3x3) as Lavin and Gray use it (Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section
4.3): a tile t of 6x6 pixels gives 4x4 results A^T [(G w G^T) * (B^T t B)] A. What is multiplied element by element is
summed over the channels, so that all tiles together are 36 matrix products, which need 36 multiplications where
sixteen results need 144. The transforms are passes over the maps, which pay from some width on. Rounding errors grow
about fivefold, to some 5e-5 where 512 channels sum up to results of about 1.
"""

from collections.abc import Callable
from functools import cache
from math import prod

import torch
import torch.nn.functional as F

from facekit.models.fast.bands import allocate_map

# Layers and maps of at least this size are computed so: on two cores of a server, the transforms of smaller ones cost
# more than the products save.
FROM_CHANNELS = 256
FROM_PIXELS = 64 * 64

# Tiles that are computed together: enough rows for a fast matrix product, few enough for the processor's cache.
TILES = 128

# Largest part of a transformed kernel. The whole, 38 MB at 512 channels, would come fresh from the operating system at
# every call (see `bands.py`), which takes as long as a quarter of the convolution.
PART_BYTES = 9 * 2**20

INPUT_TRANSFORM = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ],
    dtype=torch.float32,
    device="cpu",
)
KERNEL_TRANSFORM = torch.tensor(
    [
        [1 / 4, 0.0, 0.0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
    device="cpu",
)
OUTPUT_TRANSFORM = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ],
    dtype=torch.float32,
    device="cpu",
)

# A function of a map [B, in, H, W], or of a band of its rows, and of the number of rows of zeros above and below it;
# it gives [B, out, H + 2 * (rows - dilation), W].
Convolution = Callable[[torch.Tensor, int], torch.Tensor]


def prepare_convolution(
    like: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, dilation: int = 1
) -> Convolution:
    """Choose how to convolve a map by a 3x3 kernel, and do once what all of its bands share.

    Args:
        like: a map of the size, device and number type of the whole one, [B, in or any, H, W]; its values do not count.
        weight: [out, in, 3, 3].
        bias: [out], if there is one.
        dilation: distance of the kernel's taps in pixels; only neighbours are computed by tiles.

    Returns:
        `F.conv2d` of stride 1, with `dilation` columns of zeros on both sides.
    """

    def convolve_directly(x: torch.Tensor, rows: int) -> torch.Tensor:
        return F.conv2d(x, weight, bias, padding=(rows, dilation), dilation=dilation)

    if dilation > 1 or not pays(like, weight):
        return convolve_directly

    @cache
    def transformed() -> list[torch.Tensor]:
        return transform_kernel(weight)

    def convolve(x: torch.Tensor, rows: int) -> torch.Tensor:
        if (x.shape[2] - 2 + 2 * rows) % 4:  # a band that tiles do not divide
            return convolve_directly(x, rows)
        return convolve_by_tiles(x, rows, transformed(), bias)

    return convolve


def convolve_wide(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, dilation: int = 1
) -> torch.Tensor:
    """Convolve a whole map [B, in, H, W] by a 3x3 kernel to [B, out, H, W], see `prepare_convolution`."""
    return prepare_convolution(x, weight, bias, dilation)(x, dilation)


def pays(like: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether to use tiles for a map [B, in or any, H, W] and W [out, in, 3, 3].

    Number types of half precision have fast products of their own, and would lose too much by the transforms.
    """
    height, width = like.shape[2:]
    return (
        min(weight.shape[:2]) >= FROM_CHANNELS
        and height * width >= FROM_PIXELS
        and width % 4 == 0
        and like.device.type == "cpu"
        and like.dtype == weight.dtype == torch.float32
        and _multiplies_in_full_precision()
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def _multiplies_in_full_precision() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was lowered for one backend, in PyTorch's newer way
        return False


def transform_kernel(weight: torch.Tensor) -> list[torch.Tensor]:
    """G w G^T of every kernel, W [out, in, 3, 3], in parts [n, in, out] whose n sum up to 36."""
    both = torch.kron(KERNEL_TRANSFORM, KERNEL_TRANSFORM).to(weight.dtype)
    taps = weight.permute(0, 2, 3, 1).flatten(1, 2)
    at_once = max(1, PART_BYTES // (taps[:, 0].numel() * taps.element_size()))
    return [torch.matmul(part, taps).permute(1, 2, 0) for part in both.split(at_once)]


def convolve_by_tiles(
    x: torch.Tensor, rows: int, kernel: list[torch.Tensor], bias: torch.Tensor | None
) -> torch.Tensor:
    """Convolve [B, in, H, W], with `rows` rows of zeros above and below and one column at the sides, by tiles.

    A few rows of tiles at a time go through two buffers that are used again and again.

    Args:
        kernel: what `transform_kernel` gave.
        bias: [out], if there is one.

    Returns:
        [B, out, H - 2 + 2 * rows, W], whose sides must be multiples of 4.
    """
    channels, outputs = kernel[0].shape[1:]
    down, across = (x.shape[2] - 2 + 2 * rows) // 4, x.shape[3] // 4
    out = allocate_map(x, outputs, 4 * down, 4 * across)
    step = min(down, max(1, TILES // across))
    buffers = x.new_empty(2, 36 * step * across * max(channels, outputs))
    for image, result in zip(x, out.permute(0, 2, 3, 1), strict=True):
        pixels = F.pad(image[None], (1, 1, rows, rows))[0].permute(1, 2, 0)
        windows = pixels.unfold(0, 6, 4).unfold(1, 6, 4).permute(3, 4, 0, 1, 2)
        tiles = result.view(down, 4, across, 4, outputs).permute(1, 3, 0, 2, 4)
        for start in range(0, down, step):
            strip = slice(start, start + step)
            convolve_strip(windows[:, :, strip], kernel, bias, tiles[:, :, strip], buffers)
    return out


def convolve_strip(
    near: torch.Tensor,
    kernel: list[torch.Tensor],
    bias: torch.Tensor | None,
    out: torch.Tensor,
    buffers: torch.Tensor,
) -> None:
    """Write the results of some rows of tiles.

    Args:
        near: the tiles' pixels, [6, 6, rows, columns, in].
        kernel: what `transform_kernel` gave.
        bias: [out], if there is one.
        out: the place of the results, [4, 4, rows, columns, out].
        buffers: [2, at least 36 * rows * columns * max(in, out)], overwritten.
    """
    count, channels, outputs = prod(near.shape[2:4]), near.shape[4], out.shape[4]
    first, second = buffers

    def take(buffer: torch.Tensor, *shape: int) -> torch.Tensor:
        return buffer[: prod(shape)].view(shape)

    pixels = take(first, 6, 6, count * channels)
    pixels.view(near.shape).copy_(near)
    transform(INPUT_TRANSFORM, pixels, take(second, 6, 6, count * channels), pixels)
    products = take(second, 6, 6, count * outputs)
    sizes = [len(part) for part in kernel]
    inputs, results = pixels.view(36, count, channels), products.view(36, count, outputs)
    for given, part, result in zip(inputs.split(sizes), kernel, results.split(sizes), strict=True):
        torch.bmm(given, part, out=result)
    tiles = take(second, 4, 4, count * outputs)
    transform(OUTPUT_TRANSFORM, products, take(first, 4, 6, count * outputs), tiles)
    if bias is None:
        out.copy_(tiles.view(out.shape))
    else:
        torch.add(tiles.view(out.shape), bias, out=out)


def transform(matrix: torch.Tensor, values: torch.Tensor, between: torch.Tensor, out: torch.Tensor) -> None:
    """Write M v M^T of values [n, n, L] with M [m, n] into `out` [m, m, L], by way of `between` [m, n, L].

    `out` may lie where `values` did, `between` may not.
    """
    torch.mm(matrix, values.flatten(1), out=between.flatten(1))
    torch.bmm(matrix.expand(len(matrix), *matrix.shape), between, out=out)
