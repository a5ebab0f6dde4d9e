"""Scores of a style encoder on held-out faces, by the generator's pictures of their codes."""

import math
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.conditions.guidance import encoder_input
from train.data.images import fit_square, to_tensor
from train.engine.scores import average_scores, load_imagenet_distance, sharpness
from train.engine.validation import join_rows, pick_own_share

if TYPE_CHECKING:
    from train.style_encoder.trainer import StyleEncoderTrainer


class EncoderValidation:
    """Scores the first pictures of a split, at the training size.

    The best networks are those of the least ImageNet distance; of the highest PSNR where its weights are not installed.
    """

    better: ClassVar[dict[str, str]] = {"psnr": "higher", "imagenet": "lower"}

    def __init__(self, trainer: "StyleEncoderTrainer") -> None:
        self.trainer, config = trainer, trainer.config
        self.pictures = [
            to_tensor(fit_square(picture, trainer.size, None))[None]
            for picture in config.validation.load_first_pictures(config.image_column)
        ]
        self.distance = load_imagenet_distance(trainer.device)
        self.best = "psnr" if self.distance is None else "imagenet"

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Scores over all pictures, the same in all processes, and rows of this one's first pictures.

        Returns:
            The means of `psnr` (dB) and, where its weights are installed, `imagenet`, and `sharpness`, the median share
            of the truth's energy of fine detail. Rows: truth, and the picture of its codes.
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
            psnr = -10 * math.log10(max(error, 1e-10))
            table[i] = torch.tensor([psnr, sharpness(made, image).item(), distance])
            if len(rows) < 8:
                rows.append((image, made))
        names = ("psnr", "sharpness", *(["imagenet"] if self.distance else []))
        return average_scores(trainer.accelerator, table, names), join_rows(rows)
