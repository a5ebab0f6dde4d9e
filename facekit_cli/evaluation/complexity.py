"""Tables 4.4 and 5.2: parameters and operations of our own networks at the published size.

Networks are built without storage and called with fake tensors: shapes alone, nothing is computed. PyTorch's
counter gives FLOPs of convolutions and matrix products, two for each multiply-accumulate (MAC). What the thesis calls
FLOPs are MACs.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.participants import Participant
from facekit_cli.evaluation.report import Report

HEADER = ("Parameters (M)", "MACs (G)", "FLOPs (G) = 2 MACs", "Parameters (M), thesis", "FLOPs (G), thesis")
NOTES = (
    "Counted from shapes, for one picture of 256x256, with torch.utils.flop_counter: convolutions and matrix products.",
    "The thesis's FLOPs are multiply-accumulates: compare them with the column MACs.",
)
NOTES_EXEMPLAR = (
    "The thesis counts the generator with its mapping network, without the style encoder, and leaves the low-pass "
    "filters of resampling out (here in).",
    "Frames per second depend on the machine: benchmarks/speed.py measures them. Training time is not measured.",
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


def _inpaint(network: Any) -> Any:
    side = network.config.sample_size
    return network(torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side))


def _multi_style(network: Any) -> Any:
    side, config = network.config.sample_size, network.config
    strokes = torch.zeros(1, 1, side, side) if config.use_sketch else None
    return network(
        torch.zeros(1, 3, side, side),
        torch.zeros(1, 1, side, side),
        style_codes=torch.zeros(1, network.num_styles, config.style_dim),
        z=torch.zeros(1, config.style_dim),
        sketch=strokes,
        noise="none",
    )


def _encode(network: Any) -> Any:
    side = network.config.sample_size
    return network(torch.zeros(1, network.config.in_channels, side, side))


def table(name: str, participants: list[Participant]) -> Report:
    """Table 4.4 or 5.2: the published networks, and those of `participants` beside them.

    Raises:
        UsageError: a participant that is no pipeline of that kind.
    """
    from facekit.models.multi_style import MultiStyleGenerator
    from facekit.models.residual_inpainter import ResidualInpainter
    from facekit.models.style_encoder import StyleEncoder

    rows: list[tuple[str, Complexity, str, str]] = []
    notes: tuple[str, ...]
    if name == "4.4":
        pipeline, notes, title = "FaceInpaintPipeline", NOTES, "Complexity of inpainting networks"
        rows += _steps("GRIG", count(ResidualInpainter, _inpaint), ("31.76", "20.47"), ("31.76", "61.41"))
        for participant in _checked(participants, pipeline):
            network = count(_builder(ResidualInpainter, participant, "residual_inpainter"), _inpaint)
            rows += _steps(participant.name, network, ("", ""), ("", ""))
    else:
        pipeline, notes = "ExemplarInpaintPipeline", NOTES + NOTES_EXEMPLAR
        title = "Complexity of exemplar inpainting networks"
        rows.append(("EXE-GAN", count(MultiStyleGenerator, _multi_style), "79.18", "90.26"))
        for participant in _checked(participants, pipeline):
            generator = count(
                _builder(MultiStyleGenerator, participant, "multi_style_generator"), _multi_style
            )
            encoder = count(_builder(StyleEncoder, participant, "style_encoder"), _encode)
            both = Complexity(generator.parameters + encoder.parameters, generator.macs + encoder.macs)
            rows += [
                (participant.name, generator, "", ""),
                (f"{participant.name} with its style encoder", both, "", ""),
            ]
    numbers = [[c.parameters / 1e6, c.macs / 1e9, c.flops / 1e9] for _, c, _, _ in rows]
    lines = [
        (label, [*(f"{value:.2f}" for value in values), *thesis])
        for (label, _, *thesis), values in zip(rows, numbers, strict=True)
    ]
    full = [[*values, None, None] for values in numbers]
    return Report(name, title, HEADER, lines, full, (-1, -1, -1, 0, 0), notes)


def _steps(
    name: str, one: Complexity, first: tuple[str, str], third: tuple[str, str]
) -> list[tuple[str, Complexity, str, str]]:
    three = Complexity(one.parameters, 3 * one.macs)
    return [(f"{name}, T = 1", one, *first), (f"{name}, T = 3", three, *third)]


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
