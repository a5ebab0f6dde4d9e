"""A table as Markdown, CSV and JSON, and a contact sheet beside it."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from facekit.images.files import write_atomically
from facekit_cli.evaluation.inputs import thumbnail
from facekit_cli.results import save_picture

THUMBNAIL = 160
LABEL_HEIGHT = 18


@dataclass
class Report:
    """A finished table.

    Attributes:
        name, title: of the table.
        header: titles of the columns after the first, which is the method.
        rows: label and cells as text.
        numbers: the same cells as numbers, None where there is none.
        better: for each column 1 (more is better), -1, or 0 (neither).
        notes: lines below the table.
        details: further content of the JSON.
    """

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    numbers: Sequence[Sequence[float | None]]
    better: Sequence[int]
    notes: Sequence[str] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """Such as "Table 3.1" or "Figure 4.4"."""
        if self.name.startswith("fig-"):
            return f"Figure {self.name.removeprefix('fig-')}"
        return f"Table {self.name}"

    def markdown(self) -> str:
        """The table with the best of each column in bold."""
        best = self._best()
        lines = [["Method", *self.header], ["---"] * (len(self.header) + 1)]
        for number, (label, cells) in enumerate(self.rows):
            shown = [f"**{text}**" if number in best[i] else text for i, text in enumerate(cells)]
            lines.append([label, *shown])
        body = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"# {self.heading}: {self.title}\n\n{body}\n" + (f"\n{notes}" if notes else "")

    def _best(self) -> list[set[int]]:
        best: list[set[int]] = []
        for column, better in enumerate(self.better):
            values = [row[column] for row in self.numbers]
            known = [value for value in values if value is not None]
            if not better or len(set(known)) < 2:
                best.append(set())
                continue
            top = max(known, key=lambda value: better * value)
            best.append({number for number, value in enumerate(values) if value == top})
        return best

    def csv(self) -> str:
        """The table's texts, comma-separated."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["Method", *self.header])
        writer.writerows([label, *cells] for label, cells in self.rows)
        return text.getvalue()

    def json(self) -> str:
        """Everything, with full numbers; infinite ones (PSNR of equal pictures) as text."""
        rows = [
            {"method": label, "values": [_plain(value) for value in values], "cells": list(cells)}
            for (label, cells), values in zip(self.rows, self.numbers, strict=True)
        ]
        content = {"table": self.name, "title": self.title, "columns": list(self.header), "rows": rows}
        return (
            json.dumps(content | {"notes": list(self.notes)} | self.details, indent=2, allow_nan=False) + "\n"
        )

    def save(self, folder: Path, stem: str = "table") -> list[Path]:
        """Write `table.md`, `table.csv` and `table.json`, or with another stem; returns their paths."""
        texts = {f"{stem}.md": self.markdown(), f"{stem}.csv": self.csv(), f"{stem}.json": self.json()}
        for name, text in texts.items():
            write_atomically(folder / name, methodcaller("write", text.encode()))
        return [folder / name for name in texts]


def _plain(value: float | None) -> float | str | None:
    return value if value is None or np.isfinite(value) else str(value)


def save_contact_sheet(lines: Sequence[Sequence[tuple[str, np.ndarray]]], file: Path) -> None:
    """Labelled pictures, a line each, as PNG. It shows pictures of the data: it is for the output folder only."""
    if not lines:
        return
    width = max(len(line) for line in lines) * THUMBNAIL
    height = THUMBNAIL + LABEL_HEIGHT
    sheet = Image.new("RGB", (width, height * len(lines)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        for column, (label, pixels) in enumerate(line):
            left, top = column * THUMBNAIL, row * height
            draw.text((left + 3, top + 3), _fitting(draw, label), fill="black")
            sheet.paste(Image.fromarray(thumbnail(pixels, THUMBNAIL)), (left, top + LABEL_HEIGHT))
    save_picture(sheet, file)


def _fitting(draw: ImageDraw.ImageDraw, label: str) -> str:
    while label and draw.textlength(label) > THUMBNAIL - 6:
        label = label[:-1]
    return label
