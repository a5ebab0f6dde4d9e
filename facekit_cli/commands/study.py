"""`facekit study`: let people compare the outputs of methods, and sum up what they chose."""

import argparse
import sys
from typing import TYPE_CHECKING

from facekit_cli.arguments import file_path, named_place, seed_number
from facekit_cli.errors import UsageError
from facekit_cli.photos import check_writable

if TYPE_CHECKING:
    from facekit_cli.study.answers import Answers

HELP = "compare methods side by side with people"
DESCRIPTION = "Show outputs of two or more methods side by side, shuffled, and store what people choose."
EXAMPLES = """\
examples:
  facekit study ours=out/ours GFP-GAN=out/gfpgan --answers answers
  facekit study a=out/a b=out/b c=out/c --kind ranking --inputs out/damaged --count 20 --answers answers
  facekit study --summary --answers answers --chart shares.png

with what facekit evaluate writes, after --export-inputs in and --output out; * stands for the sets of inputs:
  facekit study 'ours=out/outputs/ours/*' 'MAT=outputs/mat/*' --kind ranking --count 20 --answers fig-4.10
      --inputs 'masked=in/*/image' --inputs 'original=in/*/truth'
  facekit study ours=out/outputs/ours/all LaFIn=outputs/lafin SC-FEGAN=outputs/scfegan --kind best --answers 5.3.2
      --inputs exemplar=in/all/exemplar --question 'Which is best, and most like the exemplar?'
  facekit study ours=out/outputs/ours__+Se+Te_/all ColDiffusion=outputs/coldiffusion --answers 6.3
      --inputs map=in/all/semantics --inputs words=in/all/prompt

kinds: 2afc asks for one of two, of every pair of methods; ranking for an order from best to worst of all, best for the
best of all. The keys 1 to 9 choose, too. The summary has shares of the votes (of first ranks, in a ranking).
--inputs takes folders of pictures (maps of class numbers are painted), folders of .txt files, and tables of captions:
.jsonl or .csv with file_name and caption, text, overall_caption or label, such as metadata.jsonl, or .json.
Files of the same name are outputs of the same input. Order and side are drawn for each participant; answers stay on
this computer, one JSONL file a participant. --host 0.0.0.0 opens the page to the local network: it has no password.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    parser.add_argument(
        "methods", nargs="*", type=named_place, metavar="NAME=FOLDER", help="folders of outputs"
    )
    parser.add_argument(
        "--answers", type=file_path, required=True, metavar="DIR", help="folder of the answers"
    )
    parser.add_argument("--summary", action="store_true", help="say what was answered, with intervals")
    parser.add_argument(
        "--chart",
        type=file_path,
        metavar="FILE",
        help="with --summary: shares of the votes as bars, .png or .tif",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a chart that exists")
    parser.add_argument(
        "--kind",
        choices=("2afc", "ranking", "best"),
        default="2afc",
        help="one of two, best to worst of all, or the best of all (default: 2afc)",
    )
    parser.add_argument("--question", default="Which picture looks more real?", help="the text above them")
    parser.add_argument(
        "--inputs",
        action="append",
        default=[],
        type=named_place,
        metavar="NAME=PLACE",
        help="what the methods were given, or the truth, shown above with its name; repeat it",
    )
    parser.add_argument(
        "--count", type=int, metavar="N", help="questions for each participant (default: all)"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of choice and order")
    parser.add_argument("--host", default="127.0.0.1", help="address (default: this computer alone)")
    parser.add_argument("--port", type=int, default=7861, help="port; 0: any free one")


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted, or print the summary; 0."""
    from facekit_cli.study.answers import Answers

    answers = Answers(args.answers)
    if args.chart is not None:
        _check_chart(args)
    if args.summary:
        return _summarise(args, answers)

    from facekit_cli.study.questions import open_study
    from facekit_cli.study.server import make_server

    check_writable([args.answers], "--answers")
    study = open_study(args.methods, args.kind, args.question, args.inputs, args.count, args.seed)
    answers.bind(study)
    try:
        server = make_server(study, answers, args.host, args.port)
    except (OSError, OverflowError) as error:
        raise UsageError(f"the page cannot be opened at {args.host}:{args.port}: ", error) from error
    with server:
        address = f"http://{args.host}:{server.server_port}/"
        print(f"{len(study.pictures)} pictures, {len(study.methods)} methods: {address}")
        for given in study.given:
            count = sum(picture in given for picture in study.pictures)
            print(f"{given.caption}: shown with {count} of {len(study.pictures)}")
        print(f"answers: {args.answers}; stop with Ctrl-C", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped; every answer is stored", file=sys.stderr)
    return 0


def _check_chart(args: argparse.Namespace) -> None:
    if not args.summary:
        raise UsageError("--chart draws what --summary says; say both")
    if args.chart.suffix not in (".png", ".tif"):
        raise UsageError(f"--chart {args.chart} must end in .png or .tif")
    if args.chart.exists() and not args.overwrite:
        raise UsageError(f"{args.chart} exists already; say --overwrite, or name another --chart")
    check_writable([args.chart.parent], "--chart")


def _summarise(args: argparse.Namespace, answers: "Answers") -> int:
    from facekit_cli.study.chart import save_chart
    from facekit_cli.study.summary import summarise, vote_shares

    given = answers.all()
    try:
        print(summarise(given), end="")
    except ValueError as error:
        raise UsageError(f"{args.answers}: ", error) from error
    if args.chart is not None:
        save_chart(vote_shares([answer for one in given.values() for answer in one]), args.chart)
        print(f"\nwritten: {args.chart}")
    return 0
