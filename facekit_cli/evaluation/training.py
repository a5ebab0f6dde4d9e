"""Trains the models of a table that are not there yet, one after another, by `accelerate launch -m train.inpaint`.

Training is a program of its own, so it is run as one. Where it was stopped, the same command goes on.
"""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import Pictures
from facekit_cli.evaluation.participants import fields_of, fill_fields, uses_sweep
from facekit_cli.evaluation.records import read_record
from facekit_cli.evaluation.tables import Table

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}  # those that training reads
PARTS_OF_A_RUN = {
    "lock",
    "logs",
    "curves",
    "samples",
    "checkpoints",
    "best",
}  # but for what the last step writes
PATIENCE = 30  # seconds that a training has to end after it was asked to
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Job:
    """A model to train: the folder of its run, and the command."""

    folder: Path
    command: tuple[str, ...]


def plan_training(
    table: Table, methods: Sequence[str], data: Sequence[Pictures], wanted: Sequence[str], cpu: bool
) -> list[Job]:
    """The models that methods name by the table's sweep and that are not there, or not trained to the end.

    Args:
        methods: each `--method`.
        wanted: `--train`: a configuration of `train.inpaint`, and options as NAME=VALUE, in which `{data}` stands for
            each collection's name.
        cpu: train without an accelerator.

    Raises:
        UsageError: the table has no such models; no method names them, or one names the same for several collections;
            there is no configuration, no source tree, or no pictures but those that are measured.
    """
    sweep, (config, *given) = table.sweep, wanted
    if sweep is None or table.task != "inpaint":
        raise UsageError(f"table {table.name} has no models that --train could make")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "--train starts launches of its own: train with one process first, then launch several"
        )
    if not Path(config).is_file():
        raise UsageError(
            f"--train {config} is no file; name a configuration such as train/configs/inpaint/thesis.yaml"
        )
    ours = {"config", "data", "split", "output_dir", sweep.training}
    options = {pictures.name: _options(given, ours, pictures.name) for pictures in data}
    tree = find_source_tree()
    texts = [text for text in methods if uses_sweep(text, table)]
    if not texts:
        raise UsageError(
            f"--train makes the models of {{{sweep.name}}}; say --method NAME=runs/{{{sweep.name}}}"
        )
    jobs: dict[Path, Job] = {}
    for text in texts:
        if len(data) > 1 and "data" not in fields_of(text, table):
            raise UsageError(
                f"--method {text!r}: each collection is trained on its own pictures; write {{data}} too"
            )
        for pictures in data:
            for value in sweep.values:
                folder = run_folder(fill_fields(text, table, value, pictures.name))
                if is_trained(folder):
                    continue
                root = _training_root(pictures)
                number = _count(sweep.training, value, root)
                launch = [sys.executable, "-m", "accelerate.commands.launch", *(["--cpu"] if cpu else [])]
                words = ["--config", str(Path(config).resolve()), "--data", str(root), *number]
                words += options[pictures.name]
                words += ["--output_dir", str(folder)]
                jobs[folder] = Job(folder, (*launch, "-m", "train.inpaint", *words))
    if jobs and tree is None:
        raise UsageError(
            "training is in facekit's source tree, which is not installed: clone it and run there"
        )
    return list(jobs.values())


def _options(given: Sequence[str], ours: set[str], collection: str) -> list[str]:
    words = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--train takes a configuration and then options as NAME=VALUE, not {text!r}")
        if name in ours:
            raise UsageError(f"--train: the table sets {name} itself")
        words += [f"--{name}", value.replace("{data}", collection)]
    return words


def run_folder(method: str) -> Path:
    """The folder of a run from a filled `--method`, which may name the `pipeline` or `best` in it."""
    source = Path(method.partition("?")[0].partition("=")[2]).expanduser().resolve()
    return source.parent if source.name in ("pipeline", "best") else source


def is_trained(folder: Path) -> bool:
    """Whether a folder holds a run that came to its end, or something that is no run at all and is left alone."""
    if not folder.is_dir():
        return False
    record = read_record(folder / "pipeline")
    if record is not None:
        return bool(record["complete"])
    names = {entry.name.partition(".")[0] for entry in folder.iterdir()}
    return not names <= PARTS_OF_A_RUN


def _training_root(pictures: Pictures) -> Path:
    """The folder whose split `train` a collection's models learn from."""
    root = pictures.folder.parent
    if not (root / "train").is_dir() or root / "train" == pictures.folder:
        raise UsageError(
            f"--train needs pictures that are not measured: a folder train beside {pictures.folder}"
        )
    return root.resolve()


def _count(option: str, value: int, root: Path) -> list[str]:
    """The option of the sweep; shots beyond the pictures that there are mean all of them (thesis: Shell, 50-shot)."""
    if option == "shots":
        there = sum(file.suffix.lower() in PICTURES for file in (root / "train").rglob("*"))
        if there <= value:
            print(f"{root}: {value}-shot takes all {there} training pictures")
            return []
    return [f"--{option}", str(value)]


def find_source_tree() -> Path | None:
    """The folder in which the package `train` lies, without importing it; None where it is not to be found."""
    found = importlib.util.find_spec("train")
    for place in (found.submodule_search_locations or ()) if found else ():
        if Path(place, "inpaint", "trainer.py").is_file():
            return Path(place).parent
    return None


def train(jobs: Sequence[Job]) -> bool:
    """Train one after another; returns whether all came to their ends. What stops this program stops the training.

    Raises:
        UsageError: another process trains in one of the folders.
    """
    for number, job in enumerate(jobs, 1):
        print(f"training {number} of {len(jobs)}: {shlex.join(job.command)}", flush=True)
        code = _run(job)
        if code != 0:
            print(
                f"the training in {job.folder} ended with code {code}; the same command goes on",
                file=sys.stderr,
            )
            return False
        if not is_trained(job.folder):
            print(f"the training in {job.folder} is not complete; the same command goes on", file=sys.stderr)
            return False
    return True


def _run(job: Job) -> int:
    tree = find_source_tree()
    paths = os.pathsep.join(filter(None, [str(tree or ""), os.environ.get("PYTHONPATH")]))
    with _lock(job.folder) as held, _exit_on_sigterm():
        process = subprocess.Popen(
            job.command, env=os.environ | {"PYTHONPATH": paths}, pass_fds=held, start_new_session=True
        )
        try:
            return process.wait()
        except BaseException:
            _end(process)
            raise


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a launch and all that it launched."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with suppress(OSError):  # they have ended
            if hasattr(os, "killpg"):
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return


@contextmanager
def _lock(folder: Path) -> Iterator[tuple[int, ...]]:
    """Hold the folder of a run, with the launch that gets the descriptor, which may outlive this program's kill."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield ()
        return
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UsageError(f"another process trains in {folder}; wait for its end or stop it") from error
    try:
        yield (descriptor,)
    finally:
        os.close(descriptor)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind this program, so that what it started is ended too."""

    def leave(*_: Any) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
