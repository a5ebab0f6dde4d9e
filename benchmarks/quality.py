"""What the quality tables share: the landmark error of the default detector, and contact sheets."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from facekit.faces import detect_faces

BORDER = 64


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


def read_entries(folder: Path, count: int | None = None) -> list[dict[str, Any]]:
    """The first `count` lines of the folder's `metadata.jsonl` (`file_name`, `landmarks5` and more)."""
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()][:count]


def contact_sheet(rows: list[list[np.ndarray]], path: Path) -> None:
    """One line per picture, [S, S, 3] each."""
    Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows])).save(path)
