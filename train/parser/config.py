"""Options of the face parser's training."""

from dataclasses import dataclass, field
from typing import Any

from train.data.images import is_mixture
from train.engine.options import HeldOut
from train.engine.stage import StageConfig


@dataclass(kw_only=True)
class ParserConfig(StageConfig):
    """Options of the face parser's training, of which the thesis has none.

    Attributes:
        labels: folder with one 8-bit, one-channel map per picture, at the picture's path within the data (or under its
            name alone) with .png; values 0..18 in the order of `facekit.conditions.semantics.CLASS_NAMES`, others
            are not learnt. None: `semantic` in the folder of the data.
        scores: file of JSON lines with `file_name` and `score` (0..1), how far each map can be trusted; "none": all of
            them wholly. None: `semantic.jsonl` in the folder of the data, where it exists.
        min_score: pictures with a lower score are left out; the others weigh as much as their score.
        parser: options of the network.
        init_from: folder or Hub id of a parser to start from.
        scale, turn, shift: largest change of size (factor), rotation (degrees) and place (share of the side).
        colour: 0..1, strength of the changes of light, contrast and colour.
        blur: share of the pictures that are made soft or noisy.
        learning_rate: the highest; one cycle rises to it and ends at zero at `max_steps`.
        betas, weight_decay: of AdamW.
        warm_up: share of the steps in which the learning rate rises.
        balance: 0..1, exponent of a class's weight, (its share of the pixels) ** -balance, at most `largest_weight`
            times that of the commonest class.
        correction: 0..1, the part of these weights that is taken back from the logits of the finished network: 0
            favours small classes most, 1 counts every pixel alike.
        validation: group, see `train.engine.options`: the maps above `min_score` are scored, and `best` is where their
            mean IoU is highest.
        dice_weight: weight of the Dice loss beside cross entropy.
    """

    labels: str | None = None
    scores: str | None = None
    min_score: float = 0.5
    parser: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    scale: float = 1.3
    turn: float = 12.0
    shift: float = 0.08
    colour: float = 1.0
    blur: float = 0.3
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warm_up: float = 0.15
    balance: float = 0.35
    largest_weight: float = 6.0
    correction: float = 0.5
    dice_weight: float = 0.5
    validation: HeldOut = field(default_factory=HeldOut)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.streaming or is_mixture(self.data) or str(self.data).endswith(".tar"):
            raise ValueError("label maps are found by the picture's path: the data must be one local folder")
        if self.damage != "none":
            raise ValueError("the parser has changes of its own (--colour, --blur); damage must be none")
        for name in ("min_score", "colour", "blur", "balance", "correction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 < self.warm_up < 1:
            raise ValueError(f"warm_up must be between 0 and 1, got {self.warm_up}")
        if self.scale < 1 or self.turn < 0 or not 0 <= self.shift < 0.5:
            raise ValueError(
                "scale must be 1 or more, turn 0 or more, shift from 0 to below 0.5; got "
                f"scale={self.scale}, turn={self.turn}, shift={self.shift}"
            )
