"""How well is damage filled? Beside OpenCV's two classical fills, inside the same masks.

    python benchmarks/mend_quality.py FOLDER_OF_PHOTOS --json mend.json --sheet mend.png

Damage is drawn on photo number i by `wear` with the seed i, thin kinds (scratches, creases, dust) and wide ones (torn
edges, stains) apart; every fill gets the true mask with the margin that mending gives to what it finds. The astronaut
of scikit-image is photo 0. PSNR inside the masks, over all of a group's pixels together; ImageNet: distance of the
whole photo in the features of EfficientNet-Lite0, 0 for the undamaged one.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut
from tqdm import tqdm

import facekit
from facekit.damage.wear import wear
from facekit.images.photo import as_uint8, load_image
from facekit.metrics.networks import imagenet_distance
from facekit.models.damage_finder import DamageFinder
from facekit.pipelines.mend.find import widen

GROUPS = {"thin": ("scratch", "crease", "dust"), "wide": ("tear", "stain")}
RADIUS = 3  # pixels, as in OpenCV's examples
Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]


def classical(method: int) -> Fill:
    """OpenCV's fill of a photo uint8 `[H, W, 3]` under a mask bool `[H, W]`."""
    return lambda photo, hole: cv2.inpaint(photo, hole.astype(np.uint8), RADIUS, method)


def mending(inpaint: str) -> Fill:
    """The fill of `PhotoMendPipeline`; it needs no damage finder, for the mask is given."""
    pipeline = facekit.PhotoMendPipeline(DamageFinder(), inpaint)

    def fill(photo: np.ndarray, hole: np.ndarray) -> np.ndarray:
        options = {"generator": torch.Generator().manual_seed(0), "output_type": "photo"}
        return pipeline(photo, damage=hole, restore_faces=False, **options).images[0].rgb

    return fill


def read_photos(folder: Path, count: int, side: int) -> list[np.ndarray]:
    """The astronaut and the first photos of a folder, uint8 `[H, W, 3]`, their shorter side `side`."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photos = [astronaut(), *(as_uint8(load_image(file).rgb) for file in files[:count])]
    scaled = []
    for photo in photos:
        factor = side / min(photo.shape[:2])
        size = (round(photo.shape[1] * factor), round(photo.shape[0] * factor))
        scaled.append(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))
    return scaled


def measure(photos: list[np.ndarray], fills: dict[str, Fill], sheet: Path | None) -> dict[str, dict]:
    """PSNR, ImageNet distance and seconds of every fill, by group of damage."""
    distance = imagenet_distance()
    results: dict[str, dict] = {}
    rows = []
    for group, kinds in GROUPS.items():
        errors = {name: [0.0, 0] for name in fills}
        far, seconds = {name: [] for name in fills}, dict.fromkeys(fills, 0.0)
        for seed, photo in enumerate(tqdm(photos, desc=group)):
            worn, damage = wear(photo, seed, kinds)
            hole = widen(damage)
            shown = [worn]
            for name, fill in fills.items():
                start = time.perf_counter()
                filled = fill(worn, hole)
                seconds[name] += time.perf_counter() - start
                errors[name][0] += float(((filled[hole].astype(np.float64) - photo[hole]) ** 2).sum())
                errors[name][1] += 3 * int(hole.sum())
                far[name].append(float(distance(filled[None], photo[None])[0]))
                shown.append(filled)
            rows.append([cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA) for picture in shown])
        results[group] = {
            name: {
                "psnr": 10 * np.log10(255**2 / (errors[name][0] / errors[name][1])),
                "imagenet": float(np.mean(far[name])),
                "seconds": seconds[name] / len(photos),
            }
            for name in fills
        }
    if sheet is not None:
        Image.fromarray(np.vstack([np.hstack(row) for row in rows])).save(sheet)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--inpaint", default="face-inpaint", help="model that fills")
    parser.add_argument("--count", type=int, default=8, help="photos of the folder, beside the astronaut")
    parser.add_argument("--side", type=int, default=384, help="pixels of the photos' shorter side")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="picture of each photo worn and filled")
    args = parser.parse_args()
    fills = {
        "facekit mend": mending(args.inpaint),
        "Telea": classical(cv2.INPAINT_TELEA),
        "Navier-Stokes": classical(cv2.INPAINT_NS),
    }
    results = measure(read_photos(args.photos, args.count, args.side), fills, args.sheet)
    for group, rows in results.items():
        print(f"{group:15s}   PSNR  ImageNet  seconds")
        for name, row in rows.items():
            print(f"{name:15s} {row['psnr']:6.2f} {row['imagenet']:9.4f} {row['seconds']:8.2f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
