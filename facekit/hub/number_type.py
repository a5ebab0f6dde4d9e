"""The number type in which networks are fastest on a device, by the clock: what `dtype="auto"` means.

Which one that is no data sheet says: processors that have to emulate bfloat16 take up to ten times as long with it as
with float32, those with units for it a fraction. float16 is left out: numbers of some networks exceed it.
"""

import contextlib
import hashlib
import json
import os
import platform
import time
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F

from facekit.hub.shelf import cache_folder
from facekit.images.files import write_atomically

AUTO = "auto"
# Names the type that "auto" is to mean, without a measurement.
VARIABLE = "FACEKIT_DTYPE"
NAMES = ("float32", "bfloat16", "float16")
_KNOWN = "number-types.json"  # in the cache: device -> seconds of `_step` by number type
# bfloat16 must be this much faster in convolutions: what is not a convolution gains nothing, and it costs precision.
_WORTH = 1.25
_CHANNELS, _SIDES = 64, {"cpu": 64, "cuda": 512}  # of the maps that are timed
_ROUNDS = 4


def fastest_dtype(device: torch.device | str | None = None) -> torch.dtype:
    """float32, or bfloat16 where convolutions are plainly faster in it on this device.

    It is measured once for each device, in less than a second, and kept in facekit's cache; on a device that cannot be
    used it is float32. The environment variable FACEKIT_DTYPE (float32, bfloat16, float16) decides in its place.

    Args:
        device: None: the processor.

    Raises:
        ValueError: FACEKIT_DTYPE is something else.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted not in ("", AUTO):
        if wanted not in NAMES:
            raise ValueError(f"{VARIABLE} is {wanted!r}; choose one of {', '.join(NAMES)}")
        return getattr(torch, wanted)
    try:
        seconds = _seconds(torch.device(device or "cpu"))
    except (RuntimeError, AssertionError):  # whoever computes on the device will say what is wrong with it
        return torch.float32
    return torch.bfloat16 if seconds["bfloat16"] * _WORTH <= seconds["float32"] else torch.float32


@cache
def _seconds(device: torch.device) -> dict[str, float]:
    """Seconds of `_step` in float32 and bfloat16, from the cache or by the clock."""
    place, name = cache_folder() / _KNOWN, _describe(device)
    known = _read(place)
    if name not in known:
        measured = _measure(device)
        known = _read(place) | {name: measured}  # what another process wrote meanwhile stays
        with contextlib.suppress(OSError):  # a cache that cannot be written: measured again next time
            text = json.dumps(known, indent=1).encode()
            write_atomically(place, lambda file: file.write(text))
    return known[name]


def _read(place: Path) -> dict[str, dict[str, float]]:
    """What is known; of a damaged file nothing."""
    try:
        known = json.loads(place.read_text())
        return {
            name: {kind: float(seconds[kind]) for kind in ("float32", "bfloat16")}
            for name, seconds in known.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _describe(device: torch.device) -> str:
    """All that the measurement depends on: the device's model, the threads, the version of PyTorch."""
    if device.type == "cuda":
        model = torch.cuda.get_device_name(device)
    elif device.type == "cpu":
        model = f"cpu {_processor()}, {torch.get_num_threads()} threads"
    else:
        model = f"{device.type} {_processor()}"
    return f"{model}, torch {torch.__version__}"


def _processor() -> str:
    """Its name, and a digest of what it can do where the system tells: names of virtual machines are vague."""
    known: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            known.setdefault(key.strip(), value.strip())
    facts = " ".join(known.get(key, "") for key in ("flags", "Features", "CPU part"))
    name = known.get("model name") or platform.processor() or platform.machine()
    return f"{name} {hashlib.sha256(facts.encode()).hexdigest()[:8]}" if facts.strip() else name


def _measure(device: torch.device) -> dict[str, float]:
    """The best of a few rounds, which take turns, so that a passing load meets both; inf where a type does not work."""
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    seconds = dict.fromkeys(kinds, float("inf"))
    _time(device, torch.float32)  # so that a device that cannot be used shows
    for _ in range(_ROUNDS):
        for name, kind in kinds.items():
            with contextlib.suppress(RuntimeError, TypeError):
                seconds[name] = min(seconds[name], _time(device, kind))
    return seconds


@torch.inference_mode()
def _time(device: torch.device, kind: torch.dtype) -> float:
    side = _SIDES.get(device.type, 256)
    maps = torch.zeros(1, _CHANNELS, side, side, device=device, dtype=kind).to(
        memory_format=torch.channels_last
    )
    weight = torch.zeros(_CHANNELS, _CHANNELS, 3, 3, device=device, dtype=kind)
    _synchronize(device)
    started = time.perf_counter()
    _step(maps, weight)
    _synchronize(device)
    return time.perf_counter() - started


def _step(maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What networks spend most of their time with: convolutions, and a pass over the maps after each."""
    for _ in range(2):
        maps = F.leaky_relu(F.conv2d(maps, weight, padding=1), 0.2)
    return maps


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
