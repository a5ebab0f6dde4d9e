"""Whoever installs an extra has all that its code imports: read from the package's own metadata."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
OWN = {"facekit", "facekit_cli", "facekit_demo", "train", "tests"}
# Of the library itself.
EXTRAS = ("faces", "metrics", "landmarks", "emotion", "niqe", "heic", "background", "export", "onnx", "fetch")
NAMED = {"datasets", "transformers"}  # the functions that import them name them where they are missing


def name(text: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def required(*extras: str) -> list[Requirement]:
    """What `facekit[extras]` asks for, facekit's own extras opened."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            wanted = Requirement(line)
            own = wanted.extras if wanted.name == "facekit" else ()
            lines += [each for name in own for each in project["optional-dependencies"][name]] or [line]
    return [Requirement(line) for line in lines]


def closure(*extras: str) -> set[str]:
    """Names of all distributions that pip installs with `facekit[extras]`, of those that are here."""
    found: set[str] = set()
    waiting = [(wanted, "") for wanted in required(*extras)]
    while waiting:
        wanted, of = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": of}):
            continue
        key = name(wanted.name)
        if key in found and not wanted.extras:
            continue
        found.add(key)
        try:
            lines = metadata.requires(wanted.name) or []
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here: its own needs cannot be read
        for extra in ["", *wanted.extras]:
            waiting += [(Requirement(line), extra) for line in lines]
    return found


def imported(folder: Path, anywhere: bool) -> dict[str, str]:
    """Foreign top-level packages that a folder's files import, and where; without `anywhere` at import time only."""
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree) if anywhere else at_import(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                if top not in sys.stdlib_module_names and top not in OWN:
                    found.setdefault(top, f"{file.relative_to(ROOT)}:{node.lineno}")
    return found


def at_import(tree: ast.AST) -> list[ast.AST]:
    """The nodes that run when a module is imported: no bodies of functions, nothing for type checkers alone."""
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        nodes += [node, *at_import(node)]
    return nodes


def missing(packages: dict[str, str], have: set[str]) -> dict[str, str]:
    """Those that none of the distributions brings."""
    providers = metadata.packages_distributions()
    return {
        package: place
        for package, place in packages.items()
        if not any(name(owner) in have for owner in providers.get(package, [package]))
    }


def test_a_missing_package_would_be_seen() -> None:
    assert missing({"skimage": "here"}, closure()) == {"skimage": "here"}
    assert not missing({"skimage": "here"}, closure("train"))


@pytest.mark.parametrize("package", ["facekit", "facekit_cli"])
def test_plain_installation_imports(package: str) -> None:
    assert not missing(imported(ROOT / package, anywhere=False), closure())


@pytest.mark.parametrize(
    ("place", "extras"), [("train", ("train",)), ("facekit_demo", ("demo",)), ("app.py", ("demo",))]
)
def test_an_extra_is_complete(place: str, extras: tuple[str, ...]) -> None:
    assert not missing(imported(ROOT / place, anywhere=True), closure(*extras))


@pytest.mark.parametrize("package", ["facekit", "facekit_cli"])
def test_every_package_that_is_imported_belongs_to_an_extra(package: str) -> None:
    assert not missing(imported(ROOT / package, anywhere=True), closure(*EXTRAS) | NAMED)
