"""The `facekit` command: one subcommand for each method, and those of `COMMANDS`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from facekit.methods import MethodError, methods, refusals
from facekit.version import __version__
from facekit_cli.arguments import Parser
from facekit_cli.endings import run_to_end
from facekit_cli.errors import UsageError
from facekit_cli.words import reword

# Commands beside those of the methods: modules of facekit_cli.commands, with what `facekit.methods` asks of one.
COMMANDS = ("fetch", "cache", "convert", "export", "evaluate", "study", "inspect", "push")


def find_commands() -> tuple[dict[str, ModuleType], list[str]]:
    """The module of every command, in their order, and why others are left out."""
    own = {name: import_module(f"facekit_cli.commands.{name}") for name in COMMANDS}
    found: dict[str, ModuleType] = {}
    left_out = list(refusals())
    for method in methods():
        if not method.command:
            continue
        try:
            if method.name in own:
                raise method.refusal("command", ValueError(f"facekit {method.name} is another command"))
            found[method.name] = method.import_command()
            if method.way_out:  # let it fail here, where the others still go on
                with method.guard("command"):
                    found[method.name].add_options(argparse.ArgumentParser())
        except MethodError as error:
            found.pop(method.name, None)
            left_out.append(str(error))
    return found | own, left_out


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands; what is left out is said on stderr."""
    commands, left_out = find_commands()
    for reason in left_out:
        print(f"facekit: {reason}", file=sys.stderr)
    parser = Parser(prog="facekit", description="Edit face photos: one command for each task.")
    parser.add_argument("--version", action="version", version=f"facekit {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in commands.items():
        command = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(command)
        command.set_defaults(run=module.run, command_parser=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: all done. 1: something failed, the rest is done. 2: wrong usage, or none, nothing done. 130: interrupted.
    141: nobody reads what is printed.
    """
    return run_to_end(lambda: _run(argv), "interrupted; finished files are complete")


def _run(argv: Sequence[str] | None) -> int:
    parser, given = build_parser(), sys.argv[1:] if argv is None else argv
    if not given:
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(given)
    try:
        return args.run(args)
    except UsageError as error:
        args.command_parser.say(reword(error, args))
        return 2
