"""Subcommands of the `facekit` command: each module has what `facekit.methods` asks of a command."""
