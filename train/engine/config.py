"""Configuration of a training run: a dataclass, filled from a YAML file, then from the command line.

`python -m train.inpaint --config train/configs/inpaint/starter-128.yaml --batch_size 4 --masks '{kind: centre}'`:
every field of the dataclass is an option of the same name, its value is read as YAML. `~/` is the home folder.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

Config = TypeVar("Config")


def read_config(
    config_class: type[Config], argv: Sequence[str] | None = None, *, description: str = ""
) -> Config:
    """The configuration that `argv` asks for.

    Args:
        config_class: dataclass whose fields are the options.
        argv: command line without the program's name; `None` reads `sys.argv`.
        description: shown by `--help`.

    Raises:
        SystemExit: with code 2 on an unknown option.
        ValueError: on an unknown key in the YAML file, or a required field that nobody gave.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {config_class.__module__.rpartition('.')[0]}",  # the options lie beside what is launched
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=_path, help="YAML file with values for the options below")
    known = {field.name: field for field in fields(config_class)}  # type: ignore[arg-type]
    for name, field in known.items():
        parser.add_argument(f"--{name}", type=_value, default=argparse.SUPPRESS, help=_help(field))
    given = vars(parser.parse_args(argv))
    path = given.pop("config")
    values = read_yaml(path) if path else {}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{path}: unknown keys {unknown}; known are {sorted(known)}")
    values |= given
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"these options need a value: {', '.join('--' + name for name in missing)}")
    return config_class(**values)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, over that of the file its key `base` names (relative to it).

    YAML 1.1 reads `2e-4` as text; numbers written so are taken as numbers.
    """
    path = Path(path)
    values = yaml.safe_load(path.read_text()) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold a mapping of options, not a {type(values).__name__}")
    base = values.pop("base", None)
    return (read_yaml(path.parent / base) if base else {}) | {
        key: _settled(value) for key, value in values.items()
    }


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _value(text: str) -> Any:
    return _settled(yaml.safe_load(text))


def _settled(value: Any) -> Any:
    """Text that is a number as one, and `~/` as the home folder, also in lists and as the keys of a mapping."""
    if isinstance(value, list):
        return [_expanded(entry) for entry in value]
    if isinstance(value, dict):
        return {_expanded(key): entry for key, entry in value.items()}
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return _expanded(value)


def _expanded(value: Any) -> Any:
    return os.path.expanduser(value) if isinstance(value, str) else value


def _help(field: Any) -> str:
    default = field.default if field.default is not MISSING else None
    if default is None and field.default_factory is not MISSING:
        default = field.default_factory()
    text = f"{field.metadata.get('help', '')} (default: {default})"
    return text.replace("%", "%%").strip()
