"""Whether exported graphs compute what the pipeline computes, measured on faces that the bundled prior draws."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image, ImageDraw

from facekit.export.graphs import Plan
from facekit.onnx import OnnxPipeline
from facekit.pipelines.base import split_generators
from facekit.pipelines.sample import sample_faces

BATCHES = (1, 3)
SEED = 15  # of the check's faces, masks and noise


@dataclass
class Differences:
    """Largest differences between graphs and PyTorch, all numbers in the units of the networks.

    Attributes:
        graphs: of each graph by name, given the same inputs; inf where one has numbers that are not finite.
        chain: of the finished pictures in [-1, 1], the pipeline's own against those of all graphs in a row.
    """

    graphs: dict[str, float] = field(default_factory=dict)
    chain: float = 0.0

    @property
    def largest(self) -> float:
        """The largest of all."""
        return max(self.chain, *self.graphs.values())


class ComparedPipeline(OnnxPipeline):
    """Exported graphs that are compared with the modules that they were made of at every call."""

    def __init__(self, folder: Path, plan: Plan, differences: Differences) -> None:
        super().__init__(folder)
        self.plan = {graph.name: graph for graph in plan.graphs}
        self.differences = differences

    def run(self, graph: str, **inputs: np.ndarray) -> np.ndarray:
        output = super().run(graph, **inputs)
        planned = self.plan[graph]
        with torch.inference_mode():
            expected = planned.module(*(torch.from_numpy(inputs[port.name]) for port in planned.inputs))
        known = self.differences.graphs.get(graph, 0.0)
        self.differences.graphs[graph] = max(known, largest_difference(output, expected.numpy()))
        return output


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two arrays of the same shape; inf where one is not finite or the shapes differ."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    return float(np.abs(found - expected).max())


def compare(folder: Path, plan: Plan, pipeline: DiffusionPipeline) -> Differences:
    """Run the graphs of a folder and the pipeline side by side, on one face and on a batch of three."""
    differences = Differences()
    exported = ComparedPipeline(folder, plan, differences)
    faces = draw_faces(2 * sum(BATCHES), plan.size)
    for count in BATCHES:
        taken, faces = faces[: 2 * count], faces[2 * count :]
        case = draw_case(plan, taken[:count], taken[count:])
        expected = run_pipeline(pipeline, plan, case)
        result = exported(**case, noise=draw_noise(plan, generators(plan.task, count), count))
        # Pictures of 16 bits: a step of them is 3e-5 in the networks' [-1, 1].
        pictures = result.astype(np.float32) / 65535
        differences.chain = max(differences.chain, 2 * largest_difference(pictures, expected))
    return differences


def draw_faces(count: int, size: int) -> list[np.ndarray]:
    """Faces of people who do not exist, uint16 `[size, size, 3]`."""
    drawn = sample_faces(count, finish=False, generator=torch.Generator().manual_seed(SEED))
    resized = [face.resize((size, size), Image.Resampling.LANCZOS) for face in drawn]
    return [np.asarray(face).astype(np.uint16) * 257 for face in resized]


def draw_case(plan: Plan, faces: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> dict[str, Any]:
    """The inputs of one call of `OnnxPipeline`, all that the task takes: faces, masks, drawings, exemplars.

    The first face has no colours, which keep tones from being matched.
    """
    case: dict[str, Any] = {"image": np.stack(faces)}
    if plan.task == "face-restore":
        return case
    case["mask"] = np.stack([draw_hole(plan.size, row) for row in range(len(faces))])
    if plan.task != "face-inpaint":
        case["exemplar"] = np.stack(others)
    taken = {port.name for graph in plan.graphs for port in graph.inputs}
    if "sketch" in taken:
        case["sketch"] = np.stack([draw_strokes(plan.size)] * len(faces)) & case["mask"]
    if "semantics" in taken:
        case["semantics"] = np.full(case["mask"].shape, 255, np.uint8)
        upper = case["mask"] & (np.arange(plan.size) < plan.size // 2)[:, None]
        case["semantics"][upper] = 13
        where = case["mask"] & ~upper
        where[0] = False
        case["color"] = np.where(where[..., None], np.array([180, 90, 60, 255], np.uint8), np.uint8(0))
    if plan.attributes:
        case["attributes"] = {next(iter(plan.attributes)): 1.0}
    return case


def draw_hole(size: int, row: int) -> np.ndarray:
    """An ellipse bool `[size, size]`, for each row of a batch another one."""
    hole = Image.new("1", (size, size))
    left, top = size // 4 + size * row // 16, size // 4
    ImageDraw.Draw(hole).ellipse((left, top, left + size // 2, top + size // 2), fill=1)
    return np.array(hole)


def draw_strokes(size: int) -> np.ndarray:
    """Two lines across the middle, bool `[size, size]`."""
    picture = Image.new("1", (size, size))
    pen = ImageDraw.Draw(picture)
    for start in (0.4, 0.55):
        pen.line((size * 0.3, size * start, size * 0.7, size * (start + 0.1)), fill=1, width=1)
    return np.array(picture)


def generators(task: str, count: int) -> list[torch.Generator]:
    """The generators from which a pipeline draws for `count` faces, given those of `parents`."""
    given = parents(count)
    return given if task == "face-inpaint" else split_generators(given, list(range(count)))


def parents(count: int) -> list[torch.Generator]:
    """One generator for each photo."""
    return [torch.Generator().manual_seed(SEED + row) for row in range(count)]


def draw_noise(plan: Plan, drawing: Sequence[torch.Generator], count: int) -> dict[str, np.ndarray]:
    """The numbers that the pipeline draws, by the names of `plan.randomness`; of inpainting those of all steps."""
    used = {port.name for graph in plan.graphs for port in graph.inputs}
    noise = {}
    for port in plan.randomness:
        shapes: list[tuple[int, ...]] = [port.shape]  # what is drawn at once
        if port.name == "noise" and plan.noise_sizes:
            shapes = [(side, side) for side in plan.noise_sizes]
        elif len(port.shape) == 3:
            shapes = [port.shape[1:]] * port.shape[0]
        rounds = int(plan.settings.get("steps", 1)) if port.name == "noise" else 1
        rows = [
            torch.cat([torch.randn(shape, generator=generator).flatten() for shape in shapes])
            for _ in range(rounds)
            for generator in drawing
        ]
        if port.name in used:
            noise[port.name] = torch.stack(rows).reshape(rounds * count, *port.shape).numpy()
    return noise


def run_pipeline(pipeline: DiffusionPipeline, plan: Plan, case: dict[str, Any]) -> np.ndarray:
    """What the pipeline makes of a case, float32 `[B, S, S, 3]` in [0, 1]."""
    given = {name: value if name == "attributes" else list(value) for name, value in case.items()}
    if "color" in given:
        given["color"] = [Image.fromarray(layer, "RGBA") for layer in given["color"]]
    call: Any = pipeline  # one of four classes with arguments of their own
    output = call(
        **given, aligned=True, generator=parents(len(case["image"])), output_type="np", max_batch_size=4
    )
    return np.asarray(output.images)
