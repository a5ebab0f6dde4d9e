"""`facekit restore`: make damaged faces sharp."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.images.files import remove_parts
from facekit_cli.looking import Look, add_look_options, check_look_options, load_look, notes_of, save_points
from facekit_cli.loop import finish, work_through
from facekit_cli.models import settle_device
from facekit_cli.options import add_device_options, add_output_options, add_photos
from facekit_cli.photos import fail_early, find_photos, match_files, open_inputs, pick_file, plan_outputs
from facekit_cli.restoring import (
    add_restore_options,
    check_restore_options,
    faces_folder,
    load_background,
    load_restorer,
    restore,
    settings_of,
)

if TYPE_CHECKING:
    from facekit.pipelines.background import BackgroundUpscaler
    from facekit.pipelines.restore import FaceRestorePipeline

HELP = "make damaged faces sharp"
DESCRIPTION = "Restore the faces of each photo."
EXAMPLES = """\
examples:
  facekit restore photo.jpg --output sharp.jpg
  facekit restore photos/ --output sharp --skip-existing --json report.json
  facekit restore family.jpg --output sharp --faces 0,2 --candidates 3 --fidelity 0.7
  facekit restore photo.jpg --output sharp --scale 2 --background RealESRGAN_x2.safetensors
  facekit restore photos/ --output sharp --format same --quality 90
  facekit restore damaged.png --output sharp --truth original.png --strip --landmarks five-point

Outside the faces every pixel comes back as it was; results are PNG (TIFF for CMYK) or --format. A photo without a face
comes back as it was, and the report says so. A photo's result is the same whether it is restored alone or
among others. For sub-folders, data sets and several GPUs see: python -m facekit_cli.batch restore --help
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    add_photos(parser)
    add_output_options(parser)
    add_restore_options(parser, batch_size=4)
    parser.add_argument(
        "--strip",
        action="store_true",
        help="also write a row of pictures for each face to NAME-faces/: before, the style prompt of every step, with "
        "--truth that of the undamaged face, after, with --truth the undamaged face",
    )
    add_look_options(parser)
    add_device_options(parser)


def run(args: argparse.Namespace) -> int:
    """Restore all photos; 0 when all went well, 1 when some failed."""
    check_restore_options(args)
    check_look_options(args)
    beside = faces_folder if args.save_faces or args.strip or args.landmarks else None
    plan = plan_outputs(find_photos(args.photos), args, args.candidates, beside)
    fail_early(plan, partial(_open_photo, args))
    truths = {}
    if args.truth is not None and plan.outputs:
        truths = match_files(list(plan.outputs), args.truth, "undamaged photo")

    def restore_one(
        pipeline: "FaceRestorePipeline",
        background: "BackgroundUpscaler | None",
        look: Look | None,
        photo: Path,
    ) -> dict[str, Any]:
        truth = None if args.truth is None else pick_file(photo, truths, "undamaged photo", args.truth)
        undamaged = None if truth is None else [truth]
        # The pipeline sees to it that both fit each other, whatever is shown.
        shows_faces = args.strip or truth is not None
        (result,) = restore(pipeline, [photo], [args.seed], args, undamaged, shows_faces, background)
        paths, entry = plan.outputs[photo], result.entry()
        if look is not None:
            seen, pictures = look.compare(result, photo, truth, args.max_pixels)
            save_points(pictures, paths, result)
            entry |= seen | {"notes": [*entry["notes"], *notes_of(seen)]}
        result.save(paths, args.skip_existing, args.save_faces, args.strip)
        return entry

    pipeline, work = None, None
    if plan.outputs:
        look = load_look(args)
        device = settle_device(args)
        background = load_background(args, device)
        pipeline = load_restorer(args, device)
        plan.remove_parts()
        for path in plan.results:
            remove_parts(faces_folder(path))
        work = partial(restore_one, pipeline, background, look)

    details = {photo: {"outputs": [str(path) for path in paths]} for photo, paths in plan.outputs.items()}
    entries = work_through("restore", plan, details, work)
    return finish("restore", entries, settings_of(args, pipeline) | {"device": args.device}, args)


def _open_photo(args: argparse.Namespace, photo: Path) -> None:
    """Look at a photo before the model is loaded. Raises OSError or ValueError for what cannot be restored."""
    from facekit.images.photo import MAX_PIXELS

    opened = open_inputs(photo, {}, None, args.max_pixels)
    if args.scale is not None and args.max_pixels != 0:
        from facekit.pipelines.restore import check_enlarged

        check_enlarged([opened], args.scale, args.max_pixels or MAX_PIXELS)
