"""Hole masks by name or from a weighted mixture, as a training configuration writes them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from facekit.damage.gconv import gconv_mask
from facekit.damage.holes import (
    Rng,
    Size,
    brush_mask,
    centre_mask,
    free_form_mask,
    generator_from,
    height_and_width,
    part_mask,
    ratio_mask,
)

GENERATORS: dict[str, Callable[..., np.ndarray]] = {
    "cmod": lambda size, rng, **options: free_form_mask(size, rng, **options),
    "brush": lambda size, rng, **options: brush_mask(size, rng, **options),
    "ratio": lambda size, rng, **options: ratio_mask(size, seed=rng, **options),
    "centre": lambda size, rng, **options: centre_mask(size, **options),
    "gconv": lambda size, rng, **options: gconv_mask(size, rng, **options),
    "part": lambda size, rng, **options: part_mask(size, rng, **options),
}


class MaskSampler:
    """Draws masks by name, or from a weighted mixture, as a training configuration writes them.

    Args:
        kind: `"cmod"`, `"brush"`, `"ratio"`, `"centre"`, `"gconv"`, `"part"`; or `"mixture"`.
        size: side or `(height, width)` in pixels.
        parts: for a mixture, a list of `{"kind": name, "weight": number, ...options}`; weight defaults to 1.
        options: passed to the generator (`hole_range`, `low`, `high`, `share`).

    Calling the sampler with a seed or random generator gives one mask `uint8 [H, W]`, 1 = hole.
    """

    def __init__(
        self,
        kind: str = "cmod",
        size: Size = 256,
        *,
        parts: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        self.kind = kind
        self.size = height_and_width(size)
        self.options = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
        self.parts: list[MaskSampler] = []
        if kind == "mixture":
            if not parts or options:
                raise ValueError(
                    "a mask mixture takes parts=[{'kind': ..., 'weight': ...}, ...] and nothing else"
                )
            weights = np.array([part.get("weight", 1.0) for part in parts], dtype=np.float64)
            if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
                raise ValueError(
                    f"mixture weights must be non-negative with a positive sum, got {weights.tolist()}"
                )
            self.cumulative = np.cumsum(weights / weights.sum())
            for part in parts:
                self.parts.append(MaskSampler(size=size, **{k: v for k, v in part.items() if k != "weight"}))
        elif kind not in GENERATORS:
            raise ValueError(f"unknown mask kind {kind!r}; choose from {', '.join([*GENERATORS, 'mixture'])}")
        elif parts is not None:
            raise ValueError(f"parts belong to kind='mixture', not to {kind!r}")
        else:
            self(0)  # a wrong option is better refused here than in the middle of an epoch

    def __call__(self, rng: Rng = None) -> np.ndarray:
        rng = generator_from(rng)
        if not self.parts:
            return GENERATORS[self.kind](self.size, rng, **self.options)
        index = int(np.searchsorted(self.cumulative, rng.random(), side="right"))
        return self.parts[min(index, len(self.parts) - 1)](rng)
