"""Scores of a restorer on held-out faces with fixed damage."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from facekit.damage.degrade import degrade_pair
from train.data.images import fit_square, to_tensor
from train.engine.scores import average_scores, load_imagenet_distance, sharpness
from train.engine.streams import Restorer as Stream
from train.engine.validation import FID_BETTER, FrechetDistances, join_rows, pick_own_share

if TYPE_CHECKING:
    from train.restorer.trainer import RestorerTrainer


class RestorerValidation:
    """Scores the first pictures of a split, each damaged by a draw of its own that never changes.

    Raises:
        OSError: `validation.best` is "imagenet" or an FID, and the weights of its network are not to be had.
        ValueError: `validation.best` is an FID, and there is one picture only.
    """

    better: ClassVar[dict[str, str]] = {"psnr": "higher", "ssim": "higher", "imagenet": "lower"} | FID_BETTER

    def __init__(self, trainer: "RestorerTrainer") -> None:
        self.trainer, config = trainer, trainer.config
        self.best = config.validation.best
        self.distance = load_imagenet_distance(trainer.device, needed=self.best == "imagenet")
        self.pictures: list[dict[str, Any]] = []
        for i, picture in enumerate(config.validation.load_first_pictures(config.image_column)):
            pixels = fit_square(picture, trainer.size, None)
            damaged, target = degrade_pair(pixels, config.damage, np.random.default_rng([7, i]))
            pair = {"image": to_tensor(target)[None], "damaged": to_tensor(damaged)[None]}
            self.pictures.append(pair | {"position": torch.tensor([i])})
        truth = [picture["image"][0] for picture in self.pictures]
        self.frechet = FrechetDistances(trainer.accelerator, truth, self.best)

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Scores over all pictures, the same in all processes, and rows of this one's first pictures.

        Returns:
            The means of `psnr` (dB), `ssim` and, where its weights are installed, `imagenet`, and `sharpness`, the
            median share of the truth's energy of fine detail, and FID of the restored pictures, see
            `FrechetDistances`. Rows: damaged, restored, truth.
        """
        trainer, count = self.trainer, len(self.pictures)
        network, table, rows = trainer.copy_average(trainer.restorer), torch.zeros(count, 4), []
        for i in pick_own_share(trainer.accelerator, count):
            batch = trainer.to_device(self.pictures[i])
            prompts = trainer.make_prompts(batch, Stream.VALIDATION_PROMPTS)
            generators = trainer.seed_generators(batch["position"], Stream.VALIDATION)
            image = network(batch["damaged"], **prompts, generator=generators).image.float().clamp(-1, 1)
            self.frechet.read([i], image)
            a, b = (x[0].permute(1, 2, 0).add(1).div(2).cpu().numpy() for x in (image, batch["image"]))
            psnr = -10 * np.log10(max(float(np.square(a - b).mean()), 1e-10))
            ssim = structural_similarity(a, b, channel_axis=2, data_range=1.0)
            fine = sharpness(image, batch["image"]).item()
            distance = self.distance(image, batch["image"]).item() if self.distance else 0.0
            table[i] = torch.tensor([psnr, ssim, fine, distance])
            rows.append((batch["damaged"], image, batch["image"]))
        names = ("psnr", "ssim", "sharpness", *(["imagenet"] if self.distance else []))
        scores = average_scores(trainer.accelerator, table, names) | self.frechet.measure()
        return scores, join_rows(rows[:8])
