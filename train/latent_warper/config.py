"""Options of the latent warper's training."""

from dataclasses import dataclass, field
from typing import Any

import torch

from train.engine.picture_losses import PictureLossConfig

OPTIMIZERS = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}


@dataclass(kw_only=True)
class LatentWarperConfig(PictureLossConfig):
    """Options of Algorithm 4; defaults are the thesis's.

    Attributes:
        style_encoder: folder or Hub id of the frozen encoder, of RGB or of all modalities.
        prior: folder or Hub id of the frozen generator. Without losses on pictures it paints nothing.
        warper: options of the network; its codes are the encoder's.
        init_from: folder or Hub id of a network to go on with.
        size: side of the pictures that are read and compared; larger ones of the prior are averaged down.
        attribute_weight: of the mean square of the differences between the codes (Eq. 6.13).
        optimizer: "adam" or "radam".
        clip_gradients: largest norm of the gradients; 0: any. Its first results are far from the codes.
        ema_decay, ema_min_decay: decay per step of the averaged network, and its least value in early steps.
        validation_data, validation_split, validation_images: pictures scored.
    """

    style_encoder: str
    prior: str
    warper: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    size: int = 256
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.5, 0.99)
    optimizer: str = "adam"
    perceptual_weight: float = 0.1
    identity_weight: float = 0.1
    attribute_weight: float = 0.1
    clip_gradients: float = 10.0
    ema_decay: float = 0.999445
    ema_min_decay: float = 0.0
    validation_data: str | None = None
    validation_split: str = "validation"
    validation_images: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(optimizer=tuple(OPTIMIZERS), perceptual=("lpips", "efficientnet", "none"))
        if self.adversarial_weight > 0:
            raise ValueError("this stage has no adversarial loss: adversarial_weight must be 0")
        if self.damage != "none":
            raise ValueError(f"codes are warped of whole pictures: damage must be none, got {self.damage}")
        if self.attribute_weight <= 0 and not self.compares_pictures:
            raise ValueError("no loss is left: give one of them a weight above 0")

    @property
    def compares_pictures(self) -> bool:
        """Whether any loss looks at the prior's picture of the warped codes."""
        perceptual = self.perceptual != "none" and self.perceptual_weight > 0
        return perceptual or (self.identity_encoder is not None and self.identity_weight > 0)
