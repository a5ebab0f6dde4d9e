"""What the commands that work on photos share: files, devices, the loop over photos, the report."""

import argparse
import errno
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.images.files import write_atomically
from facekit.version import __version__
from facekit_cli.arguments import file_path, hub_name, seed_number
from facekit_cli.words import own_words

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from PIL import Image

    from facekit.images.origin import Kind, Provenance
    from facekit.images.photo import Photo
    from facekit_cli.photos import Plan

DTYPES = ("float32", "bfloat16", "float16")
# A full disk fails every file that follows as well.
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class UsageError(Exception):
    """Wrong arguments: exit code 2, nothing was done."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """`--output`, `--overwrite`, `--skip-existing`, `--json`."""
    parser.add_argument(
        "--output", "-o", type=file_path, required=True, metavar="DIR", help="folder for the results"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave out photos whose result exists")
    parser.add_argument("--json", type=file_path, metavar="FILE", help="write a report of every photo")
    add_provenance_option(parser)


def add_provenance_option(parser: argparse.ArgumentParser) -> None:
    """`--provenance`."""
    parser.add_argument(
        "--provenance",
        choices=("both", "metadata", "none"),
        default="both",
        help="label results as edited: in the file and by an invisible mark in the changed pixels (default), "
        "in the file alone, or not at all",
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """`--device`, `--dtype`."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: the best there is)"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="number type of the networks")


def add_face_options(parser: argparse.ArgumentParser, seeded: str) -> None:
    """`--aligned`, `--faces`, `--model`, `--seed`; `seeded` is what the seed decides."""
    parser.add_argument(
        "--aligned", action="store_true", help="the photos are aligned faces: no face detection"
    )
    parser.add_argument("--faces", default="all", help="all, largest, or numbers from left to right: 0,2")
    parser.add_argument(
        "--model", type=hub_name, help="model folder or Hub id (default: the bundled starter)"
    )
    parser.add_argument(
        "--seed", type=seed_number, default=0, help=f"seed of {seeded}, the same for every photo"
    )


def add_exemplar_options(parser: argparse.ArgumentParser, references: str) -> None:
    """`--exemplar-aligned`, `--exemplar-face`, `--noise`; `references` names what the first speaks of."""
    parser.add_argument(
        "--exemplar-aligned", action="store_true", help=f"{references} are aligned faces, too"
    )
    parser.add_argument(
        "--exemplar-face", default="only", help="only, largest, or a number from the left (default: only)"
    )
    parser.add_argument(
        "--noise", choices=("random", "fixed", "none"), default="random", help="noise in each pixel"
    )


def chosen_faces(text: str) -> str | list[int]:
    """`--faces` as the pipelines take it. Raises UsageError where it is none of the three forms."""
    if text in ("all", "largest"):
        return text
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"--faces is {text!r}; say all, largest, or numbers such as 0,2") from None


def pick_device(name: str) -> "torch.device":
    """The torch device of `--device`. Raises UsageError where it is not there."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the device {name!r} cannot be used here: {reason}") from error
    return device


def load_pipeline(
    name: str, model: str, device: "torch.device", dtype: str, **components: Any
) -> "DiffusionPipeline":
    """A pipeline class of facekit, by name, with its networks on the device; no progress bars of its own.

    Raises UsageError where the model cannot be loaded or is another pipeline's.
    """
    import torch

    from facekit import public

    try:
        index = Path(model, "model_index.json")
        found = json.loads(index.read_text())["_class_name"] if index.is_file() else name
        if found != name:
            raise ValueError(f"it is a {found}, and a {name} is needed")
        pipeline = getattr(public, name).from_pretrained(model, dtype=getattr(torch, dtype), **components)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"the model {model} cannot be loaded: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    # diffusers warns that float16 fails on processors; facekit's networks work there.
    return pipeline.to(device, silence_dtype_warnings=True)


def work_through(
    command: str,
    plan: "Plan",
    details: Mapping[Path, dict[str, Any]],
    work: Callable[[Path], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Work on one photo after the other; one that fails does not stop those that follow.

    Args:
        command: for the progress bar.
        plan: the photos, and the files that are left out.
        details: what the report says beside the outcome, for every photo to work on.
        work: writes a photo's result and returns what the report says of it.

    Returns:
        Entries of the report: "photo", "status" ("done", "failed" or "skipped"), "reason" or "seconds", and the rest.
    """
    from tqdm import tqdm

    entries = [{"photo": str(p), "status": "skipped", "reason": reason} for p, reason in plan.skipped.items()]
    entries += [{"photo": str(photo), **failure(error)} for photo, error in plan.failed.items()]
    stopped = None
    with tqdm(details.items(), desc=command, unit="photo", file=sys.stderr) as progress:
        for photo, detail in progress:
            entry = {"photo": str(photo), **detail}
            start = time.perf_counter()
            try:
                if stopped:
                    raise OSError(f"not tried: {stopped}")
                entry |= work(photo)
            except Exception as error:  # whatever is wrong with one photo, the others go on
                entry |= failure(error)
                if isinstance(error, OSError) and error.errno in FATAL:
                    stopped = f"{error.strerror}, met at {photo}"
            entry["seconds"] = round(time.perf_counter() - start, 3)
            entries.append(entry)
    return entries


def failure(error: Exception | str) -> dict[str, Any]:
    """What a report says of a photo that could not be worked on."""
    return {"status": "failed", "error": str(error) or type(error).__name__}


def finish(
    command: str, entries: list[dict[str, Any]], settings: dict[str, Any], args: argparse.Namespace
) -> int:
    """Write the report where `--json` asks for it, say how it went; 0 when all went well, else 1."""
    counts = {s: sum(e["status"] == s for e in entries) for s in ("done", "failed", "skipped")}
    for entry in entries:
        if "error" in entry:
            entry["error"] = own_words(entry["error"], args)
        if "notes" in entry:
            entry["notes"] = [own_words(note, args) for note in entry["notes"] or ()]
    problem = None
    if args.json:
        content = {"command": command, "facekit": __version__} | settings
        try:
            write_json(content | counts | {"photos": entries}, args.json)
        except OSError as error:
            problem = f"the report {args.json} could not be written: {error}"
            print(problem, file=sys.stderr)
    print(f"{counts['done']} done, {counts['failed']} failed, {counts['skipped']} skipped: {args.output}")
    say_skipped({entry["photo"]: entry["reason"] for entry in entries if entry["status"] == "skipped"})
    for entry in entries:
        for note in entry.get("notes") or ():
            print(f"note: {entry['photo']}: {note}", file=sys.stderr)
    for entry in entries:
        if entry["status"] == "failed":
            print(f"failed: {entry['photo']}: {entry['error']}", file=sys.stderr)
    return 1 if counts["failed"] or problem else 0


def say_skipped(reasons: Mapping[Any, str]) -> None:
    """One line for each reason why files were left out."""
    groups: dict[str, list[Any]] = {}
    for file, reason in reasons.items():
        groups.setdefault(reason, []).append(file)
    for reason, files in groups.items():
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        print(f"skipped: {files[0]}{more}: {reason}", file=sys.stderr)


def save_picture(picture: "Image.Image | Photo", path: Path, provenance: "Provenance | None" = None) -> None:
    """Write a picture without loss as .png or .tif, with all that its `info` tells, and its provenance."""
    from facekit.images.photo import write_picture

    lossless = "TIFF" if path.suffix == ".tif" else "PNG"
    write_atomically(path, lambda file: write_picture(picture, file, lossless, provenance))


def provenance_of(
    args: argparse.Namespace, pipeline: "DiffusionPipeline | None", kind: "Kind" = "edited"
) -> "Provenance | None":
    """The record that `save_picture` writes, None with `--provenance none`."""
    from facekit.provenance import describe

    return None if args.provenance == "none" else describe(pipeline, kind)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a report, complete or not at all."""
    write_atomically(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))
