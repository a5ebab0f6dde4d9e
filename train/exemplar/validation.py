"""Scores of an exemplar-guided generator on held-out faces with fixed masks."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from facekit.conditions.sketch import filter_strokes
from facekit.damage.mixtures import MaskSampler
from train.data.images import fit_square, to_tensor
from train.engine.scores import (
    average_scores,
    code_distance,
    compare_holes,
    load_imagenet_distance,
    sharpness,
)
from train.engine.validation import FID_BETTER, FrechetDistances, join_rows, pick_own_share

if TYPE_CHECKING:
    from train.exemplar.trainer import ExemplarTrainer


class ExemplarValidation:
    """Scores the first pictures of a split, with masks that never change, filled after themselves and the next one.

    Raises:
        ValueError: there are fewer than two pictures.
        OSError: `validation.best` is "imagenet" or an FID, and the weights of its network are not to be had.
    """

    better: ClassVar[dict[str, str]] = {
        "psnr": "higher",
        "attribute": "lower",
        "imagenet": "lower",
    } | FID_BETTER

    def __init__(self, trainer: "ExemplarTrainer") -> None:
        self.trainer, config = trainer, trainer.config
        self.best = config.validation.best
        pictures = config.validation.load_first_pictures(config.image_column)
        if len(pictures) < 2:
            raise ValueError("validation fills faces after one another: it needs two pictures or more")
        masks = MaskSampler(size=trainer.size, **config.validation.masks)
        self.pictures: list[dict[str, Tensor]] = []
        for i, given in enumerate(pictures):
            pixels = fit_square(given, trainer.size, None)
            mask = masks(np.random.default_rng([7, i])).astype(np.float32)
            picture = {"image": to_tensor(pixels)[None], "mask": torch.from_numpy(mask)[None, None]}
            if config.sketches.read:
                strokes = filter_strokes(pixels, config.sketches.filter).astype(np.float32)
                picture["sketch"] = torch.from_numpy(strokes)[None, None]
            self.pictures.append(picture | {"position": torch.tensor([i])})
        self.distance = load_imagenet_distance(trainer.device, needed=self.best == "imagenet")
        truth = [picture["image"][0] for picture in self.pictures]
        self.frechet = FrechetDistances(trainer.accelerator, truth, self.best)
        with torch.no_grad():
            images = [picture["image"].to(trainer.device) for picture in self.pictures]
            self.codes = torch.cat([trainer.encode(image) for image in images])

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Scores over all pictures, the same in all processes, and rows of this one's first pictures.

        Returns:
            Of the picture filled after itself the means of `psnr` (dB) and, where its weights are installed, `imagenet`
            (ImageNet distance in and next to the hole), and `sharpness`, the median share of the truth's fine detail
            that the hole has. Of the one filled after the next face the means of `attribute`, how far its codes are
            from that face's, and `match`, the share of the other faces whose codes are farther; and FID of these fills,
            see `FrechetDistances`. Rows: masked, next face, filled after it, filled after itself, truth.
        """
        trainer, count = self.trainer, len(self.pictures)
        network, accelerator = trainer.copy_average(trainer.generator), trainer.accelerator
        table, rows = torch.zeros(count, 5), []
        for i in pick_own_share(accelerator, count):
            batch: dict[str, Any] = {name: x.to(trainer.device) for name, x in self.pictures[i].items()}
            own, other = self.codes[i : i + 1], (i + 1) % count
            itself = trainer.fill_with(network, batch, own)
            after = trainer.fill_with(network, batch, self.codes[other : other + 1])
            self.frechet.read([i], after)
            made = trainer.pick_codes(trainer.encode(after)).expand(count, -1, -1)
            kind = trainer.config.attribute.distance
            distances = code_distance(made, trainer.pick_codes(self.codes), kind)
            farther = (distances > distances[other]).float().sum() / (count - 1)
            error = (itself - batch["image"]).square().mean().item() / 4  # of pictures in [0, 1]
            psnr = -10 * np.log10(max(error, 1e-10))
            fine = sharpness(itself, batch["image"], batch["mask"]).item()
            seen = 0.0
            if self.distance is not None:
                seen = compare_holes(self.distance, itself, batch["image"], batch["mask"]).item()
            table[i] = torch.tensor([psnr, distances[other].item(), farther.item(), fine, seen])
            if len(rows) < 8:
                masked, guide = batch["image"] * (1 - batch["mask"]), self.pictures[other]["image"]
                rows.append((masked, guide.to(masked), after, itself, batch["image"]))
        names = ("psnr", "attribute", "match", "sharpness", *(["imagenet"] if self.distance else []))
        return average_scores(accelerator, table, names) | self.frechet.measure(), join_rows(rows)
