"""Large maps on a CPU, a band of rows at a time.

A map of 64 channels at 512 pixels takes 64 MiB. Memory of that size comes fresh from the operating system at every
allocation, page by page, which costs as much as a third of the convolution that fills it; and every further pass
reads it from main memory. Bands are small enough for memory that is in use already and for the processor's cache.
`torch.compile`, which lays memory out and joins passes itself, sees the whole map.
"""

import mmap
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F

# A map of fewer bytes is computed in one go.
BANDS_FROM_BYTES = 16 * 2**20

# Bytes of a band, about.
BAND_BYTES = 4 * 2**20

# Memory of this size is asked for in huge pages, where the system has them: fewer page faults.
HUGE_PAGES_FROM_BYTES = 16 * 2**20


def runs_in_bands(x: torch.Tensor, channels: int, height: int, width: int) -> bool:
    """Whether to compute a layer from `x` [B, C, H, W] to [B, channels, height, width] in bands."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    largest = max(x.numel() // max(x.shape[0], 1), channels * height * width)
    return largest * x.element_size() >= BANDS_FROM_BYTES


def split_into_bands(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Split `rows` rows of `row_bytes` bytes each into bands of about `BAND_BYTES`: (start, stop) of every band."""
    count = min(rows, max(1, round(rows * row_bytes / BAND_BYTES)))
    return pairwise(rows * index // count for index in range(count + 1))


def take_rows(x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """Rows `start` to `stop - 1` of a map [B, C, H, W]; rows outside it are zero. A view where all are inside."""
    height = x.shape[2]
    rows = x[:, :, max(start, 0) : min(stop, height)]
    above, below = max(-start, 0), max(stop - height, 0)
    return F.pad(rows, (0, 0, above, below)) if above or below else rows


def allocate_map(like: torch.Tensor, channels: int, height: int, width: int) -> torch.Tensor:
    """Allocate a map [B, channels, height, width] in channels_last, with the batch, dtype and device of `like`.

    Its values are whatever the memory holds.
    """
    shape = (like.shape[0], height, width, channels)
    size = prod(shape) * like.element_size()
    if size < HUGE_PAGES_FROM_BYTES or like.device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=like.dtype, device=like.device).permute(0, 3, 1, 2)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # of systems that are built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=like.dtype).view(shape).permute(0, 3, 1, 2)
