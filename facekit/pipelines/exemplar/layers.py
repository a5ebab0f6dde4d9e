"""Which codes an exemplar gives, and which a second one (thesis Section 5.3, Fig. 5.12 and 5.15)."""

from collections.abc import Sequence
from numbers import Integral


def check_layers(layers: Sequence[int], known: Sequence[int], name: str) -> list[int]:
    """Indices of codes in order. ValueError, naming the argument, for one that is not among `known`."""
    wrong = [i for i in layers if isinstance(i, bool) or not isinstance(i, Integral) or i not in known]
    if wrong:
        raise ValueError(
            f"{name} has {wrong[0]!r}; the codes that an exemplar gives here are "
            f"{', '.join(map(str, known)) or 'none'}."
        )
    return sorted({int(i) for i in layers})


def second_layers(style_layers: int | Sequence[int] | None, layers: Sequence[int]) -> list[int]:
    """Which of the exemplars' `layers` the second exemplar gives.

    Args:
        style_layers: a crossover (from this index on), the indices themselves, or None for the later half.

    Raises:
        ValueError: a crossover or index out of range.
    """
    layers = list(layers)
    if style_layers is None:
        return layers[len(layers) // 2 :]
    if not isinstance(style_layers, Integral) or isinstance(style_layers, bool):
        return check_layers(style_layers, layers, "style_layers")
    low, high = (layers[0], layers[-1] + 1) if layers else (0, 0)
    if not low <= style_layers <= high:
        raise ValueError(
            f"the crossover style_layers is {style_layers}; it must lie between {low} (all codes from the second "
            f"exemplar) and {high} (all from the first)."
        )
    return [layer for layer in layers if layer >= style_layers]
