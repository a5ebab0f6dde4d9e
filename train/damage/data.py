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
    """Draw on a picture uint8 `[S, S, 3]` what photos have and what is no damage, one of `DECOYS`."""
    drawn = pixels.copy()
    DECOYS[rng.integers(len(DECOYS))](drawn, rng)
    return drawn


def _draw_letters(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """A few words, as on signs, shirts and dated prints."""
    side = pixels.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        letters = "".join(rng.choice(list(string.ascii_letters + string.digits), int(rng.integers(1, 12))))
        place = rng.integers(0, side, 2).tolist()
        size = side * rng.uniform(0.001, 0.007)
        font, thickness = int(rng.integers(8)), max(1, round(2 * size))
        cv2.putText(pixels, letters, place, font, size, _draw_colour(rng), thickness, cv2.LINE_AA)


def _draw_shapes(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Plain ellipses and boxes, filled or outlined."""
    side = pixels.shape[0]
    for _ in range(int(rng.integers(1, 5))):
        centre = rng.integers(0, side, 2).tolist()
        axes = (side * rng.uniform(0.03, 0.25, 2)).astype(int).tolist()
        thickness = -1 if rng.random() < 0.5 else max(1, round(side * rng.uniform(0.01, 0.06)))
        turn = float(rng.uniform(0, 360))
        if rng.random() < 0.5:
            cv2.ellipse(pixels, centre, axes, turn, 0, 360, _draw_colour(rng), thickness, cv2.LINE_AA)
            continue
        corners = cv2.boxPoints((centre, (2.0 * axes[0], 2.0 * axes[1]), turn)).astype(np.int32)
        if thickness < 0:
            cv2.fillPoly(pixels, [corners], _draw_colour(rng), cv2.LINE_AA)
        else:
            cv2.polylines(pixels, [corners], True, _draw_colour(rng), thickness, cv2.LINE_AA)


def _draw_lights(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Lamps out of focus, glints and stars: bright discs with a soft edge."""
    side = pixels.shape[0]
    colour = rng.uniform(200, 255) * rng.uniform((0.9, 0.8, 0.6), 1.0)
    for _ in range(int(rng.integers(1, 12))):
        centre, radius = (
            rng.uniform(0, side, 2),
            side * float(np.exp(rng.uniform(np.log(0.006), np.log(0.08)))),
        )
        soft = radius * rng.uniform(0.25, 0.8)
        _blend(pixels, _fall_off(_distances(side, centre) - radius, soft) * rng.uniform(0.4, 1.0), colour)


def _draw_rims(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Round things lit from one side, as hats, collars and spectacles: shaded, with a bright or dark edge in part."""
    side = pixels.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        centre, radius = rng.uniform(0, side, 2), side * rng.uniform(0.05, 0.4)
        across = rng.uniform(0.4, 1.0)
        away = _distances(side, centre, float(rng.uniform(0, np.pi)), across) - radius
        width = side * rng.uniform(0.004, 0.025)
        if rng.random() < 0.7:
            dark = np.array(_draw_colour(rng)) * rng.uniform(0.2, 1.0)
            _blend(pixels, _fall_off(away, width) * rng.uniform(0.5, 1.0), dark)
        light = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:side, :side]
        lit = ((x - centre[0]) * np.cos(light) + (y - centre[1]) * np.sin(light)) / radius
        edge = _fall_off(np.abs(away) - width / 2, width) * lit.clip(0, 1) ** rng.uniform(0.3, 2)
        shade = rng.uniform(190, 255) if rng.random() < 0.75 else rng.uniform(0, 60)
        _blend(pixels, edge * rng.uniform(0.6, 1.0), shade * rng.uniform((0.9, 0.85, 0.75), 1.0))


def _draw_wires(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Wires, masts and strings: even lines from edge to edge, straight or hanging, some beside each other."""
    side = pixels.shape[0]
    turn, sag = rng.uniform(0, np.pi), side * rng.uniform(0, 0.15) * (rng.random() < 0.5)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    place = np.linspace(-1, 1, 24)
    thickness = max(1, round(side * rng.uniform(0.004, 0.015)))
    colour = rng.uniform(0, 90, 3) if rng.random() < 0.6 else rng.uniform(120, 240, 3)
    apart = side * rng.uniform(0.02, 0.2)
    middle = rng.uniform(0, side, 2)
    layer = np.zeros((side, side), np.uint8)
    for number in range(int(rng.integers(1, 5))):
        points = middle + 1.5 * side * place[:, None] * along
        points = points + (number * apart + sag * (1 - place**2))[:, None] * across
        cv2.polylines(layer, [np.rint(16 * points).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    soft: np.ndarray = layer.astype(np.float32) / 255
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.4, 1.5))
    _blend(pixels, soft * rng.uniform(0.6, 1.0), colour)


def _distances(side: int, centre: np.ndarray, turn: float = 0.0, across: float = 1.0) -> np.ndarray:
    """Pixels from a centre (x, y), `[S, S]`, along an axis at angle `turn`; beside it they count `1 / across` times."""
    y, x = np.mgrid[:side, :side] - centre[::-1, None, None]
    return np.hypot(x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / across)


def _fall_off(beyond: np.ndarray, soft: float) -> np.ndarray:
    """1 inside an edge, 0 outside it, between them over about `soft` pixels; `beyond`: pixels outside the edge."""
    return 1 / (1 + np.exp((4 / max(soft, 0.3) * beyond).clip(-30, 30)))


def _blend(pixels: np.ndarray, share: np.ndarray, colour: np.ndarray) -> None:
    """Lay a colour `[3]` over a picture uint8 `[S, S, 3]`; `share` `[S, S]`: how much of it, 0..1."""
    pixels[:] = np.rint(pixels + share[..., None] * (colour - pixels)).clip(0, 255)


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


DECOYS = (_draw_frame, _draw_letters, _draw_shapes, _draw_lights, _draw_rims, _draw_wires)
