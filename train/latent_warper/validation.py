"""Scores of a latent warper on held-out faces."""

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from train.data.images import fit_square, to_tensor
from train.engine.validation import pick_own_share

if TYPE_CHECKING:
    from train.latent_warper.trainer import LatentWarperTrainer

FIRST = 2**40  # number of the first picture, beyond those of all training samples


class WarperValidation:
    """Scores the first pictures of a split, each with a task of its own that never changes."""

    best = "attribute"
    better: ClassVar[dict[str, str]] = {"attribute": "lower"}

    def __init__(self, trainer: "LatentWarperTrainer") -> None:
        self.trainer, config = trainer, trainer.config
        self.pictures = [
            to_tensor(fit_square(picture, trainer.size, None))
            for picture in config.validation.load_first_pictures(config.image_column)
        ]

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Mean distances of codes over all pictures, the same in all processes; no rows of pictures.

        `attribute` is the distance of the warped codes, as the loss has it, `target` and `source` are those of the
        codes that they are made of.
        """
        trainer = self.trainer
        network, sums = trainer.copy_average(trainer.warper), torch.zeros(4)
        for i in pick_own_share(trainer.accelerator, len(self.pictures)):
            image = self.pictures[i][None].to(trainer.device)
            own, target, source = trainer.draw_task(image, torch.tensor([FIRST + i]), 1.0)
            made = network(target, source), target, source
            errors = [trainer.compare_codes(codes, own).item() for codes in made]
            sums += torch.tensor([*errors, 1.0])
        totals = trainer.accelerator.reduce(sums.to(trainer.device), "sum").tolist()
        return {name: totals[k] / totals[3] for k, name in enumerate(("attribute", "target", "source"))}, []
