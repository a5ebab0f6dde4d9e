"""Scores of an inpainting network on held-out pictures with fixed masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from facekit.damage.mixtures import MaskSampler
from facekit.models.residual_inpainter import ResidualInpainter
from train.data.images import fit_square, to_tensor
from train.engine.scores import compare_holes, load_imagenet_distance, sharpness
from train.engine.validation import FID_BETTER, FrechetDistances, pick_own_share
from train.inpaint.losses import fill_step

if TYPE_CHECKING:
    from train.inpaint.trainer import InpaintTrainer

MEANS = ("psnr", "ssim", "mae", "lpips", "imagenet", "diversity")
OTHER = 2**31  # added to a picture's number: the seed of its second fill (of seeds a processor reads 32 bits)


class InpaintValidation:
    """Scores the first pictures of a split, each with a mask of its own that never changes.

    Attributes:
        batch_size: pictures that a process completes at once.

    Raises:
        OSError: `validation.best` is "imagenet" or an FID, and the weights of its network are not to be had.
        ValueError: `validation.best` is "lpips" in a run without it, or an FID of one picture.
    """

    better: ClassVar[dict[str, str]] = {
        "psnr": "higher",
        "ssim": "higher",
        "mae": "lower",
        "lpips": "lower",
        "imagenet": "lower",
    } | FID_BETTER
    batch_size = 8

    def __init__(self, trainer: "InpaintTrainer") -> None:
        self.trainer, config = trainer, trainer.config
        self.best = config.validation.best
        masks = MaskSampler(size=trainer.size, **config.validation.masks)
        self.pictures = [
            to_tensor(fit_square(picture, trainer.size, None))
            for picture in config.validation.load_first_pictures(config.image_column)
        ]
        self.masks = [
            torch.from_numpy(np.asarray(masks(np.random.default_rng([7, i])), np.float32))[None]
            for i in range(len(self.pictures))
        ]
        self.lpips = trainer.losses.lpips
        if self.best == "lpips" and self.lpips is None:
            raise ValueError(
                "validation.best is lpips, which this run has not: its pictures.perceptual is another"
            )
        self.frechet = FrechetDistances(trainer.accelerator, self.pictures, self.best)
        self.distance = trainer.losses.imagenet or load_imagenet_distance(
            trainer.device, self.best == "imagenet"
        )

    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Scores of the averaged generator, see `score_network`."""
        return self.score_network(self.trainer.copy_generator(), self.trainer.reasoning_steps)

    @torch.inference_mode()
    def score_network(self, network: ResidualInpainter, steps: int) -> tuple[dict[str, float], list[Tensor]]:
        """Scores after `steps` reasoning steps over all pictures, and rows of this process's first ones.

        Returns:
            The means of `psnr` (dB), `ssim` and `mae` (of colours in [0, 1]) of whole pictures, of `lpips` and of
            `imagenet`, the ImageNet distance in and next to the hole, where their weights are installed; `sharpness`,
            the median share of the original's energy of fine detail that the hole has; and FID of the completed
            pictures, see `FrechetDistances`. Of a network with random codes also `diversity`, the mean ImageNet
            distance of the fills of two seeds. All are the same in all processes. Rows: masked, completed (where there
            are codes, after a second seed too), original.
        """
        accelerator, count = self.trainer.accelerator, len(self.pictures)
        device, own = accelerator.device, pick_own_share(accelerator, count)
        # Each process fills in the rows of its own pictures; the sum over the processes is the whole table.
        table = torch.zeros(count, len(MEANS) + 1, device=device)
        diverse = self.trainer.generator.network.config.style_dim > 0
        rows: list[list[Tensor]] = [[] for _ in range(4 if diverse else 3)]
        for first in range(0, len(own), self.batch_size):
            numbers = own[first : first + self.batch_size]
            image = torch.stack([self.pictures[i] for i in numbers]).to(device)
            mask = torch.stack([self.masks[i] for i in numbers]).to(device)
            filled = self._fill(network, steps, image, mask, numbers)
            fills = [filled]
            if diverse:
                fills.append(self._fill(network, steps, image, mask, [OTHER + i for i in numbers]))
            self.frechet.read(numbers, filled)
            table[list(numbers)] = torch.cat(
                [self._means(fills, image, mask), sharpness(filled, image, mask)[:, None]], dim=1
            )
            for row, pictures in zip(rows, (image * (1 - mask), *fills, image), strict=True):
                row.extend(pictures[: 8 - len(row)])
        scores = accelerator.reduce(table, "sum").cpu().numpy()
        metrics = {name: float(scores[:, k].mean()) for k, name in enumerate(MEANS)}
        measured = {
            "lpips": self.lpips is not None,
            "imagenet": self.distance is not None,
            "diversity": self.distance is not None and diverse,
        }
        for name, known in measured.items():
            if not known:
                del metrics[name]
        metrics["sharpness"] = float(np.median(scores[:, -1]))
        return metrics | self.frechet.measure(), [torch.stack(row) for row in rows if row]

    def _fill(
        self, network: ResidualInpainter, steps: int, image: Tensor, mask: Tensor, seeds: Sequence[int]
    ) -> Tensor:
        """Pictures completed by `steps` reasoning steps, each with noise and code of its seed, clipped to [-1, 1]."""
        source = [torch.Generator().manual_seed(seed) for seed in seeds]
        z = self.trainer.generator.network.draw_codes(len(seeds), source, image.device)
        codes = {} if z is None else {"z": z}
        composite = image * (1 - mask)
        for _ in range(steps):
            with self.trainer.accelerator.autocast():
                residual = network(composite, mask, generator=source, **codes)
            composite = fill_step(composite, residual.float(), mask, image)
        return composite.clamp(-1, 1)

    def _means(self, fills: list[Tensor], image: Tensor, mask: Tensor) -> Tensor:
        """What is averaged over the pictures, [B, 6] in the order of `MEANS`; 0 for what is not measured.

        `fills` are the completed pictures and, where diversity is measured, those of other seeds.
        """
        filled = fills[0]
        nothing = torch.zeros(len(image), device=image.device)
        lpips = self.lpips(filled, image).float() if self.lpips else nothing
        distance = compare_holes(self.distance, filled, image, mask) if self.distance else nothing
        apart = (
            compare_holes(self.distance, fills[1], filled, mask) if self.distance and fills[1:] else nothing
        )
        pixels = [x.permute(0, 2, 3, 1).add(1).div(2).cpu().numpy() for x in (filled, image)]
        classic = torch.tensor([_classic(a, b) for a, b in zip(*pixels, strict=True)], dtype=torch.float32)
        return torch.cat([classic.to(image.device), lpips[:, None], distance[:, None], apart[:, None]], dim=1)


def _classic(a: np.ndarray, b: np.ndarray) -> list[float]:
    """psnr (dB), ssim and mean absolute difference of two pictures [H, W, 3] in [0, 1]."""
    mse = float(np.square(a - b).mean())
    ssim = structural_similarity(a, b, channel_axis=2, data_range=1.0)
    return [-10 * np.log10(max(mse, 1e-10)), float(ssim), float(np.abs(a - b).mean())]
