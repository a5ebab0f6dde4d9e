"""Checks of options that several dataclasses make."""

from typing import Any


def check_choices(options: Any, **choices: tuple[str, ...]) -> None:
    """Refuse options that are none of their choices.

    Args:
        options: a dataclass of options.
        choices: for each name of an option, the values that it may have.

    Raises:
        ValueError: with the option, its choices and its value.
    """
    for name, allowed in choices.items():
        if getattr(options, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(options, name)!r}")


def check_form(network: Any, form: str) -> None:
    """Refuse a network to start from that has not the form of the run. Raises ValueError."""
    if network.config.form != form:
        raise ValueError(
            f"the {type(network).__name__} to start from has the {network.config.form} form, whose weights do not fit "
            f"the {form} one that this run trains: say --form {network.config.form}"
        )


def check_probabilities(options: Any, *names: str) -> None:
    """Refuse options, given by name, that are not within 0 to 1. Raises ValueError."""
    for name in names:
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"{name} is a probability from 0 to 1, got {getattr(options, name)}")
