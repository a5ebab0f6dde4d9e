"""Configuration of a training run: a dataclass, filled from a YAML file, then from the command line.

`python -m train.inpaint --config train/configs/inpaint/starter-128.yaml --batch_size 4 --adversarial.weight 0.5`: every
field of the dataclass is an option of the same name, its value is read as YAML; options in groups have the group's name
before them. `~/` is the home folder.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from train.engine.groups import GROUPS, find_groups, merge, nest
from train.engine.renamed import refuse_old_names

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
        SystemExit: with code 2 on an unknown option, with code 0 after `--help`.
        ValueError: an unknown key in the YAML file, a required option that is missing, an option of an earlier version,
            or what the dataclass itself refuses.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {config_class.__module__.rpartition('.')[0]}",  # the options lie beside what is launched
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=_path, help="YAML file with values for the options below")
    options = _options(config_class)
    for name, field in options.items():
        parser.add_argument(f"--{name}", type=_value, default=argparse.SUPPRESS, help=_help(field))
    known, strange = parser.parse_known_args(argv)
    refuse_old_names(config_class, [word[2:].partition("=")[0] for word in strange], "command line")
    if strange:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    given = vars(known)
    path = given.pop("config")
    values = read_yaml(path) if path else {}
    refuse_old_names(config_class, values, str(path))
    names = {field.name for field in fields(config_class)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{path}: unknown keys {unknown}; known are {sorted(names)}")
    values = merge(values, nest(given))
    missing = [
        name
        for name, field in options.items()
        if name not in values
        and isinstance(field, Field)
        and field.default is MISSING
        and field.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"these options need a value: {', '.join('--' + name for name in missing)}")
    return config_class(**values)


def _options(config_class: Any) -> dict[str, Any]:
    """Every option by the name that it has on the command line, with its field and, of a group's, its default."""
    groups = find_groups(config_class)
    found: dict[str, Any] = {}
    for field in fields(config_class):
        if field.name in groups:
            for part in fields(groups[field.name]):
                found[f"{field.name}.{part.name}"] = getattr(groups[field.name], part.name)
        else:
            found[field.name] = field
    return found


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The options in a YAML file.

    Where its key `base` names another file (relative to this one), that file's options are read first and this file's
    laid over them, groups option by option. YAML 1.1 reads `2e-4` as text; it is taken as the number.

    Raises:
        ValueError: the file holds no mapping.
    """
    path = Path(path)
    values = yaml.safe_load(path.read_text()) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold a mapping of options, not a {type(values).__name__}")
    base = values.pop("base", None)
    settled = {
        key: {name: _settle(part) for name, part in value.items()}
        if key in GROUPS and isinstance(value, dict)
        else _settle(value)
        for key, value in values.items()
    }
    return merge(read_yaml(path.parent / base) if base else {}, settled)


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _value(text: str) -> Any:
    return _settle(yaml.safe_load(text))


def _settle(value: Any) -> Any:
    """Text that is a number as one, and `~/` as the home folder, also in lists and as the keys of a mapping."""
    if isinstance(value, list):
        return [_expand(entry) for entry in value]
    if isinstance(value, dict):
        return {_expand(key): entry for key, entry in value.items()}
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return _expand(value)


def _expand(value: Any) -> Any:
    return os.path.expanduser(value) if isinstance(value, str) else value


def _help(option: Any) -> str:
    """The default of a field, or of an option of a group, in words."""
    default = option
    if isinstance(option, Field):
        default = option.default if option.default is not MISSING else None
        if default is None and option.default_factory is not MISSING:
            default = option.default_factory()
    return f"(default: {default})".replace("%", "%%")
