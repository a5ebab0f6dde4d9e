"""3x3 convolutions of wide layers on a CPU with a quarter of the multiplications.

Winograd's F(4x4, 3x3) as Lavin and Gray use it (Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section
4.3): a tile t of 6x6 pixels gives 4x4 results A^T [(G w G^T) * (B^T t B)] A. What is multiplied element by element is
summed over the channels, so that all tiles together are 36 matrix products, which need 36 multiplications where
sixteen results need 144. The transforms are passes over the maps, which pay from some width on. Rounding errors are
about five times as large, 5e-5 of a result of size one.
"""

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F

from facekit.models.fast.bands import allocate_map

# Layers and maps of at least this size are computed so: below, the transforms cost more than the products save.
FROM_CHANNELS = 256
FROM_PIXELS = 64 * 64

# Tiles that are computed together: enough rows for a fast matrix product, few enough for the processor's cache.
TILES = 128

INPUT_TRANSFORM = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ]
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
)
OUTPUT_TRANSFORM = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ]
)

# Map [B, in, H, W], rows of zeros above and below it -> [B, out, H + 2 * (rows - dilation), W].
Convolution = Callable[[torch.Tensor, int], torch.Tensor]


def prepare_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, dilation: int = 1
) -> Convolution:
    """Choose how to convolve the map `x` [B, in, H, W] by a 3x3 kernel, and do once what all of its bands share.

    Args:
        x: the whole map; what comes back may be called with bands of its rows.
        weight: [out, in, 3, 3].
        bias: [out], if there is one.
        dilation: distance of the kernel's taps in pixels; only neighbours are computed by tiles.

    Returns:
        `F.conv2d` of stride 1, of a map and its number of rows of zeros; it adds `dilation` columns of zeros on both
        sides.
    """

    def convolve_directly(x: torch.Tensor, rows: int) -> torch.Tensor:
        return F.conv2d(x, weight, bias, padding=(rows, dilation), dilation=dilation)

    if dilation > 1 or not pays(x, weight):
        return convolve_directly
    kernel = transform_kernel(weight)

    def convolve(x: torch.Tensor, rows: int) -> torch.Tensor:
        height, width = x.shape[2] - 2 + 2 * rows, x.shape[3]
        if height % 4 or width % 4:  # of a band that is no multiple of tiles
            return convolve_directly(x, rows)
        return convolve_tiles(F.pad(x, (1, 1, rows, rows)), kernel, bias)

    return convolve


def convolve_wide(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`F.conv2d(x, weight, bias, padding=1)`, a map [B, in, H, W] by a 3x3 kernel to [B, out, H, W]."""
    return prepare_convolution(x, weight, bias)(x, 1)


def pays(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether tiles are faster than `F.conv2d` for the map [B, in, H, W] and W [out, in, 3, 3].

    Other number types have fast products of their own, and would lose too much by the transforms.
    """
    return (
        min(weight.shape[:2]) >= FROM_CHANNELS
        and x.shape[2] * x.shape[3] >= FROM_PIXELS
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def transform_kernel(weight: torch.Tensor) -> list[torch.Tensor]:
    """G w G^T of every kernel, W [out, in, 3, 3], in four parts [9, in, out].

    The whole, 38 MB at 512 channels, would come fresh from the operating system at every call (see `bands.py`), which
    takes as long as a quarter of the convolution.
    """
    both = torch.kron(KERNEL_TRANSFORM, KERNEL_TRANSFORM).to(weight.dtype)
    taps = weight.permute(0, 2, 3, 1).flatten(1, 2)
    return [torch.matmul(part, taps).permute(1, 2, 0) for part in both.chunk(4)]


def convolve_tiles(
    padded: torch.Tensor, kernel: list[torch.Tensor], bias: torch.Tensor | None
) -> torch.Tensor:
    """Convolve by tiles: [B, in, H + 2, W + 2] by what `transform_kernel` gave -> [B, out, H, W].

    H and W are multiples of 4. A few rows of tiles at a time go through two buffers that are used again and again.
    """
    channels, outputs = kernel[0].shape[1:]
    windows = padded.permute(0, 2, 3, 1).unfold(1, 6, 4).unfold(2, 6, 4)  # [B, H / 4, W / 4, in, 6, 6]
    images, down, across = windows.shape[:3]
    out = allocate_map(padded, outputs, 4 * down, 4 * across)
    tiles = out.permute(0, 2, 3, 1).view(images, down, 4, across, 4, outputs)
    step = min(down, max(1, TILES // across))
    buffers = padded.new_empty(2, 36 * step * across * max(channels, outputs))
    for image in range(images):
        for start in range(0, down, step):
            rows = slice(start, min(start + step, down))
            near, result = windows[image, rows], tiles[image, rows].permute(1, 3, 0, 2, 4)
            convolve_strip(near.permute(3, 4, 0, 1, 2), kernel, bias, result, buffers)
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
    channels, outputs = kernel[0].shape[1:]
    count = near[0, 0, ..., 0].numel()
    first, second = buffers

    def take(buffer: torch.Tensor, *shape: int) -> torch.Tensor:
        return buffer[: prod(shape)].view(shape)

    pixels = take(first, 6, 6, count * channels)
    pixels.view(near.shape).copy_(near)
    transform(INPUT_TRANSFORM, pixels, take(second, 6, 6, count * channels), pixels)
    products = take(second, 6, 6, count * outputs)
    parts = zip(pixels.view(4, 9, count, -1), kernel, products.view(4, 9, count, -1), strict=True)
    for part, by, into in parts:
        torch.bmm(part, by, out=into)
    results = take(second, 4, 4, count * outputs)
    transform(OUTPUT_TRANSFORM, products, take(first, 4, 6, count * outputs), results)
    results = results.view(out.shape)
    if bias is None:
        out.copy_(results)
    else:
        torch.add(results, bias, out=out)


def transform(matrix: torch.Tensor, values: torch.Tensor, between: torch.Tensor, out: torch.Tensor) -> None:
    """Write M v M^T of values [n, n, L] with M [m, n] into `out` [m, m, L], by way of `between` [m, n, L].

    `out` may lie where `values` did, `between` may not.
    """
    torch.mm(matrix, values.flatten(1), out=between.flatten(1))
    torch.bmm(matrix.expand(len(matrix), *matrix.shape), between, out=out)
