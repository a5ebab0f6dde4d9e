"""Networks of Real-ESRGAN's two kinds with few channels, as files that spandrel knows by their keys."""

from pathlib import Path

import torch
from safetensors.torch import save_file


def write_compact(path: Path, scale: int, channels: int = 3) -> Path:
    """A SRVGGNetCompact, the small kind: the nearest pixels, and what random layers add."""
    generator = torch.Generator().manual_seed(scale)
    state = {
        "body.0.weight": torch.randn(4, channels, 3, 3, generator=generator) * 0.3,
        "body.0.bias": torch.zeros(4),
        "body.1.weight": torch.full((4,), 0.2),
        "body.2.weight": torch.randn(channels * scale**2, 4, 3, 3, generator=generator) * 0.01,
        "body.2.bias": torch.zeros(channels * scale**2),
    }
    save_file(state, path)
    return path


def write_rrdb(path: Path, scale: int) -> Path:
    """An RRDBNet, the large kind, of one block; for 2x it sees the photo's pixels four by four, as Real-ESRGAN x2."""
    generator = torch.Generator().manual_seed(scale)
    seen = {4: 3, 2: 12, 1: 48}[scale]
    shapes = {"conv_first": (4, seen), "conv_body": (4, 4), "conv_hr": (4, 4), "conv_last": (3, 4)}
    shapes |= {"conv_up1": (4, 4), "conv_up2": (4, 4)}
    for block in (1, 2, 3):
        grown = {f"body.0.rdb{block}.conv{k}": (32 if k < 5 else 4, 4 + 32 * (k - 1)) for k in range(1, 6)}
        shapes |= grown
    state = {}
    for name, (out, into) in shapes.items():
        state[f"{name}.weight"] = torch.randn(out, into, 3, 3, generator=generator) * (2 / (9 * into)) ** 0.5
        state[f"{name}.bias"] = torch.rand(out, generator=generator) * 0.2
    save_file(state, path)
    return path
