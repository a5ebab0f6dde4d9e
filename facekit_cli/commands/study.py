"""`facekit study`: let people compare the outputs of methods, and sum up what they chose."""

import argparse
import sys

from facekit_cli.arguments import file_path, named_place, seed_number
from facekit_cli.errors import UsageError
from facekit_cli.photos import check_writable

HELP = "compare methods side by side with people"
DESCRIPTION = "Show outputs of two or more methods side by side, shuffled, and store what people choose."
EXAMPLES = """\
examples:
  facekit study ours=out/ours GFP-GAN=out/gfpgan --answers answers
  facekit study a=out/a b=out/b c=out/c --kind ranking --inputs out/damaged --count 20 --answers answers
  facekit study --summary --answers answers

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
        "--kind", choices=("2afc", "ranking"), default="2afc", help="one of two, or best to worst of all"
    )
    parser.add_argument("--question", default="Which picture looks more real?", help="the text above them")
    parser.add_argument(
        "--inputs", type=file_path, metavar="FOLDER", help="what the methods were given, shown above"
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
    if args.summary:
        from facekit_cli.study.summary import summarise

        try:
            print(summarise(answers.all()), end="")
        except ValueError as error:
            raise UsageError(f"{args.answers}: ", error) from error
        return 0

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
        print(
            f"{len(study.pictures)} pictures, {len(study.methods)} methods: http://{args.host}:{server.server_port}/"
        )
        print(f"answers: {args.answers}; stop with Ctrl-C", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped; every answer is stored", file=sys.stderr)
    return 0
