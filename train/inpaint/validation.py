"""Scores of an inpainting network on held-out pictures with fixed masks."""

import numpy as np
import torch
from accelerate import Accelerator
from skimage.metrics import structural_similarity
from torch import Tensor

from facekit.damage.mixtures import MaskSampler
from facekit.losses.imagenet import ImageNetDistance
from facekit.losses.perceptual import LPIPSLoss
from facekit.models.residual_inpainter import ResidualInpainter
from train.data.images import ImageSource, fit_square, to_tensor
from train.engine.scores import distance_within, sharpness
from train.inpaint.losses import fill_step

MEANS = ("psnr", "ssim", "mae", "lpips", "imagenet")


class ValidationSet:
    """The first `count` pictures of a split, each with its own fixed mask (seeded by its number).

    Args:
        lpips_loss, distance: measured too where they are given; on the device that scores.
        batch_size: pictures that a process completes at once.
    """

    def __init__(
        self,
        source: ImageSource,
        masks: MaskSampler,
        *,
        size: int,
        count: int,
        lpips_loss: LPIPSLoss | None = None,
        distance: ImageNetDistance | None = None,
        batch_size: int = 8,
    ) -> None:
        self.pictures = [
            to_tensor(fit_square(picture, size, None)) for picture in source.first_pictures(count)
        ]
        self.masks = [
            torch.from_numpy(np.asarray(masks(np.random.default_rng([7, i])), np.float32))[None]
            for i in range(len(self.pictures))
        ]
        self.lpips, self.distance, self.batch_size = lpips_loss, distance, batch_size

    @torch.inference_mode()
    def score(
        self, network: ResidualInpainter, steps: int, accelerator: Accelerator, shown: int = 8
    ) -> tuple[dict[str, float], list[Tensor]]:
        """Scores after `steps` reasoning steps: the work is shared by all processes, each gets all pictures' scores.

        Returns:
            By name: the means of psnr (dB), ssim and mae (of [0, 1]) of whole pictures, of lpips where it is
            available, and of `imagenet`, the distance in and next to the hole, where its weights are; and
            `sharpness`, the median share of the original's energy of fine detail that the hole has.
            Beside them, rows for a sample grid: masked, completed, original (this process's pictures).
        """
        device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
        count = len(self.pictures)
        own = range(rank, count, world)
        # Each process fills in the rows of its own pictures; the sum over the processes is the whole table.
        table = torch.zeros(count, len(MEANS) + 1, device=device)
        rows: list[list[Tensor]] = [[], [], []]
        for first in range(0, len(own), self.batch_size):
            numbers = own[first : first + self.batch_size]
            image = torch.stack([self.pictures[i] for i in numbers]).to(device)
            mask = torch.stack([self.masks[i] for i in numbers]).to(device)
            noise = [torch.Generator().manual_seed(i) for i in numbers]
            composite = image * (1 - mask)
            for _ in range(steps):
                with accelerator.autocast():
                    residual = network(composite, mask, generator=noise)
                composite = fill_step(composite, residual.float(), mask, image)
            filled = composite.clamp(-1, 1)
            table[list(numbers)] = torch.cat(
                [self._means(filled, image, mask), sharpness(filled, image, mask)[:, None]], dim=1
            )
            for row, pictures in zip(rows, (image * (1 - mask), filled, image), strict=True):
                row.extend(pictures[: shown - len(row)])
        scores = accelerator.reduce(table, "sum").cpu().numpy()
        metrics = {name: float(scores[:, k].mean()) for k, name in enumerate(MEANS)}
        for name, measure in (("lpips", self.lpips), ("imagenet", self.distance)):
            if measure is None:
                del metrics[name]
        metrics["sharpness"] = float(np.median(scores[:, -1]))
        return metrics, [torch.stack(row) for row in rows if row]

    def _means(self, filled: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        """What is averaged over the pictures, [B, 5] in the order of `MEANS`; 0 for what is not measured."""
        nothing = torch.zeros(len(image), device=image.device)
        lpips = self.lpips(filled, image).float() if self.lpips else nothing
        distance = distance_within(self.distance, filled, image, mask) if self.distance else nothing
        pixels = [x.permute(0, 2, 3, 1).add(1).div(2).cpu().numpy() for x in (filled, image)]
        classic = torch.tensor([_classic(a, b) for a, b in zip(*pixels, strict=True)], dtype=torch.float32)
        return torch.cat([classic.to(image.device), lpips[:, None], distance[:, None]], dim=1)


def _classic(a: np.ndarray, b: np.ndarray) -> list[float]:
    """psnr (dB), ssim and mean absolute difference of two pictures [H, W, 3] in [0, 1]."""
    mse = float(np.square(a - b).mean())
    ssim = structural_similarity(a, b, channel_axis=2, data_range=1.0)
    return [-10 * np.log10(max(mse, 1e-10)), float(ssim), float(np.abs(a - b).mean())]
