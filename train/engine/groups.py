"""Options in groups: a dataclass whose fields are options, or groups of options, each a dataclass with defaults.

In YAML a group is a mapping, on the command line its options have its name before a dot: `--adversarial.r1_every 16`. A
file or a command that names some options of a group leaves the others as they are.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

# Every group that a stage may have.
GROUPS = frozenset(
    {
        "adversarial",
        "attribute",
        "average",
        "critic_augment",
        "guidance",
        "latent",
        "path",
        "pictures",
        "progressive",
        "sketches",
        "spatial",
        "validation",
    }
)


def find_groups(config_class: Any) -> dict[str, Any]:
    """The groups of a dataclass of options by name, each with its defaults."""
    made = {
        field.name: field.default_factory()
        for field in fields(config_class)
        if field.name in GROUPS and field.default_factory is not MISSING
    }
    return {name: group for name, group in made.items() if is_dataclass(group)}


def fill_groups(config: Any) -> None:
    """Turn groups that are given as mappings into dataclasses, in place; other options keep their defaults.

    Raises:
        ValueError: a group has no such option, or something else than a mapping is given for it.
    """
    for name, group in find_groups(type(config)).items():
        given = getattr(config, name)
        if is_dataclass(given):
            continue
        if not isinstance(given, Mapping):
            raise ValueError(f"{name} is a group of options, a mapping in YAML; got {given!r}")
        known = [field.name for field in fields(group)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            wrong = ", ".join(f"{name}.{option}" for option in unknown)
            raise ValueError(f"unknown options {wrong}; {name} has {', '.join(sorted(known))}")
        setattr(config, name, replace(group, **given))


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"adversarial.weight": 1}` -> `{"adversarial": {"weight": 1}}`; names without a dot stay."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, _, option = name.rpartition(".")
        nested = merge(nested, {group: {option: value}} if group else {name: value})
    return nested


def merge(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Values with those of `more` laid over them; groups are merged option by option."""
    merged = dict(values)
    for name, value in more.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = {**merged[name], **value} if name in GROUPS and both else value
    return merged
