"""The records of a batch on disk, by which a killed run is continued and every photo is done once.

    OUT/report.jsonl                one line for every photo
    OUT/.facekit-batch/run.json     settings; those of a run that goes on must be the same
    OUT/.facekit-batch/plan.jsonl   the groups of photos that are computed together
    OUT/.facekit-batch/part-00000.jsonl   lines that process 0 of the present run wrote, merged at its end

A line is written after its photo's results are complete. A photo without a line is done again, with the same
seed in the same group, and so with the same result.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from facekit.images.files import remove_parts, write_atomically
from facekit_cli.batch.sources import Item
from facekit_cli.errors import UsageError
from facekit_cli.results import write_json

Group = list[Item]
Entry = dict[str, Any]


class Journal:
    """The records of one output folder. Only the main process may call methods that do not say "any process"."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output / ".facekit-batch"
        self.report = output / "report.jsonl"
        self._settings, self._plan = self.folder / "run.json", self.folder / "plan.jsonl"
        self._lock: int | None = None
        self._part: TextIO | None = None

    def check(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Refuse a folder of other things or of a run with other settings. Raises UsageError."""
        if self.output.exists() and not self.output.is_dir():
            raise UsageError(f"--output {self.output} is a file; name a folder")
        if not self._settings.is_file():
            others = [p for p in self.output.iterdir() if p != self.folder] if self.output.is_dir() else []
            if others:
                raise UsageError(
                    f"--output {self.output} holds files that no batch wrote, such as {others[0].name}; "
                    "name a new or empty folder"
                )
        elif not overwrite:
            before = json.loads(self._settings.read_text())
            for key, value in settings.items():
                if before.get(key) != value:
                    raise UsageError(
                        f"--output {self.output} holds results of a run with {key} {before.get(key)!r}, now it "
                        f"is {value!r}; name another folder, or start over with --overwrite"
                    )

    def lock(self, exclusive: bool) -> None:
        """Any process: hold the folder until `close` or a kill, alone or with the others of its run.

        Raises UsageError where processes of another run are still at work. Without effect before the first run,
        and where the system or the file system has no locks.
        """
        try:
            import fcntl
        except ImportError:
            return
        if not self.folder.is_dir():
            return
        if self._lock is None:
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is at work in {self.output}; wait for its end or stop it"
            ) from error
        except OSError:
            pass

    def read_groups(self) -> list[Group]:
        """The groups planned so far."""
        if not self._plan.is_file():
            return []
        with open(self._plan, encoding="utf-8") as lines:
            return [[Item(*pair) for pair in json.loads(line)] for line in lines]

    def find_finished(self) -> set[str]:
        """Keys of photos that are done and whose results are still there."""
        files: dict[Path, set[str]] = {}

        def exists(name: str) -> bool:
            path = self.output / name
            if path.parent not in files:
                files[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
            return path.name in files[path.parent]

        done = (entry for entry in self.read_entries() if entry["status"] == "done")
        return {entry["photo"] for entry in done if all(map(exists, entry["outputs"]))}

    def read_lines(self) -> dict[str, str]:
        """The last line about each photo, by its key, from the report and all processes; incomplete lines are left out.

        Any process may call it, also while the run is at work.
        """
        return {key: line for file in (self.report, *self._parts()) for key, line in _read(file)}

    def read_entries(self) -> Iterator[Entry]:
        """The last lines, read; any process may call it."""
        return map(json.loads, self.read_lines().values())

    def begin(self, settings: dict[str, Any], groups: Iterable[Group], overwrite: bool) -> None:
        """Put the records of earlier runs in order, and remove what killed processes left half-written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock(exclusive=True)
        if overwrite:
            for entry in self.read_entries():
                for name in entry.get("outputs", ()):
                    (self.output / name).unlink(missing_ok=True)
            for file in (self._settings, self._plan, self.report, *self._parts()):
                file.unlink(missing_ok=True)
        # Settings first: a folder with results and without settings would not be taken for a run's.
        write_json(settings, self._settings)
        content = "".join(json.dumps(group) + "\n" for group in groups)
        write_atomically(self._plan, lambda file: file.write(content.encode()))
        self.merge()
        for folder, _, _ in os.walk(self.output):
            remove_parts(Path(folder))

    def open_part(self, process: int) -> None:
        """Any process: begin its part of the report. Raises UsageError where OUT is not the main process's."""
        if not self._settings.is_file():
            raise UsageError(f"process {process} does not see the main process's folder {self.output}")
        self._part = open(self.folder / f"part-{process:05d}.jsonl", "a", encoding="utf-8")

    def write(self, entry: Entry) -> None:
        """Any process: add a line to its part of the report."""
        if self._part is None:
            raise RuntimeError("call open_part before write")
        self._part.write(json.dumps(entry) + "\n")
        self._part.flush()

    def close(self) -> None:
        """Any process: its part is complete, and the folder free for the next run."""
        if self._part is not None:
            self._part.close()
        if self._lock is not None:
            os.close(self._lock)
        self._part = self._lock = None

    def merge(self) -> None:
        """Merge the parts into `report.jsonl`, one line a photo, by key, and remove them."""
        parts = self._parts()
        if parts or not self.report.is_file():
            lines = self.read_lines()
            write_atomically(
                self.report, lambda file: file.writelines(lines[key].encode() for key in sorted(lines))
            )
        for part in parts:
            part.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.jsonl"))


def _read(file: Path) -> Iterator[tuple[str, str]]:
    if not file.is_file():
        return
    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and {"photo", "status"} <= entry.keys():
                yield entry["photo"], line.rstrip() + "\n"
