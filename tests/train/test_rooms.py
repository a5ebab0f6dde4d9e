"""The rooms of `train` import one way: data, engine, starts, the stages, the starters; no stage knows another."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {"checks": 0, "data": 1, "engine": 2, "starts": 3, "starters": 5}
STAGE = 4
FILES = sorted((ROOT / "train").rglob("*.py"))


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_imports_go_down(path: Path) -> None:
    """Imports within functions and for types are counted too; what is launched may import its own package alone."""
    room = path.relative_to(ROOT / "train").parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            other = room_of(name)
            if name.split(".")[0] == "train" and other != room:
                assert FLOORS.get(other, STAGE) < FLOORS.get(room, STAGE), f"{room} imports {name}"
            assert name.split(".")[0] not in ("facekit_cli", "facekit_demo", "tests"), (
                f"{room} imports {name}"
            )
