"""The records of a batch, by which a killed run is continued and every photo is done once.

    OUT/report.jsonl                one line for every photo
    OUT/.facekit-batch/run.json     settings; those of a run that goes on must be the same
    OUT/.facekit-batch/plan.jsonl   the groups of photos that are computed together
    OUT/.facekit-batch/part-00000*.jsonl    lines that process 0 of the present run wrote, merged at its end

A line is written after its photo's results are complete. A photo without a line is done again, with the same
seed in the same group, and so with the same result.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from facekit_cli.batch.sources import Item
from facekit_cli.batch.stores import Log, Store
from facekit_cli.errors import UsageError

Group = list[Item]
Entry = dict[str, Any]
FOLDER, REPORT = ".facekit-batch", "report.jsonl"
SETTINGS, PLAN, LOCK = f"{FOLDER}/run.json", f"{FOLDER}/plan.jsonl", f"{FOLDER}/lock"


class Journal:
    """The records of one place of results. Only the main process may call methods that do not say "any process"."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._part: Log | None = None

    def check(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Refuse a folder that cannot be written, or of other things, or of a run with other settings.

        Raises UsageError.
        """
        self.store.check()
        name = self.store.name
        before = self.store.read(SETTINGS)
        if before is None:
            others = sorted(self.store.list_names() - {FOLDER})
            if others:
                raise UsageError(
                    f"--output {name} holds files that no batch wrote, such as {others[0]}; "
                    "name a new or empty folder"
                )
        elif not overwrite:
            known = json.loads(before)
            for key, value in settings.items():
                if known.get(key) != value:
                    raise UsageError(
                        f"--output {name} holds results of a run with {key} {known.get(key)!r}, now it "
                        f"is {value!r}; name another folder, or start over with --overwrite"
                    )

    def lock(self, exclusive: bool) -> None:
        """Any process: hold the place until `close` or a kill, alone or with the others of its run.

        Raises UsageError where processes of another run are still at work.
        """
        self.store.lock(LOCK, exclusive)

    def read_groups(self) -> list[Group]:
        """The groups planned so far."""
        lines = (self.store.read(PLAN) or b"").decode().splitlines()
        return [[Item(*pair) for pair in json.loads(line)] for line in lines]

    def find_finished(self) -> set[str]:
        """Keys of photos that are done and whose results are still there."""
        there: dict[str, set[str]] = {}

        def exists(name: str) -> bool:
            path = PurePosixPath(name)
            folder = str(path.parent) if path.parent.parts else ""
            if folder not in there:
                there[folder] = self.store.list_names(folder)
            return path.name in there[folder]

        done = (entry for entry in self.read_entries() if entry["status"] == "done")
        return {entry["photo"] for entry in done if all(map(exists, entry["outputs"]))}

    def read_lines(self) -> dict[str, str]:
        """The last line about each photo, by its key, from the report and all processes; incomplete lines are left out.

        Any process may call it, also while the run is at work.
        """
        files = self.store.read_all([REPORT, *self._parts()])
        return {key: line for content in files for key, line in _read(content)}

    def read_entries(self) -> Iterator[Entry]:
        """The last lines, read; any process may call it."""
        return map(json.loads, self.read_lines().values())

    def begin(self, settings: dict[str, Any], groups: Iterable[Group], overwrite: bool) -> None:
        """Put the records of earlier runs in order, and remove what killed processes left half-written."""
        store = self.store
        store.prepare(FOLDER)
        self.lock(exclusive=True)
        if overwrite:
            store.remove([name for entry in self.read_entries() for name in entry.get("outputs", ())])
            store.remove([SETTINGS, PLAN, REPORT, *self._parts()])
        # Settings first: a folder with results and without settings would not be taken for a run's.
        store.write(SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())
        store.write(PLAN, "".join(json.dumps(group) + "\n" for group in groups).encode())
        self.merge()
        store.remove_parts()

    def open_part(self, process: int) -> None:
        """Any process: begin its part of the report. Raises UsageError where OUT is not the main process's."""
        if self.store.read(SETTINGS) is None:
            raise UsageError(f"process {process} does not see the main process's folder {self.store.name}")
        self._part = self.store.open_log(f"{FOLDER}/part-{process:05d}")

    def write(self, entry: Entry) -> None:
        """Any process: add a line to its part of the report."""
        if self._part is None:
            raise RuntimeError("call open_part before write")
        self._part.write(json.dumps(entry) + "\n")

    def close_part(self) -> None:
        """Any process: its part is complete, and there for all to read."""
        if self._part is not None:
            self._part.close()
        self._part = None

    def close(self) -> None:
        """Any process: its part is complete, and the place free for the next run."""
        try:
            self.close_part()
        finally:
            self.store.unlock()

    def merge(self) -> None:
        """Merge the parts into `report.jsonl`, one line a photo, by key, and remove them."""
        parts = self._parts()
        if parts or self.store.read(REPORT) is None:
            lines = self.read_lines()
            self.store.write(REPORT, "".join(lines[key] for key in sorted(lines)).encode())
        self.store.remove(parts)

    def _parts(self) -> list[str]:
        names = sorted(self.store.list_names(FOLDER))
        return [f"{FOLDER}/{name}" for name in names if name.startswith("part-") and name.endswith(".jsonl")]


def _read(content: bytes) -> Iterator[tuple[str, str]]:
    for line in content.decode(errors="replace").split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"photo", "status"} <= entry.keys():
            yield entry["photo"], line.rstrip() + "\n"
