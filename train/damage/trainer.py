"""The damage finder's training."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.damage.wear import KINDS
from facekit.models.damage_finder import DamageFinder
from train.damage.config import UNDAMAGED, DamageConfig
from train.damage.data import DamagePreparation
from train.damage.validation import DamageValidation, paint_mask
from train.engine.rates import find_rate_share
from train.engine.stage import Stage, load_component


def dice_loss(chances: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """1 - Dice overlap of all pictures together, over the pixels that count; all `[B, H, W]`, 0..1."""
    both = (chances * truth * counted).sum()
    return 1 - 2 * both / ((chances + truth) * counted).sum().clamp_min(1.0)


class DamageTrainer(Stage):
    """Trains the finder on pieces of photos, by cross entropy and Dice loss."""

    config: DamageConfig

    def build(self) -> None:
        config = self.config
        if config.init_from is not None:
            finder = load_component(DamageFinder, config.init_from, "damage_finder")
        else:
            finder = DamageFinder(**config.finder)
        multiple = 2 ** len(finder.config.channels)
        if config.size < multiple or config.size % multiple:
            raise ValueError(f"size must be a multiple of {multiple} for this network, got {config.size}")
        self.size, self.threshold = config.size, finder.config.threshold
        weights = [config.kind_weights[kind] for kind in (UNDAMAGED, *KINDS)]
        self.weights = torch.tensor(weights, device=self.device)
        finder = finder.to(memory_format=torch.channels_last)
        self.finder = self.learn(
            finder, config.learning_rate, config.betas, config.average, optimizer=torch.optim.AdamW
        )
        for group in self.finder.optimizer.param_groups:
            group["weight_decay"] = config.weight_decay

    def build_preparation(self) -> DamagePreparation:  # type: ignore[override]
        return DamagePreparation(self.config, self.finder.network.config.working_side)

    def find_learning_rate(self) -> float:
        """The learning rate of this step, by the share of the steps, or of the minutes, that are over."""
        config = self.config
        place = float(self.run.step)
        if config.total_minutes is not None:
            place = max(place, config.max_steps * self.run.minutes / config.total_minutes)
        return config.learning_rate * find_rate_share(place, config.max_steps, config.warm_up)

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        rate = self.find_learning_rate()
        for group in self.finder.optimizer.param_groups:
            group["lr"] = rate
        for batch in batches:
            with self.accelerator.autocast():
                logits = self.finder.network(batch["image"])
            logits, labels = logits.float()[:, 0], batch["labels"]
            truth = (labels > 0).float()
            # A pixel beside damage may be called either, and so may one whose damage cannot be seen.
            counted = (1 - (F.max_pool2d(truth, 3, 1, 1) - truth)) * (labels >= 0)
            weights = self.weights[labels.clamp_min(0)]
            each = F.binary_cross_entropy_with_logits(logits, truth, weights, reduction="none")
            entropy = (each * counted).sum() / counted.sum()
            dice = dice_loss(logits.sigmoid(), truth, counted)
            loss = entropy + self.config.dice_weight * dice
            self.accelerator.backward(loss / len(batches))
            self.run.curves.record(loss=loss, cross_entropy=entropy, dice=dice)
        self.run.curves.record(learning_rate=torch.tensor(rate))
        self.update(self.finder, clip=self.config.gradient_clip)

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Pieces, where they are damaged, and what the finder thinks of them."""
        image, labels = batch["image"][:8], batch["labels"][:8]
        chances = self.copy_average(self.finder)(image).sigmoid()
        return [image, paint_mask(labels[:, None] > 0), paint_mask(chances)]

    def finish(self) -> DamageFinder:
        """A copy as it is written: averaged weights, and the threshold that validation chose."""
        network = self.copy_average(self.finder)
        network.register_to_config(threshold=self.threshold)
        return network

    def build_validation(self) -> DamageValidation | None:
        if self.config.validation.data is None:
            return None
        return DamageValidation(self, self.config.validation.load_first_pictures(self.config.image_column))

    def write_networks(self, folder: Path) -> None:
        self.finish().cpu().save_pretrained(folder)
