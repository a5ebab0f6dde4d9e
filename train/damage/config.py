"""Options of the damage finder's training."""

from dataclasses import dataclass, field
from typing import Any

from facekit.damage.wear import KINDS
from train.engine.options import Average, Validation
from train.engine.stage import StageConfig

UNDAMAGED = "none"


@dataclass(kw_only=True)
class DamageConfig(StageConfig):
    """Options of the damage finder's training, of which the thesis has none.

    Attributes:
        finder: options of the network.
        init_from: folder or Hub id of a finder to start from.
        size: side in pixels of the pieces of photos that it learns from, a multiple of 2^levels.
        zoom: smallest and largest enlargement of a photo's pixels before a piece is cut out.
        strokes: smallest and largest size of what is drawn, times its usual size.
        amount: smallest and largest amount of damage, see `facekit.damage.wear.wear`.
        kind_probability: how often each kind is drawn on a piece that is damaged at all.
        undamaged: share of the pieces that nothing is drawn on.
        aged: share of the pieces that are faded before, and as often scanned after, the damage is drawn.
        decoys: share of the pieces with frames, letters, shapes, lights, rims or wires, which are no damage.
        kind_weights: weight of a pixel in cross entropy by the kind of its damage, "none" for undamaged ones: thin
            kinds have few pixels.
        dice_weight: weight of the Dice loss beside cross entropy.
        learning_rate: the highest; one cycle rises to it and ends at zero at `max_steps`, or at `total_minutes` where
            these are over sooner.
        betas, weight_decay: of AdamW.
        warm_up: share of the steps in which the learning rate rises.
        largest_false_share: the threshold is chosen for the highest F1 at which of undamaged held-out photos at most
            this share of the pixels is marked.
        average, validation: groups, see `train.engine.options`.
    """

    finder: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    size: int = 224
    zoom: tuple[float, float] = (0.6, 2.4)
    strokes: tuple[float, float] = (0.5, 1.7)
    amount: tuple[float, float] = (0.2, 1.0)
    kind_probability: float = 0.4
    undamaged: float = 0.3
    aged: float = 0.6
    decoys: float = 0.2
    kind_weights: dict[str, float] = field(
        default_factory=lambda: {
            UNDAMAGED: 1.0,
            "scratch": 3.0,
            "crease": 2.0,
            "dust": 4.0,
            "tear": 2.0,
            "stain": 3.0,
        }
    )
    dice_weight: float = 0.5
    learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warm_up: float = 0.1
    largest_false_share: float = 0.002
    average: Average = field(default_factory=lambda: Average(decay=0.998, min_decay=0.0))
    validation: Validation = field(default_factory=Validation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.damage != "none":
            raise ValueError("the damage that is to be found is drawn by itself; damage must be none")
        for name in ("kind_probability", "undamaged", "aged", "decoys", "largest_false_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 < self.warm_up < 1:
            raise ValueError(f"warm_up must be between 0 and 1, got {self.warm_up}")
        for name in ("zoom", "strokes", "amount"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two numbers above 0, the smaller first; got {low}, {high}")
        if self.kind_weights.keys() != {UNDAMAGED, *KINDS}:
            raise ValueError(
                f"kind_weights must have a weight for each of {', '.join((UNDAMAGED, *KINDS))}; "
                f"got {', '.join(self.kind_weights)}"
            )
