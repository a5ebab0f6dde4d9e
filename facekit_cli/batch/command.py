"""`python -m facekit_cli.batch restore`: photos of a folder, list or data set, dealt out to a launch's processes."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from facekit.version import __version__
from facekit_cli.arguments import Parser, source_name, store_path
from facekit_cli.batch.journal import REPORT, Group, Journal
from facekit_cli.batch.launching import LAUNCHED, launch
from facekit_cli.batch.sources import Item, Source, open_source, seed_of
from facekit_cli.batch.stores import Store, open_store
from facekit_cli.endings import run_to_end
from facekit_cli.errors import UsageError
from facekit_cli.loop import FATAL, describe_failure, say_skipped
from facekit_cli.options import (
    DTYPES,
    add_format_options,
    add_provenance_option,
    check_counts,
    check_format_options,
)
from facekit_cli.photos import Target, choose_target, number_paths
from facekit_cli.restoring import (
    Restored,
    add_restore_options,
    check_restore_options,
    faces_folder,
    load_background,
    load_restorer,
    restore,
    settings_of,
)
from facekit_cli.words import reword

if TYPE_CHECKING:
    from accelerate import PartialState
    from PIL import Image

    from facekit.pipelines.background import BackgroundUpscaler
    from facekit.pipelines.restore import FaceRestorePipeline

EXAMPLES = """\
examples:
  python -m facekit_cli.batch restore photos/ --output sharp
  python -m facekit_cli.batch restore photos/ --output sharp --processes 4
  accelerate launch --num_processes 8 -m facekit_cli.batch restore photos/ --output sharp
  accelerate launch -m facekit_cli.batch restore OWNER/DATASET --split test --output sharp
  accelerate launch -m facekit_cli.batch restore s3://BUCKET/photos --output s3://BUCKET/sharp
  accelerate launch -m facekit_cli.batch restore photos.txt --output s3://BUCKET/sharp

Sub-folders keep their places. The same command goes on where a killed run stopped, with any number of processes;
photos that failed are tried again. OUT/report.jsonl has one line for every photo; while a run is at work, the new
lines are in OUT/.facekit-batch/part-*.jsonl. A photo's result does not depend on the process that handles it nor
on restarts (to the last bit on the same kind of device with the same OMP_NUM_THREADS, else up to rounding).
Several processes may share a GPU, so that one finds faces while another restores. All must see SOURCE and OUT; stores
(s3://, gs://) they see with the keys of their environment. Several machines: docs/scale.md.
Exit code 0: all done. 1: photos failed, see the report; the rest is done. 2: wrong usage, nothing done.
"""
# Processes wait for the slowest one at the end; nothing else is ever waited for this long.
LONGEST_WAIT = timedelta(days=30)
SHOWN_FAILURES = 20


class Opened(NamedTuple):
    """A photo, not decoded yet; its item, with its final stem; and what its results become."""

    photo: "Path | Image.Image"
    item: Item
    target: Target


class Task(NamedTuple):
    """Photos that are computed together, and the keys of those whose results are missing."""

    group: Group
    todo: set[str]


def build_parser() -> argparse.ArgumentParser:
    """The parser with its one subcommand."""
    parser = Parser(
        prog="facekit_cli.batch", description="Large folders and data sets on one device or many."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = commands.add_parser(
        "restore",
        help="make damaged faces sharp",
        description="Restore the faces of all photos of a folder, a list or a data set.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "source",
        type=source_name,
        metavar="SOURCE",
        help="folder, list of photos (.txt, a path or URL a line), URL of either (s3://...), or Hub id of a data set",
    )
    command.add_argument(
        "--output",
        "-o",
        type=store_path,
        required=True,
        metavar="OUT",
        help="folder for the results, or URL of one",
    )
    command.add_argument(
        "--split", help="split of a data set, `train` by default; with it a folder is read as imagefolder"
    )
    command.add_argument("--image-column", metavar="NAME", help="column with the pictures of a data set")
    command.add_argument(
        "--overwrite", action="store_true", help="forget what was done in OUT and start over"
    )
    command.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    command.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="so many processes on this machine, each with its share of the cores; without GPU one for each core is "
        "fastest, as long as each can load the model (default: 1)",
    )
    add_restore_options(command, batch_size=8)
    add_format_options(command)
    add_provenance_option(command)
    command.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="number type of the networks; one for all processes and for the runs that go on (default: float32)",
    )
    command.set_defaults(command_parser=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run this process's share and return its exit code; the main process's says how the whole run went."""
    return run_to_end(
        lambda: _run(argv), "interrupted; finished files are complete, the same command goes on"
    )


def _run(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    # A launcher ends the processes that are left so when one is lost, and a scheduler that wants the machine back.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_restore_options(args)
        check_format_options(args)
        check_counts(args, "processes")
        if args.processes > 1 and LAUNCHED not in os.environ:
            return launch(args.processes, sys.argv[1:] if argv is None else argv)
        state = start_process(args.cpu)
        journal = Journal(open_store(args.output))
        try:
            return run(args, state, journal)
        finally:
            journal.close()
            with suppress(Exception):  # the others may be gone
                state.destroy_process_group()
    except UsageError as error:
        args.command_parser.say(reword(error, args))
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"stopped: {error}. The same command goes on from here.", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def start_process(cpu: bool) -> "PartialState":
    """This process's place among those of the launch, and its device."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    options: dict[str, Any] = {}
    if world > 1:
        options["timeout"] = LONGEST_WAIT
        # Nothing but file names is exchanged: gloo does it everywhere, also when processes share a GPU.
        cpu = cpu or not torch.accelerator.is_available()
        if cpu or torch.cuda.is_available():
            options["backend"] = "gloo"
    state = PartialState(cpu=cpu, **options)
    if state.num_processes != world:
        raise UsageError(
            f"{world} processes were launched and cannot find each other on {state.device}; say --cpu"
        )
    return state


def run(args: argparse.Namespace, state: "PartialState", journal: Journal) -> int:
    """Plan, work, merge."""
    settings: dict[str, Any] = {}
    planned = Plan([], [], [])
    # What the main process tells each: its tasks, or why there are none.
    shares: list[Any] = []
    source: Source | None = None
    if state.is_main_process:
        # 1. One process looks, so that all have the same list
        try:
            source = open_source(args.source, args.split, args.image_column, args.output)
            settings = {"command": "restore", "source": source.name} | _comparable(settings_of(args))
            journal.check(settings, args.overwrite)
            journal.lock(exclusive=True)
            planned = plan(source, journal, args.batch_size, args.overwrite)
            todo = planned.tasks
            journal.store.check({str(Path(item.stem).parent) for task in todo for item in task.group})
            shares = [todo[process :: state.num_processes] for process in range(state.num_processes)]
        except (UsageError, OSError) as error:
            # In words: an error of a package may hold what cannot be sent.
            shares = [UsageError(reword(UsageError(error), args))] * state.num_processes
    own = hand_out(shares, state)
    if isinstance(own, UsageError):
        if state.is_main_process:
            raise own
        return 2

    # 2. Load before anything is written
    tasks: list[Task] = own
    source = source or open_source(args.source, args.split, args.image_column, args.output)
    background = load_background(args, state.device) if tasks else None
    pipeline = load_restorer(args, state.device) if tasks else None
    journal.store.clear_temporary()
    meet(state)
    if state.is_main_process:
        journal.begin(settings | {"facekit": __version__}, planned.groups, args.overwrite)
        journal.lock(exclusive=False)
    meet(state)

    # 3. Each its share
    journal.open_part(state.process_index)
    journal.lock(exclusive=False)
    with _progress(tasks, state) as progress:
        for task in tasks:
            # Both are loaded where there are tasks.
            for entry in work(task, source, journal.store, pipeline, background, args):  # type: ignore[arg-type]
                journal.write(entry | {"process": state.process_index})
            progress.update(len(task.todo))

    # 4. One report
    journal.close_part()
    meet(state)
    if not state.is_main_process:
        return 0
    tried = sum(len(task.todo) for share in shares for task in share)
    return _summary(journal, planned.keys, tried, source.left_out, args)


def hand_out(shares: list[Any], state: "PartialState") -> Any:
    """Give each process its share of the main process's list, which has one for each; the others pass an empty list.

    Of a million photos each process gets its own, not the whole list.
    """
    if state.num_processes == 1:
        return shares[0]
    from torch.distributed import scatter_object_list

    own: list[Any] = [None]
    with _named_loss():
        scatter_object_list(own, shares or None)
    return own[0]


def meet(state: "PartialState") -> None:
    """Wait for all processes. Raises ConnectionError where one is gone."""
    with _named_loss():
        state.wait_for_everyone()


@contextmanager
def _named_loss() -> Iterator[None]:
    """Say of PyTorch's error that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConnectionError(f"another process of the launch is gone ({reason})") from error


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        groups: all photos that were ever planned, those too that are no longer in the source: their results keep their
            names.
        tasks: groups with photos still to do.
        keys: of the photos that are in the source now.
    """

    groups: list[Group]
    tasks: list[Task]
    keys: list[str]


def plan(source: Source, journal: Journal, batch_size: int, overwrite: bool = False) -> Plan:
    """Put photos into groups, and find out what is still to do.

    Rounding depends on what is computed together. So groups stay as they were first planned, whatever was
    killed since or lies in the source in addition, and a group is computed whole even for one missing result.
    """
    before = [] if overwrite else journal.read_groups()
    planned = {item.key: item.stem for group in before for item in group}
    items = source.items(planned)
    there = {item.key for item in items}
    new = [item for item in items if item.key not in planned]
    groups = before + [new[start : start + batch_size] for start in range(0, len(new), batch_size)]
    finished = set() if overwrite else journal.find_finished()
    present = ([item for item in group if item.key in there] for group in groups)
    tasks = [Task(group, {item.key for item in group} - finished) for group in present]
    return Plan(groups, [task for task in tasks if task.todo], [item.key for item in items])


def work(
    task: Task,
    source: Source,
    store: Store,
    pipeline: "FaceRestorePipeline",
    background: "BackgroundUpscaler | None",
    args: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """Restore a group, write its missing results, and give the report's line of each.

    Raises OSError where no file can be written any more.
    """
    start = time.perf_counter()
    for key, outcome in _restore_group(task, source, store, pipeline, background, args):
        entry: dict[str, Any] = {"photo": key}
        try:
            if isinstance(outcome, Exception):
                raise outcome
            opened, restored = outcome
            names = name_files(opened.item, opened.target, args.candidates)
            store.save(names, restored.save)
            entry |= {"outputs": names} | restored.entry()
            entry["notes"] = [*(reword(note, args) for note in opened.target.notes), *entry["notes"]]
        except Exception as error:  # whatever is wrong with one photo, the others go on
            if isinstance(error, OSError) and error.errno in FATAL:
                raise
            entry |= describe_failure(error) | {"error": reword(error, args)}
        entry["seconds"] = round(time.perf_counter() - start, 3)
        yield entry
        start = time.perf_counter()


def _restore_group(
    task: Task,
    source: Source,
    store: Store,
    pipeline: "FaceRestorePipeline",
    background: "BackgroundUpscaler | None",
    args: argparse.Namespace,
) -> Iterator[tuple[str, tuple[Opened, Restored] | Exception]]:
    """The keys of a group's photos, and what became of them.

    All photos at once; one by one where one of them cannot be restored.
    """
    seeds = [seed_of(item.key, args.seed) for item in task.group]
    if len(task.group) > 1:
        outcomes = []
        with suppress(Exception):  # which photo it was, and why, shows below
            opened = [_open(source, store, item, args) for item in task.group]
            results = restore(pipeline, [each.photo for each in opened], seeds, args, background=background)
            outcomes = list(zip(opened, results, strict=True))
        if outcomes:
            yield from ((done[0].item.key, done) for done in outcomes if done[0].item.key in task.todo)
            return
    for item, seed in zip(task.group, seeds, strict=True):
        if item.key not in task.todo:
            continue
        try:
            one = _open(source, store, item, args)
            (result,) = restore(pipeline, [one.photo], [seed], args, background=background)
        except Exception as error:
            yield item.key, error
        else:
            yield item.key, (one, result)


def name_files(item: Item, target: Target, candidates: int) -> list[str]:
    """The names of a photo's results in OUT."""
    return [path.as_posix() for path in number_paths(Path(item.stem), target.kind.suffix, candidates)]


def _open(source: Source, store: Store, item: Item, args: argparse.Namespace) -> Opened:
    """What `source.open` gives. Raises ValueError as well where the results cannot be written."""
    photo, named = source.open(item)
    target = choose_target(photo, args)
    names = name_files(named, target, args.candidates)
    reason = target.refusal or store.why_too_long(names, faces_folder if args.save_faces else None)
    if reason:
        raise ValueError(reason)
    return Opened(photo, named, target)


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Local models by their full path."""
    for name in ("model", "identity", "background"):
        if settings[name] and Path(settings[name]).exists():
            settings[name] = str(Path(settings[name]).resolve())
    return settings


def _progress(tasks: Sequence[Task], state: "PartialState") -> Any:
    from tqdm import tqdm

    total = sum(len(task.todo) for task in tasks)
    label = "restore" if state.num_processes == 1 else f"restore (process 1 of {state.num_processes})"
    return tqdm(total=total, desc=label, unit="photo", disable=not state.is_main_process, file=sys.stderr)


def _summary(
    journal: Journal, keys: Sequence[str], tried: int, left_out: dict[str, str], args: argparse.Namespace
) -> int:
    """Merge the report, say how it went; 0 when every photo is done, else 1."""
    journal.merge()
    missing, failed, unchanged = set(keys), {}, 0
    for entry in journal.read_entries():
        if entry["photo"] not in missing:
            continue  # reported by an earlier run, and no longer in the source
        missing.remove(entry["photo"])
        if entry["status"] == "failed":
            failed[entry["photo"]] = entry["error"]
        unchanged += entry.get("faces") == 0
    done = tried - len(failed) - len(missing)
    skipped = len(keys) - tried
    print(f"{done} done, {len(failed)} failed, {skipped + len(left_out)} skipped: {args.output}")
    if skipped:
        print(f"skipped: {skipped}: done by earlier runs", file=sys.stderr)
    say_skipped(left_out)
    if unchanged:
        print(f"{unchanged} without a restored face came back as they were")
    for key, error in list(failed.items())[:SHOWN_FAILURES]:
        print(f"failed: {key}: {error}", file=sys.stderr)
    if len(failed) > SHOWN_FAILURES:
        print(f"and {len(failed) - SHOWN_FAILURES} more, see {journal.store.name}/{REPORT}", file=sys.stderr)
    for key in sorted(missing):
        print(f"lost: {key}: no process reported it; run the same command again", file=sys.stderr)
    return 1 if failed or missing else 0
