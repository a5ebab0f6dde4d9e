"""Fig. 3.9: feature maps of the restorer's SMART layers by dilation, and what the aggregation makes of them."""

import argparse
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from facekit.images.tensors import heat_map
from facekit.models.layers.smart import DILATIONS
from facekit.models.layers.smart_maps import collect_smart_maps, find_smart_layers
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.figures.frame import Drawn, Frame, Line, Source, open_frame, seeded, to_pixels
from facekit_cli.evaluation.inputs import Case
from facekit_cli.evaluation.participants import Row
from facekit_cli.evaluation.registry import ENTRIES
from facekit_cli.evaluation.tables import DAMAGED, Table

RESOLUTIONS = (32, 64, 128, 256)
PARTS = (*(f"dilation {dilation}" for dilation in DILATIONS), "aggregation")
RESTORED = "restored"
MAGNITUDE, COARSE = "mean magnitude", "coarse share %"
CELLS = 8
NAME = "fig-3.9"
TABLE = Table(
    NAME,
    ENTRIES[NAME].title,
    "restore",
    (),
    DAMAGED,
    notes=(
        "Layers of the restoration decoder. A picture shows the mean of |F| over the channels of a map, each on "
        "its own scale: blue is its least, red its most.",
        f"{MAGNITUDE}: of |F|. {COARSE}: how much of the variance over a map is left when it is averaged over "
        f"{CELLS}x{CELLS} cells; the more, the more global is what the map shows.",
    ),
)


def draw(args: argparse.Namespace) -> int:
    """Draw the figure; 0 when all went well, 1 when pictures failed."""
    frame = open_frame(args, Source(TABLE, "FaceRestorePipeline", "face-restore"))
    frame.make(collect, check)
    lines: list[Line] = []
    for row in frame.rows:
        lines += _lines_of(frame, row)
    sheet = []
    for row, place in frame.shown(len(RESOLUTIONS)):
        beside = [
            ("input", frame.pictures.case(place).image),
            (RESTORED, frame.read(row, RESTORED, place)),
            ("original", frame.truth(place)),
        ]
        for resolution in _resolutions(frame, row):
            label, pixels = beside.pop(0) if beside else ("", np.full_like(frame.truth(place), 255))
            maps = [
                (f"{resolution}x{resolution}, {part}", frame.read(row, _kind(resolution, part), place))
                for part in PARTS
            ]
            sheet.append([(label, pixels), *maps])
    return frame.finish(lines, sheet, {MAGNITUDE: (0, 3), COARSE: (0, 1)})


def check(pipeline: Any) -> None:
    """Raise UsageError for a model without such layers at these resolutions."""
    if not find_smart_layers(pipeline.restorer):
        raise UsageError(f"{NAME} shows SMART layers, and this model was trained without them")
    if pipeline.restorer.config.sample_size < min(RESOLUTIONS):
        raise UsageError(
            f"{NAME} shows layers of {min(RESOLUTIONS)} pixels and more, and this model has none"
        )


def collect(pipeline: Any, given: dict[str, Any], case: Case) -> Drawn:
    """Heat maps of the decoder's SMART layers while a face is restored."""
    with collect_smart_maps(pipeline.restorer) as maps:
        output = pipeline(**given, aligned=True, generator=seeded(case))
    pictures, numbers = {RESTORED: to_pixels(output.images[0])}, {}
    for name, found in maps.items():
        resolution = found.aggregated.shape[-1]
        if name.startswith("decoder.") and resolution in RESOLUTIONS:
            every = [*found.dilated.values(), found.aggregated]
            for part, features in zip(PARTS, every, strict=True):
                strength = features[0].float().abs().mean(0).cpu()
                kind = _kind(resolution, part)
                pictures[kind] = to_pixels(heat_map((strength - strength.min()).numpy()))
                numbers[f"{kind} magnitude"] = float(strength.mean())
                numbers[f"{kind} coarse"] = 100 * coarse_share(strength)
    return Drawn(pictures, numbers, frozenset(pictures) - {RESTORED})


def coarse_share(values: torch.Tensor) -> float:
    """Variance of a map [H, W] averaged over `CELLS` x `CELLS` cells, as a share of the map's own; 0 for a flat map."""
    cells = F.adaptive_avg_pool2d(values[None], CELLS)
    whole = float(values.var(correction=0))
    return float(cells.var(correction=0)) / whole if whole else 0.0


def _kind(resolution: int, part: str) -> str:
    return f"{resolution}-{part.replace(' ', '-')}"


def _resolutions(frame: Frame, row: Row) -> list[int]:
    kinds = frame.kinds(row)
    return [resolution for resolution in RESOLUTIONS if _kind(resolution, PARTS[0]) in kinds]


def _lines_of(frame: Frame, row: Row) -> list[Line]:
    if row.label in frame.failed:
        return [(row.label, dict.fromkeys((MAGNITUDE, COARSE), frame.failed[row.label]))]
    lines: list[Line] = []
    for resolution in _resolutions(frame, row):
        for part in PARTS:
            kind = _kind(resolution, part)
            cells = {
                MAGNITUDE: frame.mean(row, f"{kind} magnitude"),
                COARSE: frame.mean(row, f"{kind} coarse"),
            }
            lines.append((f"{row.label}, {resolution}x{resolution}, {part}", cells))
    return lines
