"""How fast are the pipelines, and how much of the machine's convolution peak do they reach?

    python benchmarks/speed.py
    python benchmarks/speed.py --case inpaint-published --dtype bfloat16 --threads 2 --json speed.json
    python benchmarks/speed.py --case restore-published --parts --dtype float32 --dtype bfloat16
    python benchmarks/speed.py --case exemplar-published --case exemplar-published-batch8 --parts
    python benchmarks/speed.py --case edit-published --case edit-published-warm --parts

For each case: the median of the seconds of one call, the peak memory, the floating-point operations of the networks
(two per multiply-add, counted), and the share of the peak. The peak is the best rate of plain 3x3 convolutions in the
same number type; it is measured between the calls, for as long as they take, so that both see the same machine.
`--cpu-time` counts one thread's processor time instead, the only thing that means something on a busy machine.
Networks have random weights where no trained ones are needed: speed does not depend on them. The rows themselves
are in `speed_cases.py`.

How to read the rows. `gflop` counts what the result needs and nothing else: transposed convolutions without the zeros
they insert, heads and levels that are asked for, no padding; wide layers as the plain convolutions that they are,
though tiles need fewer operations (`facekit/models/fast/winograd.py`), so that a share may pass 100%. `share` is gflop
/ seconds / peak; what is missing to 100% is passes over the maps that compute nothing (noise, activations, sums,
resampling, new memory) and layers too small or too narrow for full speed. Shares may be compared between machines,
seconds may not.
With `--parts` the networks of a pipeline have rows of their own (`restore-published-encoder`, `-diffusion`,
`-prior`, `-restorer`; `exemplar-published-encoder`, `-generator`: the thesis's 77.62 frames per second of EXE-GAN
leave the encoder out). Their seconds add up to the pipeline's but for reading the photo and what is done with
the networks' results. Rows that end in `-batch8` have eight pictures in a call. `bfloat16` is the mode of
`from_pretrained(dtype=torch.bfloat16)`: what the networks list as to be kept in float32 stays so, and the peak is
then one of bfloat16, which float32 parts cannot reach: such a row's share is low though its seconds are few.
`edit-published` is a first edit by sketch, map, colours and exemplar; before `edit-published-warm` photo, guidance and
exemplar were seen, as when a slider moves: warper, prior and the refiner's decoder are left, which is the least an
edit takes. The thesis gives 29 ms for an edit on an RTX 4090. Parts: `edit-published-encoder` (masked photo and
exemplar), `-warper`, `-aggregation`, `-prior`, `-refiner-encoder`, `-refiner-decoder`.
Memory is the most that the row's process ever had, imports and loading included.
"""

import argparse
import json
import math
import multiprocessing
import platform
import resource
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from speed_cases import CASES, Call, Case
from torch.utils.flop_counter import FlopCounterMode

from facekit.metrics.speed import Clock, describe_device
from facekit.models.fast import winograd

# Channels and sides of the convolutions that the peak is the best of.
PEAK_SHAPES = ((128, 64), (128, 128), (256, 64), (512, 32))


def peak_calls(device: torch.device, dtype: torch.dtype, batch: int = 1) -> list[tuple[float, Call]]:
    """(floating-point operations, plain convolution) for every shape, on so many pictures."""
    calls = []
    for channels, side in PEAK_SHAPES:
        x = torch.randn(batch, channels, side, side, device=device, dtype=dtype)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
        work = 2.0 * batch * channels * channels * 9 * side * side
        calls.append((work, lambda x=x, weight=weight: F.conv2d(x, weight, padding=1)))
    return calls


def peak_memory(device: torch.device) -> float:
    """Most memory in use so far, in MiB: the device's on CUDA, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def count_operations() -> Iterator[FlopCounterMode]:
    """Count the floating-point operations of what runs inside, wide layers as the plain convolutions that they are."""
    with FlopCounterMode(display=False) as counter, patch.object(winograd, "FROM_CHANNELS", math.inf):
        yield counter


def measure(row: Case, clock: Clock, dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Build a case and time it, with the peak in between."""
    device = clock.device
    call = row.build(device, dtype)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    plain = peak_calls(device, dtype)
    call()
    times, rates = [], []
    with torch.inference_mode():
        for _, convolution in plain:
            convolution()
        for _ in range(repeats):
            times.append(clock.seconds(call))
            least = times[-1] / len(plain)
            rates.append(max(clock.rate(convolution, work, least) for work, convolution in plain))
    memory = peak_memory(device)
    with count_operations() as counter:
        call()
    flops = counter.get_total_flops()
    median, peak = statistics.median(times), statistics.median(rates)
    return {
        "case": row.name,
        "pipeline": row.pipeline,
        "size": row.size,
        "batch": row.batch,
        "dtype": str(dtype).removeprefix("torch."),
        "seconds": round(median, 4),
        "fastest": round(min(times), 4),
        "gflop": round(flops / 1e9, 2),
        "peak_gflops": round(peak / 1e9, 1),
        "share_of_peak": round(flops / median / peak, 4),
        "memory_mib": round(memory, 1),
    }


def measure_apart(options: argparse.Namespace, name: str, dtype: str) -> dict[str, Any]:
    """`measure` in a process of its own, since a process only knows its all-time peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure_named, (options, name, dtype))


def _measure_named(options: argparse.Namespace, name: str, dtype: str) -> dict[str, Any]:
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = Clock(torch.device(options.device), options.cpu_time)
    return measure(CASES[name], clock, getattr(torch, dtype), options.repeats)


def main() -> None:
    """Measure the chosen cases, print the table, write JSON."""
    parser = argparse.ArgumentParser(description="Speed of the pipelines.")
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="default: all")
    parser.add_argument(
        "--parts", action="store_true", help="also the networks of the chosen pipelines, each by itself"
    )
    parser.add_argument("--dtype", action="append", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's)")
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor time of one thread, for busy machines"
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("--repeats must be 1 or more")
    if args.cpu_time:
        args.threads = 1
        if args.device != "cpu":
            parser.error("--cpu-time is for --device cpu")
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)

    names = args.case or [row.name for row in CASES.values() if row.whole is None]
    if args.parts:
        names = [part for name in names for part in CASES if part == name or CASES[part].whole == name]

    rows = []
    heads = ("size", "seconds", "GFLOP", "peak GFLOP/s", "share", "MiB")
    print(f"{'case':<37}{'dtype':<10}" + "".join(f"{head:>{len(head) + 3}}" for head in heads))
    for name in names:
        for dtype in args.dtype or ["float32"]:
            try:
                row = measure_apart(args, name, dtype)
            except OSError as error:
                print(f"{name:<37}not measured: {error}")
                continue
            rows.append(row)
            print(
                f"{name:<37}{dtype:<10}{row['size']:>7}{row['seconds']:>10.3f}{row['gflop']:>8.1f}"
                f"{row['peak_gflops']:>15.0f}{row['share_of_peak']:>8.0%}{row['memory_mib']:>6.0f}",
                flush=True,
            )
    machine = {
        "torch": torch.__version__,
        "device": describe_device(device),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "clock": "processor time" if args.cpu_time else "wall time",
        "repeats": args.repeats,
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
