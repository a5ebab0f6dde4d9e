"""What figures that show the inside of a pipeline share: options, pictures that are made once, measures, files.

OUT/figure.png                          the figure
OUT/curves.png                          of fig-3.8, its graph
OUT/table.md, table.csv, table.json     its numbers
OUT/outputs/ROW/KIND/NAME.png           what it was made of; what is there is not made again
OUT/outputs/ROW/NAME.json               which kinds and numbers belong to a picture, written behind them
OUT/outputs/ROW/row.json                what made it; a run that goes on must say the same
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facekit.hub.starters import starter
from facekit.images.files import remove_parts
from facekit.provenance import describe
from facekit.version import __version__
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import open_pictures, read_square
from facekit_cli.evaluation.inputs import Case
from facekit_cli.evaluation.measures import METRICS, Cell, Measurer, Networks, Results, show
from facekit_cli.evaluation.participants import Row, arguments_of, choose_size, parse_participant
from facekit_cli.evaluation.plan import InputSet, Plan, make_plan
from facekit_cli.evaluation.report import Report, publish, save_contact_sheet
from facekit_cli.evaluation.runner import check_records, record_of
from facekit_cli.evaluation.tables import ADDITIONAL_NOTE, Table
from facekit_cli.evaluation.unused import refuse_unused
from facekit_cli.loop import FATAL
from facekit_cli.models import load_pipeline, pick_device
from facekit_cli.photos import check_writable
from facekit_cli.results import save_picture, write_json

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Drawn:
    """What one call of a pipeline gives a figure.

    Attributes:
        pictures: uint8 [H, W, 3] by kind, a name of a folder.
        numbers: by name.
        generated: kinds that a network made altogether; the others are edited pictures of the data.
    """

    pictures: Mapping[str, np.ndarray]
    numbers: Mapping[str, float] = field(default_factory=dict)
    generated: frozenset[str] = frozenset()


# A pipeline, the arguments of its call, and the case that they were made of.
Draw = Callable[[Any, dict[str, Any], Case], Drawn]
# What stands in a column: a metric of `METRICS`, or the title of a number of the figure's own.
Line = tuple[str, Mapping[str, Cell]]


@dataclass(frozen=True)
class Source:
    """What a figure is made of.

    Attributes:
        table: name, title, inputs and metrics, as a table has them.
        pipeline: class of the pipelines.
        starter: the model that is taken where none is named.
        others: folders of outputs and the input itself may be rows, too.
    """

    table: Table
    pipeline: str
    starter: str
    others: bool = False


@dataclass
class Frame:
    """A figure under way: its rows, its pictures, and where they go."""

    source: Source
    args: argparse.Namespace
    plan: Plan
    device: "torch.device"
    networks: Networks
    failed: dict[str, Cell] = field(default_factory=dict)

    @property
    def pictures(self) -> InputSet:
        """The pictures of the figure; there is one set of them."""
        return self.plan.sets[0]

    @property
    def rows(self) -> Sequence[Row]:
        """Those that take part."""
        return self.plan.rows

    def make(self, draw: Draw, check: Callable[[Any], None] = lambda pipeline: None) -> None:
        """Let pipelines make what is not there yet; whatever is wrong with one picture, the others go on.

        Args:
            draw: makes the pictures of a case.
            check: raises UsageError for a pipeline that has not what the figure shows, before anything is made.
        """
        from tqdm import tqdm

        rows = [row for row in self.rows if row.participant.kind == "pipeline"]
        pipelines = {row.label: self._load(row) for row in rows}
        for pipeline in pipelines.values():
            check(pipeline)
        for row in rows:
            self._begin(row)
        tasks = [
            (row, place)
            for row in rows
            for place, name in enumerate(self.pictures.names)
            if not (self._folder(row) / f"{name}.json").is_file()
        ]
        for row, place in tqdm(tasks, desc="pictures", unit="picture"):
            try:
                self._make_one(draw, pipelines[row.label], row, place)
            except Exception as error:  # one picture
                if isinstance(error, OSError) and error.errno in FATAL:
                    raise
                self.failed[row.label] = Cell(
                    missing="failed", reason=f"{row.label}: {self.pictures.names[place]}: {error}"
                )

    def _load(self, row: Row) -> Any:
        participant = row.participant
        return load_pipeline(participant.pipeline, participant.source, self.device, participant.dtype)

    def _make_one(self, draw: Draw, pipeline: Any, row: Row, place: int) -> None:
        case = self.pictures.case(place, row.modalities)
        given = arguments_of(row.participant.pipeline, case)
        given |= dict(row.participant.options) | dict(row.options)
        drawn = draw(pipeline, given, case)
        folder = self._folder(row)
        for kind, pixels in drawn.pictures.items():
            origin = describe(pipeline, "generated" if kind in drawn.generated else "edited")
            save_picture(Image.fromarray(pixels), folder / kind / f"{case.name}.png", origin)
        content = {"kinds": list(drawn.pictures), "numbers": dict(drawn.numbers)}
        write_json(content, folder / f"{case.name}.json")

    def _begin(self, row: Row) -> None:
        """Write the row's record, remove what a killed run or, with `--overwrite`, any run left."""
        folder = self._folder(row)
        for name in self.pictures.names if self.args.overwrite else ():
            (folder / f"{name}.json").unlink(missing_ok=True)
        for kind in (folder, *folder.glob("*/")):
            remove_parts(kind)
        write_json(record_of(row, self.plan, _settings(self.args, self.plan)), folder / "row.json")

    def _folder(self, row: Row) -> Path:
        return self.args.output / "outputs" / row.folder

    def _entry(self, row: Row, place: int) -> dict[str, Any]:
        return json.loads((self._folder(row) / f"{self.pictures.names[place]}.json").read_text())

    def kinds(self, row: Row) -> list[str]:
        """The kinds of pictures of a row, in the order in which they were drawn."""
        return self._entry(row, 0)["kinds"]

    def read(self, row: Row, kind: str, place: int) -> np.ndarray:
        """A picture that was made, uint8 [S, S, 3] in the size of the pictures."""
        file = self._folder(row) / kind / f"{self.pictures.names[place]}.png"
        return read_square(file, self.pictures.pictures.size)

    def truth(self, place: int) -> np.ndarray:
        """An undamaged picture, uint8 [S, S, 3]."""
        return self.pictures.pictures.read(self.pictures.indices[place])

    def mean(self, row: Row, number: str) -> Cell:
        """The mean of a number over the pictures that have it."""
        entries = [self._entry(row, place)["numbers"] for place in range(len(self.pictures.indices))]
        values = [entry[number] for entry in entries if number in entry]
        return (
            Cell(float(np.mean(values)))
            if values
            else Cell(missing="none", reason=f"no picture has {number}")
        )

    def measure(
        self, measurer: Measurer, read: Callable[[int], np.ndarray], metrics: Sequence[str]
    ) -> dict[str, Cell]:
        """Cells of the pictures that `read` gives, against the undamaged ones."""
        pictures = self.pictures
        results = Results(
            output=read,
            truth=self.truth,
            exemplar=lambda place: None,
            count=len(pictures.indices),
            reference=None,
            key=f"{pictures.pictures.name}/{len(pictures.indices)}",
        )
        return measurer.measure(metrics, results)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the figure, and the additional ones that need no download."""
        return (*self.source.table.metrics, *self.source.table.additional)

    def shown(self, lines: int) -> Iterator[tuple[Row, int]]:
        """Rows and pictures of the figure, of which each takes so many of `--sheet`'s lines; at least one."""
        rows = [
            row for row in self.rows if row.participant.kind == "pipeline" and row.label not in self.failed
        ]
        count = max(1, self.args.sheet // max(1, lines * len(rows)))
        for place in range(min(count, len(self.pictures.indices))):
            for row in rows:
                yield row, place

    def finish(
        self,
        lines: Sequence[Line],
        sheet: Sequence[Sequence[tuple[str, np.ndarray]]],
        own: Mapping[str, tuple[int, int]] = MappingProxyType({}),
        notes: Sequence[str] = (),
    ) -> int:
        """Write the figure and its numbers; returns the exit code.

        Args:
            lines: label of each line of the table, and its cells by metric or by title of an own column.
            sheet: labelled pictures, line by line.
            own: columns that are no metrics, by title: which is better (1 more, -1 less, 0 neither), and digits.
            notes: lines below the table, behind those of the figure.
        """
        if self.args.sheet:
            save_contact_sheet(sheet, self.args.output / "figure.png")
        report = self._report(lines, own, notes)
        return max(publish(report, self.args.output), int(bool(self.failed)))

    def _report(
        self, lines: Sequence[Line], own: Mapping[str, tuple[int, int]], notes: Sequence[str]
    ) -> Report:
        table, pictures = self.source.table, self.pictures
        columns = list(dict.fromkeys(name for _, cells in lines for name in cells))
        titles = [name if name in own else self.networks.title(name) for name in columns]
        absent = Cell()

        def text(name: str, cell: Cell) -> str:
            if cell.value is None:
                return cell.missing
            return f"{cell.value:.{own[name][1]}f}" if name in own else show(name, cell)

        cells = [[line.get(name, absent) for name in columns] for _, line in lines]
        reasons = [
            f"{name if name in own else METRICS[name].name}, {cell.missing}: {' '.join(cell.reason.split())}"
            for row in cells
            for name, cell in zip(columns, row, strict=True)
            if cell.missing
        ]
        said = [
            f"{len(pictures.indices)} pictures of {pictures.pictures.name}, {self.args.size}x{self.args.size} "
            f"({self.plan.size_origin}), seed {self.args.seed}.",
            *([f"The thesis shows {', '.join(table.data)}."] if table.data else ()),
            *table.notes,
            *self.plan.notes,
            *notes,
            *([ADDITIONAL_NOTE] if table.additional else ()),
            *dict.fromkeys(reasons),
        ]
        return Report(
            table.name,
            table.title,
            titles,
            [
                (label, [text(name, cell) for name, cell in zip(columns, row, strict=True)])
                for (label, _), row in zip(lines, cells, strict=True)
            ],
            [[cell.value for cell in row] for row in cells],
            [own[name][0] if name in own else METRICS[name].better for name in columns],
            said,
            {
                "facekit": __version__,
                "data": {pictures.pictures.name: str(pictures.pictures.folder)},
                "methods": {row.label: row.participant.record() for row in self.rows},
                "settings": {name: getattr(self.args, name) for name in ("split", "size", "count", "seed")},
            },
        )


def open_frame(args: argparse.Namespace, source: Source) -> Frame:
    """Settle what is drawn; nothing is made yet.

    Raises:
        UsageError: options that do not fit, a model of another kind, outputs of other settings in the folder.
    """
    table = source.table
    check_options(args, table.name, table)
    if args.masks is not None and not any(condition.hole == "band" for condition in table.conditions):
        raise UsageError(f"{table.name} takes no --masks: its holes are settled, or it has none")
    if len(args.data) != 1:
        raise UsageError(f"{table.name} needs the pictures of one folder: --data FOLDER")
    participants = [parse_participant(text) for text in args.method or [starter(source.starter)]]
    for participant in participants:
        if participant.kind == "pipeline" and participant.pipeline != source.pipeline:
            raise UsageError(
                f"{participant.name} is a {participant.pipeline}, and {table.name} looks into a {source.pipeline}"
            )
        if participant.kind != "pipeline" and not source.others:
            raise UsageError(f"{table.name} looks into a {source.pipeline}, and {participant.name} is none")
    args.size, origin = choose_size(table, participants, args.size)
    pictures = open_pictures(args.data[0], args.split, args.size, args.count)
    plan = make_plan(
        table,
        [pictures],
        participants,
        seed=args.seed,
        masks=args.masks,
        pairing=args.pairing,
        poses=args.poses,
        pairs=args.pairs,
        size_origin=origin,
    )
    check_records(plan, args.output, _settings(args, plan), args.overwrite)
    device = pick_device(args.device)
    networks = Networks(args.features, args.identity, args.landmarks, args.lpips_net, str(device))
    networks.check(table.metrics)
    return Frame(source, args, plan, device, networks)


def check_options(args: argparse.Namespace, name: str, table: Table | None) -> None:
    """Refuse what no figure can be made with, and what this one (see `refuse_unused`) never reads. UsageError."""
    if args.output is None:
        raise UsageError("say where the figure goes: --output DIR")
    check_writable([args.output], "--output")
    refuse_unused(args, name, table, figure=True)
    for option, least in (("size", 16), ("count", 1), ("sheet", 0)):
        value = getattr(args, option)
        if value is not None and value < least:
            raise UsageError(f"--{option} is {value}; it must be {least} or more")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(f"{name} is made by one process: leave out accelerate launch")


def _settings(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    data = str(plan.sets[0].pictures.folder.resolve())
    return {"seed": args.seed, "size": args.size, "data": [data], **plan.settings}


def to_pixels(picture: Any) -> np.ndarray:
    """A Pillow image as uint8 [H, W, 3]."""
    return np.asarray(picture.convert("RGB"))


def seeded(case: Case) -> "torch.Generator":
    """The source of a case's randomness, anew."""
    import torch

    return torch.Generator("cpu").manual_seed(case.seed)
