"""Many visitors of the demo at once: does each get its own picture back, and does the server's memory stay flat?

    python benchmarks/demo_load.py --clients 20 --seconds 120 --json load.json

Starts `app.py` on a free port (models: the bundled starters, or those of the FACEKIT_..._MODEL variables). Every client
is a `gradio_client` with a photo of its own, the portrait under its own tint and noise, and asks the tabs of all
methods in turn. Every answer is checked: the size is the photo's, every pixel
that the task must leave alone equals the client's own upload, and something else changed. A picture of another client
fails that at nearly every pixel. Requests that the full queue refuses are counted apart and tried again. Memory is
the resident size of the server and its children, every second; "warm" is the mean over the tenth of the time after
the first fifth, "end" over the last.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from gradio_client import Client, handle_file
from PIL import Image
from skimage import data

from facekit.methods import methods

ROOT = Path(__file__).resolve().parents[1]
TASKS = {method.name: method for method in methods() if method.tab}
# What an endpoint is asked for beside photo, mask, exemplar and seed; where nothing is said it takes its defaults.
WISHES: dict[str, dict[str, Any]] = {
    "restore": {"faces": "all", "fidelity": 0.5, "candidates": 1},
    "inpaint": {"region": "image", "steps": 2},
    "mend": {"fill": False},  # what the finder takes for damage is not known beforehand
    "exemplar": {"second_exemplar": None, "sketch": None, "candidates": 1},
    "edit": dict.fromkeys(("sketch", "semantics", "color", "pose_from", "strengths"))
    | {"attributes": {"smile": 1.5}, "pose": "keep", "prompt": ""},
}
FILES = {"photo": "photo.png", "mask": "mask.png", "exemplar": "photo.png"}
START_SECONDS, LAST_ANSWER_SECONDS = 300, 300
SIDE, FACE = (
    256,
    (75, 0, 203, 128),
)  # the portrait's cut out, and a box around all that restoring may change in it


@dataclass
class Tally:
    """What happened so far, over all clients."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def own_photo(number: int) -> np.ndarray:
    """The portrait `[256, 256, 3]` with a tint and noise that no other number has."""
    face = data.astronaut()[0:256, 96:352].astype(np.float64)
    random_numbers = np.random.default_rng(number)
    tinted = face * random_numbers.uniform(0.8, 1.1, 3) + random_numbers.normal(0, 6, face.shape)
    return np.rint(np.clip(tinted, 0, 255)).astype(np.uint8)


def hole() -> np.ndarray:
    """bool `[256, 256]`, over the eyes."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[95:130, 95:165] = True
    return mask


class Visitor(threading.Thread):
    """One client: asks, checks, asks again, until the time is over."""

    def __init__(self, url: str, number: int, folder: Path, until: float, tally: Tally) -> None:
        super().__init__(daemon=True)
        self.url, self.number, self.until, self.tally = url, number, until, tally
        self.folder = folder / str(number)
        self.folder.mkdir()
        self.photo = own_photo(number)
        Image.fromarray(self.photo).save(self.folder / "photo.png")
        Image.fromarray(hole()).save(self.folder / "mask.png")
        self.dice = random.Random(number)

    def run(self) -> None:
        client = Client(self.url, verbose=False, download_files=str(self.folder))
        turn = self.number
        while time.monotonic() < self.until:
            task, turn = [*TASKS][turn % len(TASKS)], turn + 1
            started = time.monotonic()
            try:
                complaint = self.check(task, self.ask(client, task))
            except Exception as error:
                full = "queue is full" in str(error).lower()
                with self.tally.lock:
                    self.tally.counts["queue full" if full else f"{task} failed"] += 1
                    if not full:
                        self.tally.wrong.append(
                            f"client {self.number}, {task}: {type(error).__name__}: {error}"
                        )
                time.sleep(self.dice.uniform(0.5, 1.5))
                continue
            with self.tally.lock:
                self.tally.seconds[task].append(time.monotonic() - started)
                self.tally.counts[task] += 1
                if complaint:
                    self.tally.counts["mixed up"] += 1
                    self.tally.wrong.append(f"client {self.number}, {task}: {complaint}")

    def ask(self, client: Client, task: str) -> str:
        """The result's file."""
        files = {name: handle_file(self.folder / file) for name, file in FILES.items()}
        given = {name: files[name] for name in ("photo", *TASKS[task].reads) if name in files}
        given |= {"seed": self.dice.randrange(1000)} | WISHES.get(task, {})
        answer = client.predict(**given, api_name=f"/{task}")
        while not isinstance(
            answer, str
        ):  # results come alone, or before the notes, or as a list of candidates
            answer = answer[0]
        return answer

    def check(self, task: str, path: str) -> str | None:
        """What is wrong with a result; None where it is this client's."""
        result = np.asarray(Image.open(path).convert("RGB"))
        if result.shape != self.photo.shape:
            return f"the result has the shape {result.shape}"
        changed = (result != self.photo).any(axis=2)
        may = hole()
        if "mask" not in TASKS[task].reads:
            may = np.zeros_like(may)
            may[:224, 32:224] = True  # around the face
        Path(path).unlink()
        if changed[~may].any():
            return f"{changed[~may].mean():.1%} of the pixels to be left alone differ from the upload"
        return None if changed.any() else "nothing changed"


def resident(server: psutil.Process) -> float:
    """MiB in memory, of the server and its children."""
    total = 0
    for process in (server, *server.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def run_load(url: str, server: int, clients: int, seconds: float) -> dict[str, Any]:
    """Let clients loose on a running demo; what happened, as JSON takes it."""
    tally, process = Tally(), psutil.Process(server)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        visitors = [Visitor(url, n, Path(folder), started + seconds, tally) for n in range(clients)]
        for visitor in visitors:
            visitor.start()
        while any(visitor.is_alive() for visitor in visitors):
            now = time.monotonic() - started
            if now > seconds + LAST_ANSWER_SECONDS:
                tally.wrong.append("requests without an answer at the end")
                break
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                tally.memory.append((now, resident(process)))
            else:
                tally.wrong.append("the server died")
                break
            time.sleep(min(1.0, seconds / 40))
    total = tally.memory[-1][0] if tally.memory else 0.0
    return {
        "clients": clients,
        "seconds": seconds,
        "counts": dict(tally.counts),
        "latency": {task: latency(tally.seconds[task]) for task in TASKS if tally.seconds[task]},
        "memory_mib": {
            "start": tally.memory[0][1] if tally.memory else None,
            "warm": between(tally.memory, 0.2 * total, 0.3 * total),
            "end": between(tally.memory, 0.9 * total, total),
            "most": max((size for _, size in tally.memory), default=None),
        },
        "wrong": tally.wrong,
    }


def between(memory: list[tuple[float, float]], first: float, last: float) -> float | None:
    sizes = [size for moment, size in memory if first <= moment <= last]
    return float(np.mean(sizes)) if sizes else None


def latency(seconds: list[float]) -> dict[str, float]:
    """Count, median, 95th percentile and largest."""
    return {
        "count": len(seconds),
        "median": float(np.median(seconds)),
        "p95": float(np.percentile(seconds, 95)),
        "most": max(seconds),
    }


def start_demo(folder: Path, environment: dict[str, str]) -> tuple[str, subprocess.Popen]:
    """`app.py` on a free port, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            env=os.environ | {"GRADIO_TEMP_DIR": str(folder / "cache")} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and server.poll() is None:
        try:
            direct.open(url, timeout=5).close()
            return url, server
        except OSError:
            time.sleep(0.3)
    server.kill()
    raise OSError(f"the demo did not start:\n{(folder / 'server.log').read_text()}")


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = ["| task | answers | median s | 95% s | slowest s |", "|---|---|---|---|---|"]
    for task, row in report["latency"].items():
        lines.append(
            f"| {task} | {row['count']} | {row['median']:.1f} | {row['p95']:.1f} | {row['most']:.1f} |"
        )
    memory = ", ".join(
        f"{name} {size:.0f}" for name, size in report["memory_mib"].items() if size is not None
    )
    others = {name: count for name, count in report["counts"].items() if name not in TASKS}
    return "\n".join(
        [*lines, "", f"Memory in MiB: {memory}.", f"Else: {others or 'nothing'}.", *report["wrong"]]
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        url, server = start_demo(Path(folder), {})
        try:
            report = run_load(url, server.pid, options.clients, options.seconds)
        finally:
            server.terminate()
            server.wait(30)
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
