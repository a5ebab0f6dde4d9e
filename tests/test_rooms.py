"""The rooms of the house and the arrows between them: who may import whom, imports inside functions counted."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("facekit_cli", "facekit_demo", "train")

# Room -> rooms that it may import. A file beside the rooms is a room of its own.
LIBRARY = {
    "version": set(),
    "methods": set(),
    "_torchvision": set(),
    "notes": set(),
    "images": {"notes"},
    "schedulers": {"notes"},
    "weights": set(),
    "hub": {"images", "methods", "notes"},
    "models": {"hub", "notes"},
    "faces": {"images", "notes", "provenance"},
    "damage": set(),
    "provenance": {"hub", "images", "version"},
    "conditions": {"faces", "hub", "images", "models", "notes"},
    "losses": {"models", "weights"},
    "metrics": {"losses", "models", "weights"},
    "pipelines": {
        "conditions",
        "damage",
        "faces",
        "hub",
        "images",
        "metrics",
        "models",
        "notes",
        "provenance",
        "schedulers",
        "weights",
    },
    "convert": {"conditions", "hub", "images", "models", "pipelines", "schedulers", "weights"},
    "onnx": {"conditions", "faces", "images", "notes"},
    "export": {"hub", "images", "models", "notes", "onnx", "pipelines", "schedulers", "version"},
    "public": {"damage", "export", "hub", "models", "pipelines", "schedulers"},
    "_on_import": {"_torchvision", "hub", "methods"},
    "facekit": {"_on_import", "public", "version"},
    # Doors to the program: they run it by name and import nothing of it.
    "__main__": set(),
    "batch": set(),
    "evaluation": set(),
}


def modules(package: str) -> dict[str, Path]:
    """Dotted names of a package's modules, and their files."""
    found = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


KNOWN = {name: file for package in ("facekit", *PROGRAMS) for name, file in modules(package).items()}


def imported(name: str) -> Iterator[tuple[str, int]]:
    """Modules of ours that a module imports anywhere in its file but for type checkers alone, and in which line."""
    file = KNOWN[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in running(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name in KNOWN)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                if whole in KNOWN or base in KNOWN:
                    yield (whole if whole in KNOWN else base), node.lineno


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield node
            yield from running(node)


def room(name: str) -> str:
    """The room of a module: the folder below the package, or the file where it lies beside the folders."""
    return name.split(".")[1] if "." in name else name


def arrows(package: str) -> dict[tuple[str, str], str]:
    """From which room to which, and a place where."""
    found: dict[tuple[str, str], str] = {}
    for name in modules(package):
        for other, line in imported(name):
            if other.split(".")[0] == package and room(other) != room(name):
                found.setdefault((room(name), room(other)), f"{KNOWN[name].relative_to(ROOT)}:{line}")
    return found


def circles(edges: set[tuple[str, str]]) -> set[str]:
    """The nodes from which a way leads back to themselves."""
    reached = set(edges)
    while more := {(a, d) for a, b in reached for c, d in edges if b == c} - reached:
        reached |= more
    return {a for a, b in reached if a == b}


def test_a_circle_would_be_seen() -> None:
    assert circles({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}) == {"a", "b", "c"}
    assert circles({("a", "b"), ("a", "c"), ("b", "c")}) == set()


def test_rooms_of_the_library_import_downwards_only() -> None:
    found = arrows("facekit")
    assert {room for arrow in found for room in arrow} <= LIBRARY.keys()
    assert {arrow: place for arrow, place in found.items() if arrow[1] not in LIBRARY[arrow[0]]} == {}
    assert circles({(a, b) for a, rooms in LIBRARY.items() for b in rooms}) == set()


@pytest.mark.parametrize("package", PROGRAMS)
def test_a_program_has_no_circle_of_rooms(package: str) -> None:
    assert circles(set(arrows(package))) == set()


@pytest.mark.parametrize("package", ["facekit", *PROGRAMS])
def test_no_circle_of_files(package: str) -> None:
    edges = {(name, other) for name in modules(package) for other, _ in imported(name) if other != name}
    assert circles(edges) == set()


def test_the_library_imports_no_program() -> None:
    allowed = {
        "facekit": set(),
        "facekit_cli": {"facekit"},
        "facekit_demo": {"facekit"},
        "train": {"facekit"},
    }
    for package, others in allowed.items():
        found = {other.split(".")[0] for name in modules(package) for other, _ in imported(name)}
        assert found <= others | {package}
