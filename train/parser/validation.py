"""How far a parser agrees with label maps: intersection over union."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from facekit.conditions.semantics import CLASS_NAMES, paint
from train.data.images import to_tensor
from train.engine.validation import pick_own_share
from train.parser.data import PairSource

if TYPE_CHECKING:
    from train.parser.trainer import ParserTrainer

# The two brows, eyes and lips are one group each: which is which follows from the place.
GROUPS: dict[str, tuple[str, ...]] = {
    "background": ("background",),
    "skin": ("skin",),
    "hair": ("hair",),
    "brows": ("l_brow", "r_brow"),
    "eyes": ("l_eye", "r_eye"),
    "nose": ("nose",),
    "lips": ("u_lip", "l_lip"),
}


def count_confusion(predicted: Tensor, labels: Tensor, classes: int = len(CLASS_NAMES)) -> Tensor:
    """Count pixels by true (row) and predicted class, float64 `[C, C]`; pixels of labels below 0 do not count."""
    known = labels >= 0
    index = labels[known] * classes + predicted[known]
    return torch.bincount(index, minlength=classes**2).view(classes, classes).double()


def measure_groups(table: Tensor) -> dict[str, float]:
    """Intersection over union of each of `GROUPS` in a confusion table `[C, C]`, and `miou`, their mean.

    Groups that occur in neither map are left out.
    """
    ious = {}
    for name, parts in GROUPS.items():
        members = torch.tensor([CLASS_NAMES.index(part) for part in parts])
        both = table[members][:, members].sum()
        union = table[members].sum() + table[:, members].sum() - both
        if union > 0:
            ious[name] = (both / union).item()
    return ious | {"miou": float(np.mean(list(ious.values())))}


def paint_maps(labels: Tensor) -> Tensor:
    """Paint maps `[B, H, W]` as preview pictures `[B, 3, H, W]` in [-1, 1]."""
    pictures = np.stack([paint(one) for one in labels.cpu().numpy()])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


class ParserValidation:
    """Scores all pictures of a split whose maps are good enough."""

    best = "miou"
    better: ClassVar[dict[str, str]] = {"miou": "higher"}

    def __init__(self, trainer: "ParserTrainer", source: PairSource) -> None:
        self.trainer, self.pairs = trainer, source.pairs

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """IoU of each group and their mean over all pictures, the same in all processes, and rows of this one's first.

        Pixels of all pictures, at 256 pixels a side, are counted together; each weighs as much as its map is trusted.
        """
        trainer, accelerator = self.trainer, self.trainer.accelerator
        network = trainer.finish()
        table = torch.zeros(len(CLASS_NAMES), len(CLASS_NAMES), dtype=torch.float32)
        rows: list[list[Tensor]] = [[], [], []]
        for i in pick_own_share(accelerator, len(self.pairs)):
            pixels, labels = self.pairs[i].read(size=256)
            image = to_tensor(pixels)[None].to(trainer.device)
            with accelerator.autocast():
                predicted = network(image).argmax(1).cpu()
            truth = torch.from_numpy(labels).long()[None]
            table += self.pairs[i].score * count_confusion(predicted, truth).float()
            if len(rows[0]) < 8:
                for row, one in zip(
                    rows, (image.cpu(), paint_maps(truth), paint_maps(predicted)), strict=True
                ):
                    row.append(one[0])
        table = accelerator.reduce(table.to(trainer.device), "sum").cpu()
        scores = measure_groups(table)
        trainer.run.say(f"step {trainer.run.step}: mean IoU {scores['miou']:.3f}")
        return scores, [torch.stack(row) for row in rows if row]
