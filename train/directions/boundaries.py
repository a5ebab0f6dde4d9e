"""Boundaries between labelled codes (InterFaceGAN, Shen et al. 2020), one for each attribute of the options."""

from typing import Any

import torch
from torch import Tensor

from train.directions.config import DirectionsConfig
from train.directions.fits import CodeSpace, find_boundary_step, fit_boundary, measure_ranking
from train.directions.labels import read_column


class Boundaries:
    """Boundaries between labelled codes, and the directions across them.

    Args:
        config: which attributes there are, and how boundaries are fitted.
        rows: the labels of M pictures.
        codes: `w_plus` [M, n, D], and where there are mirrored pictures `w_plus_mirrored`, too.

    Attributes:
        space: the coordinates in which boundaries are fitted.
        weights: the normal [k] of each attribute's boundary.
        report: for each attribute the number of examples, and how well its scores rank those that were fitted and those
            that were held out.

    Raises:
        ValueError: labels and codes do not belong together, or an attribute has no column or too few examples.
    """

    def __init__(
        self, config: DirectionsConfig, rows: list[dict[str, Any]], codes: dict[str, Tensor]
    ) -> None:
        if len(rows) != len(codes["w_plus"]):
            raise ValueError(f"there are {len(codes['w_plus'])} codes for {len(rows)} rows of labels")
        self.config = config
        held = torch.tensor([bool(row.get("held_out")) for row in rows])
        mirrored = codes.get("w_plus_mirrored") if config.mirror else None
        every = codes["w_plus"] if mirrored is None else torch.cat([codes["w_plus"], mirrored])
        twice = 1 if mirrored is None else 2
        learns = (~held).repeat(twice)
        space = CodeSpace.fit(self._cut_range(every[learns]), config.components)
        self.space, spots = space, space.locate(self._cut_range(every))
        self.weights: dict[str, Tensor] = {}
        self.report: dict[str, dict[str, Any]] = {}
        for name, attribute in config.attributes.items():
            values = read_column(rows, attribute.column or name)
            if mirrored is not None:
                other = {"same": values, "negate": -values}.get(attribute.mirror, values * float("nan"))
                values = torch.cat([values, other])
            positive, used = attribute.split(values)
            fitted, judged = used & learns, used & ~learns
            try:
                self.weights[name] = fit_boundary(spots[fitted], positive[fitted], config.penalty)
            except ValueError as error:
                raise ValueError(f"attribute {name!r}: {error}") from error
            scores = spots @ self.weights[name]
            self.report[name] = {
                "positive": int((positive & fitted).sum()),
                "negative": int((~positive & fitted).sum()),
                "held_out": int(judged.sum()),
                "auc_fitted": measure_ranking(scores[fitted], positive[fitted]),
                "auc_held_out": measure_ranking(scores[judged], positive[judged]),
            }

    def _cut_range(self, codes: Tensor) -> Tensor:
        return codes if self.config.code_range is None else codes[:, slice(*self.config.code_range)]

    def find_directions(self, num_styles: int) -> dict[str, Tensor]:
        """Find the direction [n, D] of each attribute that is to have one.

        Raises:
            ValueError: an attribute is too much like one that it is to hold.
        """
        found = {}
        for name, attribute in self.config.attributes.items():
            if not attribute.output:
                continue
            others = [self.weights[other] for other in attribute.hold]
            try:
                step = find_boundary_step(self.space, self.weights[name], others, self.config.geometry)
            except ValueError as error:
                raise ValueError(f"attribute {name!r}: {error}") from error
            direction = step.new_zeros(num_styles, step.shape[1])
            direction[slice(*(self.config.code_range or (0, num_styles)))] = attribute.scale * step
            found[name] = direction
        return found

    def score(self, codes: Tensor) -> dict[str, Tensor]:
        """Scores [M] of codes [M, n, D] for each attribute, in standard deviations."""
        spots = self.space.locate(self._cut_range(codes))
        return {name: spots @ (weights / weights.norm()) for name, weights in self.weights.items()}
