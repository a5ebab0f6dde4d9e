"""What `edit_quality.py` measures: faces with their guidance, and how well a fill follows it."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from facekit.conditions.color import region_means
from facekit.conditions.sketch import pencil_sketch, sketch_strokes

TOLERANCE = 2  # pixels a stroke may be off
LEAST = 30  # pixels of a region that counts
WIDER = 8
REGIONS = {
    "eyes": (2, 3, 4, 5, 6),
    "mouth": (11, 12, 13),
    "nose": (10,),
    "face": (1, 2, 3, 4, 5, 6, 10, 11, 12, 13),
    "hair": (17, 18),
}


@dataclass
class Face:
    """A picture of the folder, uint8 [S, S, 3], with label map and strokes, both [S, S], and style codes [n, D]."""

    image: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray
    strokes: np.ndarray
    codes: torch.Tensor


def region_mask(labels: np.ndarray, number: int) -> tuple[str, np.ndarray]:
    """Name and mask uint8 [S, S] of the region whose turn it is; the next one where the face lacks it."""
    names = list(REGIONS)
    for step in range(len(names)):
        name = names[(number + step) % len(names)]
        found = np.isin(labels, REGIONS[name]).astype(np.uint8)
        if found.mean() > 0.003:
            return name, cv2.dilate(found, np.ones((2 * WIDER + 1,) * 2, np.uint8))
    raise ValueError("the label map shows no face")


def colors_on(labels: np.ndarray, face: Face) -> np.ndarray:
    """The mean colours of a face's classes on a map: an RGBA layer, clear where the face lacks the class."""
    layer = np.zeros((*labels.shape, 4), np.uint8)
    means = region_means(face.image, face.labels)
    for label in np.intersect1d(labels, face.labels):
        layer[labels == label] = (*means[face.labels == label][0], 255)
    return layer


def guidance(target: Face, source: Face, together: bool) -> dict[str, np.ndarray]:
    """Sketch, semantic map and colours after `source`; the colours on the target's map unless all are `together`."""
    labels = source.labels if together else target.labels
    return {
        "sketch": source.strokes * np.uint8(255),
        "semantics": source.labels,
        "color": colors_on(labels, source),
    }


def edge_agreement(fill: np.ndarray, strokes: np.ndarray, mask: np.ndarray, even: bool) -> float | None:
    """F-score of the fill's strokes; `even` takes as many as were drawn, the darkest. None where none were drawn."""
    inside = mask > 0
    drawn = (strokes > 0) & inside
    if not drawn.any():
        return None
    pencil = pencil_sketch(fill)
    found = sketch_strokes(pencil).astype(bool) & inside
    if even:
        found = inside & (pencil <= np.partition(pencil[inside], drawn.sum() - 1)[drawn.sum() - 1])
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOLERANCE + 1,) * 2)
    # Strokes that cross the rim have an end outside, which is no miss of those inside.
    near_drawn, near_found = (cv2.dilate(x.astype(np.uint8), disc) > 0 for x in (strokes > 0, found))
    precision = near_drawn[found].mean() if found.any() else 0.0
    recall = near_found[drawn].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def region_iou(found: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> float | None:
    """Mean IoU over the classes of the map given, inside the mask; None where none is large enough."""
    a, b = found[mask > 0], labels[mask > 0]
    kept = [label for label in np.unique(b) if (b == label).sum() >= LEAST]
    scores = [((a == label) & (b == label)).sum() / ((a == label) | (b == label)).sum() for label in kept]
    return float(np.mean(scores)) if scores else None


def color_distance(fill: np.ndarray, layer: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> float | None:
    """Mean over the regions of the map that were painted; None where none is large enough."""
    distances = []
    for label in np.unique(labels):
        region = (labels == label) & (mask > 0) & (layer[..., 3] > 0)
        if region.sum() >= LEAST:
            pair = np.stack([fill[region].mean(0), layer[region][0, :3]])[None].astype(np.float32) / 255
            first, second = cv2.cvtColor(pair, cv2.COLOR_RGB2LAB)[0]
            distances.append(float(np.linalg.norm(first - second)))
    return float(np.mean(distances)) if distances else None


@dataclass
class Row:
    """Scores of one measure for one source: column -> one value for each photo; higher `sign` * score is better."""

    sign: int = 1
    values: dict[str, list[float]] = field(default_factory=dict)
    better: dict[str, list[float]] = field(default_factory=dict)

    def add(self, values: dict[str, float | None], scores: dict[str, float] | None = None) -> None:
        """Values of one photo, and what is compared where that is something else."""
        if None in values.values():
            return
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)
        scores = values if scores is None else scores
        for name, without in (("alone", "none"), ("all", "all but it" if "all but it" in scores else "none")):
            gain = self.sign * (scores[name] - scores[without])
            self.better.setdefault(name, []).append(0.5 + 0.5 * float(np.sign(gain)))

    def summary(self) -> dict[str, float]:
        table = {name: float(np.mean(values)) for name, values in self.values.items()}
        return table | {f"{n}_better_percent": 100 * float(np.mean(v)) for n, v in self.better.items()}


def distances(codes: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """Eq. 5.7: [A, n, D] and [B, n, D] -> [A, B]."""
    return (codes[:, None] - others[None]).norm(dim=3).mean(2).numpy()


class Table:
    """Everything that is collected under one kind of mask."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.errors: dict[str, list[float | None]] = {}
        self.psnr: dict[str, list[float]] = {}

    def row(self, measure: str, source: str) -> Row:
        sign = -1 if measure == "color" or measure.startswith("exemplar") else 1
        return self.rows.setdefault((measure, source), Row(sign))
