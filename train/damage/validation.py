"""How well the finder marks drawn damage on held-out photos, and how little it marks where there is none."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from facekit.damage.ageing import age
from facekit.damage.score import Agreement, compare, grow
from facekit.damage.wear import HIDDEN, KINDS, draw_wear, is_seen
from facekit.images.photo import scale_photo
from facekit.pipelines.mend.find import find_chances
from train.data.images import Picture, read_picture, to_tensor
from train.engine.validation import pick_own_share

if TYPE_CHECKING:
    from train.damage.trainer import DamageTrainer

SIDES = (256, 512, 1024)  # pixels of the shorter side: each photo in turn is scaled to one of them
# Evenly spaced logits: with few false marks allowed, the last hundredths matter.
THRESHOLDS = (1 / (1 + np.exp(-np.arange(-2.0, 9.0, 0.25)))).round(5)
TOLERANCE = 2  # pixels
SHOWN = 256  # side of the pictures in the grid


def paint_mask(mask: Tensor) -> Tensor:
    """A mask or chances `[B, 1, H, W]` as gray pictures `[B, 3, H, W]` in [-1, 1]."""
    return (mask.float() * 2 - 1).expand(-1, 3, -1, -1)


def count_agreement(found: np.ndarray, false: np.ndarray, labels: np.ndarray) -> Tensor:
    """Counts of pixels that add up over photos, float64 `[4 + 2 * kinds]`.

    Args:
        found, false: what is marked on a damaged photo and on the same undamaged, bool `[H, W]`.
        labels: the kinds of damage, uint8 `[H, W]`, as of `facekit.damage.wear.draw_wear`.

    Returns:
        Marked pixels and those of them with damage near; falsely marked pixels and all; then by kind the pixels that
        are damaged, and by kind those of them with a mark near.
    """
    whole = compare(found, is_seen(labels), TOLERANCE, labels == HIDDEN)
    counts = [whole.found, whole.found_right, int(false.sum()), false.size]
    for part in (labels, labels[grow(found, TOLERANCE)]):
        counts += np.bincount(part.ravel(), minlength=256)[1 : 1 + len(KINDS)].tolist()
    return torch.tensor(counts, dtype=torch.float64)


class DamageValidation:
    """Draws damage on held-out photos, always the same, every second one aged, and scores what the finder marks.

    Args:
        pictures: the held-out photos.
    """

    best = "f1"
    better: ClassVar[dict[str, str]] = {"f1": "higher"}

    def __init__(self, trainer: "DamageTrainer", pictures: list[Picture]) -> None:
        self.trainer, self.pictures = trainer, pictures

    def prepare(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A photo without and with damage, uint8 `[H, W, 3]`, and labels uint8 `[H, W]` of the damage."""
        photo = scale_photo(np.asarray(read_picture(self.pictures[number])), SIDES[number % len(SIDES)])
        if number % 2:
            photo = age(photo, number)
        return photo, *draw_wear(photo, np.random.default_rng(number))

    @torch.no_grad()
    def score(self) -> tuple[dict[str, float], list[Tensor]]:
        """Choose the threshold, and score with it.

        Returns:
            `f1` at 2 pixels tolerance over all photos, `precision`, recall by kind (`recall_KIND`), `false_share` of
            undamaged photos that is marked, and the `threshold`; rows of photos, their damage and the finder's chances.
        """
        trainer, accelerator = self.trainer, self.trainer.accelerator
        network = trainer.finish()
        table = torch.zeros(len(THRESHOLDS), 4 + 2 * len(KINDS), dtype=torch.float64)
        rows: list[list[Tensor]] = [[], [], []]
        for number in pick_own_share(accelerator, len(self.pictures)):
            clean, worn, labels = self.prepare(number)
            with accelerator.autocast():
                chances, false = (find_chances(network, photo, trainer.device) for photo in (worn, clean))
            for row, threshold in enumerate(THRESHOLDS):
                table[row] += count_agreement(chances > threshold, false > threshold, labels)
            if len(rows[0]) < 6:
                shown = (
                    to_tensor(worn)[None],
                    torch.from_numpy(is_seen(labels))[None, None],
                    torch.from_numpy(chances)[None, None],
                )
                pictures = (shown[0], paint_mask(shown[1]), paint_mask(shown[2]))
                for kept, picture in zip(rows, pictures, strict=True):
                    kept.append(torch.nn.functional.interpolate(picture, (SHOWN, SHOWN), mode="area")[0])
        total = accelerator.reduce(table.to(trainer.device, torch.float32), "sum").cpu()
        scores = self.choose(total)
        trainer.threshold = scores["threshold"]
        trainer.run.say(
            f"step {trainer.run.step}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        )
        return scores, [torch.stack(row) for row in rows if row]

    def choose(self, table: Tensor) -> dict[str, float]:
        """The scores at the threshold with the highest F1 that marks little on undamaged photos.

        Where none marks little enough, the one that marks least; `f1` is then lowered by how much is too much.

        Args:
            table: for each of `THRESHOLDS` what `count_agreement` counts.
        """
        allowed = self.trainer.config.largest_false_share
        rows = []
        for threshold, counts in zip(THRESHOLDS.tolist(), table.tolist(), strict=True):
            true, true_found = counts[4 : 4 + len(KINDS)], counts[4 + len(KINDS) :]
            whole = Agreement(*map(int, (*counts[:2], sum(true), sum(true_found))))
            scores = {"f1": whole.f1, "precision": whole.precision, "recall": whole.recall}
            for kind, all_of_it, found in zip(KINDS, true, true_found, strict=True):
                scores[f"recall_{kind}"] = found / all_of_it if all_of_it else 0.0
            rows.append(scores | {"false_share": counts[2] / counts[3], "threshold": threshold})
        good = [scores for scores in rows if scores["false_share"] <= allowed]
        if good:
            return max(good, key=lambda scores: scores["f1"])
        least = min(rows, key=lambda scores: scores["false_share"])
        return least | {"f1": least["f1"] * allowed / least["false_share"]}
