"""`facekit inpaint`: fill holes in photos."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import facekit
from facekit.commands.common import (
    FATAL,
    UsageError,
    add_device_options,
    add_output_options,
    list_photos,
    pick_device,
    pictures_in,
    plan_outputs,
    save_picture,
    write_json,
)
from facekit.hub import starter

if TYPE_CHECKING:
    from facekit.pipelines.inpaint import FaceInpaintPipeline

EXAMPLES = """\
examples:
  facekit inpaint photo.jpg --mask mask.png --output filled
  facekit inpaint photos/ --mask masks/ --output filled --skip-existing --json report.json
  facekit inpaint wall.jpg --mask scratch.png --region image --output filled

The mask is white (gray 128 or more) where the photo is to be filled, or painted on a transparent layer.
Photos come back with everything outside the mask unchanged, as PNG (TIFF for CMYK). A photo's result is the
same whether it is filled alone or among others.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand and return its parser."""
    parser = subparsers.add_parser(
        "inpaint",
        help="fill holes in photos",
        description="Fill the part of each photo that a mask marks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="picture files, or folders of them")
    parser.add_argument(
        "--mask",
        "-m",
        required=True,
        type=Path,
        help="one mask for all, or a folder of masks with the photos' names",
    )
    add_output_options(parser)
    parser.add_argument(
        "--region", choices=("face", "image"), default="face", help="faces under the mask, or any subject"
    )
    parser.add_argument(
        "--crop", choices=("hole", "whole"), default="hole", help="with --region image: what the network sees"
    )
    parser.add_argument(
        "--aligned", action="store_true", help="the photos are aligned faces: no face detection"
    )
    parser.add_argument("--faces", default="all", help="all, largest, or numbers from left to right: 0,2")
    parser.add_argument("--steps", type=int, default=3, metavar="T", help="reasoning steps (default: 3)")
    parser.add_argument("--model", help="model folder or Hub id (default: the bundled starter)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise, the same for every photo")
    add_device_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Fill all photos; 0 when all went well, 1 when some failed."""
    if args.steps < 1:
        raise UsageError(f"--steps is {args.steps}; it must be 1 or more")
    faces = _chosen_faces(args.faces)
    photos = list_photos(args.photos)
    masks = _masks_for(photos, args.mask)
    outputs = plan_outputs(photos, args.output, args.overwrite, args.skip_existing)
    model = args.model or starter("face-inpaint")
    pipeline = _load(model, args) if outputs else None

    from tqdm import tqdm

    entries: list[dict[str, Any]] = [
        {"photo": str(photo), "status": "skipped"} for photo in photos if photo not in outputs
    ]
    stopped = None
    with tqdm(outputs.items(), desc="inpaint", unit="photo", file=sys.stderr) as progress:
        for photo, output in progress:
            entry = {"photo": str(photo), "mask": str(masks.get(photo) or ""), "output": str(output)}
            start = time.perf_counter()
            try:
                if stopped:
                    raise OSError(f"not tried: {stopped}")
                entry |= _fill(pipeline, photo, masks.get(photo), output, args, faces)
            except (ValueError, TypeError, OSError, RuntimeError, MemoryError) as error:
                entry |= {"status": "failed", "error": str(error) or type(error).__name__}
                if isinstance(error, OSError) and error.errno in FATAL:
                    stopped = f"{error.strerror}: {output}"
            entry["seconds"] = round(time.perf_counter() - start, 3)
            entries.append(entry)
    return _report(entries, model, args)


def _chosen_faces(text: str) -> str | list[int]:
    if text in ("all", "largest"):
        return text
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"--faces is {text!r}; say all, largest, or numbers such as 0,2") from None


def _masks_for(photos: Sequence[Path], mask: Path) -> dict[Path, Path]:
    """The mask of every photo that has one."""
    if not mask.exists():
        raise UsageError(f"the mask {mask} does not exist")
    if not mask.is_dir():
        return dict.fromkeys(photos, mask)
    by_name: dict[str, Path] = {}
    for file in pictures_in(mask):
        if file.stem in by_name:
            raise UsageError(f"{by_name[file.stem]} and {file} are masks of the same name")
        by_name[file.stem] = file
    masks = {photo: by_name[photo.stem] for photo in photos if photo.stem in by_name}
    if not masks:
        raise UsageError(f"no mask in {mask} has the name of a photo, for example {photos[0].stem}.png")
    return masks


def _load(model: str, args: argparse.Namespace) -> "FaceInpaintPipeline":
    device = pick_device(args.device)
    import torch

    from facekit.public import FaceInpaintPipeline

    try:
        pipeline = FaceInpaintPipeline.from_pretrained(model, dtype=getattr(torch, args.dtype))
    except (OSError, ValueError) as error:
        raise UsageError(f"the model {model} cannot be loaded: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _fill(
    pipeline: "FaceInpaintPipeline",
    photo: Path,
    mask: Path | None,
    output: Path,
    args: argparse.Namespace,
    faces: str | list[int],
) -> dict[str, Any]:
    import torch

    if mask is None:
        raise ValueError(f"no mask named {photo.stem} in {args.mask}")
    result = pipeline(
        photo,
        mask,
        region=args.region,
        crop=args.crop,
        aligned=args.aligned,
        faces=faces,
        num_inference_steps=args.steps,
        generator=torch.Generator("cpu").manual_seed(args.seed),
    )
    save_picture(result.images[0], output)
    return {"status": "done", "faces": len(result.faces[0]), "notes": result.notes}


def _report(entries: list[dict[str, Any]], model: str, args: argparse.Namespace) -> int:
    counts = {s: sum(e["status"] == s for e in entries) for s in ("done", "failed", "skipped")}
    settings = {key: getattr(args, key) for key in ("region", "steps", "seed", "device", "dtype")}
    problem = None
    if args.json:
        content = {"command": "inpaint", "facekit": facekit.__version__, "model": model} | settings
        try:
            write_json(content | counts | {"photos": entries}, args.json)
        except OSError as error:
            problem = f"the report {args.json} could not be written: {error}"
            print(problem, file=sys.stderr)
    print(f"{counts['done']} done, {counts['failed']} failed, {counts['skipped']} skipped: {args.output}")
    for entry in entries:
        if entry["status"] == "failed":
            print(f"failed: {entry['photo']}: {entry['error']}", file=sys.stderr)
    return 1 if counts["failed"] or problem else 0
