"""A pipeline becomes a folder of ONNX graphs that is written only where they compute the same as the pipeline."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from facekit.export.check import BATCHES, Differences, compare
from facekit.export.graphs import Graph, Plan, Port, plan_export
from facekit.export.model import CARD
from facekit.hub.memory import format_bytes
from facekit.images.files import hash_file, write_folder
from facekit.notes import Refusal
from facekit.onnx import DESCRIPTION, DIRECTIONS, EXPORT_PACKAGES, FORMAT, check_packages
from facekit.version import __version__

TOLERANCE = 1e-3
OPSET = 18
# A graph's file is one protobuf message, of at most 2 GB; larger weights go into a file beside it.
LARGEST_FILE = 1_500_000_000


def export_onnx(
    pipeline: DiffusionPipeline,
    output: str | Path,
    *,
    model: str = "",
    card: str | None = None,
    licence: str | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    report: Callable[[str], Any] | None = None,
) -> Differences:
    """Write a pipeline's networks as ONNX graphs for `facekit.onnx.OnnxPipeline`, complete or not at all.

    The graphs are compared with the pipeline on faces that the bundled prior draws, at batches of 1 and 3.

    Args:
        pipeline: one of facekit's four; its networks come to the processor in float32, in place.
        output: folder to write.
        model: what the model is called, for the description.
        card: text of the model's card, which goes along.
        licence: of the weights, as the card names it.
        tolerance: largest difference from PyTorch that is accepted, of any graph and of the finished pictures.
        overwrite: replace a folder that exists.
        report: gets a line for each graph that is written, and for each difference; None: nobody does.

    Returns:
        The largest differences.

    Raises:
        FileExistsError: the folder exists, see `write_folder`.
        ImportError: a package of the extra `export` is missing.
        ValueError: there is no export of such a pipeline, or the graphs differ from PyTorch by more than `tolerance`.
            Nothing is written then.
    """
    check_packages(EXPORT_PACKAGES, "export to ONNX")
    plan = plan_export(pipeline)
    found = Differences()
    tell = report or (lambda line: None)

    def write(folder: Path) -> None:
        nonlocal found
        for graph in plan.graphs:
            write_graph(graph, folder)
            tell(f"wrote {graph.name}: {format_bytes(size_of(graph, folder))}")
        if plan.attributes:
            arrays: dict[str, Any] = {name: each.numpy() for name, each in plan.attributes.items()}
            np.savez(folder / DIRECTIONS, **arrays)
        if card is not None:
            (folder / CARD).write_text(card, encoding="utf-8")
        origin = {"model": model, "licence": licence, "card": None if card is None else CARD}
        describe(plan, folder, origin, None)
        found = compare(folder, plan, pipeline)
        for name, difference in found.graphs.items():
            tell(f"{name}: differs by at most {difference:.1e} from PyTorch, in batches of {BATCHES}")
        tell(f"all in a row: finished pictures differ by at most {found.chain:.1e}")
        if not found.largest <= tolerance:
            raise Refusal(
                "setting",
                "the graphs differ by {found} from PyTorch, and {most} is allowed: nothing was written.",
                found=f"{found.largest:.1e}",
                most=f"{tolerance:.0e}",
            )
        describe(plan, folder, origin, found)

    write_folder(Path(output), write, overwrite)
    return found


def write_graph(graph: Graph, folder: Path) -> None:
    """Write one graph with a free batch, and its weights beside it where they are large."""
    # Two rows: of one, the exporter would take the batch for a constant.
    rows = tuple(torch.rand(2, *port.shape) for port in graph.inputs)
    batch = torch.export.Dim("batch")
    weights = sum(parameter.numel() * parameter.element_size() for parameter in graph.module.parameters())
    with torch.no_grad(), quiet_exporter():
        program = torch.onnx.export(
            graph.module.eval(),
            rows,
            dynamo=True,
            input_names=[port.name for port in graph.inputs],
            output_names=[graph.output.name],
            dynamic_shapes=tuple({0: batch} for _ in graph.inputs),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    program.save(folder / file_of(graph), external_data=weights > LARGEST_FILE)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter from warning about its own parts while the `with` block lasts."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def file_of(graph: Graph) -> str:
    """The file of a graph in its folder."""
    return f"{graph.name}.onnx"


def size_of(graph: Graph, folder: Path) -> int:
    """Bytes of a graph's files."""
    return sum(file.stat().st_size for file in folder.glob(f"{file_of(graph)}*"))


def describe(plan: Plan, folder: Path, origin: dict[str, str | None], found: Differences | None) -> None:
    """Write the folder's description: what it is, what goes in and comes out, and the digests of the other files."""

    def port(each: Port) -> dict[str, Any]:
        return {"name": each.name, "shape": list(each.shape), "holds": each.holds}

    used = {each.name for graph in plan.graphs for each in graph.inputs}
    description = {
        "format": FORMAT,
        "facekit": __version__,
        "task": plan.task,
        "size": plan.size,
        **origin,
        "settings": plan.settings,
        "shapes": "of one row; the batch comes first in every input and output, all are float32",
        "graphs": [
            {
                "name": graph.name,
                "file": file_of(graph),
                "opset": OPSET,
                "inputs": [port(each) for each in graph.inputs],
                "output": port(graph.output),
                "largest_difference": None if found is None else found.graphs[graph.name],
            }
            for graph in plan.graphs
        ],
        "largest_difference": None if found is None else found.chain,
        "randomness": [port(each) for each in plan.randomness if each.name in used],
        "sha256": {
            file.name: hash_file(file) for file in sorted(folder.iterdir()) if file.name != DESCRIPTION
        },
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
