"""`facekit inpaint`: fill holes in photos."""

import argparse
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.images.files import remove_parts
from facekit_cli.loop import finish, work_through
from facekit_cli.models import (
    load_pipeline,
    load_restore_with,
    place_model,
    place_restore_with,
    settle_device,
)
from facekit_cli.options import (
    add_device_options,
    add_face_options,
    add_mask_option,
    add_output_options,
    add_photos,
    add_restorer_option,
    add_tones_option,
    check_counts,
    parse_faces,
)
from facekit_cli.photos import (
    Plan,
    fail_early,
    find_photos,
    match_files,
    open_inputs,
    pick_file,
    plan_outputs,
)
from facekit_cli.results import provenance_of, save_picture

if TYPE_CHECKING:
    from facekit.images.origin import Provenance
    from facekit.pipelines.inpaint import FaceInpaintOutput, FaceInpaintPipeline
    from facekit.pipelines.restore import FaceRestorePipeline

STEP_FILE = re.compile(r"\d+(-residual)?\.\w+")  # of `--save-steps`
HELP = "fill holes in photos"
DESCRIPTION = "Fill the part of each photo that a mask marks."
EXAMPLES = """\
examples:
  facekit inpaint photo.jpg --mask mask.png --output filled
  facekit inpaint photos/ --mask masks/ --output filled --skip-existing --json report.json
  facekit inpaint wall.jpg --mask scratch.png --region image --output filled
  facekit inpaint photo.jpg --mask mask.png --restore-with starter --output filled
  facekit inpaint photo.jpg --mask mask.png --steps 5 --save-steps --output filled

The mask is white (128 or more of 255; a bright colour will do) where the photo is to be filled, or painted on a
transparent layer, or the erased, transparent part of a copy of the photo.
Photos come back with everything outside the mask unchanged, as PNG (TIFF for CMYK) or --format. A photo's result is the
same whether it is filled alone or among others.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    add_photos(parser)
    add_mask_option(parser, required=True)
    add_output_options(parser)
    parser.add_argument(
        "--region", choices=("face", "image"), default="face", help="faces under the mask, or any subject"
    )
    parser.add_argument(
        "--crop", choices=("hole", "whole"), default="hole", help="with --region image: what the network sees"
    )
    parser.add_argument("--steps", type=int, metavar="T", help="reasoning steps (default: as the model does)")
    parser.add_argument(
        "--save-steps",
        action="store_true",
        help="also write the photo after every step, and how much the step changed (red: much, blue: little), to "
        "NAME-steps/",
    )
    add_restorer_option(parser)
    add_tones_option(parser)
    add_face_options(parser, "the noise")
    add_device_options(parser)


def run(args: argparse.Namespace) -> int:
    """Fill all photos; 0 when all went well, 1 when some failed."""
    check_counts(args, "steps")
    args.model = place_model(args.model, "face-inpaint")
    place_restore_with(args)
    faces = parse_faces(args.faces)
    found = find_photos(args.photos)
    masks = match_files(found.photos, args.mask, "mask")
    plan = plan_outputs(found, args, beside=steps_folder if args.save_steps else None)
    fail_early(plan, lambda photo: open_inputs(photo, masks, args.mask))
    work = None
    if plan.outputs:
        from facekit.pipelines.inpaint import FaceInpaintPipeline

        device = settle_device(args)
        pipeline = load_pipeline(FaceInpaintPipeline, args.model, device, args.dtype)
        if args.steps is None:  # the report says what was done
            args.steps = pipeline.config["num_inference_steps"]
        restorer = load_restore_with(args, device)
        plan.remove_parts()
        for path in plan.results:
            remove_parts(steps_folder(path))
        work = partial(_fill, pipeline, restorer, plan, masks, faces, args)

    details = {
        photo: {"mask": str(masks[photo]) if photo in masks else None, "output": str(paths[0])}
        for photo, paths in plan.outputs.items()
    }
    entries = work_through("inpaint", plan, details, work)
    names = (
        "model",
        "restore_with",
        "match_tones",
        "region",
        "steps",
        "save_steps",
        "seed",
        "device",
        "dtype",
        "format",
        "quality",
    )
    settings = {key: getattr(args, key) for key in names}
    return finish("inpaint", entries, settings, args)


def _fill(
    pipeline: "FaceInpaintPipeline",
    restorer: "FaceRestorePipeline | None",
    plan: Plan,
    masks: Mapping[Path, Path],
    faces: str | list[int],
    args: argparse.Namespace,
    photo: Path,
) -> dict[str, Any]:
    import torch

    from facekit.images.photo import Photo, load_image, same_pixels
    from facekit.images.tensors import expect_kind

    mask = pick_file(photo, masks, "mask", args.mask)
    given = load_image(photo)
    result = pipeline(
        given,
        mask,
        region=args.region,
        crop=args.crop,
        aligned=args.aligned,
        faces=faces,
        num_inference_steps=args.steps,
        restore_with=restorer,
        match_tones=args.match_tones,
        return_steps=args.save_steps,
        watermark=args.provenance == "both",
        generator=torch.Generator("cpu").manual_seed(args.seed),
        output_type="photo",
    )
    (filled,) = expect_kind(result.images, Photo)
    # An empty mask leaves a photo as it was, and then it is not labelled as edited.
    provenance = None if same_pixels(filled, given) else provenance_of(args, pipeline, restorer)
    (path,) = plan.outputs[photo]
    if args.save_steps:  # before the result: where a result exists, everything does
        _save_steps(result, steps_folder(path), path.suffix, provenance, args.quality)
    save_picture(filled, path, provenance, args.quality)
    return {"status": "done", "faces": len(result.faces[0]), "notes": result.notes}


def steps_folder(result: Path) -> Path:
    """Where `--save-steps` puts the pictures of a result's steps."""
    return result.with_name(f"{result.stem}-steps")


def _save_steps(
    result: "FaceInpaintOutput",
    folder: Path,
    suffix: str,
    provenance: "Provenance | None",
    quality: int | None,
) -> None:
    """Write what thesis Fig. 4.22 shows of one photo: `1.png`, `1-residual.png` and so on."""
    from facekit.images.photo import Photo
    from facekit.images.tensors import expect_kind

    # Of an earlier call, which may have had more steps or another format.
    for stale in [old for old in folder.glob("*") if STEP_FILE.fullmatch(old.name)]:
        stale.unlink()
    (steps,), (maps,) = result.steps or [], result.heat_maps()
    for step, (picture, change) in enumerate(zip(expect_kind(steps, Photo), maps, strict=True), start=1):
        save_picture(picture, folder / f"{step}{suffix}", provenance, quality)
        save_picture(change, folder / f"{step}-residual.png")
