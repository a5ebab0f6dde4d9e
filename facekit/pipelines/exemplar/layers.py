"""Which codes an exemplar gives, and which a second one (thesis Section 5.3, Fig. 5.12 and 5.15)."""

from collections.abc import Iterable, Sequence
from typing import TypeGuard

import numpy as np

from facekit.notes import Argument, Refusal


def _is_index(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_layers(layers: Iterable[object], known: Sequence[int], name: str) -> list[int]:
    """Indices of codes in order, each once. ValueError, naming the argument, for one that is not among `known`."""
    layers = list(layers)
    wrong = [i for i in layers if not (_is_index(i) and i in known)]
    if wrong:
        raise Refusal(
            "setting",
            "{argument} has {value!r}; the codes that an exemplar gives here are {known}.",
            argument=Argument(name),
            value=wrong[0],
            known=", ".join(map(str, known)) or "none",
        )
    return sorted({int(i) for i in layers if _is_index(i)})


def choose_second_layers(style_layers: int | Sequence[int] | None, layers: Sequence[int]) -> list[int]:
    """Which of the exemplars' `layers` the second exemplar gives.

    Args:
        style_layers: a crossover (from this index on), the indices themselves, or None for the later half.

    Raises:
        ValueError: a crossover or index out of range.
    """
    layers = list(layers)
    if style_layers is None:
        return layers[len(layers) // 2 :]
    if not isinstance(style_layers, int | np.integer):
        return check_layers(style_layers, layers, "style_layers")
    if isinstance(style_layers, bool):
        return check_layers([style_layers], layers, "style_layers")  # which refuses it
    low, high = (layers[0], layers[-1] + 1) if layers else (0, 0)
    if not low <= style_layers <= high:
        raise Refusal(
            "setting",
            "the crossover {argument} is {value}; it must lie between {low} (all codes from the second exemplar) and "
            "{high} (all from the first).",
            argument=Argument("style_layers"),
            value=style_layers,
            low=low,
            high=high,
        )
    return [layer for layer in layers if layer >= style_layers]
