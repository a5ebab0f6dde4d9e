"""Fill damage anywhere in a photo: thin damage from its rim, wide damage by the inpainting network, in tiles.

Of scratches and dust nothing is missing that their rims do not tell: there Navier-Stokes flow (Bertalmio et al., 2001)
is as good as the network, and takes no time (`benchmarks/mend_quality.py`). What is wider is taken apart: every
connected piece gets the finest scale at which it is thin enough to be seen through, and at each scale a grid of cells;
a tile is a cell with what is around it. Cells that touch are filled one after the other, so that each sees what was
filled beside it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from facekit.faces.geometry import Box
from facekit.faces.squares import CropSquare
from facekit.images.modes import LUMA
from facekit.images.photo import Photo
from facekit.images.tint import apply_tint, find_tint, suits
from facekit.pipelines.base import split_generators
from facekit.pipelines.inpaint import FaceInpaintPipeline

# Up to this many pixels, or this share of the photo's shorter side, a piece of damage is thin.
THIN, THIN_SHARE = 12, 1 / 64
FLOW_RADIUS = 3  # pixels
# How thick a hole may be in a tile, in sides of the tile. In thicker ones a network that learnt from faces alone draws
# features of faces (eyes in the round stains of a wall, at 0.25 and more).
THICKEST = 0.1
COLOR_BLUR = 0.06  # of a tile's side: standard deviation of the blur with which colours are compared
CELL = 0.75  # of a tile's side; the rest is what lies around
MOST_TILES = (
    24  # of a photo, each a second or so on two processor cores; with more, the finest scale is left out
)
BATCH_PIXELS = 6_000_000  # of the photo, in the tiles that are filled at once

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Tile:
    """A part of the hole that is filled at once.

    Attributes:
        own: the pieces of the hole that are filled at this scale, bool `[H, W]`; only what lies in `box` counts.
        box: around the hole in this cell.
        side: of the square that the network sees, in pixels of the photo.
    """

    own: np.ndarray
    box: Box
    side: int


def plan_tiles(hole: np.ndarray, sample_size: int, most: int = MOST_TILES) -> list[list[Tile]]:
    """Take a hole bool `[H, W]` apart.

    Args:
        sample_size: side of the network's picture.
        most: how many tiles there may be, as long as a coarser scale gives fewer.

    Returns:
        Groups of tiles, in the order in which they are filled: thin pieces first. Tiles of a group do not touch.
    """
    if not hole.any():
        return []
    _, labels = cv2.connectedComponents(hole.astype(np.uint8), connectivity=8)
    scales = np.maximum(1.0, measure_thickness(hole, labels) / (THICKEST * sample_size))
    levels = np.ceil(np.log2(scales)).astype(int)
    levels[0] = -1  # no hole
    finest = 0
    while True:
        groups = _group(np.maximum(levels, np.where(levels < 0, -1, finest)), labels, sample_size)
        if sum(map(len, groups)) <= most or sample_size << finest > max(hole.shape):
            return groups
        finest += 1


def fill_damage(
    inpaint: FaceInpaintPipeline,
    photo: Photo,
    hole: np.ndarray,
    own: np.ndarray,
    generator: torch.Generator,
    **options: Any,
) -> tuple[Photo, bool]:
    """Fill a part of a hole from what is around it; all else keeps its numbers. Also says whether a network worked.

    Args:
        inpaint, photo, hole, own, generator, options: as in `fill_tiles`, which fills what is wide.
    """
    thin = find_thin(own)
    wide = own & ~thin
    filled = fill_tiles(inpaint, photo, hole, wide, generator, **options)
    if thin.any():
        # What others fill afterwards tells nothing about the photo.
        filled = filled.recolor(flow_in(filled.rgb, thin | (hole & ~own)), thin)
    return filled, bool(wide.any())


def find_thin(hole: np.ndarray) -> np.ndarray:
    """The connected pieces of a hole bool `[H, W]` that are thin everywhere."""
    if not hole.any():
        return hole
    _, labels = cv2.connectedComponents(hole.astype(np.uint8), connectivity=8)
    limit = max(THIN, THIN_SHARE * min(hole.shape))
    return hole & (measure_thickness(hole, labels) <= limit)[labels]


def flow_in(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Let the colours `[H, W, 3]` of any depth flow into a hole bool `[H, W]`."""
    # OpenCV leaves the picture's first row and column alone, and measures floats in gray levels of 255.
    edges, frame = (1, 1, 1, 1), cv2.BORDER_REPLICATE
    mask = cv2.copyMakeBorder(hole.astype(np.uint8), *edges, frame)
    unit = 255 if rgb.dtype.kind == "f" else 1
    picture = cv2.copyMakeBorder(rgb * rgb.dtype.type(unit), *edges, frame)
    # Of more than 8 bits it takes one channel at a time.
    parts = (
        [picture] if rgb.dtype == np.uint8 else [np.ascontiguousarray(part) for part in cv2.split(picture)]
    )
    flowed = np.dstack([cv2.inpaint(part, mask, FLOW_RADIUS, cv2.INPAINT_NS) for part in parts])
    return flowed[1:-1, 1:-1] / rgb.dtype.type(unit) if unit != 1 else flowed[1:-1, 1:-1]


def fill_tiles(
    inpaint: FaceInpaintPipeline,
    photo: Photo,
    hole: np.ndarray,
    own: np.ndarray,
    generator: torch.Generator,
    *,
    num_inference_steps: int | None = None,
    max_batch_size: int = 8,
    tell: Tell | None = None,
) -> Photo:
    """Fill a part of a hole from what is around it; all else keeps its numbers.

    Args:
        inpaint: fills each tile, as a picture of its own.
        photo: as it came.
        hole: all that is unknown, bool `[H, W]`.
        own: the part that is filled, bool `[H, W]`.
        generator: of all noise.
        tell: is told how many tiles are filled, and of how many.
    """
    network = inpaint.residual_inpainter.config.sample_size
    groups = plan_tiles(own, network)
    total, done = sum(map(len, groups)), 0
    # One for each tile, so that batches do not change what is drawn.
    sources = split_generators(generator, [0] * total)
    canvas, unknown = np.array(photo.rgb), hole.copy()
    tint = find_tint(photo, hole)
    for group in groups:
        for tiles in _batches(group, max_batch_size):
            squares = [CropSquare(canvas, unknown, tile.own, tile.box, tile.side, network) for tile in tiles]
            filled = inpaint(
                [square.image for square in squares],
                [square.hole for square in squares],
                aligned=True,
                num_inference_steps=num_inference_steps,
                generator=sources[done : done + len(tiles)],
                max_batch_size=max_batch_size,
                output_type="np",
            ).images
            for square, picture in zip(squares, filled, strict=True):
                toned = tint is not None and suits(tint, square.image, square.hole)
                square.paint(canvas, apply_tint(keep_colors(picture, square.image), tint if toned else None))
            done += len(tiles)
            if tell is not None:
                tell(done, total)
        for tile in group:
            unknown[tile.box.slices] &= ~tile.own[tile.box.slices]
    return photo.recolor(canvas, own)


def keep_colors(picture: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """Give a filled square the hues of its surroundings where its hole is wide, and leave narrow holes nearly alone.

    Far from what it can see the network invents colours; how light things are it guesses better than a smooth
    continuation does (by 0.6 dB in stains), and that stays.

    Args:
        picture: as the network filled it, float32 `[S, S, 3]` in [0, 1].
        smooth: as the network saw it, with the hole smoothly filled.
    """
    sigma = COLOR_BLUR * len(picture)
    difference = cv2.GaussianBlur(smooth - picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.clip(picture + difference - (difference @ LUMA)[..., None], 0, 1)


def measure_thickness(hole: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How thick every piece of the hole is, float32 `[pieces + 1]` in pixels, by its label."""
    # What lies beyond the photo is as unknown as the hole.
    edged = cv2.copyMakeBorder(hole.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(edged, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    inside = labels[hole]
    thickest = np.zeros(int(inside.max()) + 1, dtype=np.float32)
    np.maximum.at(thickest, inside, distance[hole])
    return 2 * np.minimum(thickest, max(hole.shape))


def _group(levels: np.ndarray, labels: np.ndarray, sample_size: int) -> list[list[Tile]]:
    """Tiles of the pieces with these scales (2 to the power of `levels`, -1 for no hole), in groups."""
    height, width = labels.shape
    groups: list[list[Tile]] = []
    for level in sorted(set(levels[levels >= 0].tolist())):
        own = (levels == level)[labels]
        side = sample_size << level
        cell = round(CELL * side)
        phases: dict[tuple[int, int], list[Tile]] = {}
        for row, top in enumerate(range(0, height, cell)):
            if not own[top : top + cell].any():
                continue
            for column, left in enumerate(range(0, width, cell)):
                inside = Box.around_mask(own[top : top + cell, left : left + cell])
                if inside is not None:
                    box = Box(left + inside.left, top + inside.top, left + inside.right, top + inside.bottom)
                    tile = Tile(own, box, min(side, max(box.side, height, width)))
                    phases.setdefault((row % 2, column % 2), []).append(tile)
        groups += phases.values()
    return groups


def _batches(tiles: list[Tile], most: int) -> Iterator[list[Tile]]:
    """The tiles a few at a time: at most `most`, and together no more than `BATCH_PIXELS`, but for a single one."""
    batch: list[Tile] = []
    for tile in tiles:
        if batch and (len(batch) == most or sum(t.side**2 for t in [*batch, tile]) > BATCH_PIXELS):
            yield batch
            batch = []
        batch.append(tile)
    if batch:
        yield batch
