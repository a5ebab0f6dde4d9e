"""The face parser's training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.conditions.semantics import CLASS_NAMES
from facekit.models.face_parser import FaceParser
from train.engine.rates import find_rate_share
from train.engine.stage import Stage, load_component
from train.parser.config import ParserConfig
from train.parser.data import PairPreparation, PairSource, weigh_classes
from train.parser.validation import ParserValidation, paint_maps


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - Dice overlap, `[B]`: of each picture the mean over the classes that its map has.

    Args:
        logits: `[B, C, H, W]`.
        labels: `[B, H, W]`, -1 where unlabelled.
    """
    known = (labels >= 0)[:, None]
    wanted = F.one_hot(labels.clamp_min(0), logits.shape[1]).movedim(3, 1).to(logits.dtype) * known
    chance = logits.softmax(1) * known
    both, total = (chance * wanted).sum((2, 3)), (chance + wanted).sum((2, 3))
    present = (wanted.sum((2, 3)) > 0).to(logits.dtype)
    return ((1 - 2 * both / total.clamp_min(1.0)) * present).sum(1) / present.sum(1).clamp_min(1.0)


class ParserTrainer(Stage):
    """Trains the parser on pictures and maps, by cross entropy and Dice loss."""

    config: ParserConfig

    def build(self) -> None:
        config = self.config
        if config.init_from is not None:
            parser = load_component(FaceParser, config.init_from, "face_parser")
        else:
            parser = FaceParser(**config.parser)
        if parser.config.num_classes != len(CLASS_NAMES):
            raise ValueError(
                f"the parser must have {len(CLASS_NAMES)} classes, not {parser.config.num_classes}"
            )
        self.size = parser.config.sample_size
        self.source = PairSource(config, config.data, config.split, config.exclude)
        self.weights = weigh_classes(self.source, config.balance, config.largest_weight).to(self.device)
        parser = parser.to(memory_format=torch.channels_last)
        self.parser = self.learn(parser, config.learning_rate, config.betas, optimizer=torch.optim.AdamW)
        for group in self.parser.optimizer.param_groups:
            group["weight_decay"] = config.weight_decay
        self.held_out = None
        if config.validation.data is not None:
            # `exclude` does not count here: every picture of the split is scored.
            self.held_out = PairSource(config, config.validation.data, config.validation.split, {})
        self.run.say(f"{len(self.source)} pictures to train on, {len(self.held_out or [])} to validate on")

    def batches(self, start: int | None = None) -> Iterator[dict[str, Any]]:
        """`image` [B, 3, S, S] in [-1, 1], `labels` [B, S, S] (-1: unlabelled), `score` [B], `position` [B]."""
        return self.read_batches(self.source, PairPreparation(self.size, self.config), start)

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        config = self.config
        share = find_rate_share(self.run.step, config.max_steps, config.warm_up)
        for group in self.parser.optimizer.param_groups:
            group["lr"] = config.learning_rate * share
        for batch in batches:
            with self.accelerator.autocast():
                logits = self.parser.network.working_logits(batch["image"])
            logits, labels, score = logits.float(), batch["labels"], batch["score"]
            each = F.cross_entropy(logits, labels, self.weights, ignore_index=-1, reduction="none")
            known = (labels >= 0).sum((1, 2)).clamp_min(1)
            entropy, dice = each.sum((1, 2)) / known, dice_loss(logits, labels)
            # A map that is trusted less weighs less.
            entropy, dice = ((loss * score).sum() / score.sum() for loss in (entropy, dice))
            loss = entropy + config.dice_weight * dice
            self.accelerator.backward(loss / len(batches))
            right = (logits.detach().argmax(1) == labels).sum() / known.sum()
            self.run.curves.record(loss=loss, cross_entropy=entropy, dice=dice, accuracy=right)
        self.run.curves.record(learning_rate=config.learning_rate * share)
        self.update(self.parser)

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Pictures, their maps, and the parser's maps."""
        image, labels = batch["image"][:8], batch["labels"][:8]
        self.parser.network.eval()
        logits = self.parser.network(image)
        self.parser.network.train()
        return [image, paint_maps(labels).to(image), paint_maps(logits.argmax(1)).to(image)]

    @torch.no_grad()
    def finish(self) -> FaceParser:
        """A copy as it is written: the part `correction` of the classes' weights is taken back from its logits."""
        network = self.copy_average(self.parser)
        last = network.head[0]
        # Four channels a class, one for each pixel of a block.
        last.bias -= self.config.correction * self.weights.log().repeat_interleave(4)
        return network

    def build_validation(self) -> ParserValidation | None:
        return None if self.held_out is None else ParserValidation(self, self.held_out)

    def write_networks(self, folder: Path) -> None:
        self.finish().cpu().save_pretrained(folder)
