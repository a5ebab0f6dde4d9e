"""Train the whole family of small models from a folder of faces: one command, any device, any number of processes.

    python -m train.starters --data FACES --minutes 600 --output runs/starters

Prior and style encoder, code diffuser, restorer, inpainter, exemplar, edit and its directions, one after another or,
with `--parallel`, side by side where none needs the other. The minutes are shared out before anything starts; the same
command goes on where it was stopped. Ends with a folder for each model, as `facekit push` takes it.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from train.family import STAGES, Family, StagePlan, plan_stages, share_out
from train.family_checks import check, check_named_twice, read_weight

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Job:
    """A stage that is running."""

    plan: StagePlan
    process: subprocess.Popen[bytes]
    log: Path


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", action="append", required=True, type=os.path.expanduser, metavar="FOLDER[=WEIGHT]",
        help="pictures of aligned faces; several are mixed by their weights (default 1)")  # fmt: skip
    add(
        "--validation",
        type=os.path.expanduser,
        metavar="FOLDER",
        help="held-out pictures by which the best weights of a stage are kept",
    )
    add("--validation_split", default="validation")
    add("--minutes", type=float, required=True, help="of the clock, for all stages together")
    add("--output", type=os.path.expanduser, required=True, help="folder of stages and results")
    add("--only", nargs="+", choices=[*STAGES], metavar="STAGE", help=f"some of {', '.join(STAGES)}")
    add("--init_from", nargs="+", default=[], metavar="STAGE=FOLDER",
        help="begin a stage from these networks, or stand them in for it where it is not run")  # fmt: skip
    add("--size", type=int, default=256, choices=(64, 128, 256), help="side of the pictures")
    add("--parallel", type=int, default=1, help="stages side by side on the same device")
    add("--num_processes", type=int, default=1, help="processes of a stage (one for each GPU)")
    add("--batch_size", type=int, help="of every stage, instead of each one's own")
    add("--num_workers", type=int, default=0, help="processes of each stage that read and damage pictures")
    add("--mixed_precision", default="auto", choices=("auto", "no", "bf16", "fp16"))
    add("--parser", type=os.path.expanduser, metavar="FOLDER",
        default=str(ROOT / "hub_cards" / "face-parser-starter-256"),
        help="network that labels the parts of a face where the pictures come without label maps")  # fmt: skip
    add("--channels", type=int, nargs=2, metavar=("BASE", "MOST"),
        help="width of the style networks, min(BASE / side, MOST); 8192 128 is twice the bundled one")  # fmt: skip
    add("--exclude", type=yaml.safe_load, default={}, metavar="YAML",
        help="leave out pictures by a metadata column, e.g. '{generator: [DALLE3]}'")  # fmt: skip
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="STAGE.OPTION=VALUE",
        help="an option of one stage, read as YAML",
    )
    add(
        "--license",
        default="other",
        help="of the models, for their cards, as the Hub names it (default: other)",
    )
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


def read_family(options: argparse.Namespace) -> Family:
    """What the options ask for. ValueError where they contradict each other or name what is not there."""
    data = [read_weight(entry) for entry in options.data]
    check_named_twice([folder for folder, _ in data])
    starts = _pairs(options.init_from, "--init_from")
    unknown = sorted(set(starts) - set(STAGES))
    if unknown:
        raise ValueError(f"--init_from names {', '.join(unknown)}; the stages are {', '.join(STAGES)}")
    own: dict[str, dict[str, Any]] = {}
    for name, value in _pairs(options.set, "--set").items():
        stage, _, option = name.partition(".")
        if stage not in STAGES or not option:
            raise ValueError(f"--set takes STAGE.OPTION=VALUE with one of {', '.join(STAGES)}; got {name}")
        own.setdefault(stage, {})[option] = yaml.safe_load(value)
    return Family(
        data=dict(data),
        validation=options.validation,
        validation_split=options.validation_split,
        output=Path(options.output),
        size=options.size,
        starts={stage: Path(folder).expanduser() for stage, folder in starts.items()},
        parser=options.parser,
        exclude=read_exclude(options.exclude),
        channels=None if options.channels is None else tuple(options.channels),
        license=options.license,
        shared={
            "mixed_precision": options.mixed_precision,
            "num_workers": options.num_workers,
            "seed": options.seed,
        }
        | ({} if options.batch_size is None else {"batch_size": options.batch_size}),
        own=own,
    )


def read_exclude(given: Any) -> dict[str, list[Any]]:
    """Metadata column -> values; a single value may stand without a list. ValueError for anything else."""
    if not isinstance(given, dict):
        raise ValueError(f"--exclude takes columns and values, e.g. '{{generator: [DALLE3]}}'; got {given!r}")
    return {str(key): value if isinstance(value, list) else [value] for key, value in given.items()}


def _pairs(entries: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise ValueError(f"{option} takes NAME=VALUE, got {entry!r}")
        found[name] = value
    return found


def lock(folder: Path) -> int | None:
    """A descriptor of the file `lock` in a folder, locked; None where another process holds it.

    The lock ends with the last process that has the descriptor, however that ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def sign(descriptor: int, process: int) -> None:
    """Write into a lock whose it is."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(process).encode(), 0)


def signed(folder: Path) -> str:
    """Whose the lock of a folder is, in words."""
    return f"process {(folder / 'lock').read_text() or 'unknown'}"


def lock_family(family: Family, plans: Sequence[StagePlan]) -> int:
    """The lock of a launch. OSError where another launch, or a stage that one left behind, is at work."""
    descriptor = lock(family.output)
    if descriptor is None:
        raise OSError(
            f"another launch is at work in {family.output} ({signed(family.output)}): wait for it, or stop it"
        )
    for plan in plans:
        if not plan.is_done:
            if (own := lock(plan.folder)) is None:
                raise OSError(still_running(plan))
            os.close(own)
    sign(descriptor, os.getpid())
    return descriptor


def still_running(plan: StagePlan) -> str:
    return (
        f"stage {plan.name} is still being trained ({signed(plan.folder)}), since an earlier launch was killed without "
        f"its stages: wait until it ends, or end it; then the same command goes on (see {plan.folder})"
    )


def start(plan: StagePlan, family: Family, num_processes: int) -> Job:
    """Launch a stage; the lock on its folder is the process's own and outlives a kill of this one."""
    folder = plan.folder
    held = lock(folder)
    if held is None:
        raise OSError(still_running(plan))
    (folder / "config.yaml").write_text(yaml.safe_dump(plan.values, sort_keys=False))
    script = [str(ROOT / "train" / plan.script), "--config", str(folder / "config.yaml")]
    launcher = [sys.executable]
    if num_processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--num_processes", str(num_processes), "--multi_gpu"]
    log = folder / "log.txt"
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [*launcher, *script], stdout=output, stderr=subprocess.STDOUT, pass_fds=(held,)
        )
    sign(held, process.pid)
    os.close(held)
    print(f"{plan.name}: started, {plan.minutes:.1f} minutes ({log})", flush=True)
    return Job(plan, process, log)


def run(plans: Sequence[StagePlan], family: Family, parallel: int, num_processes: int) -> list[str]:
    """Run every stage that is not done, at most `parallel` at a time -> names of those that failed or could not run."""
    done = {plan.name for plan in plans if plan.is_done}
    for name in (plan.name for plan in plans if plan.is_done):
        print(f"{name}: done before")
    waiting = [plan for plan in plans if plan.name not in done]
    running: list[Job] = []
    failed: list[str] = []
    try:
        while waiting or running:
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                if job.process.returncode == 0 and job.plan.result.is_dir():
                    job.plan.mark_done()
                    done.add(job.plan.name)
                    print(f"{job.plan.name}: done", flush=True)
                else:
                    failed.append(job.plan.name)
                    code, words = job.process.returncode, _last_words(job.log)
                    print(f"{job.plan.name}: failed with code {code}; {words}", flush=True)
            lost = [plan for plan in waiting if set(plan.needs) & set(failed)]
            for plan in lost:
                waiting.remove(plan)
                failed.append(plan.name)
                print(f"{plan.name}: left out, since a stage that it needs failed", flush=True)
            ready = [plan for plan in waiting if set(plan.needs) <= done]
            for plan in ready[: parallel - len(running)]:
                waiting.remove(plan)
                running.append(start(plan.refreshed(family), family, num_processes))
            time.sleep(0.5)
    finally:
        for job in running:
            job.process.send_signal(signal.SIGTERM)
        for job in running:
            job.process.wait()
    return failed


def _last_words(log: Path) -> str:
    lines = [
        line for line in log.read_text(errors="replace").replace("\r", "\n").splitlines() if line.strip()
    ]
    return "its log ends with: " + " | ".join(lines[-3:])


def main(argv: Sequence[str] | None = None) -> None:
    options = read_options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stages are ended, too
    try:
        from facekit.images.files import why_not_writable  # not before: facekit takes seconds to import

        family = read_family(options)
        if reason := why_not_writable(family.output):
            raise OSError(f"--output {reason}")
        plans = share_out(plan_stages(family, options.only), options.minutes, options.parallel)
        check(family, plans, options.minutes)
        held = lock_family(family, plans)
        # Now, so that what is missing shows before the training and not after it.
        from train.family_results import write_results

        told = {plan.name: {"minutes": plan.minutes, "needs": plan.needs} for plan in plans}
        (family.output / "plan.json").write_text(json.dumps(told, indent=1) + "\n")
        failed = run(plans, family, options.parallel, options.num_processes)
        write_results(family, plans)
        os.close(held)
    except (ValueError, OSError) as error:
        sys.exit(f"train.starters: {error}")
    except KeyboardInterrupt:
        print("train.starters: stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
    if failed:
        sys.exit(f"train.starters: {', '.join(failed)} did not end; the same command goes on")


if __name__ == "__main__":
    main()
