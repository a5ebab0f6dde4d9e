"""`facekit push`: check a model folder or a Space and upload it to the Hub."""

import argparse
import sys

from facekit_cli.arguments import file_path
from facekit_cli.errors import UsageError

HELP = "upload a model folder or a Space to the Hub"
DESCRIPTION = "Look through a model folder or a Space and upload it to the Hub in one commit."
EXAMPLES = """\
examples:
  facekit push hub_cards/face-restore-starter-256 --repo ORG/face-restore-starter-256 --dry-run
  facekit push hub_cards/face-restore-starter-256 --repo ORG/face-restore-starter-256
  facekit push spaces/face-restore --repo ORG/face-restore --space --dry-run

A Space takes facekit's packages along, and of the bundled models those that its front matter names (`models:`) or its
tabs need, so that it starts without a download. Refused are pickles and damaged weights, a missing card, placeholder
text, paths of one machine, and metadata that the Hub would not take. The dry run needs no network. Log in before with
`hf auth login`. Exit code 0: all well. 1: the folder has problems, or the Hub refused; nothing was changed there, or
one commit was made.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    parser.add_argument(
        "folder", type=file_path, help="model folder, exactly as it is to be on the Hub; or a Space's"
    )
    parser.add_argument(
        "--repo", required=True, metavar="ORG/NAME", help="repository; made where there is none"
    )
    parser.add_argument("--space", action="store_true", help="the folder is a Space (spaces/NAME)")
    parser.add_argument("--dry-run", action="store_true", help="show what would be uploaded, and stop")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch; made where there is none (default: main)"
    )
    parser.add_argument("--message", default="Upload with facekit", help="message of the commit")


def run(args: argparse.Namespace) -> int:
    """Show the plan, then push it; 0 when all went well, 1 when there are problems or the Hub refuses."""
    from facekit.hub.publish import check_repo_id, plan_push, push
    from facekit.hub.publish_space import plan_space

    try:
        check_repo_id(args.repo)
        plan = (plan_space if args.space else plan_push)(args.folder)
    except ValueError as error:
        raise UsageError(error) from error
    width = max((len(f"{upload.size:,}") for upload in plan.uploads), default=1)
    for upload in plan.uploads:
        print(f"{upload.size:>{width},}  {upload.path}")
    print(f"{len(plan.uploads)} files, {plan.size:,} bytes, from {args.folder} to {args.repo}")
    if plan.left_out:
        print(f"left out: {', '.join(plan.left_out)}")
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in plan.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if plan.problems:
        return 1
    if args.dry_run:
        print("dry run: nothing was uploaded")
        return 0

    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = push(plan, args.repo, private=args.private, revision=args.revision, message=args.message)
    except (HfHubHTTPError, OSError, RuntimeError, ValueError) as error:
        print(f"the Hub did not take it: {error}", file=sys.stderr)
        return 1
    print(f"pushed: {commit.commit_url}")
    return 0
