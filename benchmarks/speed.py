"""How fast are the pipelines, and how much of the machine's convolution peak do they reach?

    python benchmarks/speed.py
    python benchmarks/speed.py --case inpaint-published --dtype bfloat16 --threads 2 --json speed.json
    python benchmarks/speed.py --case restore-published --parts --dtype float32 --dtype bfloat16

For each case: the median of the seconds of one call, the peak memory, the floating-point operations of the networks
(two per multiply-add, counted), and the share of the peak. The peak is the best rate of plain 3x3 convolutions in the
same number type; it is measured between the calls, for as long as they take, so that both see the same machine.
`--cpu-time` counts one thread's processor time instead, the only thing that means something on a busy machine.
Networks have random weights where no trained ones are needed: speed does not depend on them.

How to read the rows. `gflop` counts what the result needs and nothing else: transposed convolutions without the zeros
they insert, heads and levels that are asked for, no padding. `share` is gflop / seconds / peak; what is missing
to 100% is passes over the maps that compute nothing (noise, activations, sums, resampling, new memory) and
layers too small or too narrow for full speed. Shares may be compared between machines, seconds may not.
With `--parts` the networks of a pipeline have rows of their own (`restore-published-encoder`, `-diffusion`,
`-prior`, `-restorer`). Their seconds add up to the pipeline's but for reading the photo and the sum with its
coarse structure. `bfloat16` is the mode of `from_pretrained(dtype=torch.bfloat16)`: what the networks list as to be
kept in float32 stays so, and the peak is then one of bfloat16, which float32 parts cannot reach: such a row's share
is low though its seconds are few. Memory is the most that the row's process ever had, imports and loading included.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from facekit import (
    CodeDiffuser,
    CodeDiffusionScheduler,
    FaceInpaintPipeline,
    FaceRestorePipeline,
    ResidualInpainter,
    RestoreAutoEncoder,
    StyleEncoder,
    StyleGAN2Generator,
    starter,
)
from facekit.models.layers import NoiseInjection

Call = Callable[[], Any]
# Channels and sides of the convolutions that the peak is the best of.
PEAK_SHAPES = ((128, 64), (128, 128), (256, 64), (512, 32))


@dataclass
class Case:
    """One row of the table.

    Attributes:
        name: the row's name.
        pipeline: class that is measured.
        size: side of the square picture, in pixels.
        build: makes the call to be timed, for a device and a number type.
        whole: name of the row this one is a part of.
    """

    name: str
    pipeline: str
    size: int
    build: Callable[[torch.device, torch.dtype], Call]
    whole: str | None = None


CASES: dict[str, Case] = {}


def case(name: str, pipeline: str, size: int) -> Callable:
    """Register a function `(device, dtype) -> call` as a row."""

    def register(build: Callable[[torch.device, torch.dtype], Call]) -> Callable:
        CASES[name] = Case(name, pipeline, size, build)
        return build

    return register


def inpaint_call(pipeline: FaceInpaintPipeline, size: int) -> Call:
    """Fills the central quarter of a picture of noise, T = 3, without face detection."""
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
    hole = np.zeros((size, size), dtype=np.uint8)
    hole[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 255
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(photo, hole, aligned=True, generator=torch.Generator().manual_seed(0))


@case("inpaint-published", "FaceInpaintPipeline", 256)
def inpaint_published(device: torch.device, dtype: torch.dtype) -> Call:
    """GRIG at its published size."""
    network = ResidualInpainter().eval()
    # Trained networks have noise, and its pass over the map.
    torch.nn.init.constant_(network.decoder.up2.conv1.noise_strength, 0.1)
    torch.nn.init.constant_(network.decoder.up2.conv2.noise_strength, 0.1)
    # diffusers' own `to` warns of modules to be kept in float32 even where there are none.
    return inpaint_call(FaceInpaintPipeline(torch.nn.Module.to(network, device, dtype)), 256)


@case("inpaint-starter", "FaceInpaintPipeline", 256)
def inpaint_starter(device: torch.device, dtype: torch.dtype) -> Call:
    """The bundled starter model."""
    pipeline = FaceInpaintPipeline.from_pretrained(starter("face-inpaint"), dtype=dtype).to(device)
    return inpaint_call(pipeline, 256)


@contextmanager
def parameters_of(dtype: torch.dtype) -> Iterator[None]:
    """Networks built inside have this number type from the start, so that none is ever held in two."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def published_restore_pipeline(device: torch.device, dtype: torch.dtype) -> FaceRestorePipeline:
    """VSPBFR at its published size without identity encoder; every noise layer has an effect, as trained ones do."""
    networks = {}
    for name, kind in (
        ("style_encoder", StyleEncoder),
        ("code_diffuser", CodeDiffuser),
        ("prior", StyleGAN2Generator),
        ("restorer", RestoreAutoEncoder),
    ):
        with parameters_of(dtype):
            network = kind().eval().requires_grad_(False)
        kept = set(kind._keep_in_fp32_modules or ())
        for path, parameter in network.named_parameters():
            if kept & set(path.split(".")):
                parameter.data = parameter.data.float()
        for path, buffer in list(network.named_buffers()):
            if kept & set(path.split(".")):
                buffer.data = buffer.data.float()
        for module in network.modules():
            if isinstance(module, NoiseInjection):
                module.strength.fill_(0.1)
        networks[name] = torch.nn.Module.to(network, device)
    pipeline = FaceRestorePipeline(scheduler=CodeDiffusionScheduler.published(), **networks)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def restore_call(pipeline: FaceRestorePipeline) -> Call:
    """Restores an aligned face of noise at the pipeline's size."""
    size = pipeline.restorer.config.sample_size
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return lambda: pipeline(photo, aligned=True, generator=torch.Generator().manual_seed(0))


@case("restore-published", "FaceRestorePipeline", 512)
def restore_published(device: torch.device, dtype: torch.dtype) -> Call:
    """VSPBFR end to end."""
    return restore_call(published_restore_pipeline(device, dtype))


@case("restore-starter", "FaceRestorePipeline", 256)
def restore_starter(device: torch.device, dtype: torch.dtype) -> Call:
    """The bundled starter model."""
    folder = Path(starter("face-restore"))
    if not folder.is_dir():
        raise OSError(
            f"the starter model {folder.name} is not in hub_cards/; train it (train/README.md) first"
        )
    pipeline = FaceRestorePipeline.from_pretrained(folder, dtype=dtype, identity_encoder=None).to(device)
    # The counter of operations trips over inference with parameters that want gradients.
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return restore_call(pipeline)


def restore_part_call(part: str, device: torch.device, dtype: torch.dtype) -> Call:
    """One network of `published_restore_pipeline` on inputs such as the pipeline gives it."""
    pipeline = published_restore_pipeline(device, dtype)
    generator = torch.Generator().manual_seed(0)
    damaged = torch.rand(1, 3, 512, 512, generator=generator).to(device) * 2 - 1
    codes, z = (torch.randn(shape, generator=generator).to(device) for shape in ((1, 18, 512), (1, 512)))
    stop_at = pipeline.restorer.num_levels
    with torch.inference_mode():
        features = pipeline.prior(w_plus=codes, stop_at=stop_at).features if part == "restorer" else None

    def diffuse() -> None:
        pipeline.scheduler.set_timesteps(None, device=device)
        latents = codes
        for timestep in pipeline.scheduler.timesteps:
            predicted = pipeline.code_diffuser(latents, timestep, codes).float()
            latents = pipeline.scheduler.step(predicted, timestep, latents).prev_sample

    calls = {
        "encoder": lambda: pipeline.style_encoder(damaged),
        "diffusion": diffuse,
        "prior": lambda: pipeline.prior(w_plus=codes, stop_at=stop_at, generator=generator),
        "restorer": lambda: pipeline.restorer(
            damaged, codes, features, z=z.to(pipeline.restorer.dtype), generator=generator
        ),
    }
    return torch.inference_mode()(calls[part])


for _part in ("encoder", "diffusion", "prior", "restorer"):
    _name = f"restore-published-{_part}"
    _build = partial(restore_part_call, _part)
    CASES[_name] = Case(_name, "FaceRestorePipeline", 512, _build, whole="restore-published")


@dataclass
class Clock:
    """Times calls on a device; wall time, or the process's processor time."""

    device: torch.device
    cpu_time: bool = False

    def seconds(self, call: Call) -> float:
        """Time of a call, the device's queue included."""
        now = time.process_time if self.cpu_time else time.perf_counter
        synchronize(self.device)
        start = now()
        call()
        synchronize(self.device)
        return now() - start

    def rate(self, call: Call, work: float, least: float) -> float:
        """Operations per second of a call of `work` operations, repeated for at least so many seconds.

        A busy machine then slows it as much as it slows what it is compared with.
        """
        count, spent = 0, 0.0
        while spent < least or not count:
            spent += self.seconds(call)
            count += 1
        return count * work / spent


def synchronize(device: torch.device) -> None:
    """Wait for the device's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_calls(device: torch.device, dtype: torch.dtype) -> list[tuple[float, Call]]:
    """(floating-point operations, plain convolution) for every shape."""
    calls = []
    for channels, side in PEAK_SHAPES:
        x = torch.randn(1, channels, side, side, device=device, dtype=dtype)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
        work = 2.0 * channels * channels * 9 * side * side
        calls.append((work, lambda x=x, weight=weight: F.conv2d(x, weight, padding=1)))
    return calls


def peak_memory(device: torch.device) -> float:
    """Most memory in use so far, in MiB: the device's on CUDA, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def measure(row: Case, clock: Clock, dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Build a case and time it, with the peak in between."""
    device = clock.device
    call = row.build(device, dtype)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with FlopCounterMode(display=False) as counter:
        call()
    flops = counter.get_total_flops()
    plain = peak_calls(device, dtype)
    times, rates = [], []
    with torch.inference_mode():
        for _, convolution in plain:
            convolution()
        for _ in range(repeats):
            times.append(clock.seconds(call))
            least = times[-1] / len(plain)
            rates.append(max(clock.rate(convolution, work, least) for work, convolution in plain))
    median, peak = statistics.median(times), statistics.median(rates)
    return {
        "case": row.name,
        "pipeline": row.pipeline,
        "size": row.size,
        "dtype": str(dtype).removeprefix("torch."),
        "seconds": round(median, 4),
        "fastest": round(min(times), 4),
        "gflop": round(flops / 1e9, 2),
        "peak_gflops": round(peak / 1e9, 1),
        "share_of_peak": round(flops / median / peak, 4),
        "memory_mib": round(peak_memory(device), 1),
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
    print(f"{'case':<28}{'dtype':<10}" + "".join(f"{head:>{len(head) + 3}}" for head in heads))
    for name in names:
        for dtype in args.dtype or ["float32"]:
            try:
                row = measure_apart(args, name, dtype)
            except OSError as error:
                print(f"{name:<28}not measured: {error}")
                continue
            rows.append(row)
            print(
                f"{name:<28}{dtype:<10}{row['size']:>7}{row['seconds']:>10.3f}{row['gflop']:>8.1f}"
                f"{row['peak_gflops']:>15.0f}{row['share_of_peak']:>8.0%}{row['memory_mib']:>6.0f}",
                flush=True,
            )
    machine = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
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
