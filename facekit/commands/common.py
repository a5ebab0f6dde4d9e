"""What the commands that work on photos share: files, devices, the loop over photos, the report."""

import argparse
import errno
import json
import os
import re
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

import facekit

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

    from facekit.imaging import Photo
    from facekit.provenance_metadata import Kind, Provenance

SUFFIXES = frozenset((".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".mpo", ".png", ".ppm"))
SUFFIXES |= {".tga", ".tif", ".tiff", ".webp"}
SUFFIXES |= {".heic", ".heif", ".hif"}  # read where pillow-heif is installed
DTYPES = ("float32", "bfloat16", "float16")
# A full disk fails every file that follows as well.
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# How `write_atomically` calls a file that is not complete yet.
PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part")


class UsageError(Exception):
    """Wrong arguments: exit code 2, nothing was done."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """`--output`, `--overwrite`, `--skip-existing`, `--json`."""
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="DIR", help="folder for the results"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave out photos whose result exists")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report of every photo")
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
    parser.add_argument("--model", help="model folder or Hub id (default: the bundled starter)")
    parser.add_argument("--seed", type=int, default=0, help=f"seed of {seeded}, the same for every photo")


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


def list_photos(arguments: Sequence[str]) -> list[Path]:
    """Files as they are, and the pictures directly inside folders, by name; each file once.

    Raises UsageError where an argument does not exist or a folder holds no picture.
    """
    photos: list[Path] = []
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            inside = pictures_in(path)
            if not inside:
                raise UsageError(f"the folder {path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
            photos += inside
        elif path.exists():
            photos.append(path)
        else:
            raise UsageError(f"{path} does not exist")
    return list({photo.resolve(): photo for photo in photos}.values())


def pictures_in(folder: Path) -> list[Path]:
    """The files directly inside a folder that end like pictures and are not hidden, by name."""
    files = (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    return sorted(f for f in files if f.is_file())


def matching_files(photos: Sequence[Path], given: Path, what: str) -> dict[Path, Path]:
    """The mask (or whatever `what` calls it) of every photo that has one: one file for all, or a folder of files
    with the photos' names.

    Raises UsageError where there is no such file, no name in common, or one name twice.
    """
    if not given.exists():
        raise UsageError(f"the {what} {given} does not exist")
    if not given.is_dir():
        return dict.fromkeys(photos, given)
    by_name: dict[str, Path] = {}
    for file in pictures_in(given):
        if file.stem in by_name:
            raise UsageError(f"{by_name[file.stem]} and {file} are {what}s of the same name")
        by_name[file.stem] = file
    files = {photo: by_name[photo.stem] for photo in photos if photo.stem in by_name}
    if not files:
        raise UsageError(f"no {what} in {given} has the name of a photo, for example {photos[0].stem}.png")
    return files


def plan_outputs(
    photos: Sequence[Path], folder: Path, overwrite: bool, skip_existing: bool, candidates: int = 1
) -> dict[Path, list[Path]]:
    """Where each photo's results go (see `numbered`), `.tif` for CMYK, without the photos to skip.

    Raises:
        UsageError: two photos would share a result, a result would replace a photo that was given, or a
            result exists and neither `overwrite` nor `skip_existing` was said.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder} is a file; name a folder")
    outputs = {photo: numbered(folder / photo.stem, _suffix(photo), candidates) for photo in photos}
    owners: dict[Path, Path] = {}
    for photo, paths in outputs.items():
        for path in paths:
            other = owners.setdefault(path, photo)
            if other != photo:
                raise UsageError(f"{other} and {photo} would both become {path}; run them apart")
    given = {photo.resolve() for photo in photos}
    replaced = [path for path in owners if path.resolve() in given]
    if replaced:
        raise UsageError(f"{replaced[0]} is one of the photos; choose another --output folder")
    existing = [path for path in owners if path.exists()]
    if existing and not overwrite and not skip_existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise UsageError(f"{existing[0]}{more} exists already; say --overwrite or --skip-existing")
    return {p: o for p, o in outputs.items() if not (skip_existing and all(path.exists() for path in o))}


def numbered(stem: Path, suffix: str, candidates: int) -> list[Path]:
    """`STEM.png`, or with several candidates `STEM-1.png`, `STEM-2.png` and so on."""
    marks = [""] if candidates == 1 else [f"-{number}" for number in range(1, candidates + 1)]
    return [stem.with_name(stem.name + mark + suffix) for mark in marks]


def _suffix(photo: Path) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(photo) as image:
                return suffix_of(image.mode)
    except Exception:  # whatever is wrong with the file is told when its turn comes
        return ".png"


def suffix_of(mode: str) -> str:
    """What results of a mode of Pillow's end with: PNG keeps every mode that files have but CMYK."""
    return ".tif" if mode == "CMYK" else ".png"


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
    return pipeline.to(device)


def work_through(
    command: str,
    photos: Sequence[Path],
    details: Mapping[Path, dict[str, Any]],
    work: Callable[[Path], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Work on one photo after the other; one that fails does not stop those that follow.

    Args:
        command: for the progress bar.
        photos: all that were named.
        details: what the report says beside the outcome, for every photo that is not skipped.
        work: writes a photo's result and returns what the report says of it.

    Returns:
        Entries of the report: "photo", "status" ("done", "failed" or "skipped"), "seconds", and the rest.
    """
    from tqdm import tqdm

    entries = [{"photo": str(photo), "status": "skipped"} for photo in photos if photo not in details]
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


def failure(error: Exception) -> dict[str, Any]:
    """What a report says of a photo that could not be worked on."""
    return {"status": "failed", "error": str(error) or type(error).__name__}


def finish(
    command: str, entries: list[dict[str, Any]], settings: dict[str, Any], args: argparse.Namespace
) -> int:
    """Write the report where `--json` asks for it, say how it went; 0 when all went well, else 1."""
    counts = {s: sum(e["status"] == s for e in entries) for s in ("done", "failed", "skipped")}
    problem = None
    if args.json:
        content = {"command": command, "facekit": facekit.__version__} | settings
        try:
            write_json(content | counts | {"photos": entries}, args.json)
        except OSError as error:
            problem = f"the report {args.json} could not be written: {error}"
            print(problem, file=sys.stderr)
    print(f"{counts['done']} done, {counts['failed']} failed, {counts['skipped']} skipped: {args.output}")
    for entry in entries:
        for note in entry.get("notes") or ():
            print(f"note: {entry['photo']}: {note}", file=sys.stderr)
    for entry in entries:
        if entry["status"] == "failed":
            print(f"failed: {entry['photo']}: {entry['error']}", file=sys.stderr)
    return 1 if counts["failed"] or problem else 0


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a file beside `path`, then rename it: `path` is either complete or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def remove_parts(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove what a killed process left of the files `names` (None: of any file) in a folder."""
    if not folder.is_dir():
        return
    for file in list(folder.iterdir()):
        part = PART.fullmatch(file.name)
        if part and (names is None or part["name"] in names):
            file.unlink(missing_ok=True)


def save_picture(picture: "Image.Image | Photo", path: Path, provenance: "Provenance | None" = None) -> None:
    """Write a picture without loss as .png or .tif, with all that its `info` tells, and its provenance."""
    from facekit.imaging import write_picture

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
