"""`facekit cache`: what is kept of the authors' published weights."""

import argparse
import sys
import time

from facekit.hub.published import NAMES

HELP = "list or clear converted published weights"
DESCRIPTION = "List what facekit keeps of the weights that authors published, or clear it."
EXAMPLES = """\
examples:
  facekit cache
  facekit cache --clear vspbfr
  facekit cache --clear all

It lies in FACEKIT_CACHE, by default beside the Hub's cache. What was downloaded from the Hub itself is in the Hub's
cache; `hf cache` lists and clears that.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--clear", choices=(*NAMES, "all"), metavar="NAME", help="clear one name, or all")


def run(args: argparse.Namespace) -> int:
    """List or clear; 0 when it is done, 1 when something cannot be cleared."""
    from facekit.hub.memory import format_bytes
    from facekit.hub.shelf import cache_folder, clear, kept

    if args.clear:
        code = 0
        for name in NAMES if args.clear == "all" else (args.clear,):
            try:
                freed = clear(name)
            except OSError as error:
                print(f"{name} is not cleared: {error}", file=sys.stderr)
                code = 1
                continue
            if freed or args.clear != "all":
                print(f"{name}: {format_bytes(freed)} cleared")
        return code

    found = kept()
    if not found:
        print(f"nothing is kept in {cache_folder()}")
    for each in found:
        print(f"{each.name}: {format_bytes(each.size)} in {each.folder}")
        if each.record is None:
            print("  files that are not converted yet, or remains of work that was interrupted")
            continue
        revision = f", revision {each.record.revision}" if each.record.revision else ""
        print(
            f"  from {each.record.origin}{revision}; converted {_say_age(time.time() - each.record.made)} ago"
        )
        print(f"  terms: {each.record.terms}")
    if found:
        print(f"{format_bytes(sum(each.size for each in found))} in all")
    return 0


def _say_age(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return "a minute"
