"""`facekit fetch`: the authors' published weights, fetched and converted in one step."""

import argparse
import sys

from facekit.hub.published import NAMES
from facekit_cli.arguments import file_path
from facekit_cli.errors import UsageError
from facekit_cli.photos import check_new_folder
from facekit_cli.words import reword

HELP = "fetch the authors' published weights"
DESCRIPTION = (
    "Fetch what the authors published, check it, and convert it once into a folder that facekit loads."
)
EXAMPLES = """\
examples:
  facekit fetch vspbfr
  facekit restore photo.jpg --model published --output sharp
  facekit fetch exegan
  facekit fetch grig --from folder-with-fid_best_model.pth
  facekit fetch facemug-encoder --from best_model.pt --output facemug-encoder

vspbfr lies on the Hub, exegan and exegan-512 on Google's drive (pip install 'facekit[fetch]'). Where the files of
grig and facemug-encoder lie is not known here: fetch them by hand, or write their addresses into a table that
FACEKIT_PUBLISHED names. Converted folders are kept in FACEKIT_CACHE, by default beside the Hub's cache; `facekit
cache` lists and clears them. The SHA-256 of each file is noted when it is first fetched, and compared from then on.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=f"{', '.join(NAMES)}")
    parser.add_argument(
        "--from",
        dest="files",
        type=file_path,
        metavar="FOLDER",
        help="take the authors' files from this folder (or the file, where there is one alone); nothing is downloaded",
    )
    parser.add_argument(
        "--output", "-o", type=file_path, metavar="DIR", help="write the folder there, not into the cache"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")
    parser.add_argument(
        "--accept-changed",
        action="store_true",
        help="take files that differ from those that were fetched first",
    )


def run(args: argparse.Namespace) -> int:
    """Fetch and convert; 0 when the folder is there, 1 when the files cannot be had or do not fit."""
    from facekit.hub.published import published_named
    from facekit.hub.shelf import converted_folder, provide
    from facekit.notes import MissingPackage

    try:
        entry = published_named(args.name)
    except ValueError as error:
        raise UsageError(error) from error
    if args.files is not None and not args.files.exists():
        raise UsageError(f"--from {args.files} does not exist")
    if args.output is not None:
        check_new_folder(args.output, args.overwrite, [args.files])
    anew = args.overwrite or args.accept_changed or args.files or args.output
    here = None if anew else converted_folder(entry)
    if here is not None:
        print(f"{args.name} is in {here} already; --overwrite converts it anew")
        return 0
    try:
        folder = provide(
            entry,
            files=args.files,
            output=args.output,
            overwrite=args.overwrite or args.accept_changed,
            changed=args.accept_changed,
        )
    except (OSError, ValueError, MissingPackage) as error:
        print(f"not fetched: {reword(error, args)}", file=sys.stderr)
        return 1
    print(f"wrote {folder}")
    return 0
