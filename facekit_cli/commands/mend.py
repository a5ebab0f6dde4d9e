"""`facekit mend`: find and fill the damage of old photos, restore their faces, bring back contrast."""

import argparse
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.images.files import remove_parts
from facekit_cli.arguments import file_path, hub_name, seed_number
from facekit_cli.errors import UsageError
from facekit_cli.loop import finish, work_through
from facekit_cli.models import load_pipeline, place_model, settle_device
from facekit_cli.options import (
    add_device_options,
    add_mask_option,
    add_output_options,
    add_photos,
    add_self_ensemble_option,
    check_counts,
    parse_faces,
)
from facekit_cli.photos import (
    Found,
    Plan,
    check_apart,
    check_kept,
    check_writable,
    fail_early,
    find_photos,
    match_files,
    open_inputs,
    pick_file,
    plan_outputs,
)
from facekit_cli.results import provenance_of, save_picture

if TYPE_CHECKING:
    import torch

    from facekit.pipelines.mend.pipeline import PhotoMendOutput, PhotoMendPipeline
    from facekit.provenance import Provenance

STEPS = ("damage", "fill", "faces", "contrast")
HELP = "mend old photos: find and fill damage, restore faces"
DESCRIPTION = (
    "Find scratches, folds, dust, torn edges and stains in each photo and fill them, make its faces sharp."
)
EXAMPLES = """\
examples:
  facekit mend photo.jpg --output mended.jpg
  facekit mend photo.jpg --output mended --contrast 0.8 --save-steps
  facekit mend photo.jpg --output mended --save-mask damage.png
  facekit mend photo.jpg --output mended --overwrite --mask damage-corrected.png
  facekit mend album/ --output mended --keep-faces --format same --skip-existing

The mask is found (--save-mask writes it; correct it in any program for pictures, and give it back by --mask), or
given: white (128 or more of 255) is filled. --mask none fills nothing. Outside the damage and the faces every pixel
comes back as it was, as long as --contrast is 0. Black and white stays black and white, sepia stays sepia. Results are
PNG (TIFF for CMYK) or --format.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    add_photos(parser)
    add_mask_option(parser)
    parser.add_argument(
        "--save-mask",
        type=file_path,
        metavar="FILE",
        help="also write what was filled, white on black, to this PNG; with several photos to this folder",
    )
    parser.add_argument(
        "--keep-faces", action="store_true", help="leave the faces as they are, but for damage"
    )
    parser.add_argument(
        "--contrast",
        type=float,
        default=0.0,
        metavar="C",
        help="0 to 1: how far faded contrast is brought back (default: 0, as it is)",
    )
    parser.add_argument(
        "--fidelity",
        type=float,
        metavar="F",
        help="0 to 1: how much of a face's coarse structure is kept (default: the model's own)",
    )
    add_self_ensemble_option(parser)
    add_output_options(parser)
    parser.add_argument(
        "--save-steps",
        action="store_true",
        help="also write the mask and the photo after each step to NAME-steps/: damage, fill, faces, contrast",
    )
    parser.add_argument(
        "--faces", default="all", help="all, largest, or numbers from the left, counted from 0: 0,2"
    )
    parser.add_argument(
        "--aligned", action="store_true", help="the photos are aligned faces: no face detection"
    )
    parser.add_argument(
        "--steps", type=int, metavar="T", help="reasoning steps of the fill (default: as the model does)"
    )
    parser.add_argument(
        "--model",
        type=hub_name,
        help="model that finds damage: starter (the bundled one, default), a folder, or ORG/NAME on the Hub",
    )
    for name, verb in (("inpaint", "fills"), ("restore", "restores faces")):
        parser.add_argument(
            f"--{name}",
            type=hub_name,
            metavar="MODEL",
            help=f"model that {verb}: starter, published, a folder, or ORG/NAME on the Hub (default: as --model says)",
        )
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of all randomness (default: 0)")
    add_device_options(parser)


def run(args: argparse.Namespace) -> int:
    """Mend all photos; 0 when all went well, 1 when some failed."""
    _check_options(args)
    args.model = place_model(args.model, "photo-mend")
    for name in ("inpaint", "restore"):
        if getattr(args, name) is not None:
            setattr(args, name, place_model(getattr(args, name), f"face-{name}", f"--{name}"))
    faces = parse_faces(args.faces)
    found = find_photos(args.photos)
    masks: dict[Path, Path] = {}
    if args.mask is not None and str(args.mask) != "none":
        masks = match_files(found.photos, args.mask, "mask")
    plan = plan_outputs(found, args, beside=steps_folder if args.save_steps else None)
    mask_files = _plan_masks(found, plan, args)
    fail_early(plan, lambda photo: open_inputs(photo, masks, args.mask if masks else None))
    work = None
    if plan.outputs:
        device = settle_device(args)
        pipeline = _load(device, args)
        plan.remove_parts()
        for path in plan.results:
            remove_parts(steps_folder(path))
        work = partial(_mend, pipeline, plan, masks, mask_files, faces, args)

    said = "found" if args.mask is None else None
    if str(args.mask) == "none":
        said = "none"
    details = {
        photo: {"mask": str(masks[photo]) if photo in masks else said, "output": str(paths[0])}
        for photo, paths in plan.outputs.items()
    }
    entries = work_through("mend", plan, details, work)
    names = (
        *("model", "contrast", "fidelity", "self_ensemble", "keep_faces", "faces", "steps", "inpaint"),
        *("restore", "seed", "device", "dtype", "save_steps", "format", "quality"),
    )
    settings = {key: getattr(args, key) for key in names}
    return finish("mend", entries, settings, args)


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that cannot work, without importing torch. Raises UsageError."""
    check_counts(args, "steps")
    for name in ("contrast", "fidelity"):
        value = getattr(args, name)
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"--{name} is {value}; it must lie between 0 and 1")


def _plan_masks(found: Found, plan: Plan, args: argparse.Namespace) -> dict[Path, Path]:
    """Where `--save-mask` puts each photo's mask.

    Raises UsageError where it cannot be written, or would replace a photo, a result, what another option names, or
    unasked what is there.
    """
    target = args.save_mask
    if target is None:
        return {}
    if len(found.photos) > 1 or target.is_dir():
        files = {photo: target / f"{photo.stem}.png" for photo in found.photos}
        if target.exists() and not target.is_dir():
            raise UsageError(f"--save-mask {target} is a file, and there are several photos; name a folder")
        if len(set(files.values())) < len(files):
            raise UsageError("--save-mask: two photos have the same name but for the ending; run them apart")
    else:
        if target.suffix.lower() != ".png":
            raise UsageError(f"--save-mask {target} must be called .png")
        files = dict.fromkeys(found.photos, target)
    several = target.is_dir() or len(files) > 1
    check_apart(args.photos, target if several else target.parent, "--save-mask")
    results = {os.path.realpath(path) for path in plan.results}
    for file in files.values():
        if os.path.realpath(file) in results:
            raise UsageError(f"--save-mask {file} is one of the results; name another place")
    check_kept(list(files.values()), found.photos, args, "save_mask")
    # A mask may have been corrected by hand; those of photos that are left out stay as they are.
    existing = [files[photo] for photo in plan.outputs if files[photo].exists()]
    if existing and not args.overwrite:
        raise UsageError(f"{existing[0]} exists already; say --overwrite, or name another --save-mask")
    check_writable({file.parent for file in files.values()}, "--save-mask")
    return files


def _load(device: "torch.device", args: argparse.Namespace) -> "PhotoMendPipeline":
    """The pipeline with those that it calls. Raises UsageError where one cannot be loaded."""
    from facekit.pipelines.inpaint import FaceInpaintPipeline
    from facekit.pipelines.mend.pipeline import PhotoMendPipeline
    from facekit.pipelines.restore import FaceRestorePipeline

    parts: dict[str, Any] = {}
    if args.inpaint is not None:
        parts["inpaint"] = load_pipeline(FaceInpaintPipeline, args.inpaint, device, args.dtype)
    if args.restore is not None:
        parts["restore"] = load_pipeline(FaceRestorePipeline, args.restore, device, args.dtype)
    return load_pipeline(PhotoMendPipeline, args.model, device, args.dtype, **parts)


def _mend(
    pipeline: "PhotoMendPipeline",
    plan: Plan,
    masks: Mapping[Path, Path],
    mask_files: Mapping[Path, Path],
    faces: str | list[int],
    args: argparse.Namespace,
    photo: Path,
) -> dict[str, Any]:
    import torch

    from facekit.images.masks import format_share
    from facekit.images.photo import Photo, load_image, same_pixels
    from facekit.images.tensors import expect_kind

    damage: Any = "find"
    if args.mask is not None:
        damage = None if str(args.mask) == "none" else pick_file(photo, masks, "mask", args.mask)
    given = load_image(photo)
    result = pipeline(
        given,
        damage=damage,
        restore_faces=not args.keep_faces,
        contrast=args.contrast,
        fidelity=args.fidelity,
        self_ensemble=args.self_ensemble,
        aligned=args.aligned,
        faces=faces,
        num_inference_steps=args.steps,
        return_steps=args.save_steps,
        watermark=args.provenance == "both",
        generator=torch.Generator("cpu").manual_seed(args.seed),
        output_type="photo",
    )
    (mended,) = expect_kind(result.images, Photo)
    # What was left as it was is not labelled as edited.
    provenance = None if same_pixels(mended, given) else _origin_of(result, pipeline, args)
    (path,) = plan.outputs[photo]
    # Before the result: where a result exists, everything does.
    if photo in mask_files:
        _save_mask(result.masks[0], mask_files[photo])
    if args.save_steps:
        folder = steps_folder(path)
        # Of an earlier call, which may have had other steps or another format.
        for stale in [old for step in STEPS for old in folder.glob(f"[0-9]-{step}.*")]:
            stale.unlink()
        _save_mask(result.masks[0], folder / "0-damage.png")
        for number, (step, picture) in enumerate((result.steps or [{}])[0].items(), start=1):
            save_picture(picture, folder / f"{number}-{step}{path.suffix}", provenance, args.quality)
    save_picture(mended, path, provenance, args.quality)
    share = float(result.masks[0].mean())
    # Of nothing filled the pipeline's own notes say why, where it was not asked for.
    filled = [f"{format_share(share)} of the photo is filled"] if share else []
    return {
        "status": "done",
        "damaged": round(share, 5),
        "faces": len(result.faces[0]),
        "notes": [*filled, *result.notes],
    }


def _origin_of(
    result: "PhotoMendOutput", pipeline: "PhotoMendPipeline", args: argparse.Namespace
) -> "Provenance | None":
    """What files say of their origin: the models that worked on the photo, and the terms of each."""
    return provenance_of(args, pipeline, *(pipeline.components[name] for name in result.parts[0]))


def _save_mask(mask: Any, path: Path) -> None:
    """Write a mask bool `[H, W]`, white where it is True."""
    from PIL import Image

    save_picture(Image.fromarray(mask), path)


def steps_folder(result: Path) -> Path:
    """Where `--save-steps` puts the pictures of a result's steps."""
    return result.with_name(f"{result.stem}-steps")
