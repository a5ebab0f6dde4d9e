"""How fast and how exact is every pipeline on a device: alone, in batches, compiled, in each number type?

    python benchmarks/gpu.py --json gpu.json                                     # the GPU, eight minutes; see gpu.sh
    python benchmarks/gpu.py --device cpu --model starter --pipeline inpaint --batch 1 2 --dtype float32 --minutes 1

Each pipeline runs on aligned pictures of noise, in every number type, alone and in batches, as it is and compiled
(`torch.compile(mode="reduce-overhead")`, which records CUDA graphs). A row has

- `db`: likeness of the result to that of float32 on the CPU with the same weights and seed, PSNR in dB;
- `seconds` of a call, the median, and `pictures_per_second`;
- `share_of_peak`: operations of the networks (two per multiply-add) a second, of what plain 3x3 convolutions reach in
  the same number type on as many pictures, measured in the same minute;
- `memory_mib`: the most that the device held.

With `--whole-call` also what each part of a call takes on a photo of 12 megapixels with three faces (`whole_call.py`).
What tells most comes first. When the minutes are over the rows that are left are named and not measured; the JSON is
written after each row, so that a kill leaves those that are done. With `--model published` the networks have the
published sizes and random weights, since neither speed nor rounding depends much on them.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import count_operations, peak_calls, peak_memory
from speed_cases import (
    STARTER_SIZE,
    bundled,
    cast,
    drawn_inputs,
    published_edit_pipeline,
    published_exemplar_pipeline,
    published_inpaint_pipeline,
    published_restore_pipeline,
)

from facekit import ExemplarInpaintPipeline, FaceEditPipeline, FaceInpaintPipeline, FaceRestorePipeline
from facekit.images.files import write_atomically
from facekit.metrics.speed import Clock, describe_device

DTYPES = ("bfloat16", "float16", "float32")
BATCHES = (1, 16, 64)
REPEATS, LEAST = 5, 0.5  # calls of a row, and seconds that they take at least
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Task:
    """A pipeline that is measured.

    Attributes:
        kind: its class.
        starter: the model that comes along.
        build: it at its published size, on a device in a number type.
        size: side of its pictures at that size, in pixels.
        reads: its arguments, of `drawn_inputs`.
        batched: whether a call takes several pictures.
    """

    kind: type
    starter: str
    build: Callable[[torch.device, torch.dtype], Any]
    size: int
    reads: tuple[str, ...]
    batched: bool = True


TASKS = {
    "restore": Task(FaceRestorePipeline, "face-restore", published_restore_pipeline, 512, ("image",)),
    "inpaint": Task(FaceInpaintPipeline, "face-inpaint", published_inpaint_pipeline, 256, ("image", "mask")),
    "exemplar": Task(
        ExemplarInpaintPipeline,
        "exemplar-inpaint",
        published_exemplar_pipeline,
        256,
        ("image", "mask", "exemplar"),
    ),
    "edit": Task(
        FaceEditPipeline,
        "face-edit",
        published_edit_pipeline,
        256,
        ("image", "mask", "sketch", "semantics", "color", "exemplar"),
        batched=False,
    ),
}


@dataclass(frozen=True)
class Row:
    """One measurement that is to be made."""

    pipeline: str
    dtype: str
    batch: int
    compiled: bool

    @property
    def name(self) -> str:
        return f"{self.pipeline} {self.dtype} x{self.batch}{' compiled' if self.compiled else ''}"


class Bench:
    """Builds pipelines once, compares and times them.

    Args:
        device: to be measured.
        model: "published" or "starter".
    """

    def __init__(self, device: torch.device, model: str) -> None:
        self.device, self.model = device, model
        self.clock = Clock(device)
        self._plain: dict[str, Any] = {}
        self._truths: dict[str, np.ndarray] = {}

    def find_truth(self, name: str) -> np.ndarray:
        """The result of float32 on the CPU, uint8 `[H, W, 3]`."""
        if name not in self._truths:
            self._truths[name] = to_array(self.make_call(self._build_plain(name), name, 1)())
        return self._truths[name]

    def measure(self, row: Row) -> dict[str, Any]:
        """Build a row's pipeline on the device, compare it and time it."""
        dtype = getattr(torch, row.dtype)
        truth = self.find_truth(row.pipeline)
        pipeline = self.move(self._build_plain(row.pipeline), dtype)
        call = self.make_call(pipeline, row.pipeline, row.batch)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        with count_operations() as counter:
            result = to_array(call())
        if row.compiled:
            compile_networks(pipeline)
            result = to_array(call())  # compiles
            call()  # records
        times: list[float] = []
        peak = 0.0
        with torch.inference_mode():
            plain = peak_calls(self.device, dtype, row.batch)
            for _, convolution in plain:
                convolution()
            while len(times) < REPEATS or sum(times) < LEAST:
                times.append(self.clock.seconds(call))
                spent = times[-1] / len(plain)
                peak = max(peak, *(self.clock.rate(convolution, work, spent) for work, convolution in plain))
        seconds = statistics.median(times)
        return {
            "pipeline": row.pipeline,
            "dtype": row.dtype,
            "batch": row.batch,
            "compiled": row.compiled,
            "db": round(find_psnr(result, truth), 1),
            "seconds": round(seconds, 5),
            "pictures_per_second": round(row.batch / seconds, 2),
            "gflop": round(counter.get_total_flops() / 1e9, 1),
            "peak_gflops": round(peak / 1e9, 1),
            "share_of_peak": round(counter.get_total_flops() / seconds / peak, 4),
            "memory_mib": round(peak_memory(self.device), 1),
        }

    def make_call(self, pipeline: Any, name: str, batch: int) -> Callable[[], Any]:
        """A call of the pipeline on so many pictures of noise; the first is always the same."""
        task = TASKS[name]
        size = task.size if self.model == "published" else STARTER_SIZE
        drawn = {key: value for key, value in drawn_inputs(size).items() if key in task.reads}
        if task.batched:
            drawn = {key: value if key == "mask" else [value] * batch for key, value in drawn.items()}
            drawn["max_batch_size"] = batch

        def call() -> Any:
            return pipeline(**drawn, aligned=True, generator=torch.Generator().manual_seed(0)).images

        return call

    def _build_plain(self, name: str) -> Any:
        """The pipeline in float32 on the CPU."""
        if name not in self._plain:
            task = TASKS[name]
            torch.manual_seed(0)
            if self.model == "starter":
                self._plain[name] = bundled(task.kind, task.starter, CPU, torch.float32)
            else:
                self._plain[name] = task.build(CPU, torch.float32)
            self._plain[name].set_progress_bar_config(disable=True)
        return self._plain[name]

    def move(self, plain: Any, dtype: torch.dtype) -> Any:
        """A copy on the device, in a number type, as `from_pretrained(dtype=...)` would give it."""
        parts = {}
        for key, part in plain.components.items():
            if not isinstance(part, torch.nn.Module):
                parts[key] = part
                continue
            moved = copy.deepcopy(part)
            cast(moved, dtype)
            parts[key] = torch.nn.Module.to(moved, self.device)
        pipeline = type(plain)(**parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def compile_networks(pipeline: Any) -> None:
    """Compile every network of a pipeline in place."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.compile(mode="reduce-overhead")


def to_array(images: Any) -> np.ndarray:
    """The first picture of a result, uint8 `[H, W, 3]`."""
    return np.asarray(images[0])


def find_psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB of two uint8 pictures, at most 99."""
    error = float(np.mean((result.astype(float) - truth.astype(float)) ** 2))
    return 99.0 if error == 0 else min(99.0, float(10 * np.log10(255**2 / error)))


def list_rows(args: argparse.Namespace) -> Iterator[Row]:
    """What is measured, what tells most first: one picture in each number type, batches, compiled."""
    for compiled in (False, True) if args.compile else (False,):
        for batch in args.batch:
            for dtype in args.dtype:
                for name in args.pipeline:
                    if batch == 1 or TASKS[name].batched:
                        yield Row(name, dtype, batch, compiled)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", choices=("published", "starter"), default="published")
    parser.add_argument("--pipeline", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--batch", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--compile", action="store_true", help="also compiled, with CUDA graphs")
    parser.add_argument("--whole-call", action="store_true")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    start, device = time.monotonic(), torch.device(args.device)
    torch.backends.cudnn.benchmark = True  # sizes do not change
    bench = Bench(device, args.model)
    report: dict[str, Any] = {
        "machine": {
            "torch": torch.__version__,
            "device": describe_device(device),
            "machine": platform.machine(),
            "model": args.model,
        },
        "rows": [],
        "not_measured": [],
    }
    if args.whole_call:
        report["whole_call"] = measure_whole_call(args.device)
    for row in list_rows(args):
        if time.monotonic() - start > 60 * args.minutes:
            report["not_measured"].append(row.name)
            continue
        try:
            report["rows"].append(bench.measure(row))
        except RuntimeError as error:  # of memory, or of a compiler: the others go on
            report["rows"].append({"name": row.name, "error": str(error).strip().splitlines()[0]})
        print(json.dumps(report["rows"][-1]), flush=True)
        save(report, args.json)
    save(report, args.json)
    if report["not_measured"]:
        print(f"not measured, the time was over: {', '.join(report['not_measured'])}")


def measure_whole_call(device: str) -> dict[str, float]:
    """Seconds of the parts of a call on a large photo, by `whole_call.py` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "whole_call.json")
        line = [str(Path(__file__).with_name("whole_call.py")), "--device", device, "--json", str(target)]
        subprocess.run(
            [sys.executable, *line],
            env=os.environ | {"CUDA_LAUNCH_BLOCKING": "1"},
            check=True,
            stdout=sys.stderr,
        )
        return json.loads(target.read_text())


def save(report: dict[str, Any], path: Path | None) -> None:
    """Write what is measured so far."""
    if path is not None:
        content = json.dumps(report, indent=1) + "\n"
        write_atomically(path, lambda file: file.write(content.encode()))


if __name__ == "__main__":
    main()
