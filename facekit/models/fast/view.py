"""Inference forms that share everything with the layer that they stand for."""

from collections.abc import Callable
from typing import Any, Self

from torch import nn

# Class of a layer -> what makes the inference form of such a layer. The argument is of the key's class, which the type
# of a table cannot say.
Forms = dict[type[nn.Module], Callable[[Any], nn.Module]]


class View:
    """A layer under another `forward`: `FastLayer(layer)`, with `class FastLayer(View, Layer)`.

    Layer and view have one and the same `__dict__`. Whatever changes in the layer, by loading, moving, another number
    type or new parameters, has changed in its view too, so that nothing need be folded anew.
    """

    def __new__(cls, layer: nn.Module | None = None) -> Self:
        view = super().__new__(cls)
        if layer is not None:  # a copy gets its attributes later
            object.__setattr__(view, "__dict__", layer.__dict__)
        return view

    def __init__(self, layer: nn.Module) -> None:
        """Nothing to do: the layer was initialised."""
