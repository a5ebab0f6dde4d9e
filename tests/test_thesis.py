"""docs/thesis.md: complete, made of docs/thesis.yaml, and true: names are there, commands are understood.

`pytest tests/test_thesis.py --record` writes the page.
"""

import re
import shlex
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from facekit_cli.main import build_parser
from tests.thesis_page import PAGE, ROOT, find, read_chapters, render, spell_out
from train.engine.config import read_config

CHAPTERS = read_chapters()
ROWS = [(chapter, row) for chapter in CHAPTERS for row in chapter.rows]
COMMANDS = sorted(
    {command for chapter in CHAPTERS for command in chapter.commands.values()}
    | {row.command for chapter, row in ROWS if row.command not in chapter.commands}
)
# How many of each kind the chapters 3 to 6 of the thesis have; numbers begin at 1 and leave none out.
EQUATIONS = {"3": 14, "4": 6, "5": 10, "6": 24}
TABLES = {"3": 5, "4": 6, "5": 5, "6": 7}
FIGURES = {"3": 11, "4": 23, "5": 19, "6": 26}
ALGORITHMS = 5
MARK = re.compile(r"\bEqs?\. ((?:\d\.\d+(?:, | and | to )?)+)")


def test_the_page_is_what_its_source_says(request: pytest.FixtureRequest) -> None:
    page = render(CHAPTERS)
    if request.config.getoption("--record"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page


def test_every_item_of_the_thesis_has_a_row() -> None:
    wanted = {f"Algorithm {n}" for n in range(1, ALGORITHMS + 1)}
    for kind, counts in {"Eq.": EQUATIONS, "Table": TABLES, "Fig.": FIGURES}.items():
        wanted |= {f"{kind} {chapter}.{n}" for chapter, count in counts.items() for n in range(1, count + 1)}
    rows = [number for _, row in ROWS for number in row.numbers]
    named = [number for number in rows if not number.startswith("Section")]
    assert set(named) == wanted
    assert len(named) == len(wanted), "an item has two rows"


@pytest.mark.parametrize("item", [row.item for _, row in ROWS])
def test_names_are_there(item: str) -> None:
    row = next(row for _, row in ROWS if row.item == item)
    assert row.code, f"{item} has no place in the code"
    for place in row.code:
        find(place)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "facekit":
        build_parser().parse_args(words[1:])
        return
    assert words[:3] == ["accelerate", "launch", "-m"], command
    module = import_module(f"{words[3]}.config")
    classes = [
        value
        for value in vars(module).values()
        if is_dataclass(value) and getattr(value, "__module__", "") == module.__name__
    ]
    *_, config_class = (kind for kind in classes if kind.__name__.endswith("Config"))
    read_config(config_class, words[4:])


def marked(file: Path) -> set[str]:
    """Equations that a file's docstrings and comments name, such as {"Eq. 3.7"}."""
    return {f"Eq. {number}" for mark in MARK.findall(file.read_text()) for number in spell_out(mark)}


def test_ranges_are_read() -> None:
    assert spell_out("6.6 to 6.8, 6.10") == {"6.6", "6.7", "6.8", "6.10"}
    assert MARK.findall("(Eq. 5.2, 5.3) and Eq. 3.12 to 3.14.") == ["5.2, 5.3", "3.12 to 3.14"]


@pytest.mark.parametrize("item", [row.item for _, row in ROWS if row.item.startswith("Eq.")])
def test_code_of_an_equation_says_so(item: str) -> None:
    row = next(row for _, row in ROWS if row.item == item)
    files = [Path(find(place)[0].__file__ or "") for place in row.code]
    assert row.numbers <= set().union(*map(marked, files)), f"no mark in {files}"


def test_marks_in_the_code_are_equations_of_the_thesis() -> None:
    known = {number for _, row in ROWS for number in row.numbers}
    for package in ("facekit", "facekit_cli", "facekit_demo", "train"):
        for file in (ROOT / package).rglob("*.py"):
            assert marked(file) <= known, file
