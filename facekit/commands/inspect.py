"""`facekit inspect`: was a picture made or changed by a model?"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.commands.common import list_photos, write_json

if TYPE_CHECKING:
    from facekit.provenance import Inspection

EXAMPLES = """\
examples:
  facekit inspect picture.png
  facekit inspect folder/ --json origin.json

Two labels are looked for: what the file says (IPTC DigitalSourceType, by any program that writes it), and facekit's
invisible mark in the pixels. That neither is there does not mean that no model was at work. About one unmarked picture
in 10,000 is taken for marked.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand and return its parser."""
    parser = subparsers.add_parser(
        "inspect",
        help="tell whether pictures are labelled as made or changed by a model",
        description="Read the origin of each picture from its file and from its pixels.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+", metavar="FILE", help="picture files, or folders of them")
    parser.add_argument("--json", type=Path, metavar="REPORT", help="write a report of every picture")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print what each picture tells; 0 when all could be read, else 1."""
    from facekit.provenance import inspect

    entries: list[dict[str, Any]] = []
    failed = False
    for photo in list_photos(args.photos):
        try:
            found = inspect(photo)
        except (OSError, ValueError) as error:
            print(f"failed: {photo}: {error}", file=sys.stderr)
            entries.append({"photo": str(photo), "error": str(error)})
            failed = True
            continue
        print(f"{photo}\n  metadata: {_metadata(found)}\n  watermark: {_watermark(found)}")
        entries.append({"photo": str(photo)} | asdict(found))
    if args.json:
        try:
            write_json({"command": "inspect", "photos": entries}, args.json)
        except OSError as error:
            print(f"the report {args.json} could not be written: {error}", file=sys.stderr)
            return 1
    return 1 if failed else 0


def _metadata(found: "Inspection") -> str:
    told = found.metadata
    if told is None:
        return "nothing about a model"
    model = f", model {told.model}" if told.model else ""
    revision = f", revision {told.revision}" if told.revision else ""
    return f"{told.kind} ({told.source_type.rsplit('/', 1)[-1]}) by {told.software}{model}{revision}"


def _watermark(found: "Inspection") -> str:
    mark = found.watermark
    score = f"score {mark.score:.1f}, threshold {mark.threshold:.1f}"
    if not mark.found:
        return f"not found ({score})"
    left, top, right, bottom = mark.box
    return f"found around {left},{top} to {right},{bottom} ({score})"
