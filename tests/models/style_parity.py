"""Reference outputs for the style-based networks: what they were computed from, and how they are compared.

A map X is stored as three summaries: `.sub` (every n-th channel, row and column), `.br` (the last 4x4 pixels)
and `.stats` (mean, standard deviation and sum of absolute values of the whole map). The committed files hold
a part of the summaries; beside a developer's checkout the full ones are found and used.
"""

import importlib.util
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

PARITY = Path(__file__).resolve().parents[1] / "data" / "parity"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "parity"

_spec = importlib.util.spec_from_file_location("parity_fill", PARITY / "fill.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
fill, draw = _module.fill, _module.draw


def goldens(method: str) -> dict[str, torch.Tensor]:
    """The reference outputs of `method`: committed ones, completed by the full set where it can be found."""
    stored = load_file(PARITY / method / "style.seed0.safetensors")
    full = SHARED / method / "golden.seed0.safetensors"
    return stored | load_file(full) if full.exists() else stored


def face_sized_image(seed: int = 0) -> torch.Tensor:
    """The reference input `image` [1, 3, 512, 512] of VSPBFR: smooth draws plus waves, clipped to [-1, 1]."""
    coarse = F.interpolate(draw("golden.image", (1, 3, 16, 16), seed), size=(512, 512), mode="bicubic")[0]
    fine = F.interpolate(draw("golden.image.fine", (1, 3, 64, 64), seed), size=(512, 512), mode="bicubic")[0]
    line = torch.linspace(0, 1, 512)
    y, x = torch.meshgrid(line, line, indexing="ij")
    turn = 2 * math.pi
    waves = torch.stack(
        [(turn * (3 * x + 2 * y)).sin(), (turn * (5 * y - x)).sin(), (turn * (4 * x * y + y)).cos()]
    )
    return (0.35 * coarse + 0.12 * fine + 0.3 * waves).clamp(-1, 1)[None]


def assert_close(actual: torch.Tensor, expected: torch.Tensor, name: str, atol: float = 1e-4) -> None:
    torch.testing.assert_close(
        actual.float(), expected, rtol=1e-3, atol=atol, msg=lambda text: f"{name}: {text}"
    )


def assert_summary(
    x: torch.Tensor, stored: dict[str, torch.Tensor], name: str, channels: int = 16, side: int = 16
) -> None:
    """Compare the map `x` with the summaries stored under `name`; at least one must be there."""
    step_c, step_y, step_x = (
        max(1, n // most) for n, most in zip(x.shape[1:], (channels, side, side), strict=True)
    )
    wide = x.double()
    summaries = {
        "sub": x[:, ::step_c, ::step_y, ::step_x],
        "br": x[:, ::step_c, -4:, -4:],
        "stats": torch.stack([wide.mean(), wide.std(unbiased=False), wide.abs().sum()]),
    }
    found = [kind for kind in summaries if f"{name}.{kind}" in stored]
    assert found, f"no summary of {name} is stored"
    for kind in found:
        assert_close(summaries[kind], stored[f"{name}.{kind}"], f"{name}.{kind}")


def textbook_modulated_conv(
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    demodulate: bool = True,
    resample: str | None = None,
    dilation: int = 1,
) -> torch.Tensor:
    """Modulated convolution word by word: one kernel per sample, one grouped convolution over the batch.

    `scale` [B, in] is the affine-transformed style, `weight` [out, in, k, k] is unscaled.
    """
    batch, channels, height, width = x.shape
    out, _, size, _ = weight.shape
    kernels = weight[None] / math.sqrt(channels * size**2) * scale[:, None, :, None, None]
    if demodulate:
        kernels = kernels / torch.sqrt(kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    grouped = x.reshape(1, batch * channels, height, width)
    if resample == "up":
        kernels = kernels.transpose(1, 2).reshape(batch * channels, out, size, size)
        y = F.conv_transpose2d(grouped, kernels, stride=2, groups=batch)
        return textbook_resample(y.view(batch, out, *y.shape[2:]), gain=4, pad=(1, 1))
    kernels = kernels.reshape(batch * out, channels, size, size)
    if resample == "down":
        grouped = textbook_resample(x, pad=(2, 2)).reshape(1, batch * channels, height + 1, width + 1)
        y = F.conv2d(grouped, kernels, stride=2, groups=batch)
    else:
        padding = (size - 1) * dilation // 2
        y = F.conv2d(grouped, kernels, padding=padding, dilation=dilation, groups=batch)
    return y.view(batch, out, *y.shape[2:])


def textbook_resample(
    x: torch.Tensor, gain: float = 1, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    """Zero insertion, zero padding, filter [1, 3, 3, 1] x [1, 3, 3, 1] / 64 * gain, every n-th sample."""
    batch, channels, height, width = x.shape
    if up > 1:
        inserted = x.new_zeros(batch, channels, height * up, width * up)
        inserted[:, :, ::up, ::up] = x
        x = inserted
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 64 * gain
    x = F.pad(x, (*pad, *pad))
    planes = x.reshape(batch * channels, 1, *x.shape[2:])
    y = F.conv2d(planes, kernel.flip(0, 1)[None, None])
    return y.view(batch, channels, *y.shape[2:])[:, :, ::down, ::down]
