"""How good are filled faces? Detector hits, landmark error and PSNR against simple fills.

    python benchmarks/inpaint_quality.py FOLDER_OF_ALIGNED_FACES --model hub_cards/face-inpaint-starter-256 \
        --json quality.json --sheet quality.png

The folder holds aligned faces with a `metadata.jsonl` whose `landmarks5` are the true points. Each picture gets the
centred 25% hole and one free-form hole of 20 to 50%; every method fills both; then the default detector looks at the
result, with 64 pixels of reflected border. The landmark error is the mean distance of the five points to the true
ones, in percent of the eye distance, over the pictures where the face was found. Sharpness: energy of the Laplacian in
the hole in percent of the original's, median. ImageNet: distance in the features of EfficientNet-Lite0, in and next to
the hole.
"""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from quality import (
    ImageNetScore,
    add_restorer_option,
    base_parser,
    fill_summary,
    finish,
    holes,
    load_restorer,
    measure_fill,
    read_entries,
    read_picture,
)
from tqdm import tqdm

from facekit import FaceInpaintPipeline

Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mean_colour(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of the known pixels."""
    filled = image.copy()
    filled[mask > 0] = image[mask == 0].mean(axis=0).round()
    return filled


def pipeline_fill(model: str, steps: int | None, restorer: str | None) -> Fill:
    """The pipeline's fill of an aligned face, with a restorer behind it or without; every call draws the same noise."""
    pipe = FaceInpaintPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    restore_with = load_restorer(restorer)

    def fill(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        result = pipe(
            image,
            mask * 255,
            aligned=True,
            num_inference_steps=steps,
            restore_with=restore_with,
            generator=torch.Generator().manual_seed(0),
        )
        return np.asarray(result.images[0])

    return fill


def summary(rows: list[dict[str, float | None]]) -> dict[str, float]:
    """Means over the pictures of one method and mask."""
    return fill_summary(rows) | {"seconds": float(np.median([row["seconds"] for row in rows]))}


def written(methods: dict[str, dict[str, float]]) -> str:
    """The table of one kind of hole."""
    titles = f"{'face found':>12}{'landmark error':>16}{'hole PSNR':>12}{'sharpness':>11}{'ImageNet':>10}"
    lines = [f"{'method':<16}{titles}{'seconds':>9}"]
    for name, values in methods.items():
        lines.append(
            f"{name:<16}{values['found_percent']:>11.0f}%{values['landmark_error_percent']:>15.1f}%"
            f"{values['hole_psnr_db']:>9.1f} dB{values['sharpness_percent']:>10.0f}%"
            f"{values['imagenet_distance']:>10.3f}{values['seconds']:>9.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = base_parser(__doc__, "hub_cards/face-inpaint-starter-256")
    parser.add_argument("--steps", type=int, help="reasoning steps (default: as the model does)")
    add_restorer_option(parser)
    parser.add_argument(
        "--sheet", type=Path, default=None, help="picture with the first fills of each method"
    )
    parser.add_argument("--sheet_rows", type=int, default=12)
    args = parser.parse_args()

    fills: dict[str, Fill] = {
        "facekit": pipeline_fill(args.model, args.steps, args.restore_with),
        "telea": lambda image, mask: cv2.inpaint(image, mask, 5, cv2.INPAINT_TELEA),
        "navier-stokes": lambda image, mask: cv2.inpaint(image, mask, 5, cv2.INPAINT_NS),
        "mean colour": mean_colour,
        "original": lambda image, mask: image,
    }
    entries, distance = read_entries(args.folder, args.count), ImageNetScore()
    results: dict[str, dict[str, list[dict[str, float | None]]]] = {}
    sheet: list[list[np.ndarray]] = []
    for number, entry in enumerate(tqdm(entries, desc="pictures")):
        image = read_picture(args.folder, entry)
        truth = np.array(entry["landmarks5"])
        for mask_name, mask in holes(image.shape[0], number).items():
            damaged = image * (1 - mask[..., None])
            line = [damaged]
            for name, fill in fills.items():
                source = image if name == "original" else damaged
                started = time.perf_counter()
                filled = fill(source, mask)
                seconds = time.perf_counter() - started
                row = measure_fill(filled, image, mask, truth, distance) | {"seconds": seconds}
                results.setdefault(mask_name, {}).setdefault(name, []).append(row)
                line.append(filled)
            if number < args.sheet_rows // 2:
                sheet.append(line)

    table = {
        mask_name: {name: summary(rows) for name, rows in methods.items()}
        for mask_name, methods in results.items()
    }
    text = "\n\n".join(
        f"{mask_name} ({len(entries)} pictures)\n{written(methods)}" for mask_name, methods in table.items()
    )
    finish(text, table, args.json, {args.sheet: sheet} if args.sheet else {})


if __name__ == "__main__":
    main()
