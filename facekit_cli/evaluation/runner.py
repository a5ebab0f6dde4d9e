"""Makes the outputs of a plan, each file complete or not there, and measures them.

    OUT/outputs/ROW/SET/NAME.png     what a pipeline made; a file that is there is not made again
    OUT/outputs/ROW/row.json         what made it; a run that goes on must say the same

Processes of an Accelerate launch share the pictures; the main process measures.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facekit.images.files import remove_parts
from facekit.images.origin import Provenance
from facekit.metrics import WeightsUnavailable
from facekit.provenance import describe
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.curves import Graph
from facekit_cli.evaluation.data import read_square
from facekit_cli.evaluation.inputs import Case, export
from facekit_cli.evaluation.measures import METRICS, UNAVAILABLE, Cell, Measurer, Networks, Results, mean_cell
from facekit_cli.evaluation.participants import Row, Run, open_row, read_output
from facekit_cli.evaluation.plan import InputSet, Plan
from facekit_cli.loop import FATAL
from facekit_cli.results import save_picture, write_json

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

FAILED = "failed"
Cells = dict[tuple[str, str, str], Cell]  # by row label, key of the set, metric


@dataclass
class Problems:
    """What could not be made: (row label, set key) -> (short text, reason)."""

    found: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def of(self, row: Row, key: str) -> tuple[str, str] | None:
        """Of a row in one set."""
        return self.found.get((row.label, key))

    @property
    def failed(self) -> bool:
        """Whether something went wrong, beyond weights that cannot be had."""
        return any(short != UNAVAILABLE for short, _ in self.found.values())


def check_records(plan: Plan, folder: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Refuse outputs of other settings. Raises UsageError."""
    for row in plan.rows:
        file = folder / "outputs" / row.folder / "row.json"
        if overwrite or not file.is_file():
            continue
        before, now = json.loads(file.read_text()), record_of(row, plan, settings)
        for key, value in now.items():
            if before.get(key) != value:
                raise UsageError(
                    f"{file.parent} holds outputs made with {key} {before.get(key)!r}, now it is {value!r}; "
                    "name another --output folder, or start over with --overwrite"
                )


def record_of(row: Row, plan: Plan, settings: dict[str, Any]) -> dict[str, Any]:
    """What a row's outputs depend on, as JSON has it."""
    record = {"table": plan.table.name, "modalities": row.modalities, "row_options": dict(row.options)}
    return json.loads(json.dumps(record | row.participant.record() | settings))


def begin(plan: Plan, folder: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Main process: write the records, remove what a killed run or, with `overwrite`, any run left."""
    for row in plan.rows:
        if row.participant.kind != "pipeline":
            continue
        place = folder / "outputs" / row.folder
        for s in plan.sets:
            remove_parts(place / s.key)
            if overwrite:
                for name in s.names:
                    (place / s.key / f"{name}.png").unlink(missing_ok=True)
        write_json(record_of(row, plan, settings), place / "row.json")


def make_outputs(
    plan: Plan, folder: Path, state: "PartialState", device: "torch.device", clip: str | None = None
) -> Problems:
    """Each process makes its share; all return the problems of all."""
    from accelerate.utils import gather_object
    from tqdm import tqdm

    tasks = [
        (row, s, place)
        for row, s, place in plan.tasks()
        if not output_file(folder, row, s, s.names[place]).is_file()
    ][state.process_index :: state.num_processes]
    state.wait_for_everyone()  # all have listed what is there before anything new is
    problems = Problems()
    counts: dict[tuple[str, str], int] = {}
    loaded: dict[Any, Any] = {}
    run: Run | None = None
    why = ("", "")
    current: tuple[Row, str] | None = None
    for row, s, place in tqdm(tasks, desc="outputs", unit="picture", disable=not state.is_main_process):
        collection = s.pictures.name
        if current != (row, collection):
            current, run = (row, collection), None
            try:
                run = open_row(row, collection, device, loaded, clip)
            except WeightsUnavailable as error:
                why = (UNAVAILABLE, str(error))
            except (UsageError, ValueError) as error:
                why = (FAILED, str(error))
        if run is None:
            problems.found[row.label, s.key] = why
            continue
        try:
            pixels = run(s.case(place, row.modalities))
            file = output_file(folder, row, s, s.names[place])
            save_picture(Image.fromarray(pixels), file, made_by(row, collection, loaded))
        except Exception as error:  # whatever is wrong with one picture, the others go on
            if isinstance(error, OSError) and error.errno in FATAL:
                raise
            number = counts[row.label, s.key] = counts.get((row.label, s.key), 0) + 1
            text = f"{s.names[place]}: {error}"
            problems.found[row.label, s.key] = (f"{FAILED} ({number} of {len(s.indices)})", text)
    state.wait_for_everyone()
    if state.num_processes > 1:
        gathered = gather_object([problems.found])
        problems = Problems({key: value for found in reversed(gathered) for key, value in found.items()})
    return problems


def made_by(row: Row, collection: str, loaded: dict[Any, Any]) -> Provenance:
    """What the files of a row say about their origin."""
    participant = row.participant.at(collection)
    return describe(loaded[participant.source, participant.dtype], "edited")


def output_file(folder: Path, row: Row, s: InputSet, name: str) -> Path:
    """Where a pipeline's output lies."""
    return folder / "outputs" / row.folder / s.key / f"{name}.png"


def export_inputs(plan: Plan, folder: Path) -> int:
    """Write every set's inputs for other tools, `FOLDER/SET/KIND/NAME.png`; returns for how many pictures.

    A table with configurations has all modalities there; one that leaves some out leaves those files unread.
    """
    parts = {part for modalities in plan.table.modalities for part in modalities.split("+")}
    every = "+".join(sorted(parts | {"Ma"})) if parts else None
    count = 0
    for s in plan.sets:
        for place in range(len(s.indices)):
            export(s.case(place, every), folder / s.key)
            count += 1
    return count


class Pages:
    """Reads inputs and outputs picture by picture, for measures and the contact sheet."""

    def __init__(self, plan: Plan, folder: Path, reference: dict[str, list[Path]]) -> None:
        self.plan, self.folder, self.reference = plan, folder, reference

    def output(self, row: Row, s: InputSet, place: int) -> np.ndarray:
        """A row's output, uint8 [S, S, 3]."""
        if row.participant.kind == "pipeline":
            return read_square(output_file(self.folder, row, s, s.names[place]), s.pictures.size)
        case = s.case(place, row.modalities)
        if row.participant.kind == "input":
            return case.image
        file = self.plan.given[row.label, s.key][place]
        return read_output(file, case, keep_known=self.plan.table.task in ("inpaint", "exemplar"))

    def results(self, row: Row, s: InputSet) -> Results:
        """As the measures read them."""
        size = s.pictures.size
        files = self.reference.get(s.pictures.name)

        def reader(file: Path) -> Callable[[], np.ndarray]:
            return lambda: read_square(file, size)

        def exemplar(place: int) -> np.ndarray:
            if s.partners is None:
                raise ValueError(f"table {self.plan.table.name} has no exemplars")
            return s.pictures.read(s.partners[s.indices[place]])

        return Results(
            output=lambda place: self.output(row, s, place),
            truth=lambda place: s.pictures.read(s.indices[place]),
            exemplar=exemplar,
            count=len(s.indices),
            reference=None if files is None else [reader(file) for file in files],
            key=f"{s.pictures.name}/{len(s.indices)}",
        )


@dataclass(frozen=True)
class Column:
    """A column: its title, its metric, and a cell for each line."""

    title: str
    metric: str
    cells: tuple[Cell, ...]


def measure(plan: Plan, pages: Pages, networks: Networks, problems: Problems) -> Cells:
    """All cells, set by set."""
    from tqdm import tqdm

    table, measurer = plan.table, Measurer(networks)
    metrics = (*table.metrics, *table.additional)
    cells: Cells = {}
    pairs = [(row, s) for row in plan.rows for s in plan.sets]
    for row, s in tqdm(pairs, desc="measures", unit="set"):
        problem = problems.of(row, s.key)
        if problem:
            measured = {metric: Cell(missing=problem[0], reason=problem[1]) for metric in metrics}
        else:
            measured = measurer.measure(metrics, pages.results(row, s))
        cells |= {(row.label, s.key, metric): cell for metric, cell in measured.items()}
    return cells


def lines_of(plan: Plan, mean: bool) -> dict[str, list[Row]]:
    """The lines of the report and the rows that make each: one, or with `mean` all models of a sweep."""
    lines: dict[str, list[Row]] = {}
    for row in plan.rows:
        lines.setdefault(row.method if mean else row.label, []).append(row)
    return lines


def columns_of(plan: Plan, cells: Cells, networks: Networks, mean: bool) -> list[Column]:
    """The columns of the report, whose cells are means over runs, and with `mean` over conditions and models.

    The table's own columns come first, all groups of them, and then the additional ones.
    """
    table, lines, columns = plan.table, lines_of(plan, mean), []
    for part in (table.metrics, table.additional):
        for (head, sets), metric in itertools.product(grouped(plan, mean), part):
            title = networks.title(metric, paired_too="fid-reference" in table.metrics)
            column = tuple(
                mean_cell([cells[row.label, s.key, metric] for row in rows for s in sets])
                for rows in lines.values()
            )
            columns.append(Column(" ".join([*head, title]), metric, column))
    return columns


def graphs_of(plan: Plan, cells: Cells, networks: Networks) -> list[Graph]:
    """A graph for each collection and each of the table's own metrics: a curve for each row, over the conditions."""
    graphs = []
    collections = dict.fromkeys(s.pictures.name for s in plan.sets)
    names = [condition.name for condition in plan.table.conditions]
    for collection, metric in itertools.product(collections, plan.table.metrics):
        lines: dict[str, list[float | None]] = {}
        for row, name in itertools.product(plan.rows, names):
            here = [s for s in plan.sets if s.pictures.name == collection and s.condition.name == name]
            value = mean_cell([cells[row.label, s.key, metric] for s in here]).value
            scale = 100 if METRICS[metric].percent else 1
            lines.setdefault(row.label, []).append(None if value is None else scale * value)
        title = networks.title(metric, paired_too="fid-reference" in plan.table.metrics)
        graphs.append(Graph(collection, names, lines, "share of the hole", title))
    return graphs


def grouped(plan: Plan, mean: bool) -> Iterator[tuple[list[str], Sequence[InputSet]]]:
    """Heads of the groups of columns, and the sets whose results are averaged there."""
    groups: dict[tuple[str, ...], list[InputSet]] = {}
    several_data = len({s.pictures.name for s in plan.sets}) > 1
    several_conditions = len(plan.table.conditions) > 1 and not mean
    for s in plan.sets:
        head = [s.pictures.name] if several_data else []
        head += [s.condition.name] if several_conditions else []
        groups.setdefault(tuple(head), []).append(s)
    for parts, sets in groups.items():
        yield [part + ":" for part in parts], sets


def sheet_lines(
    plan: Plan, pages: Pages, problems: Problems, lines: int
) -> list[list[tuple[str, np.ndarray]]]:
    """Labelled pictures for the contact sheet: the first pictures, spread over the conditions."""
    sets = [s for s in plan.sets if s.run == 0]
    chosen = [(s, place) for place in range(max(len(s.indices) for s in sets)) for s in sets]
    chosen = [(s, place) for s, place in chosen if place < len(s.indices)][:lines]
    result = []
    for s, place in chosen:
        first: Case = s.case(place, "Ma" if plan.table.modalities else None)
        line = [("input", first.image)]
        if s.partners is not None:
            line.append(("exemplar", s.pictures.read(s.partners[s.indices[place]])))
        for row in plan.rows:
            if row.participant.kind != "input" and not problems.of(row, s.key):
                line.append((row.label, pages.output(row, s, place)))
        result.append([*line, ("original", first.truth)])
    return result
