"""Options of the latent warper's training."""

from dataclasses import dataclass, field
from typing import Any

import torch

from facekit.models.form import FORMS
from train.checks import check_choices
from train.engine.options import Average, FacePictures, Validation
from train.engine.stage import StageConfig

OPTIMIZERS = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}


@dataclass(kw_only=True)
class LatentWarperConfig(StageConfig):
    """Options of Algorithm 4; defaults are the thesis's, but for the form.

    Attributes:
        style_encoder: folder or Hub id of the frozen encoder, of RGB or of all modalities.
        prior: folder or Hub id of the frozen generator; only losses on pictures make use of it.
        warper: options of the network; the number and length of its codes are the encoder's.
        form: "published": blocks with the MLPs of VSPBFR's published code; "thesis": Eq. 6.15 to the letter. See
            `LatentWarper`.
        init_from: folder or Hub id of a warper, of this form, to start from.
        size: side of the pictures that are read and compared; larger ones of the prior are averaged down.
        learning_rate, betas: of the optimizer.
        optimizer: "adam" or "radam".
        attribute_weight: of the attribute loss (Eq. 6.13), here the mean square of the codes' differences.
        gradient_clip: as in other stages; here it is on, since the first results are far from the codes.
        pictures, average, validation: groups, see `train.engine.options`.
    """

    style_encoder: str
    prior: str
    warper: dict[str, Any] = field(default_factory=dict)
    form: str = "published"
    init_from: str | None = None
    size: int = 256
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.5, 0.99)
    optimizer: str = "adam"
    attribute_weight: float = 0.1

    gradient_clip: float | None = 10.0
    pictures: FacePictures = field(
        default_factory=lambda: FacePictures(perceptual_weight=0.1, identity_weight=0.1)
    )
    average: Average = field(default_factory=lambda: Average(decay=0.999445, min_decay=0.0))
    validation: Validation = field(default_factory=lambda: Validation(images=32))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, optimizer=tuple(OPTIMIZERS), form=FORMS)
        check_choices(self.pictures, perceptual=("lpips", "efficientnet", "none"))
        if self.damage != "none":
            raise ValueError(f"codes are warped of whole pictures: damage must be none, got {self.damage}")
        if self.attribute_weight <= 0 and not self.compares_pictures:
            raise ValueError("no loss is left: give one of them a weight above 0")

    @property
    def compares_pictures(self) -> bool:
        """Whether any loss looks at the prior's picture of the warped codes."""
        return self.pictures.compares or self.pictures.identifies
