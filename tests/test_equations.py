"""The table of equations in docs/architecture.md against the marks "Eq. 3.7" in the code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"\bEqs?\. ((?:\d\.\d+(?:, | and | to )?)+)")


def numbers(text: str) -> set[str]:
    """Equations that a mark or a cell names: "6.6 to 6.8" is 6.6, 6.7 and 6.8."""
    found = set(re.findall(r"\d\.\d+", text))
    for chapter, first, last in re.findall(r"(\d)\.(\d+) to \d\.(\d+)", text):
        found |= {f"{chapter}.{n}" for n in range(int(first), int(last) + 1)}
    return found


def marked(file: Path) -> set[str]:
    return set().union(*(numbers(mark) for mark in MARK.findall(file.read_text())))


def table() -> list[tuple[set[str], list[Path]]]:
    """For each row of the table its equations and its files; a name behind a path lies beside that file."""
    section = (ROOT / "docs/architecture.md").read_text().split("## Equations")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d\.\d[^|]*) \|[^|]*\| ([^|]*) \|$", section, re.MULTILINE)
    return [
        (numbers(cell), [ROOT / path for path in re.findall(r"`(\w+/[\w/]+\.py)`", where)])
        for cell, where in rows
    ]


def test_ranges_are_read() -> None:
    assert numbers("6.6 to 6.8") == {"6.6", "6.7", "6.8"}
    assert MARK.findall("(Eq. 5.2, 5.3) and Eq. 3.12 to 3.14.") == ["5.2, 5.3", "3.12 to 3.14"]


def test_files_of_the_table_have_their_equations() -> None:
    rows = table()
    assert len(rows) > 20
    for equations, files in rows:
        missing = equations - set().union(*(marked(file) for file in files))
        assert not missing, f"{missing} not in {files}"


def test_no_equation_of_the_code_is_left_out_of_the_table() -> None:
    known = set().union(*(equations for equations, _ in table()))
    for package in ("facekit", "train"):
        for file in (ROOT / package).rglob("*.py"):
            left_out = marked(file) - known
            assert not left_out, f"{file.relative_to(ROOT)}: {left_out}"
