"""Checks of options that several dataclasses make."""

from typing import Any


def check_choices(options: Any, **choices: tuple[str, ...]) -> None:
    """ValueError when one of the options is none of its choices."""
    for name, allowed in choices.items():
        if getattr(options, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(options, name)!r}")


def check_probabilities(options: Any, *names: str) -> None:
    """ValueError when one of the options is not within 0 to 1."""
    for name in names:
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"{name} is a probability from 0 to 1, got {getattr(options, name)}")
