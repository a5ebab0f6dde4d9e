"""What users type, held against the record: public names and their arguments, commands, options of training.

`pytest tests/test_recorded_interface.py --record` records anew, after a change that is meant; `git diff
tests/data/recorded` then shows it line by line.
"""

import argparse
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from facekit import public
from facekit.pipelines.edit.session.session import EditSession
from facekit_cli.batch import command as batch
from facekit_cli.main import build_parser
from tests.train.test_stage_configs import STAGES
from train.directions.config import DirectionsConfig
from train.inpaint.config import InpaintConfig

FOLDER = Path(__file__).parent / "data" / "recorded"


def arguments(function: Callable) -> Iterator[str]:
    """One line for each argument but `self`, with its default; those behind a `*` are keyword-only."""
    seen_star = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            seen_star = True
            yield f"    *{parameter.name}"
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not seen_star:
            seen_star = True
            yield "    *"
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        yield f"    {stars}{parameter.name}{default}"


def own_members(known: type) -> Iterator[tuple[str, object]]:
    """Methods and properties that facekit gives a class, not those of diffusers and PyTorch, by name."""
    for name in sorted(set(dir(known))):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        owner = next((base for base in known.__mro__ if name in vars(base)), object)
        if owner.__module__.split(".")[0] == "facekit":
            yield name, inspect.getattr_static(known, name)


def public_interface() -> Iterator[str]:
    """Every public name; for callables the arguments, for classes those of their methods."""
    values = {name: getattr(public, name) for name in sorted(public.__all__)} | {"EditSession": EditSession}
    for name, value in values.items():
        if not isinstance(value, type):
            yield f"{name}()"
            yield from arguments(value)
            continue
        yield f"class {name}"
        for member, found in own_members(value):
            if isinstance(found, staticmethod | classmethod) or inspect.isfunction(found):
                yield f"  {name}.{member}()"
                yield from arguments(getattr(value, member))
            else:
                yield f"  {name}.{member}"


def commands() -> Iterator[str]:
    """Every command with its words, and all that can be said to it."""
    for parser in (build_parser(), batch.build_parser()):
        yield from described(parser)


def described(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A command and those below it."""
    yield f"$ {parser.prog}"
    for text in (parser.description, parser.epilog):
        yield from (f"  {line}".rstrip() for line in (text or "").splitlines())
    below: list[argparse.ArgumentParser] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below += action.choices.values()
            for choice in action._choices_actions:
                yield f"    {choice.dest}: {choice.help}"
            continue
        facts = [", ".join(action.option_strings) or action.dest]
        for name in ("metavar", "nargs", "choices"):
            if (value := getattr(action, name)) is not None:
                facts.append(f"{name}={value!r}")
        if action.default not in (None, argparse.SUPPRESS):
            facts.append(f"default={action.default!r}")
        if action.type is not None:
            facts.append(f"type={action.type.__name__}")
        if action.required:
            facts.append("required")
        if type(action) not in (argparse._StoreAction,):
            facts.append(type(action).__name__.strip("_"))
        facts += [
            "one of a group" for group in parser._mutually_exclusive_groups if action in group._group_actions
        ]
        yield f"    {'; '.join(facts)}"
        yield f"        {action.help}"
    for parser in below:
        yield ""
        yield from described(parser)


def training() -> Iterator[str]:
    """The keys of every stage's configuration, with their defaults."""
    configs = {config.__name__: config for config, _ in STAGES.values()}
    configs |= {"InpaintConfig": InpaintConfig, "DirectionsConfig": DirectionsConfig}
    for name in sorted(configs):
        yield name
        for field in fields(configs[name]):
            default = "" if field.default is MISSING else f" = {field.default!r}"
            if field.default_factory is not MISSING:
                default = f" = {field.default_factory()!r}"
            yield f"    {field.name}{default}"


@pytest.mark.parametrize(
    ("name", "told"), [("public", public_interface), ("commands", commands), ("training", training)]
)
def test_interface_is_as_recorded(name: str, told: Callable[[], Iterator[str]], recording: bool) -> None:
    path = FOLDER / f"{name}.txt"
    lines = list(told())
    if recording:
        path.write_text("\n".join(lines) + "\n")
    assert lines == path.read_text().splitlines()
