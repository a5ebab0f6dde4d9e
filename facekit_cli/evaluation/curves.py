"""Figures that are curves, as one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit.images.files import write_atomically

ACROSS = 3  # graphs in a row


@dataclass(frozen=True)
class Graph:
    """One graph.

    Attributes:
        title: above it.
        x: where the points lie, numbers, or words at equal distances.
        lines: a curve's label and its values, None where there is none.
        x_label, y_label: of its axes.
    """

    title: str
    x: Sequence[str] | Sequence[float]
    lines: Mapping[str, Sequence[float | None]]
    x_label: str = ""
    y_label: str = ""


def save_curves(graphs: Sequence[Graph], file: Path) -> bool:
    """Draw graphs side by side, as PNG; returns whether it was done. Where matplotlib is missing a line says so."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print(f"no {file.name}: matplotlib is missing (pip install 'facekit[metrics]')")
        return False
    across = min(ACROSS, len(graphs))
    down = -(-len(graphs) // across)
    figure = Figure(figsize=(4.5 * across, 3.5 * down), layout="constrained")
    all_axes = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, graph in zip(all_axes, graphs, strict=False):
        for label, values in graph.lines.items():
            known = [float("nan") if value is None else value for value in values]
            axes.plot(list(graph.x), known, label=label, marker=".", lw=1)
        axes.set(title=graph.title, xlabel=graph.x_label, ylabel=graph.y_label)
        axes.tick_params("x", labelsize=7)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    for axes in all_axes[len(graphs) :]:
        axes.set_axis_off()
    write_atomically(file, FigureCanvasAgg(figure).print_png)
    return True
