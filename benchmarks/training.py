"""What does a training step cost at the published sizes, and how much faster are several processes?

    python benchmarks/training.py --json training.json                              # one picture a step, float32
    python benchmarks/training.py --device cuda --batch-size 4 --precision bf16 --json training.json
    python benchmarks/training.py --stage inpaint --threads 1 --processes 1 2

Each stage of the thesis's presets takes a few steps on pictures of noise; networks begin, and frozen networks are, at
random. LPIPS gives way to the ImageNet distance, so that nothing need be downloaded; all else is as the preset says.
A row has

- `seconds` of a step, its median, and `seconds_regularised` of one that every lazy regulariser (R1, path length) is
  part of, as each 4th, 8th or 16th is;
- `pictures_per_second` of all processes together, of plain steps, reading and preparing the pictures left out;
- `memory_mib`: the most that a process (on a GPU: the device) held, frozen networks, optimizers and averages included.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from speed import peak_memory
from tqdm import tqdm

from facekit import (
    BiSeNet,
    CodeDiffuser,
    CodeDiffusionScheduler,
    IdentityEncoder,
    LatentWarper,
    StyleEncoder,
    StyleGAN2Generator,
)
from facekit.metrics.speed import describe_device, synchronize

WORKER = "--worker"
PICTURES, SIDE = 8, 512  # of noise
PLAIN, REGULARISED = 2, 1  # numbers of steps: lazy regularisers are due in the first
Make = Callable[[], torch.nn.Module]


@dataclass(frozen=True)
class Stage:
    """A stage that is measured.

    Attributes:
        module: of `train`.
        preset: its configuration.
        frozen: networks that only help, by the option that names them.
        options: others, as they are typed.
    """

    module: str
    preset: str
    frozen: dict[str, Make]
    options: tuple[str, ...] = ()

    def describe(self) -> tuple[Any, Any]:
        """The classes of its trainer and of its options."""
        name = "".join(word.capitalize() for word in self.module.split("_"))
        trainer = importlib.import_module(f"train.{self.module}.trainer")
        config = importlib.import_module(f"train.{self.module}.config")
        return getattr(trainer, f"{name}Trainer"), getattr(config, f"{name}Config")


_prior_512 = partial(StyleGAN2Generator, sample_size=512)
_prior_256 = partial(StyleGAN2Generator, sample_size=256, channel_base=32768)
_encoder_512 = partial(StyleEncoder, num_styles=16)
_encoder_exemplar = partial(StyleEncoder, reading="psp", first_style=4, num_styles=14)
_encoder_26 = partial(StyleEncoder, in_channels=26, num_styles=14)
_diffuser = partial(CodeDiffuser, num_styles=16, form="thesis")
_warper = partial(LatentWarper, num_styles=14)
_IDENTITY: dict[str, Make] = {"pictures.identity_encoder": IdentityEncoder}
_PARSER: dict[str, Make] = {"guidance.face_parser": BiSeNet}
_OFFLINE = ("--pictures.perceptual", "efficientnet")
STAGES = {
    "prior": Stage("prior", "prior/paper", {}),
    "style-encoder": Stage(
        "style_encoder", "style_encoder/paper", {"prior": _prior_512} | _IDENTITY, _OFFLINE
    ),
    "code-diffuser": Stage(
        "code_diffuser",
        "code_diffuser/paper",
        {"prior": _prior_512, "style_encoder": _encoder_512} | _IDENTITY,
        _OFFLINE,
    ),
    "restorer": Stage(
        "restorer",
        "restorer/paper",
        {"prior": _prior_512, "style_encoder": _encoder_512, "code_diffuser": _diffuser} | _IDENTITY,
        _OFFLINE,
    ),
    "inpaint": Stage("inpaint", "inpaint/thesis", {}, _OFFLINE),
    "exemplar": Stage(
        "exemplar", "exemplar/thesis", {"style_encoder": _encoder_exemplar} | _IDENTITY, _OFFLINE
    ),
    "encoder-multimodal": Stage(
        "style_encoder",
        "style_encoder/multimodal-thesis",
        {"prior": _prior_256} | _IDENTITY | _PARSER,
        _OFFLINE,
    ),
    "latent-warper": Stage(
        "latent_warper",
        "latent_warper/thesis",
        {"prior": _prior_256, "style_encoder": _encoder_26} | _IDENTITY,
        _OFFLINE,
    ),
    "multimodal": Stage(
        "multimodal",
        "multimodal/thesis",
        {"prior": _prior_256, "style_encoder": _encoder_26, "latent_warper": _warper} | _IDENTITY | _PARSER,
        _OFFLINE,
    ),
}


def write_pictures(folder: Path) -> Path:
    """A folder of pictures of noise."""
    folder.mkdir()
    for number in range(PICTURES):
        noise = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


def write_frozen(stage: Stage, folder: Path) -> list[str]:
    """Write a stage's frozen networks, and give the options that name them."""
    options = []
    for option, make in stage.frozen.items():
        torch.manual_seed(0)
        place = folder / option
        make().save_pretrained(place / option if option == "code_diffuser" else place)
        if option == "code_diffuser":
            CodeDiffusionScheduler().save_pretrained(place / "scheduler")
        options += [f"--{option}", str(place)]
    return options


def work(name: str, report: Path, steps: int, line: list[str]) -> None:
    """One process of a run: time its steps, and write what they took."""
    from train.engine.config import read_config

    trainer_class, config_class = STAGES[name].describe()
    trainer = trainer_class(read_config(config_class, line))
    device, batches = trainer.device, trainer.batches()
    group = [next(batches)]

    def step(number: int) -> float:
        trainer.run.step = number
        synchronize(device)
        started = time.perf_counter()
        trainer.step_on([dict(batch) for batch in group])
        synchronize(device)
        return time.perf_counter() - started

    step(PLAIN)  # fills caches and chooses kernels
    row = {
        "seconds": statistics.median(step(PLAIN) for _ in range(steps)),
        "seconds_regularised": step(REGULARISED),
        "memory_mib": peak_memory(device),
        "device": describe_device(device),
    }
    rank = trainer.accelerator.process_index
    report.with_name(f"{report.name}.{rank}").write_text(json.dumps(row))


def measure(name: str, processes: int, args: argparse.Namespace) -> dict[str, Any]:
    """The row of a stage, on so many processes."""
    stage = STAGES[name]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        line = [WORKER, name, str(root / "report"), str(args.steps)]
        line += [
            "--config",
            f"train/configs/{stage.preset}.yaml",
            "--data",
            str(write_pictures(root / "pictures")),
        ]
        line += ["--output_dir", str(root / "run"), "--tracker", "none", "--batch_size", str(args.batch_size)]
        line += ["--mixed_precision", args.precision, *stage.options, *write_frozen(stage, root)]
        launch = [
            "-m",
            "accelerate.commands.launch",
            "--num_processes",
            str(processes),
            "--num_machines",
            "1",
        ]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
        launch += ["--multi_gpu"] if processes > 1 else ["--cpu"] if args.device == "cpu" else []
        here = Path(__file__).resolve()
        environment = os.environ | {"PYTHONPATH": str(here.parents[1])}
        if args.device == "cpu":
            environment |= {"ACCELERATE_USE_CPU": "true"}
        threads = args.threads or max(1, (os.cpu_count() or 1) // processes)
        environment |= {
            "OMP_NUM_THREADS": str(threads)
        }  # accelerate has other defaults for one process and several
        done = subprocess.run(
            [sys.executable, *launch, str(here), *line],
            env=environment,
            cwd=here.parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        rows = [json.loads(path.read_text()) for path in sorted(root.glob("report.*"))]
    if done.returncode or len(rows) != processes:
        raise RuntimeError(f"{name} on {processes} processes failed:\n{done.stderr[-3000:]}")
    slowest = {key: max(row[key] for row in rows) for key in ("seconds", "seconds_regularised", "memory_mib")}
    return {
        "stage": name,
        "preset": stage.preset,
        "processes": processes,
        "threads": threads,
        "batch_size": args.batch_size,
        "precision": args.precision,
        **slowest,
        "pictures_per_second": processes * args.batch_size / slowest["seconds"],
        "device": rows[0]["device"],
    }


def print_table(rows: Iterable[dict[str, Any]]) -> None:
    """The rows, as Markdown; the share of linear is of the same stage's first row."""
    print(
        "| stage | processes x threads | pictures a step and process | seconds | with regularisers | "
        "pictures a second | share of linear | GiB |\n|---|---|---|---|---|---|---|---|"
    )
    first: dict[str, float] = {}
    for row in rows:
        rate = row["pictures_per_second"] / row["processes"]
        share = rate / first.setdefault(row["stage"], rate)
        print(
            f"| {row['stage']} | {row['processes']} x {row['threads']} | {row['batch_size']} | {row['seconds']:.3g} "
            f"| {row['seconds_regularised']:.3g} | {row['pictures_per_second']:.3g} | {share:.3f} "
            f"| {row['memory_mib'] / 1024:.1f} |"
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-size", type=int, default=1, help="pictures of a step in each process")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, help="of each process (default: the cores, shared)")
    parser.add_argument("--steps", type=int, default=2, help="that are timed")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    args = parser.parse_args(argv)
    if args.json and not args.json.parent.is_dir():
        parser.error(f"there is no folder {args.json.parent}")
    rows = []
    for name in tqdm(args.stage):
        for processes in args.processes:
            rows.append(measure(name, processes, args))
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print_table(rows)


if __name__ == "__main__":
    if WORKER in sys.argv[1:2]:
        work(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
    else:
        main()
