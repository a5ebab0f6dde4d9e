"""The loop over photos, and the report at its end."""

import argparse
import errno
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.version import __version__
from facekit_cli.results import write_json
from facekit_cli.words import reword

if TYPE_CHECKING:
    from facekit_cli.photos import Plan

# Writes a photo's result and returns what the report says of it.
Work = Callable[[Path], dict[str, Any]]

# A full disk fails every file that follows as well.
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def work_through(
    command: str,
    plan: "Plan",
    details: Mapping[Path, dict[str, Any]],
    work: Work | None,
) -> list[dict[str, Any]]:
    """Work on one photo after the other; one that fails does not stop those that follow.

    Args:
        command: for the progress bar.
        plan: the photos, and the files that are left out.
        details: for every photo to work on, what the report says in addition to the outcome.
        work: what is done for each of these photos; None where there are none.

    Returns:
        Entries of the report: "photo", "status" ("done", "failed" or "skipped"), "reason" of what was skipped,
        "seconds" of what was worked on, and the rest.
    """
    from tqdm import tqdm

    entries: list[dict[str, Any]] = [
        {"photo": str(p), "status": "skipped", "reason": reason} for p, reason in plan.skipped.items()
    ]
    # Without "seconds": these were not tried.
    entries += [{"photo": str(photo), **describe_failure(error)} for photo, error in plan.failed.items()]
    stopped = None
    with tqdm(details.items(), desc=command, unit="photo", file=sys.stderr) as progress:
        if work is None:
            return entries
        for photo, detail in progress:
            entry = {"photo": str(photo), **detail}
            start = time.perf_counter()
            try:
                if stopped:
                    raise OSError(f"not tried: {stopped}")
                entry |= work(photo)
                if plan.notes.get(photo):
                    entry["notes"] = [*plan.notes[photo], *(entry.get("notes") or ())]
            except Exception as error:  # whatever is wrong with one photo, the others go on
                entry |= describe_failure(error)
                if isinstance(error, OSError) and error.errno in FATAL:
                    stopped = f"{error.strerror}, met at {photo}"
            entry["seconds"] = round(time.perf_counter() - start, 3)
            entries.append(entry)
    return entries


def describe_failure(error: Exception | str) -> dict[str, Any]:
    """The part of a report's entry for a photo that failed; `finish` puts the error into words."""
    return {"status": "failed", "error": error}


def finish(
    command: str, entries: list[dict[str, Any]], settings: dict[str, Any], args: argparse.Namespace
) -> int:
    """Write the report if `--json` asks for it, and print how it went; 0 when all went well, else 1."""
    counts = {s: sum(e["status"] == s for e in entries) for s in ("done", "failed", "skipped")}
    for entry in entries:
        if "error" in entry:
            entry["error"] = reword(entry["error"], args)
        if "notes" in entry:
            entry["notes"] = [reword(note, args) for note in entry["notes"] or ()]
    problem = None
    if args.json:
        content = {"command": command, "facekit": __version__} | settings
        try:
            write_json(content | counts | {"photos": entries}, args.json)
        except OSError as error:
            problem = f"the report {args.json} could not be written: {error}"
            print(problem, file=sys.stderr)
    # Where everything failed it is not there, and of one photo it would seem to be the photo's name.
    place = f": {args.output}" if counts["done"] or args.output.exists() else ""
    print(f"{counts['done']} done, {counts['failed']} failed, {counts['skipped']} skipped{place}")
    say_skipped({entry["photo"]: entry["reason"] for entry in entries if entry["status"] == "skipped"})
    for entry in entries:
        for note in entry.get("notes") or ():
            print(f"note: {entry['photo']}: {note}", file=sys.stderr)
    for entry in entries:
        if entry["status"] == "failed":
            print(f"failed: {_name_once(entry['photo'], entry['error'])}", file=sys.stderr)
    return 1 if counts["failed"] or problem else 0


def _name_once(photo: str, error: str) -> str:
    """The photo and what is wrong with it; some errors begin with the photo's path or name themselves."""
    for name in (photo, Path(photo).name):
        for between in (": ", " "):
            if error.startswith(name + between):
                return photo + error.removeprefix(name)
    return f"{photo}: {error}"


def say_skipped(reasons: Mapping[Any, str]) -> None:
    """Print one line for each reason why files were left out."""
    groups: dict[str, list[Any]] = {}
    for file, reason in reasons.items():
        groups.setdefault(reason, []).append(file)
    for reason, files in groups.items():
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        print(f"skipped: {files[0]}{more}: {reason}", file=sys.stderr)
