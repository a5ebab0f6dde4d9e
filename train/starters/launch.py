"""The stages of a family, launched one after another or side by side."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from train.starters.family import ROOT, Family, StagePlan
from train.starters.locks import describe_running, lock, sign


@dataclass
class Job:
    """A stage that is running."""

    plan: StagePlan
    process: subprocess.Popen[bytes]
    log: Path


def start(plan: StagePlan, family: Family, num_processes: int) -> Job:
    """Launch a stage in a process of its own, which holds the lock on its folder even where this one is killed.

    Raises:
        OSError: another process holds that lock.
    """
    folder = plan.folder
    held = lock(folder)
    if held is None:
        raise OSError(describe_running(plan))
    (folder / "config.yaml").write_text(yaml.safe_dump(plan.values, sort_keys=False))
    command = ["-m", plan.module, "--config", str(folder / "config.yaml")]
    launcher = [sys.executable]
    if num_processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--num_processes", str(num_processes), "--multi_gpu"]
    # The modules of this tree, wherever the command was typed.
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    log = folder / "log.txt"
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [*launcher, *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(held,),
            env=os.environ | {"PYTHONPATH": paths},
        )
    sign(held, process.pid)
    os.close(held)
    print(f"{plan.name}: started, {plan.minutes:.1f} minutes ({log})", flush=True)
    return Job(plan, process, log)


def run(plans: Sequence[StagePlan], family: Family, parallel: int, num_processes: int) -> list[str]:
    """Run every stage that is not done, at most `parallel` at a time; what fails takes with it only what needs it.

    Args:
        num_processes: of each stage.

    Returns:
        The names of stages that failed or could not run.
    """
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
                running.append(start(plan.refresh(family), family, num_processes))
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
