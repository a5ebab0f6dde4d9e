"""docs/thesis.md, made of docs/thesis.yaml: where in the code an item of the thesis is, and what command makes it."""

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "docs" / "thesis.yaml"
PAGE = ROOT / "docs" / "thesis.md"

HEAD = """\
# The thesis, item by item

Every equation, algorithm, table, figure and application of W. Lu, *Generative Models for Semantic Facial Image
Editing: Multimodal Approaches* (Memorial University of Newfoundland, 2025), with its place in the code and the command
that makes or uses it. Where the published code differs from the equations, networks are by default as published, since
published weights must load: `form: thesis` in a configuration of training builds what the thesis prints. Presets called
`thesis` or `paper` hold the thesis's forms and numbers.

In the commands `faces` is a folder of pictures ([datasets.md](datasets.md) has those of the thesis), a name such as
`face-restore` the bundled starter, `identity` a face recognition network, for example that of a converted model,
`runs/...` what a training wrote, and every output a folder of your choice.

Networks of other authors, comparison methods included (GRIG's "Projected" baseline and CMOD too), are not part of
facekit; their outputs take part as folders (`facekit evaluate --method NAME=FOLDER`).

This page is made of `thesis.yaml` beside it: `pytest tests/test_thesis.py --record` after a change there.
"""


@dataclass(frozen=True)
class Row:
    """One item.

    Attributes:
        item: as "Eq. 3.4", "Fig. 4.11 to 4.18".
        what: it is.
        code: places as "module:name" or "module".
        command: name of one of the chapter's commands, or a command.
        note: what a reader must know.
    """

    item: str
    what: str
    code: list[str]
    command: str
    note: str = ""

    @property
    def numbers(self) -> set[str]:
        """Such as {"Eq. 6.7", "Eq. 6.8"}."""
        kind, _, rest = self.item.partition(" ")
        return {f"{kind} {number}" for number in spell_out(rest)}


@dataclass(frozen=True)
class Chapter:
    """A chapter's title, its commands by name and its rows."""

    chapter: str
    title: str
    commands: dict[str, str]
    rows: list[Row]


def spell_out(text: str) -> set[str]:
    """Numbers that a text names: "6.5 to 6.7, 6.9" is 6.5, 6.6, 6.7 and 6.9; "Algorithm" has plain ones."""
    found = set(re.findall(r"\d+(?:\.\d+)*", text))
    for chapter, first, last in re.findall(r"(\d)\.(\d+) to \d\.(\d+)", text):
        found |= {f"{chapter}.{n}" for n in range(int(first), int(last) + 1)}
    return found


def read_chapters() -> list[Chapter]:
    chapters = yaml.safe_load(SOURCE.read_text())
    return [Chapter(**(entry | {"rows": [Row(**row) for row in entry["rows"]]})) for entry in chapters]


def find(place: str) -> tuple[ModuleType, Any]:
    """The module that a place names, and the object in it. Raises ImportError or AttributeError."""
    name, _, inner = place.partition(":")
    found: Any = import_module(name)
    module = found
    for part in inner.split(".") if inner else ():
        found = getattr(found, part)
    return module, found


def _link(place: str) -> str:
    module, _, inner = place.partition(":")
    file = module.replace(".", "/")
    path = f"{file}.py" if (ROOT / f"{file}.py").exists() else f"{file}/__init__.py"
    return f"[`{inner or module}`](../{path})"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def render(chapters: list[Chapter]) -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for chapter in chapters:
        parts += [f"\n## Chapter {chapter.chapter}: {chapter.title}\n"]
        if chapter.commands:
            parts += ["```sh"]
            for name, command in chapter.commands.items():
                parts += [f"# {name}", command]
            parts += ["```\n"]
        parts += [_line("item", "what", "code", "command"), "|---|---|---|---|"]
        for row in chapter.rows:
            command = row.command if row.command in chapter.commands else f"`{row.command}`"
            what = f"{row.what}. {row.note}" if row.note else row.what
            parts.append(_line(row.item, what, ", ".join(map(_link, row.code)), command))
    return "\n".join(parts) + "\n"
