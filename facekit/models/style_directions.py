"""Directions in W+ that change attributes of a face (Eq. 6.3), as a component of a pipeline."""

from collections.abc import Mapping, Sequence

import torch
from diffusers.configuration_utils import register_to_config

from facekit.models.base import VerifiedModelMixin


class StyleDirections(VerifiedModelMixin):
    """Directions w^d of one prior, each with the name of an attribute; w* = w + epsilon w^d.

    The buffer `directions` [K, n, D] holds zeros in a new component; `from_tensors` makes one with directions.

    Args:
        names: the K attributes, e.g. ("smile", "age").
        num_styles: n, codes of the prior.
        style_dim: D.

    Raises:
        ValueError: a name occurs twice.
    """

    directions: torch.Tensor

    @register_to_config
    def __init__(self, names: Sequence[str] = (), num_styles: int = 18, style_dim: int = 512) -> None:
        super().__init__()
        if len(set(names)) != len(names):
            raise ValueError(f"attribute names must differ from each other, got {', '.join(names)}")
        self.register_buffer("directions", torch.zeros(len(names), num_styles, style_dim))

    @classmethod
    def from_tensors(cls, directions: Mapping[str, torch.Tensor], num_styles: int = 18) -> "StyleDirections":
        """Make a component of named directions.

        Args:
            directions: by name, [D] or [1, D] (the same for every code), or [n or more, D], of which the first n count.
            num_styles: n.

        Raises:
            ValueError: a direction has another shape or values that are not finite, or there is none.
        """
        if not directions:
            raise ValueError("give at least one direction")
        rows, style_dim = [], next(iter(directions.values())).shape[-1]
        for name, given in directions.items():
            value = given.detach().float()
            value = value[None] if value.ndim == 1 else value
            if value.ndim == 3 and value.shape[0] == 1:
                value = value[0]
            fits = value.ndim == 2 and value.shape[1] == style_dim
            if not fits or (value.shape[0] != 1 and value.shape[0] < num_styles):
                raise ValueError(
                    f"direction {name!r} must have the shape [{style_dim}], [1, {style_dim}] or "
                    f"[{num_styles} or more, {style_dim}], not {list(given.shape)}"
                )
            if not value.isfinite().all():
                raise ValueError(f"direction {name!r} has values that are not finite")
            rows.append(value[:num_styles].expand(num_styles, -1))
        made = cls(tuple(directions), num_styles, style_dim)
        made.directions.copy_(torch.stack(rows))
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes, in the order of the buffer `directions`."""
        return tuple(self.config.names)

    def direction(self, name: str) -> torch.Tensor:
        """w^d [n, D] of one attribute.

        Raises:
            ValueError: there is none of this name; the message lists those that there are.
        """
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise ValueError(f"no attribute {name!r} is known here; known: {known}")
        return self.directions[self.names.index(name)]

    def shift(self, attributes: Mapping[str, float]) -> torch.Tensor:
        """Sum of epsilon w^d over attributes with their epsilon, e.g. {"smile": 2.0} -> [n, D]; zeros for no attribute.

        Raises:
            ValueError: a name is unknown, or a weight is not a finite number.
        """
        total = self.directions.new_zeros(self.directions.shape[1:])
        for name, weight in attributes.items():
            direction = self.direction(name)
            if not isinstance(weight, (int, float)) or not abs(weight) < float("inf"):
                raise ValueError(f"the weight of {name!r} must be a finite number, not {weight!r}")
            total = total + weight * direction
        return total

    def forward(self, codes: torch.Tensor, attributes: Mapping[str, float]) -> torch.Tensor:
        """Codes [B, n, D] and attributes with their epsilon -> edited codes [B, n, D], Eq. 6.3.

        Raises:
            ValueError: as in `shift`, or the codes have another shape.
        """
        if codes.ndim != 3 or codes.shape[1:] != self.directions.shape[1:]:
            count, dim = self.directions.shape[1:]
            raise ValueError(f"codes must have the shape [B, {count}, {dim}], not {list(codes.shape)}")
        return codes + self.shift(attributes).to(codes)
