"""Scores of aggregation and refiner on held-out faces with fixed masks."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.damage.mixtures import MaskSampler
from train.data.label_maps import LabelFolder
from train.data.modalities import ModalityPreparation
from train.engine.scores import average_scores, compare_holes, load_imagenet_distance, sharpness
from train.engine.validation import FID_BETTER, FrechetDistances, join_rows, pick_own_share

if TYPE_CHECKING:
    from train.multimodal.trainer import MultimodalTrainer


class MultimodalValidation:
    """Scores the first pictures of a split, each with a mask of its own that never changes, filled in three ways.

    `psnr`: with the codes of the picture itself and all modalities in the hole; `psnr_guided`: with the same modalities
    and codes projected from them, as in an edit without exemplar; `psnr_alone`: with nothing given.

    Raises:
        OSError: `validation.best` is "imagenet" or an FID, and the weights of its network are not to be had.
        ValueError: `validation.best` is an FID, and there is one picture only.
    """

    WAYS = ("psnr", "psnr_guided", "psnr_alone")
    better: ClassVar[dict[str, str]] = dict.fromkeys(WAYS, "higher") | {"imagenet": "lower"} | FID_BETTER

    def __init__(self, trainer: "MultimodalTrainer") -> None:
        self.trainer, config = trainer, trainer.config
        self.best = config.validation.best
        size = trainer.guide_size
        masks = MaskSampler(size=size, **config.validation.masks)
        labels = None
        if config.guidance.semantics == "folder":
            labels = LabelFolder(config.validation.data, config.validation.semantics)
        prepare = ModalityPreparation(size, 0, flip=False, labels=labels)
        self.distance = load_imagenet_distance(trainer.device, needed=self.best == "imagenet")
        self.pictures: list[dict[str, Tensor]] = []
        for i, picture in enumerate(config.validation.load_first_pictures(config.image_column)):
            sample = prepare(picture, i)
            sample["mask"] = torch.from_numpy(masks(np.random.default_rng([7, i])).astype(np.float32))[None]
            sample["position"] = torch.tensor(i)
            self.pictures.append({name: value[None] for name, value in sample.items()})
        truth = [F.adaptive_avg_pool2d(picture["image"][0], trainer.size) for picture in self.pictures]
        self.frechet = FrechetDistances(trainer.accelerator, truth, self.best)

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Scores over all pictures, the same in all processes, and rows of this one's first pictures.

        Returns:
            The mean PSNR (dB) of each way; of the first two together `sharpness`, the share of the truth's fine detail
            that the hole has (median over the pictures), and, where its weights are installed, `imagenet`, the mean
            ImageNet distance in and next to the hole; and FID of the second, see `FrechetDistances`. Rows: masked with
            strokes, colours, the three fills, truth.
        """
        trainer, accelerator = self.trainer, self.trainer.accelerator
        networks = trainer.copy_average(trainer.aggregation), trainer.copy_average(trainer.refiner)
        table, rows = torch.zeros(len(self.pictures), len(self.WAYS) + 2), []
        for i in pick_own_share(accelerator, len(self.pictures)):
            batch: dict[str, Any] = trainer.to_device(self.pictures[i])
            fills = []
            for k, way in enumerate(self.WAYS):
                ready = self.make_ready(batch, way)
                fills.append(trainer.fill_with(*networks, ready, None).clamp(-1, 1))
                error = (fills[-1] - ready["image"]).square().mean().item() / 4  # of pictures in [0, 1]
                table[i, k] = -10 * np.log10(max(error, 1e-10))
                if k < 2:
                    table[i, -2] += sharpness(fills[-1], ready["image"], ready["mask"]).item() / 2
                    if self.distance is not None:
                        seen = compare_holes(self.distance, fills[-1], ready["image"], ready["mask"])
                        table[i, -1] += seen.item() / 2
                if k == 0:
                    drawn = ready["image"] * (1 - ready["mask"]) + 2 * ready["sketch"], ready["color"]
            self.frechet.read([i], fills[self.WAYS.index("psnr_guided")])
            if len(rows) < 8:
                rows.append((*drawn, *fills, ready["image"]))
        names = (*self.WAYS, "sharpness", *(["imagenet"] if self.distance else []))
        return average_scores(accelerator, table, names) | self.frechet.measure(), join_rows(rows)

    def make_ready(self, batch: dict[str, Any], way: str) -> dict[str, Any]:
        """What the networks are given for one of the ways: as of `MultimodalTrainer.prepare`, without exemplar."""
        trainer, mask = self.trainer, batch["mask"]
        given = torch.zeros_like(mask) if way == "psnr_alone" else mask
        ready = trainer.reduce(batch | {"keep": torch.cat([1 - mask, given, given, given], 1)})
        projected = trainer.encoder(ready.pop("view")).float()
        codes = trainer.encode(batch["image"]) if way == "psnr" else projected
        bank_codes = projected if trainer.config.bank_codes == "projected" else codes
        return ready | {"codes": codes, "bank": trainer.read_bank(bank_codes, batch["position"])}
