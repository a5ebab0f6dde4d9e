"""Labels for `train.directions` from the files beside synthetic-faces-256: captions, mesh points, semantic maps.

    python -m train.directions.face_labels --data FOLDER --output labels.jsonl

One JSON line a picture. Columns, null where nothing is known: `smile`, `age`, `masculine`, `glasses`, `hair_length`,
`yaw`, `pitch`, `hair_lightness`, `beard`, `lightness`; and `held_out`, true for the pictures of `val/`. Captions were
matched by CLIP, so age and gender presentation are what a picture looks like to it, with its mistakes and stereotypes.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

EXCLUDED = ("FLUX1_dev", "FLUX1_pro", "DALLE3")  # their terms may forbid training on them
# Age in years by words of a caption; the first that occur in it count.
YEARS = {
    "10 month old": 1,
    "baby": 1,
    r"tod+l+er": 2.5,
    "small child": 5,
    "young child": 6,
    "child boy|child girl": 7,
    "16 year old|teenage": 16,
    "middle-aged": 50,
    "70 year old": 70,
    "elderly": 70,
    "old age": 70,
    "long white beard": 70,
    "30 year old|typical adult|adult female|adult male": 30,
}
BEARD = "full beard|goatee|mustache|fashionable beard|long white beard"
SKIN, NOSE, HAIR = 1, 10, 17  # classes of the semantic maps
# Points of the 468-point face mesh.
TOP, CHIN, NOSE_TIP = 10, 152, 1
EYE_CORNERS, OUTER_CORNERS = (33, 133, 263, 362), (33, 263)
MOUTH_CORNERS, LIPS_INSIDE = (61, 291), (13, 14)
# Hair is measured only where the map can be trusted.
LEAST_SCORE = 0.5
LEAST_HAIR = 1500  # pixels


def measure_geometry(points: np.ndarray) -> dict[str, float]:
    """Measure mouth and pitch by mesh points [468, 2] in pixels.

    Returns:
        `lift`: how far the corners of the mouth are above its middle, in heights of the face; `width`: of the mouth, in
        distances between the outer corners of the eyes; `pitch`: height of the tip of the nose between mouth (0) and
        eyes (1), larger where the head is tilted back.
    """
    points = points.astype(np.float64)
    height = np.linalg.norm(points[CHIN] - points[TOP])
    down = (points[CHIN] - points[TOP]) / height
    corners, inside = points[list(MOUTH_CORNERS)], points[list(LIPS_INSIDE)]
    eyes, mouth = points[list(EYE_CORNERS)].mean(0), corners.mean(0)
    outer = points[list(OUTER_CORNERS)]
    return {
        "lift": float((inside.mean(0) - mouth) @ down / height),
        "width": float(np.linalg.norm(corners[0] - corners[1]) / np.linalg.norm(outer[0] - outer[1])),
        "pitch": float(((mouth - points[NOSE_TIP]) @ down) / ((mouth - eyes) @ down)),
    }


def join_captions(row: dict[str, Any]) -> str:
    """Join all queries by which a picture was found, in lower case."""
    found = list(row.get("all_labels") or [])
    if row.get("label"):
        found.append(f"{row.get('label_prefix') or ''} {row['label']}")
    return " | ".join(found).lower()


def read_captions(text: str, notes: Sequence[str]) -> dict[str, Any]:
    """Read `age` in years, `masculine`, `glasses` and `beard` from captions and the map's notes; None where unknown."""
    years = next((age for words, age in YEARS.items() if re.search(words, text)), None)
    beard = re.search(BEARD, text) is not None
    female = re.search(r"\b(female|woman|girl)\b", text) is not None
    male = beard or re.search(r"\b(male|man|boy)\b", text) is not None
    glasses = "glasses" in text or "glasses" in notes or "sunglasses" in notes
    beardless = female or "shaved" in text or (years is not None and years < 10)
    return {
        "age": years,
        "masculine": None if male == female else male,
        "glasses": None if not glasses and "glasses?" in notes else glasses,
        "beard": True if beard else False if beardless else None,
    }


def measure_appearance(
    gray: np.ndarray, labels: np.ndarray, points: np.ndarray, score: float
) -> dict[str, Any]:
    """Measure hair and skin.

    Args:
        gray: the picture, uint8 [256, 256].
        labels: its map, uint8 [256, 256].
        points: mesh points [468, 2] in pixels.
        score: how far the map can be trusted, 0..1.

    Returns:
        `hair_length`: pixels of hair below the middle of the mouth, divided by 20 x 256; `hair_lightness` and
        `lightness` (of the skin): means from 0 to 255. None where they are unknown.
    """
    hair, skin = labels == HAIR, (labels == SKIN) | (labels == NOSE)
    below = int(np.clip(points[LIPS_INSIDE[1], 1], 0, 240))
    sure = score > LEAST_SCORE
    return {
        "hair_length": float(hair[below:].sum() / (20 * 256)) if sure else None,
        "hair_lightness": float(gray[hair].mean()) if hair.sum() > LEAST_HAIR else None,
        "lightness": float(gray[skin].mean()) if skin.any() else None,
    }


def regress_out(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What is left of values [M] after a linear regression on `others` [M, c], in standard deviations."""
    columns = np.column_stack([np.ones(len(values)), others])
    left = values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return left / left.std()


def label_faces(folder: Path) -> list[dict[str, Any]]:
    """Label all pictures but those of excluded generators, a row each. Raises OSError where a file is missing."""
    metadata = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    maps = {
        row["file_name"]: row for row in map(json.loads, (folder / "semantic.jsonl").read_text().splitlines())
    }
    mesh = np.load(folder / "mesh468.npz")
    rows, shapes = [], []
    for entry in metadata:
        if entry["generator"] in EXCLUDED:
            continue
        name = entry["file_name"]
        with Image.open(folder / name) as image, Image.open(folder / maps[name]["semantic"]) as labels:
            seen = measure_appearance(
                np.asarray(image.convert("L")), np.asarray(labels), mesh[name], maps[name]["score"]
            )
        shape = measure_geometry(mesh[name])
        shapes.append((shape["lift"], shape["width"], shape["pitch"], abs(entry["yaw_deg"])))
        read = read_captions(join_captions(entry), maps[name].get("notes") or [])
        fixed = {"file_name": name, "held_out": name.startswith("val/"), "yaw": entry["yaw_deg"]}
        rows.append(fixed | {"pitch": shape["pitch"]} | read | seen)
    lift, width, pitch, turn = np.array(shapes).T
    # A head tilted back lifts the corners of the mouth in the picture, and one turned away narrows it.
    posed = np.column_stack([pitch, turn])
    for row, value in zip(rows, regress_out(lift, posed) + regress_out(width, posed), strict=True):
        row["smile"] = float(value)
    return rows


def _path(text: str) -> Path:
    return Path(text).expanduser()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=_path, required=True, help="the folder of synthetic-faces-256")
    parser.add_argument("--output", type=_path, required=True, help="JSON-lines file to write")
    args = parser.parse_args(argv)
    rows = label_faces(args.data)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"wrote labels of {len(rows)} pictures to {args.output}")


if __name__ == "__main__":
    main()
