"""Notes and refusals as data, and the words that command line and page have for them."""

import argparse
import ast
import pickle
import string
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import torch

from facekit.notes import Argument, Kind, Message, MissingFile, MissingPackage, Note, Refusal, message_of
from facekit_cli.words import ADVICE, OPTIONS, reword
from facekit_demo.common.words import page_words

ROOT = Path(__file__).resolve().parents[1]
KINDS = set(get_args(Kind))
SAYERS = {"Note", "Refusal", "MissingPackage", "MissingFile"}
TABS = ("restore.result", "inpaint.tab", "exemplar.result", "edit.result", "mend.tab")
TABLES = {name: import_module(f"facekit_demo.{name}").WORDS for name in TABS}


def made() -> dict[str, list[set[str]]]:
    """For every kind the names of the values of each note and error that the library makes of it."""
    found: dict[str, list[set[str]]] = {}
    for file in (ROOT / "facekit").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in SAYERS:
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                names = {word.arg for word in node.keywords if word.arg}
                for word in node.keywords:
                    if word.arg is None and isinstance(word.value, ast.Dict):
                        names |= {key.value for key in word.value.keys if isinstance(key, ast.Constant)}
                found.setdefault(node.args[0].value, []).append(names)
    return found


def test_every_kind_is_made_somewhere_and_known() -> None:
    assert set(made()) == KINDS


@pytest.mark.parametrize("table", [*TABLES.values(), ADVICE], ids=[*TABLES, "command line"])
def test_tables_have_words_for_known_kinds_alone(table: dict[str, str]) -> None:
    assert set(table) <= KINDS


def test_a_note_is_a_text_that_knows_what_it_is_about() -> None:
    note = Note("face-small", "face {face} is {side:.0f} pixels wide, below {limit}", face=2, side=17.4,
                limit=Argument("min_face_size", 32.0))  # fmt: skip
    assert note == "face 2 is 17 pixels wide, below min_face_size=32"
    assert (note.kind, note.message.values["face"], note.photo) == ("face-small", 2, None)
    labelled = note.about("a{b}.png", 3)
    assert labelled == f"a{{b}}.png: {note}" and labelled.photo == 3 and labelled.alone == note
    again = pickle.loads(pickle.dumps(labelled))
    assert again == labelled and again.message == labelled.message and again.photo == 3


def test_a_refusal_says_what_and_the_way_out() -> None:
    refusal = Refusal(
        "no-face", "no face was found", "Pass {aligned}", "a.png", aligned=Argument("aligned", True)
    )
    assert isinstance(refusal, ValueError)
    assert str(refusal) == "a.png: no face was found. Pass aligned=True."
    again = pickle.loads(pickle.dumps(refusal))
    assert str(again) == str(refusal) and again.message == refusal.message


@pytest.mark.parametrize("error, builtin", [(MissingPackage, ImportError), (MissingFile, FileNotFoundError)])
def test_errors_of_every_class_say_the_way_out(
    error: type[MissingPackage | MissingFile], builtin: type[Exception]
) -> None:
    missing = error("detector-missing", "use {other}", other=Argument("detector", "mtcnn"))
    assert isinstance(missing, builtin) and str(missing) == 'use detector="mtcnn"'
    again = pickle.loads(pickle.dumps(missing))
    assert type(again) is error and again.message == missing.message
    assert message_of(missing) is missing.message and message_of(builtin("use")) is None


def test_the_command_line_names_options_and_no_python() -> None:
    restore = argparse.Namespace(
        aligned=False, min_face_size=None, max_pixels=None, dtype="float32", candidates=1, detector="mtcnn"
    )
    few = argparse.Namespace(json=None)
    large = Refusal("too-large", "{name} is large", "Make it smaller, or raise {limit}", name="max_pixels.png",
                    otherwise="Make it smaller", limit=Argument("max_pixels"))  # fmt: skip
    small = Note("face-small", "face 0 is below {limit}: left", limit=Argument("min_face_size", 32.0))
    face = Note("no-face", "no face was found", "Pass {aligned}", aligned=Argument("aligned", True))
    numbers = Refusal("not-finite", "NaN", "Load the pipeline with dtype=torch.float32")
    count = Refusal("setting", "{argument} is 0; it must be 1 or more.", argument=Argument("num_images"))
    package = MissingPackage(
        "detector-missing", "install it, or use {other}", other=Argument("detector", "mtcnn")
    )
    beyond = Refusal("beyond-dtype", "the network does not fit {dtype}", "Use another", dtype=torch.float16)
    for said, args, expected in (
        (package, restore, "install it, or use --detector mtcnn."),
        (beyond, restore, "the network does not fit float16. Pass --dtype bfloat16 or float32."),
        (large, restore, "max_pixels.png is large. Make it smaller, or raise --max-pixels."),
        (large, few, "max_pixels.png is large. Make it smaller."),
        (small, restore, "face 0 is below --min-face-size 32: left"),
        (face, restore, "no face was found. Pass --aligned"),
        (face, few, "no face was found"),
        (numbers, restore, "NaN. Pass --dtype float32 or bfloat16."),
        (count, restore, "--candidates is 0; it must be 1 or more."),
        (OSError("photos/max_pixels.png is broken"), restore, "photos/max_pixels.png is broken"),
    ):
        assert reword(said, args) == expected
    assert set(OPTIONS) >= {"num_images", "num_inference_steps"}


def test_the_page_names_no_argument() -> None:
    refusal = Refusal(
        "no-face", "no face was found", "Pass {aligned}", "a.png", aligned=Argument("aligned", True)
    )
    assert page_words(refusal, {}) == "No face was found."
    assert page_words(refusal, {"no-face": "nobody is in it"}) == "Nobody is in it."
    assert page_words("a plain remark", {}) == "A plain remark."


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_words_of_the_page_use_values_that_the_messages_have(table: dict[str, str]) -> None:
    """A name in braces that no message of that kind has would fail only when the message is shown."""
    values = {kind: set.intersection(*names) for kind, names in made().items()}
    for kind, text in table.items():
        used = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        assert used <= values[kind], kind


def test_no_code_reads_sentences() -> None:
    """`"..." in str(error)` and the like: whoever betters a sentence must not break a program."""
    for package in ("facekit_cli", "facekit_demo"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In):
                    text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
                    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                    assert not (text and names & {"error", "note", "message"}), f"{file.name}:{node.lineno}"


def test_messages_are_equal_where_they_say_the_same() -> None:
    assert Message("no-face", "no face") == Message("no-face", "no face")
