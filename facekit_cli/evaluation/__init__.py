"""The tables of the thesis as data, and what fills them: inputs by seed, methods, outputs, measures, reports."""

from facekit_cli.evaluation.tables import TABLES, Condition, Table

__all__ = ["TABLES", "Condition", "Table"]
