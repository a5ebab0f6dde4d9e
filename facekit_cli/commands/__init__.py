"""Subcommands of the `facekit` command: each module has what `facekit.methods` requires of a command."""
