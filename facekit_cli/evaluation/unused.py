"""Options of `facekit evaluate` that a table or figure has no use for: they are refused before any work."""

import argparse
from collections.abc import Iterator, Sequence

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.maps import needs_maps
from facekit_cli.evaluation.tables import Table

CURVES = ("curves",)
TEXTS = ("captions", "clip", "skip_uncaptioned")
MAPS = ("parser",)
TABLES_ALONE = ("export_inputs", "runs", "metrics", "reference", "values", "train")
PAIRS = ("pairing", "poses", "pairs")
INPUTS = ("data", "size", "count", "masks", *PAIRS, *MAPS, *TEXTS)
NETWORKS = ("features", "identity")  # of measures

Unused = Iterator[tuple[Sequence[str], str]]


def refuse_unused(args: argparse.Namespace, table: Table, figure: bool = False) -> None:
    """Refuse what was said and would not be read, of a table, or of a `Figure` with its own module. UsageError."""
    name = table.name if figure else f"table {table.name}"
    _refuse(args, _of_figure(name) if figure else (), name)
    _refuse(args, _of_table(table), name)


def refuse_but_curves(args: argparse.Namespace, name: str) -> None:
    """The same of a figure that is drawn out of curves alone."""
    wanted = (*TABLES_ALONE, *INPUTS, "method", *NETWORKS)
    _refuse(args, ((wanted, "runs are named by --curves"),), name)


def _of_figure(name: str) -> Unused:
    yield TABLES_ALONE, "it is for tables"


def _of_table(table: Table) -> Unused:
    yield CURVES, "they are for fig-4.23"
