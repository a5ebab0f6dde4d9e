"""Subcommands of the `facekit` command: each module has `add_parser(subparsers)` and `run(args) -> int`."""
