"""How close to linear does a batch come with more processes, where a device does the networks' work?

    python benchmarks/batch_scaling.py --device-seconds 0.5 --processes 1 2 4 --json scaling.json

Each process reads portraits of 512 pixels, waits as long as its own device would compute, writes the results and the
records: all is real but the networks, whose time is slept, since this machine has one processor and the processes of a
cluster a device each. The rate is that from the first result to the last, without start-up. Its share of linear falls
where the processes' own work (reading, writing, records) has to share the cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.data import astronaut

WORKER = "--worker"
BATCH = 8


def sleep_instead(seconds: float) -> None:
    """Let a restoration take so long a photo, and give the photos back as they are."""
    from facekit.images.photo import load_image
    from facekit_cli.batch import command
    from facekit_cli.restoring import Restored

    def restore(pipeline: Any, photos: list[Any], *rest: Any, **options: Any) -> list[Restored]:
        images = [load_image(photo) for photo in photos]
        time.sleep(seconds * len(photos))
        return [
            Restored(images=[image], faces=[], notes=[], similarities=None, face_pictures=None, aligned=True)
            for image in images
        ]

    command.restore = restore  # type: ignore[assignment]
    command.load_restorer = lambda args, device: None  # type: ignore[assignment,return-value]


def work(seconds: float, line: list[str]) -> int:
    """One process of the batch."""
    sleep_instead(seconds)
    from facekit_cli.batch.command import main

    return main(line)


def measure(processes: int, photos: Path, output: Path, seconds: float) -> float:
    """Photos a second of so many processes, each with a device of its own."""
    launch = ["-m", "accelerate.commands.launch", "--num_processes", str(processes), "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    launch += ["--multi_gpu"] if processes > 1 else ["--cpu"]
    line = [
        WORKER,
        str(seconds),
        "restore",
        str(photos),
        "--output",
        str(output),
        "--aligned",
        "--batch-size",
        str(BATCH),
    ]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, __file__, *line]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    times = sorted(path.stat().st_mtime for path in output.glob("*.png"))
    # The first group of each process marks the start.
    first = processes * BATCH
    return (len(times) - first) / (times[-1] - times[first - 1])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device-seconds", type=float, default=0.5, help="that a device computes for a photo"
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--groups", type=int, default=8, help="groups of photos that each process works on")
    parser.add_argument("--json", type=Path, help="also write the rates there")
    args = parser.parse_args(argv)
    if args.groups < 2:
        parser.error("--groups must be 2 or more: the first one marks the start")
    rates = {}
    for processes in args.processes:
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder, "photos")
            photos.mkdir()
            portrait = Image.fromarray(np.ascontiguousarray(astronaut()))
            for number in range(args.groups * BATCH * processes):
                portrait.save(photos / f"{number:05d}.jpg", quality=90)
            rates[processes] = measure(processes, photos, Path(folder, "out"), args.device_seconds)
    print("| processes | photos a second | share of linear |\n|---|---|---|")
    one = rates[min(rates)] / min(rates)
    for processes, rate in rates.items():
        print(f"| {processes} | {rate:.2f} | {rate / processes / one:.3f} |")
    if args.json:
        args.json.write_text(
            json.dumps({"device_seconds": args.device_seconds, "rates": rates}, indent=1) + "\n"
        )


if __name__ == "__main__":
    if WORKER in sys.argv[1:2]:
        sys.exit(work(float(sys.argv[2]), sys.argv[3:]))
    main()
