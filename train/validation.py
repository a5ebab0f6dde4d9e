"""Scores of an inpainting network on held-out pictures with fixed masks."""

import numpy as np
import torch
from accelerate import Accelerator
from skimage.metrics import structural_similarity
from torch import Tensor

from facekit.conditions.masks import MaskSampler
from facekit.losses.perceptual import LPIPSLoss
from facekit.models.residual_inpainter import ResidualInpainter
from train.data import ImageSource, fit_square, to_tensor
from train.inpaint_steps import fill_step


class ValidationSet:
    """The first `count` pictures of a split, each with its own fixed mask (seeded by its number)."""

    def __init__(
        self,
        source: ImageSource,
        masks: MaskSampler,
        *,
        size: int,
        count: int,
        lpips_loss: LPIPSLoss | None = None,
    ) -> None:
        rows = source.load()
        self.pictures = [
            to_tensor(fit_square(rows[i][source.image_column], size, None))
            for i in range(min(count, len(rows)))
        ]
        self.masks = [
            torch.from_numpy(np.asarray(masks(np.random.default_rng([7, i])), np.float32))[None]
            for i in range(len(self.pictures))
        ]
        self.lpips = lpips_loss

    @torch.inference_mode()
    def score(
        self, network: ResidualInpainter, steps: int, accelerator: Accelerator, shown: int = 8
    ) -> tuple[dict[str, float], list[Tensor]]:
        """Mean psnr (dB), ssim, mae (of [0, 1]) and, where available, lpips after `steps` reasoning steps.

        The work is shared by all processes; each gets the means over all pictures.

        Returns:
            The means, and rows for a sample grid: masked, completed, original (this process's pictures).
        """
        device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
        sums = torch.zeros(5, device=device)
        rows: list[list[Tensor]] = [[], [], []]
        for i in range(rank, len(self.pictures), world):
            image, mask = self.pictures[i][None].to(device), self.masks[i][None].to(device)
            noise = torch.Generator().manual_seed(i)
            composite = image * (1 - mask)
            for _ in range(steps):
                with accelerator.autocast():
                    residual = network(composite, mask, generator=noise)
                composite = fill_step(composite, residual.float(), mask, image)
            filled = composite.clamp(-1, 1)
            a, b = (x[0].permute(1, 2, 0).add(1).div(2).cpu().numpy() for x in (filled, image))
            mse = float(np.square(a - b).mean())
            distance = self.lpips(filled, image).item() if self.lpips else 0.0
            sums += torch.tensor(
                [
                    -10 * np.log10(max(mse, 1e-10)),
                    structural_similarity(a, b, channel_axis=2, data_range=1.0),
                    np.abs(a - b).mean(),
                    distance,
                    1,
                ],
                dtype=torch.float32,
                device=device,
            )
            if len(rows[0]) < shown:
                for row, picture in zip(rows, (image * (1 - mask), filled, image), strict=True):
                    row.append(picture[0])
        sums = accelerator.reduce(sums, "sum")
        means = (sums[:4] / sums[4]).tolist()
        metrics = dict(zip(("psnr", "ssim", "mae", "lpips"), means, strict=True))
        if self.lpips is None:
            del metrics["lpips"]
        return metrics, [torch.stack(row) for row in rows]
