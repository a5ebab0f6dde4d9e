"""Scores of a style encoder on held-out faces, by the generator's pictures of their codes."""

import math
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.conditions.guidance import encoder_input
from train.data.images import fit_square, to_tensor
from train.engine.scores import average_scores, load_imagenet_distance, sharpness
from train.engine.validation import FID_BETTER, FrechetDistances, join_rows, pick_own_share

if TYPE_CHECKING:
    from train.style_encoder.trainer import StyleEncoderTrainer


class EncoderValidation:
    """Scores the first pictures of a split, at the training size.

    Where `validation.best` is "imagenet" and the weights of that distance are not installed, PSNR says which networks
    are the best.

    Raises:
        OSError: `validation.best` is an FID, and the weights of its network are not to be had.
        ValueError: the same, and there is one picture only.
    """

    better: ClassVar[dict[str, str]] = {"psnr": "higher", "imagenet": "lower"} | FID_BETTER

    def __init__(self, trainer: "StyleEncoderTrainer") -> None:
        self.trainer, config = trainer, trainer.config
        self.pictures = [
            to_tensor(fit_square(picture, trainer.size, None))[None]
            for picture in config.validation.load_first_pictures(config.image_column)
        ]
        self.distance = load_imagenet_distance(trainer.device)
        self.best = config.validation.best
        if self.best == "imagenet" and self.distance is None:
            self.best = "psnr"
        truth = [picture[0] for picture in self.pictures]
        self.frechet = FrechetDistances(trainer.accelerator, truth, self.best)

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Scores over all pictures, the same in all processes, and rows of this one's first pictures.

        Returns:
            The means of `psnr` (dB) and, where its weights are installed, `imagenet`, and `sharpness`, the median share
            of the truth's energy of fine detail, and FID of the pictures of the codes, see `FrechetDistances`. Rows:
            truth, and the picture of its codes.
        """
        trainer, config = self.trainer, self.trainer.config
        encoder = trainer.measure_encoder()
        generator = trainer.copy_average(trainer.prior) if config.joint else trainer.generator
        count, table, rows = len(self.pictures), torch.zeros(len(self.pictures), 3), []
        for i in pick_own_share(trainer.accelerator, count):
            image = self.pictures[i].to(trainer.device)
            codes = encoder(encoder_input(image) if config.modalities else image)
            made = generator(w_plus=codes[:, : generator.num_styles], noise="fixed").image.float()
            made = F.adaptive_avg_pool2d(made, trainer.size).clamp(-1, 1)
            error = (made - image).square().mean().item() / 4  # of pictures in [0, 1]
            distance = self.distance(made, image).item() if self.distance else 0.0
            self.frechet.read([i], made)
            psnr = -10 * math.log10(max(error, 1e-10))
            table[i] = torch.tensor([psnr, sharpness(made, image).item(), distance])
            if len(rows) < 8:
                rows.append((image, made))
        names = ("psnr", "sharpness", *(["imagenet"] if self.distance else []))
        return average_scores(trainer.accelerator, table, names) | self.frechet.measure(), join_rows(rows)
