"""Codes that follow a text (thesis 6.2.3, Eq. 6.4 and 6.5)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from facekit.pipelines.edit.cache import digest
from facekit.pipelines.edit.encoding import Encoder
from facekit.pipelines.edit.plan import EditSquare
from facekit.pipelines.edit.render import Renderer

if TYPE_CHECKING:
    from facekit.conditions.text import TextGuide, TextStep


@dataclass(frozen=True)
class TextSearch:
    """Optimises codes until the faces drawn under them follow a text.

    Attributes:
        guide: CLIP and the optimisation.
        encoder, renderer: of the pipeline.
        progress: makes a progress bar of `total` steps, as a pipeline's `progress_bar` does.
        should_stop: asked after every step; True ends the search with the best codes so far.
        on_step: called with every step and the codes [1, n, D] so far.
    """

    guide: "TextGuide"
    encoder: Encoder
    renderer: Renderer
    progress: Callable[..., Any]
    should_stop: Callable[[], bool]
    on_step: Callable[["TextStep", Tensor], None]

    def follow(
        self,
        prompt: str,
        w_plus: Tensor,
        squares: Sequence[EditSquare],
        pixels: tuple[Tensor, Tensor],
        strengths: dict[str, float],
        steps: int,
        options: Mapping[str, Any],
    ) -> Tensor:
        """Codes [N, n, D] whose faces follow the text, one sample after the other.

        Args:
            prompt: the text.
            w_plus: codes to start from, [N, n, D].
            squares: for every sample its square.
            pixels: known pixels [N, 3, S, S] in [-1, 1] and holes [N, 1, S, S] of every sample.
            strengths: of each modality, 0 to 1. At a strength of "prompt" of 0 the codes stay as they were, at 1 they
                become those found.
            steps: of the optimisation.
            options: further arguments of `TextGuide.optimize`.
        """
        known, holes = pixels
        self.guide.to(w_plus.device)
        cache = self.encoder.cache

        def compute(places: list[int]) -> list[tuple[Tensor, ...]]:
            (place,) = places
            encoded = self.encoder.encode_features([squares[place]], strengths)
            one = slice(place, place + 1)
            seen: list[Tensor] = []

            def render(codes: Tensor) -> Tensor:
                seen[:] = [codes.detach()]
                predicted = self.renderer.render(codes, encoded, "fixed", None)
                return predicted * holes[one] + known[one] * (1 - holes[one])

            with (
                self.progress(total=steps) as progress_bar,
                _freeze(self.renderer.prior, self.renderer.refiner),
            ):

                def report(step: "TextStep") -> None:
                    progress_bar.update()
                    self.on_step(step, seen[0])

                found = self.guide.optimize(
                    render,
                    w_plus[one],
                    prompt,
                    steps=steps,
                    on_step=report,
                    should_stop=self.should_stop,
                    **options,
                )
            return [(found.codes[0],)]

        options_key = repr((prompt, steps, sorted(options.items())))
        encoder, renderer = self.encoder, self.renderer
        weights = encoder.key_of(encoder.aggregation, renderer.refiner, renderer.prior, self.guide.model)
        keys = [
            digest("text", options_key, weights, codes, repr(encoder.key_of_square(square, strengths)))
            for codes, square in zip(w_plus, squares, strict=True)
        ]
        found = torch.stack([row[0] for row in cache.fetch(keys, compute, 1)]).to(w_plus)
        if self.should_stop():
            cache.forget(keys)  # it might have gone further
        return torch.lerp(w_plus, found, strengths["prompt"])


@contextmanager
def _freeze(*networks: nn.Module) -> Iterator[None]:
    """Take the gradients off parameters, so that an optimisation of codes neither computes nor keeps any."""
    changed = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)
