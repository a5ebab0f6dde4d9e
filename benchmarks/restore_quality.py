"""How good are restored faces? PSNR, SSIM, landmark error and sharpness against simple filters.

    python benchmarks/restore_quality.py FOLDER_OF_ALIGNED_FACES --model hub_cards/face-restore-starter-256 \
        --json quality.json --sheet quality.png

The folder holds aligned faces with a `metadata.jsonl` whose `landmarks5` are the true points. Picture number i is
damaged by `degrade(picture, "thesis", default_rng([0, i]))`. Landmark error: as in `quality.py`, over the pictures
where the face was found. Sharpness: energy of the Laplacian in percent of the undamaged picture's (a filter stays far
below 100, noise goes far above). ImageNet: distance in the features of EfficientNet-Lite0; `--json` has every
picture's. Colour: mean Lab difference (CIE76) of the picture after an 8-fold reduction.
"""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from quality import (
    ImageNetScore,
    base_parser,
    finish,
    found_summary,
    landmark_error,
    read_entries,
    read_picture,
    sharpness,
)
from skimage.color import deltaE_cie76, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tqdm import tqdm

from facekit import FaceRestorePipeline
from facekit.damage.degrade import degrade

Restore = Callable[[np.ndarray], np.ndarray]


def pipeline_restore(
    pipe: FaceRestorePipeline, fidelity: float | None, self_ensemble: bool | None = None
) -> Restore:
    """The pipeline's restoration of an aligned face; every call draws the same noise."""
    options = {"fidelity": fidelity, "self_ensemble": self_ensemble}

    def restore(image: np.ndarray) -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return np.asarray(pipe(image, aligned=True, generator=generator, **options).images[0])

    return restore


def non_local_means(image: np.ndarray) -> np.ndarray:
    return cv2.fastNlMeansDenoisingColored(image, None, 5, 5, 5, 15)


def measure(
    restored: np.ndarray, original: np.ndarray, truth: np.ndarray, distance: ImageNetScore
) -> dict[str, float | None]:
    """All figures of one picture."""
    small = [
        cv2.resize(picture, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
        for picture in (restored, original)
    ]
    return {
        "psnr": float(peak_signal_noise_ratio(original, restored, data_range=255)),
        "ssim": float(structural_similarity(original, restored, channel_axis=2, data_range=255)),
        "error": landmark_error(restored, truth),
        "sharpness": sharpness(restored, original),
        "imagenet": distance(restored, original),
        "colour": float(deltaE_cie76(*(rgb2lab(picture) for picture in small)).mean()),
    }


def summary(rows: list[dict[str, float | None]]) -> dict[str, float]:
    """Means over the pictures of one method (sharpness: the median)."""
    return {
        "psnr_db": float(np.mean([row["psnr"] for row in rows])),
        "ssim": float(np.mean([row["ssim"] for row in rows])),
        **found_summary([row["error"] for row in rows]),
        "sharpness_percent": float(np.median([row["sharpness"] for row in rows])),
        "imagenet_distance": float(np.mean([row["imagenet"] for row in rows])),
        "colour_difference": float(np.mean([row["colour"] for row in rows])),
        "seconds": float(np.median([row["seconds"] for row in rows])),
    }


def written(table: dict[str, dict[str, float]]) -> str:
    """A line for each method."""
    header = ("PSNR", "SSIM", "found", "landmarks", "sharpness", "ImageNet", "colour", "seconds")
    lines = [f"{'method':<24}" + "".join(f"{title:>11}" for title in header)]
    for name, v in table.items():
        lines.append(
            f"{name:<24}{v['psnr_db']:>8.2f} dB{v['ssim']:>11.3f}{v['found_percent']:>10.0f}%"
            f"{v['landmark_error_percent']:>10.1f}%{v['sharpness_percent']:>10.0f}%"
            f"{v['imagenet_distance']:>11.3f}{v['colour_difference']:>11.2f}{v['seconds']:>11.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = base_parser(__doc__, "hub_cards/face-restore-starter-256")
    parser.add_argument("--fidelity", type=float, nargs="*", default=[0.0, 1.0], help="beside the default")
    parser.add_argument("--one-pass", action="store_true", help="also without `self_ensemble`")
    parser.add_argument("--sheet", type=Path, default=None, help="picture with the first results")
    parser.add_argument("--sheet_rows", type=int, default=8)
    args = parser.parse_args()

    pipe = FaceRestorePipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    methods: dict[str, Restore] = {
        "damaged": lambda image: image,
        "median 3x3": lambda image: cv2.medianBlur(image, 3),
        "median 5x5": lambda image: cv2.medianBlur(image, 5),
        "non-local means": non_local_means,
        "facekit": pipeline_restore(pipe, None),
    }
    methods |= {f"facekit, fidelity {value:g}": pipeline_restore(pipe, value) for value in args.fidelity}
    if args.one_pass:
        methods |= {
            f"{name}, one pass": pipeline_restore(pipe, value, False)
            for name, value in (("facekit", None), ("facekit, fidelity 0", 0.0))
        }
    distance = ImageNetScore()
    results: dict[str, list[dict[str, float | None]]] = {}
    sheet: list[list[np.ndarray]] = []
    entries = read_entries(args.folder, args.count)
    for number, entry in enumerate(tqdm(entries, desc="pictures")):
        original = read_picture(args.folder, entry)
        damaged = degrade(original, "thesis", np.random.default_rng([0, number]))
        truth, line = np.array(entry["landmarks5"]), []
        for name, restore in methods.items():
            started = time.perf_counter()
            restored = restore(damaged)
            seconds = time.perf_counter() - started
            row = measure(restored, original, truth, distance) | {"seconds": seconds}
            results.setdefault(name, []).append(row)
            line.append(restored)
        row = measure(original, original, truth, distance) | {"seconds": 0.0}
        results.setdefault("original", []).append(row)
        if number < args.sheet_rows:
            sheet.append([*line, original])

    table = {name: summary(rows) for name, rows in results.items()}
    each = {name: [row["imagenet"] for row in rows] for name, rows in results.items()}
    content = {"means": table, "imagenet_distances": each}
    text = f"{len(entries)} pictures\n{written(table)}"
    finish(text, content, args.json, {args.sheet: sheet} if args.sheet else {})


if __name__ == "__main__":
    main()
