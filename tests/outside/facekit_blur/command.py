"""`facekit blur`."""

import argparse
from pathlib import Path
from typing import Any

from facekit.hub.starters import starter
from facekit_cli.arguments import hub_name
from facekit_cli.loop import finish, work_through
from facekit_cli.models import load_pipeline, pick_device
from facekit_cli.options import add_device_options, add_output_options, add_photos
from facekit_cli.photos import find_photos, plan_outputs
from facekit_cli.results import provenance_of, save_picture

HELP = "blur photos"
DESCRIPTION = "Blur each photo."
EXAMPLES = """\
examples:
  facekit blur photo.jpg --output blurred
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to the command."""
    add_photos(parser)
    add_output_options(parser)
    parser.add_argument("--model", type=hub_name, help="model folder or Hub id (default: the starter)")
    add_device_options(parser)


def run(args: argparse.Namespace) -> int:
    """Blur all photos; 0 when all went well, 1 when some failed."""
    plan = plan_outputs(find_photos(args.photos), args)
    model = args.model or starter("face-blur")
    pipeline = load_pipeline("BlurPipeline", model, pick_device(args.device), args.dtype)

    def work(photo: Path) -> dict[str, Any]:
        blurred = pipeline(photo, output_type="photo").images[0]
        save_picture(blurred, plan.outputs[photo][0], provenance_of(args, pipeline), args.quality)
        return {"status": "done"}

    details = {photo: {"output": str(paths[0])} for photo, paths in plan.outputs.items()}
    return finish("blur", work_through("blur", plan, details, work), {"model": model}, args)
