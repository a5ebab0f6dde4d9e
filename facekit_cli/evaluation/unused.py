"""Options of `facekit evaluate` that a table or figure would never read: they are refused before any work."""

import argparse
from collections.abc import Iterator, Sequence

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.maps import needs_maps
from facekit_cli.evaluation.tables import Table

TEXTS = ("captions", "clip", "skip_uncaptioned")
MAPS = ("parser",)
INPUTS = ("data", "count", "masks", "pairing", "poses", "pairs", *MAPS, *TEXTS)
TABLES_ALONE = ("export_inputs", "runs", "metrics", "reference", "values", "train")
NETWORKS = ("features", "identity")  # those of measures
CURVES = ("curves",)

Unused = Iterator[tuple[Sequence[str], str]]


def refuse_unused(args: argparse.Namespace, name: str, table: Table | None, figure: bool) -> None:
    """Refuse an option that was given and has no use.

    Args:
        name: of the table or figure, as messages say it.
        table: its inputs and metrics; None where it is drawn out of training curves alone.
        figure: it is drawn by a module of its own.

    Raises:
        UsageError: names the option, and why.
    """
    for options, reason in _of_curves() if table is None else _of_inputs(table, figure):
        for option in options:
            if getattr(args, option) not in (None, False, "", []):
                raise UsageError(f"{name} takes no --{option.replace('_', '-')}: {reason}")


def _of_curves() -> Unused:
    yield ("method", *INPUTS, *NETWORKS, *TABLES_ALONE), "runs are named by --curves"


def _of_inputs(table: Table, figure: bool) -> Unused:
    yield CURVES, "they are for fig-4.23"
    if table.task == "complexity":
        yield (*INPUTS, *NETWORKS, *TABLES_ALONE), "it counts networks"
        return
    if figure:
        yield TABLES_ALONE, "it is for tables"
    if not any("Te" in modalities.split("+") for modalities in table.modalities):
        yield TEXTS, "it reads no texts"
    if not needs_maps(table):
        yield MAPS, "it needs no semantic maps"
