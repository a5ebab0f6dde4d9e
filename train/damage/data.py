"""Pieces of photos, with damage drawn on them and where it is."""

import string
from typing import Any

import cv2
import numpy as np
import torch

from facekit.damage.ageing import fade, scan
from facekit.damage.wear import HIDDEN, KINDS, draw_wear
from train.damage.config import DamageConfig
from train.data.images import Picture, read_picture, to_tensor

# Photos come smaller and larger than the network looks at them: damage is drawn at so many times its scale, and scaled.
DRAWN_AT = (0.5, 0.75, 1.0, 1.0, 1.0, 1.5, 2.0)


class DamagePreparation:
    """Makes a sample of a photo: a piece of it, at random zoom, faded, damaged, scanned.

    Its parts: `image` [3, S, S] in [-1, 1], `labels` int64 [S, S] as of `facekit.damage.wear.draw_wear` but -1
    for `HIDDEN`, `position`.

    Args:
        working_side: pixels of the shorter side at which the network looks at whole photos.
    """

    def __init__(self, config: DamageConfig, working_side: int) -> None:
        self.config, self.seed, self.working_side = config, config.seed, working_side

    def __call__(self, picture: Picture, position: int) -> dict[str, Any]:
        config = self.config
        rng = np.random.default_rng([self.seed, position])
        scale = DRAWN_AT[rng.integers(len(DRAWN_AT))]
        pixels = self.cut(np.asarray(read_picture(picture)), round(config.size * scale), rng)
        if rng.random() < config.decoys:
            pixels = draw_decoy(pixels, rng)
        if rng.random() < config.aged:
            pixels = fade(pixels, rng)
        labels = np.zeros(pixels.shape[:2], np.uint8)
        if rng.random() >= config.undamaged:
            drawn = [kind for kind in KINDS if rng.random() < config.kind_probability]
            kinds = drawn or [KINDS[rng.integers(len(KINDS))]]
            side = self.working_side * scale * draw_factor(config.strokes, rng)
            pixels, labels = draw_wear(pixels, rng, kinds, rng.uniform(*config.amount), side)
        if rng.random() < config.aged:
            pixels = scan(pixels, rng)
        fitted = fit_labels(labels, config.size).astype(np.int64)
        fitted[fitted == HIDDEN] = -1
        return {
            "image": to_tensor(fit(pixels, config.size)),
            "labels": torch.from_numpy(fitted),
            "position": position,
        }

    def cut(self, pixels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
        """A square piece of a photo uint8 `[H, W, 3]`, scaled to `side`, half of the time mirrored."""
        height, width = pixels.shape[:2]
        smallest = max(self.config.zoom[0], self.config.size / min(height, width))
        zoom = draw_factor((smallest, max(self.config.zoom[1], smallest)), rng)
        piece = min(round(self.config.size / zoom), height, width)
        top, left = rng.integers(height - piece + 1), rng.integers(width - piece + 1)
        cropped = np.ascontiguousarray(pixels[top : top + piece, left : left + piece])
        if self.config.flip and rng.random() < 0.5:
            cropped = cv2.flip(cropped, 1)
        return fit(cropped, side, cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR)


def draw_factor(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """A factor between two, as often above as below their geometric mean."""
    return float(np.exp(rng.uniform(*np.log(bounds))))


def fit(pixels: np.ndarray, side: int, enlarge: int = cv2.INTER_LINEAR) -> np.ndarray:
    """A square picture uint8 `[S, S, 3]` at another side: averaged down, or enlarged in one of OpenCV's ways."""
    if pixels.shape[0] == side:
        return pixels
    return cv2.resize(
        pixels, (side, side), interpolation=cv2.INTER_AREA if pixels.shape[0] > side else enlarge
    )


def fit_labels(labels: np.ndarray, side: int) -> np.ndarray:
    """Labels uint8 `[S, S]` at another side; a thin line stays where the picture is made smaller."""
    if labels.shape[0] > side:
        seen = cv2.dilate(np.where(labels == HIDDEN, 0, labels).astype(np.uint8), np.ones((2, 2), np.uint8))
        labels = np.where(seen > 0, seen, labels)
    if labels.shape[0] != side:
        labels = cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST)
    return labels


def draw_decoy(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw on a picture uint8 `[S, S, 3]` what photos have and what is no damage: a frame, letters, or shapes."""
    drawn, side = pixels.copy(), pixels.shape[0]
    kind = rng.random()
    if kind < 0.35:
        _draw_frame(drawn, rng)
    elif kind < 0.7:
        for _ in range(int(rng.integers(1, 4))):
            letters = "".join(
                rng.choice(list(string.ascii_letters + string.digits), int(rng.integers(1, 12)))
            )
            place = rng.integers(0, side, 2).tolist()
            size = side * rng.uniform(0.001, 0.007)
            cv2.putText(
                drawn,
                letters,
                place,
                int(rng.integers(8)),
                size,
                _draw_colour(rng),
                max(1, round(2 * size)),
                cv2.LINE_AA,
            )
    else:
        for _ in range(int(rng.integers(1, 5))):
            centre = rng.integers(0, side, 2).tolist()
            axes = (side * rng.uniform(0.03, 0.25, 2)).astype(int).tolist()
            thickness = -1 if rng.random() < 0.5 else max(1, round(side * rng.uniform(0.01, 0.06)))
            turn = float(rng.uniform(0, 360))
            if rng.random() < 0.5:
                cv2.ellipse(drawn, centre, axes, turn, 0, 360, _draw_colour(rng), thickness, cv2.LINE_AA)
            else:
                corners = cv2.boxPoints((centre, (2.0 * axes[0], 2.0 * axes[1]), turn)).astype(np.int32)
                if thickness < 0:
                    cv2.fillPoly(drawn, [corners], _draw_colour(rng), cv2.LINE_AA)
                else:
                    cv2.polylines(drawn, [corners], True, _draw_colour(rng), thickness, cv2.LINE_AA)
    return drawn


def _draw_frame(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """The straight border of a print, at some of the four edges."""
    side = pixels.shape[0]
    colour = rng.uniform(225, 255) * rng.uniform((0.97, 0.95, 0.88), 1.0)
    if rng.random() < 0.2:
        colour = rng.uniform(0, 40, 3)
    for edge in range(4):
        if rng.random() < 0.5:
            width = round(side * rng.uniform(0.02, 0.12))
            np.rot90(pixels, edge)[:width] = colour.astype(np.uint8)


def _draw_colour(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(rng.uniform(0, 255, 3).tolist())
