"""What the quality tables share: pictures and holes, landmark error and PSNR, tables, and contact sheets."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from facekit import FaceRestorePipeline
from facekit.damage.holes import centre_mask, ratio_mask
from facekit.faces import detect_faces
from facekit.losses.imagenet import ImageNetDistance
from facekit.models.imagenet_features import feature_distance

BORDER = 64
LABEL_HEIGHT = 22


def base_parser(description: str, model: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every quality table has; without a default `--model` must be given."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=model, required=model is None, help="model folder or Hub id")
    parser.add_argument("--count", type=int, default=None, help="only the first so many pictures")
    parser.add_argument("--json", type=Path, default=None)
    return parser


def add_restorer_option(parser: argparse.ArgumentParser) -> None:
    """Add `--restore-with`, which `load_restorer` reads."""
    parser.add_argument(
        "--restore-with", metavar="MODEL", help="folder or Hub id of a restorer behind the fills"
    )


def load_restorer(source: str | None) -> FaceRestorePipeline | None:
    """The restorer that goes over the fills, without a progress bar; None where none is named."""
    if source is None:
        return None
    restorer = FaceRestorePipeline.from_pretrained(source)
    restorer.set_progress_bar_config(disable=True)
    return restorer


def read_entries(folder: Path, count: int | None = None) -> list[dict[str, Any]]:
    """The first `count` lines of the folder's `metadata.jsonl` (`file_name`, `landmarks5` and more)."""
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()][:count]


def read_picture(folder: Path, entry: dict[str, Any]) -> np.ndarray:
    """The picture of an entry, uint8 [S, S, 3]."""
    return np.asarray(Image.open(folder / entry["file_name"]).convert("RGB"))


def holes(size: int, number: int) -> dict[str, np.ndarray]:
    """The two holes of picture `number`, uint8 [S, S], 1 = hole, by name."""
    masks = {
        "centre 25%": centre_mask(size),
        "free-form 20-50%": ratio_mask(size, 0.2, 0.5, np.random.default_rng([0, number])),
    }
    return {name: np.asarray(mask, np.uint8) for name, mask in masks.items()}


def landmark_error(image: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean distance of the detector's five points to the true ones, in percent of the eye distance.

    The detector sees the aligned face [S, S, 3] with 64 pixels of reflected border. `None` where it finds no face at
    the place of the true one.
    """
    bordered = cv2.copyMakeBorder(image, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REFLECT_101)
    eyes = float(np.linalg.norm(truth[1] - truth[0]))
    errors = [
        float(np.linalg.norm(face.landmarks - BORDER - truth, axis=1).mean()) / eyes
        for face in detect_faces(bordered)
    ]
    near = [error for error in errors if error < 1.0]
    return 100 * min(near) if near else None


def found_summary(errors: Sequence[float | None]) -> dict[str, float]:
    """How often the face was found, and the mean landmark error where it was."""
    found = [error for error in errors if error is not None]
    return {
        "found_percent": 100 * len(found) / len(errors),
        "landmark_error_percent": float(np.mean(found)) if found else float("nan"),
    }


def detail(image: np.ndarray) -> np.ndarray:
    """Square of the Laplacian of the luma, [H, W], of a picture uint8 [H, W, 3]."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.square(cv2.Laplacian(gray, cv2.CV_32F))


def sharpness(image: np.ndarray, original: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Energy of the Laplacian in percent of the original's, over all pixels or those of the hole."""
    where = slice(None) if mask is None else mask > 0
    return 100 * float(detail(image)[where].mean() / detail(original)[where].mean())


class ImageNetScore:
    """ImageNet distance of a picture from its original, both uint8 [S, S, 3]; with a mask in and next to the hole."""

    def __init__(self) -> None:
        self.distance = ImageNetDistance()

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, original: np.ndarray, mask: np.ndarray | None = None) -> float:
        maps = [
            self.distance.features(torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)
            for x in (image, original)
        ]
        if mask is not None:
            near = cv2.dilate(mask, np.ones((19, 19), np.uint8))  # features see a little beyond their place
            return feature_distance(*maps, torch.from_numpy(near.astype(np.float32))[None, None]).item()
        return feature_distance(*maps).item()


def hole_psnr(filled: np.ndarray, original: np.ndarray, mask: np.ndarray) -> float:
    """PSNR over the pixels of the hole, in dB; pictures uint8 [S, S, 3]."""
    difference = (filled.astype(np.float32) - original)[mask > 0]
    return float(10 * np.log10(255**2 / max(float(np.square(difference).mean()), 1e-3)))


def measure_fill(
    filled: np.ndarray, image: np.ndarray, mask: np.ndarray, truth: np.ndarray, score: ImageNetScore
) -> dict[str, float | None]:
    """What one fill of a photo [S, S, 3] scores; `truth` are its true five points."""
    return {
        "error": landmark_error(filled, truth),
        "psnr": hole_psnr(filled, image, mask),
        "sharpness": sharpness(filled, image, mask),
        "imagenet": score(filled, image, mask),
    }


def fill_summary(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """Means of what `measure_fill` gave for the fills of one method and hole; of sharpness the median."""
    return found_summary([row["error"] for row in rows]) | {
        "hole_psnr_db": float(np.mean([row["psnr"] for row in rows])),
        "sharpness_percent": float(np.median([row["sharpness"] for row in rows])),
        "imagenet_distance": float(np.mean([row["imagenet"] for row in rows])),
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def finish(
    text: str,
    content: Any,
    json_file: Path | None,
    sheets: Mapping[Path, list[list[np.ndarray]]],
    markdown: Path | None = None,
) -> None:
    """Show a table and write what was asked for: its numbers, its contact sheets, the table itself."""
    print(f"\n{text}")
    for file, written in ((json_file, json.dumps(content, indent=1) + "\n"), (markdown, text)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(written)
    for path, rows in sheets.items():
        contact_sheet(rows, path)


def contact_sheet(rows: list[list[np.ndarray]], path: Path) -> None:
    """One line per picture, [S, S, 3] each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows])).save(path)


def labelled(image: np.ndarray, text: str) -> np.ndarray:
    """A picture [S, S, 3] with a white strip above it that says what it is."""
    strip = np.full((LABEL_HEIGHT, image.shape[1], 3), 255, np.uint8)
    scale = 0.45
    while scale > 0.2 and cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > image.shape[1]:
        scale -= 0.02
    cv2.putText(strip, text, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])
