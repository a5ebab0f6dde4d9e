"""How many faces does a detector find where photos are not easy, how exactly, and how long does it take?

    python benchmarks/detectors.py shared/data/synthetic-faces-256 --detector mtcnn --json detectors.json

The folder has `wild.jsonl`: a line for each photo of one face with `file_name`, `landmarks5` (eyes, nose tip, mouth
corners) and `ffhq_quad`. Every photo is treated in each way of `TREATMENTS`, which also move the truth. A face is found
when a detection's nose tip is closer to the truth than the eyes are to each other; whatever else is found counts as
false. The landmark error is a share of the distance between the eyes, the crop is compared with that of the true
landmarks (area in common by area of both). Seconds are processor time a photo, and, beside them, the same as products
of two matrices of 1024 x 1024 on the same core, so that machines can be compared.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from facekit.faces import align_face, detect_faces


class Example(NamedTuple):
    """A photo uint8 [H, W, 3] and the landmarks [5, 2] of its face in pixels."""

    photo: np.ndarray
    landmarks: np.ndarray


Treatment = Callable[[Example, np.random.Generator], Example]


def eye_distance(landmarks: np.ndarray) -> float:
    return float(np.hypot(*(landmarks[1] - landmarks[0])))


def warp(example: Example, matrix: np.ndarray, width: int, height: int) -> Example:
    """The photo through an affine map [2, 3], mirrored at its frame."""
    photo = cv2.warpAffine(
        example.photo, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    )
    return Example(photo, example.landmarks @ matrix[:, :2].T + matrix[:, 2])


def scale_face(side: float) -> Treatment:
    """So that the face is about `side` pixels wide: its box is 2.2 times as wide as the eyes are apart."""

    def treat(example: Example, rng: np.random.Generator) -> Example:
        factor = side / (2.2 * eye_distance(example.landmarks))
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        photo = cv2.resize(example.photo, None, fx=factor, fy=factor, interpolation=method)
        return Example(photo, (example.landmarks + 0.5) * factor - 0.5)

    return treat


def place_in_large(side: float) -> Treatment:
    """A face of `side` pixels somewhere in a textured photo of 4000 x 3000."""

    def treat(example: Example, rng: np.random.Generator) -> Example:
        small = scale_face(side)(example, rng)
        noise = rng.integers(60, 190, (75, 100, 3), dtype=np.uint8)
        photo = cv2.resize(noise, (4000, 3000), interpolation=cv2.INTER_CUBIC)
        photo = np.clip(photo + rng.normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
        height, width = small.photo.shape[:2]
        left, top = int(rng.integers(0, 4000 - width)), int(rng.integers(0, 3000 - height))
        photo[top : top + height, left : left + width] = small.photo
        return Example(photo, small.landmarks + np.array([left, top]))

    return treat


def roll(angle: float) -> Treatment:
    def treat(example: Example, rng: np.random.Generator) -> Example:
        height, width = example.photo.shape[:2]
        signed = angle * rng.choice([-1, 1])
        centre = example.landmarks.mean(axis=0)
        matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), signed, 1.0)
        return warp(example, matrix, width, height)

    return treat


def hide(left: float, top: float, right: float, bottom: float) -> Treatment:
    """Gray over a rectangle, in eye distances from between the eyes."""

    def treat(example: Example, rng: np.random.Generator) -> Example:
        unit, middle = eye_distance(example.landmarks), example.landmarks[:2].mean(axis=0)
        x0, y0 = np.maximum(middle + unit * np.array([left, top]), 0).astype(int)
        x1, y1 = (middle + unit * np.array([right, bottom])).astype(int)
        photo = example.photo.copy()
        photo[y0:y1, x0:x1] = 120
        return Example(photo, example.landmarks)

    return treat


def darken(example: Example, rng: np.random.Generator) -> Example:
    dark = (example.photo / 255.0) ** 2.2 * 60 + rng.normal(0, 4, example.photo.shape)
    return Example(np.clip(dark, 0, 255).astype(np.uint8), example.landmarks)


def fade(example: Example, rng: np.random.Generator) -> Example:
    """Gray, with a quarter of the contrast, as an old print."""
    gray = cv2.cvtColor(example.photo, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    return Example((gray * 0.25 + 140).astype(np.uint8), example.landmarks)


def blur(example: Example, rng: np.random.Generator) -> Example:
    return Example(
        cv2.GaussianBlur(example.photo, (0, 0), eye_distance(example.landmarks) / 10), example.landmarks
    )


def add_noise(example: Example, rng: np.random.Generator) -> Example:
    noisy = example.photo + rng.normal(0, 40, example.photo.shape)
    return Example(np.clip(noisy, 0, 255).astype(np.uint8), example.landmarks)


def compress(example: Example, rng: np.random.Generator) -> Example:
    file = io.BytesIO()
    Image.fromarray(example.photo).save(file, "JPEG", quality=8)
    return Example(np.asarray(Image.open(file)), example.landmarks)


def cut_close(example: Example, rng: np.random.Generator) -> Example:
    crop = align_face(example.photo, example.landmarks, 256)
    return Example(crop.image, crop.to_aligned(example.landmarks))


TREATMENTS: dict[str, Treatment] = {
    "as it is": lambda example, rng: example,
    "face 64 pixels": scale_face(64),
    "face 48 pixels": scale_face(48),
    "face 36 pixels": scale_face(36),
    "face 800 pixels": scale_face(800),
    "36 pixels in 12 megapixels": place_in_large(36),
    "60 pixels in 12 megapixels": place_in_large(60),
    "rolled by 20 degrees": roll(20),
    "rolled by 45 degrees": roll(45),
    "on its side": roll(90),
    "mouth and nose hidden": hide(-1.2, 0.35, 1.2, 2.2),
    "one eye hidden": hide(0.1, -0.5, 1.2, 0.4),
    "dark, noisy": darken,
    "faded print": fade,
    "blurred": blur,
    "grain": add_noise,
    "JPEG 8": compress,
    "close-up": cut_close,
}


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float32), b.astype(np.float32)
    common, _ = cv2.intersectConvexConvex(a, b)
    return common / (abs(cv2.contourArea(a)) + abs(cv2.contourArea(b)) - common)


def seconds_of_product(side: int = 1024, repeats: int = 5) -> float:
    """Processor time of one product of two square matrices, the best of some."""
    matrix = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        matrix @ matrix
        times.append(time.process_time() - start)
    return min(times)


def measure(examples: list[Example], treatment: Treatment, detector: str) -> dict[str, float]:
    errors, overlaps, false, seconds = [], [], 0, 0.0
    for index, example in enumerate(examples):
        photo, truth = treatment(example, np.random.default_rng(index))
        start = time.process_time()
        found = detect_faces(photo, detector=detector)
        seconds += time.process_time() - start
        near = [face for face in found if np.hypot(*(face.landmarks[2] - truth[2])) < eye_distance(truth)]
        false += len(found) - min(1, len(near))
        if near:
            wrong = np.hypot(*(near[0].landmarks - truth).T).mean()
            errors.append(float(wrong) / eye_distance(truth))
            overlaps.append(overlap(align_face(photo, near[0]).quad, align_face(photo, truth).quad))
    return {
        "found": len(errors) / len(examples),
        "false": false / len(examples),
        "landmark_error": float(np.mean(errors)) if errors else float("nan"),
        "overlap": float(np.median(overlaps)) if overlaps else float("nan"),
        "seconds": seconds / len(examples),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with wild.jsonl")
    parser.add_argument("--detector", default="mtcnn", help="as in detect_faces (default: mtcnn)")
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    examples = []
    for line in (args.folder / "wild.jsonl").read_text().splitlines():
        row = json.loads(line)
        photo = np.asarray(Image.open(args.folder / row["file_name"]).convert("RGB"))
        examples.append(Example(photo, np.array(row["landmarks5"])))
    product, figures = seconds_of_product(), {}
    print(f"{'':28} found  false  landmarks  crop IoU  seconds  products")
    for name, treatment in tqdm(TREATMENTS.items(), leave=False):
        row = figures[name] = measure(examples, treatment, args.detector)
        tqdm.write(
            f"{name:28} {row['found']:5.0%} {row['false']:6.2f} {row['landmark_error']:9.1%} "
            f"{row['overlap']:10.3f} {row['seconds']:8.3f} {row['seconds'] / product:9.1f}"
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
