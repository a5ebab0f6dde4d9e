"""Tables 4.4 and 5.2: parameters, operations and speed of our own networks at the published size.

Operations are counted on networks built without storage and called with fake tensors: shapes alone, nothing is
computed. PyTorch's counter gives FLOPs of convolutions and matrix products, two for each multiply-accumulate (MAC).
What the thesis calls FLOPs are MACs. Frames per second are measured, with random weights, on which they do not depend.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from facekit.metrics.speed import Clock, describe_device
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.participants import Participant
from facekit_cli.evaluation.records import RECORD, read_record
from facekit_cli.evaluation.report import Report
from facekit_cli.evaluation.tables import TABLES

HEADER = ("Parameters (M)", "MACs (G)", "FLOPs (G) = 2 MACs")
SPEED_HEADER = ("Frames per second", "Training (h)")
THESIS_HEADER = ("Parameters (M), thesis", "FLOPs (G), thesis")
THESIS_SPEED_HEADER = ("Frames per second, thesis", "Training (h), thesis")
NOTES = (
    "Counted from shapes, for one picture of 256x256, with torch.utils.flop_counter: convolutions and matrix products.",
    "The thesis's FLOPs are multiply-accumulates: compare them with the column MACs.",
)
NOTES_EXEMPLAR = (
    "The thesis counts the generator with its mapping network, without the style encoder, and leaves the low-pass "
    "filters of resampling out (here in).",
    "The thesis's frames per second and hours are those of an RTX 3090, its hours the time of 1,000 iterations times "
    "the 800 thousands of them.",
)


@dataclass(frozen=True)
class Complexity:
    """`parameters`: count. `macs`: multiply-accumulates of one call; `flops` are twice as many."""

    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """Additions and multiplications."""
        return 2 * self.macs


def count(build: Callable[[], nn.Module], call: Callable[[nn.Module], Any]) -> Complexity:
    """Parameters of a network and operations of one call, from shapes alone.

    Args:
        build: makes the network.
        call: calls it with inputs that it makes.
    """
    with torch.device("meta"):
        network = build().eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with FakeTensorMode(allow_non_fake_inputs=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        network.to_empty(device="cpu")
        # Gradients stay on: without them layers look at values, to leave out what has no effect.
        with FlopCounterMode(display=False) as counter:
            call(network)
    return Complexity(parameters, counter.get_total_flops() // 2)


def frames_per_second(
    build: Callable[[], nn.Module], call: Callable[[nn.Module], Any], device: torch.device
) -> float:
    """Calls of a network of random weights in a second, one after another, one picture each."""
    with torch.device(device), torch.inference_mode():
        network = build().eval()
        return 1 / Clock(device).median(lambda: call(network))


def _inpaint(network: Any) -> Any:
    side = network.config.sample_size
    return network(torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side))


def _multi_style(network: Any, noise: str = "none") -> Any:
    side, config = network.config.sample_size, network.config
    strokes = torch.zeros(1, 1, side, side) if config.use_sketch else None
    return network(
        torch.zeros(1, 3, side, side),
        torch.zeros(1, 1, side, side),
        style_codes=torch.zeros(1, network.num_styles, config.style_dim),
        z=torch.zeros(1, config.style_dim),
        sketch=strokes,
        noise=noise,
    )


_with_noise = partial(_multi_style, noise="random")


def _encode(network: Any) -> Any:
    side = network.config.sample_size
    return network(torch.zeros(1, network.config.in_channels, side, side))


@dataclass(frozen=True)
class Line:
    """A line of the tables.

    Attributes:
        label: its head.
        complexity: what was counted.
        speed: frames per second, and hours of training; none in Table 4.4, None where it is not known.
        thesis: the thesis's parameters, FLOPs and, in Table 5.2, frames per second and hours; "" where it has none.
    """

    label: str
    complexity: Complexity
    speed: tuple[float | None, ...] = ()
    thesis: tuple[str, ...] = ("", "")

    @property
    def numbers(self) -> list[float | None]:
        """What was counted and measured here, in the order of the columns."""
        counted = self.complexity
        return [counted.parameters / 1e6, counted.macs / 1e9, counted.flops / 1e9, *self.speed]


def table(name: str, participants: list[Participant], device: torch.device) -> Report:
    """Table 4.4 or 5.2: the published networks, and those of `participants` beside them.

    Args:
        device: where frames per second are measured.

    Raises:
        UsageError: a participant that is no pipeline of that kind.
    """
    return _inpainters(participants) if name == "4.4" else _exemplar_inpainters(participants, device)


def _inpainters(participants: list[Participant]) -> Report:
    from facekit.models.residual_inpainter import ResidualInpainter

    published = count(ResidualInpainter, _inpaint)
    lines = _steps("GRIG", published, ("31.76", "20.47"), ("31.76", "61.41"))
    for participant in _checked(participants, "FaceInpaintPipeline"):
        network = count(_builder(ResidualInpainter, participant, "residual_inpainter"), _inpaint)
        lines += _steps(participant.name, network, ("", ""), ("", ""))
    header = (*HEADER, *THESIS_HEADER)
    return _report("4.4", header, (-1, -1, -1, 0, 0), lines, NOTES)


def _exemplar_inpainters(participants: list[Participant], device: torch.device) -> Report:
    from facekit.models.multi_style import MultiStyleGenerator
    from facekit.models.style_encoder import StyleEncoder

    checked = _checked(participants, "ExemplarInpaintPipeline")
    counted = count(MultiStyleGenerator, _multi_style)
    speed = frames_per_second(MultiStyleGenerator, _with_noise, device)
    lines = [Line("EXE-GAN", counted, (speed, None), ("79.18", "90.26", "77.62", "269.49"))]
    notes = [
        *(*NOTES, *NOTES_EXEMPLAR),
        f"Frames per second: measured on {describe_device(device)}, float32, random weights, a picture a call.",
        "EXE-GAN, Training: these networks are built here and were not trained.",
    ]
    for participant in checked:
        generate = _builder(MultiStyleGenerator, participant, "multi_style_generator")
        encode = _builder(StyleEncoder, participant, "style_encoder")
        generator, encoder = count(generate, _multi_style), count(encode, _encode)
        both = Complexity(generator.parameters + encoder.parameters, generator.macs + encoder.macs)
        alone = frames_per_second(generate, _with_noise, device)
        together = 1 / (1 / alone + 1 / frames_per_second(encode, _encode, device))
        hours, note = training_hours(participant)
        notes.append(f"{participant.name}, Training: {note}")
        lines.append(Line(participant.name, generator, (alone, hours), ("",) * 4))
        label = f"{participant.name} with its style encoder"
        lines.append(Line(label, both, (together, None), ("",) * 4))
    header = (*HEADER, *SPEED_HEADER, *THESIS_HEADER, *THESIS_SPEED_HEADER)
    better = (-1, -1, -1, 1, -1, 0, 0, 0, 0)
    return _report("5.2", header, better, lines, notes)


def training_hours(participant: Participant) -> tuple[float | None, str]:
    """Hours of training by the record in a pipeline's folder, None where there is none; and a sentence about it."""
    said = read_record(Path(participant.source))
    if said is None:
        return None, f"the folder has no {RECORD}, which training writes."
    hours = said["minutes"] / 60
    rate = f", {1000 * hours / said['steps']:.3g} h for 1,000 steps" if said["steps"] else ""
    state = "" if said["complete"] else " so far"
    return hours, (
        f"{said['steps']:,} steps of {said['batch_size']} pictures{state} by {said['stage']} on {said['device']}{rate}."
    )


def _report(
    name: str,
    header: Sequence[str],
    better: Sequence[int],
    lines: Sequence[Line],
    notes: Sequence[str],
) -> Report:
    rows = [
        (line.label, [*("-" if n is None else f"{n:.2f}" for n in line.numbers), *line.thesis])
        for line in lines
    ]
    numbers = [[*line.numbers, *(None for _ in line.thesis)] for line in lines]
    return Report(name, TABLES[name].title, header, rows, numbers, better, notes)


def _steps(name: str, one: Complexity, first: tuple[str, str], third: tuple[str, str]) -> list[Line]:
    three = Complexity(one.parameters, 3 * one.macs)
    return [Line(f"{name}, T = 1", one, thesis=first), Line(f"{name}, T = 3", three, thesis=third)]


def _checked(participants: list[Participant], pipeline: str) -> list[Participant]:
    for participant in participants:
        if participant.pipeline != pipeline:
            what = f"a {participant.pipeline}" if participant.pipeline else "no pipeline"
            raise UsageError(
                f"{participant.name} is {what}, and this table counts the networks of a {pipeline}"
            )
    return participants


def _builder(network: Any, participant: Participant, component: str) -> Callable[[], nn.Module]:
    config = network.load_config(participant.source, subfolder=component)
    return lambda: network.from_config(config)
