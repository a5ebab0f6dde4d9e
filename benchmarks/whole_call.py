"""Where does the time of a whole restoration of a large photo go, from the file to the file?

    python benchmarks/whole_call.py
    python benchmarks/whole_call.py --calls 5 --photo photo.jpg --output result.jpg --json whole_call.json

Reads a photo, restores its faces with the starter, marks them and writes the result, and says what each part takes:
the median of a few calls, in seconds of the process's processor time (of all its threads; another program's load does
not count), and the share of the call of the pipeline, which is everything but reading and writing the file. With a
`--device` seconds are those of the clock, and `CUDA_LAUNCH_BLOCKING=1` lets each part wait for its own work. `rest` is
what no other row names: notes, masks, batches, copies of the photo.

Without `--photo` the photo is one of 4000x3000 pixels: scikit-image's coffee, enlarged, with a camera's noise, and
before it scikit-image's portrait of the astronaut Eileen Collins (NASA, public domain) in three sizes.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut, coffee

import facekit
from facekit.faces.align import align_face
from facekit.faces.detect import detect_faces
from facekit.faces.paste import paste_faces
from facekit.images.photo import load_image
from facekit.provenance import save
from facekit.provenance.watermark import mark

# Cumulative times of these functions; none of them calls another one.
PARTS: dict[str, Callable] = {
    "decode": load_image,
    "detect": detect_faces,
    "align": align_face,
    "networks": torch.nn.Module._call_impl,
    "paste": paste_faces,
    "mark": mark,
    "encode": save,
}
OUTSIDE = ("decode", "encode")
PORTRAITS = ((100, 300, 1500), (1700, 900, 1200), (3000, 1800, 900))  # left, top and side


def draw_photo() -> np.ndarray:
    """The photo uint8 `[3000, 4000, 3]` of the module's description."""
    photo = cv2.resize(coffee(), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    for left, top, side in PORTRAITS:
        photo[top : top + side, left : left + side] = cv2.resize(
            astronaut(), (side, side), interpolation=cv2.INTER_CUBIC
        )
    noise = np.random.default_rng(0).normal(0, 3, photo.shape)
    return np.clip(photo + noise, 0, 255).astype(np.uint8)


def measure(pipeline: Any, source: Path, target: Path) -> dict[str, float]:
    """Seconds of every part of one call, and of `call` and `rest`."""
    now = time.process_time if pipeline.device.type == "cpu" else time.perf_counter
    profile = cProfile.Profile(now, builtins=False)
    start = now()
    profile.enable()
    photo = load_image(source)
    result = pipeline(photo, watermark=True, generator=torch.Generator().manual_seed(0))
    save(result.images[0], target, facekit.provenance.describe(pipeline))
    profile.disable()
    everything = now() - start
    entries = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    seconds = {}
    for name, function in PARTS.items():
        assert isinstance(function, FunctionType)
        code = function.__code__
        entry = entries.get((code.co_filename, code.co_firstlineno, code.co_name))
        seconds[name] = entry[3] if entry else 0.0
    seconds["call"] = everything - sum(seconds[name] for name in OUTSIDE)
    seconds["rest"] = everything - sum(seconds[name] for name in PARTS)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, help="default: a drawn one of 4000x3000 pixels")
    parser.add_argument("--model", default=None, help="a folder or Hub id; default: the starter")
    parser.add_argument("--calls", type=int, default=3, help="so many are measured after one that is not")
    parser.add_argument("--output", type=Path, help="keep the result; its suffix is the format, default .jpg")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    pipeline = facekit.FaceRestorePipeline.from_pretrained(args.model or facekit.starter("face-restore"))
    pipeline.to(args.device)
    pipeline.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as folder:
        source, target = args.photo or Path(folder) / "photo.jpg", args.output or Path(folder) / "result.jpg"
        if args.photo is None:
            Image.fromarray(draw_photo()).save(source, quality=95)
        rows = [measure(pipeline, source, target) for _ in range(1 + args.calls)][1:]
    seconds = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print(f"| part | seconds | share of the call |\n|{' --- |' * 3}")
    for name in (*PARTS, "rest", "call"):
        share = "" if name in OUTSIDE else f"{seconds[name] / seconds['call']:.0%}"
        print(f"| {name} | {seconds[name]:.2f} | {share} |")
    if args.json:
        args.json.write_text(json.dumps(seconds, indent=1) + "\n")


if __name__ == "__main__":
    main()
