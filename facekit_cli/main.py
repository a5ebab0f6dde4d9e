"""The `facekit` command: one subcommand for each module of `COMMANDS`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from facekit.version import __version__
from facekit_cli.endings import run_to_end
from facekit_cli.errors import UsageError
from facekit_cli.words import own_words

# Modules of facekit_cli.commands with add_parser(subparsers) and run(args) -> int. They import torch and the
# pipelines inside run, so that --help and wrong arguments are answered at once.
COMMANDS = ("restore", "inpaint", "exemplar", "edit", "convert", "evaluate", "study", "inspect", "push")


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="facekit", description="Edit face photos: one command for each task."
    )
    parser.add_argument("--version", action="version", version=f"facekit {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"facekit_cli.commands.{name}")
        command = module.add_parser(subparsers)
        command.set_defaults(run=module.run, command_parser=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: all done. 1: something failed, the rest is done. 2: wrong usage, nothing done. 130: interrupted.
    141: nobody reads what is printed.
    """
    return run_to_end(lambda: _run(argv), "interrupted; finished files are complete")


def _run(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except UsageError as error:
        args.command_parser.print_usage(sys.stderr)
        print(f"{args.command_parser.prog}: error: {own_words(error, args)}", file=sys.stderr)
        return 2
