"""`facekit export`: a model becomes ONNX graphs, which run without PyTorch."""

import argparse
import os
import sys

from facekit.hub.starters import starters
from facekit.methods import methods
from facekit_cli.arguments import file_path, hub_name
from facekit_cli.errors import UsageError
from facekit_cli.models import load_pipeline
from facekit_cli.photos import check_new_folder

HELP = "write a model as ONNX graphs, which run without PyTorch"
DESCRIPTION = (
    "Write a model's networks as ONNX graphs, checked against PyTorch, for programs without PyTorch."
)
EXAMPLES = """\
examples:
  facekit export face-restore --format onnx --output restorer-onnx
  facekit export face-inpaint --output inpainter-onnx
  facekit export vspbfr --output vspbfr-onnx --overwrite

The graphs take aligned faces of the model's size, any number at once. Before the folder gets its name they are run by
onnxruntime beside the pipeline, on one face and on three that the bundled prior draws; where a number differs by more
than 0.001, nothing is written. A program without PyTorch then reads:

  from facekit.onnx import OnnxPipeline

  restore = OnnxPipeline("restorer-onnx")
  restored = restore(face)  # numpy uint8 [256, 256, 3], or a batch of them

Needs the extra `export`; the program, `onnx`. Exit code 0: written. 1: the graphs differ, or cannot be made.
"""
FORMATS = ("onnx",)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    parser.add_argument(
        "model",
        type=hub_name,
        metavar="MODEL",
        help="model folder, Hub id, or a bundled starter: face-restore, face-inpaint, exemplar-inpaint, face-edit",
    )
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="what to write")
    parser.add_argument(
        "--output", "-o", type=file_path, required=True, metavar="DIR", help="folder to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that exists")


def run(args: argparse.Namespace) -> int:
    """Export a model; 0 when the folder is written, 1 when its graphs cannot be made or differ from PyTorch."""
    if not (os.path.isdir(args.model) or "/" in args.model or args.model in starters()):
        bundled = ", ".join(method.model for method in methods())
        raise UsageError(
            f"{args.model} is no folder, and no model's name: say {bundled} (bundled models), a folder, or ORG/NAME on "
            "the Hub"
        )
    from facekit.notes import MissingPackage
    from facekit.onnx import EXPORT_PACKAGES, check_packages

    check_new_folder(args.output, args.overwrite, [args.model])
    try:
        check_packages(EXPORT_PACKAGES, "export to ONNX")
    except MissingPackage as error:
        raise UsageError(error) from error

    import torch

    from facekit.export.model import find_model, read_card
    from facekit.export.write import export_onnx

    try:
        place, name = find_model(args.model)
    except (OSError, ValueError) as error:
        raise UsageError(f"the model {args.model} cannot be loaded: ", error) from error
    pipeline = load_pipeline(name, place, torch.device("cpu"), "float32")
    card, licence = read_card(place)
    try:
        export_onnx(
            pipeline,
            args.output,
            model=args.model,
            card=card,
            licence=licence,
            overwrite=args.overwrite,
            report=lambda line: print(line, flush=True),
        )
    except (OSError, ValueError, RuntimeError) as error:
        print(f"not exported: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.output}")
    return 0
