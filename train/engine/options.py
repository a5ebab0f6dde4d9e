"""Options that several stages have: modalities, and the losses of EXE-GAN and FACEMUG."""

from dataclasses import dataclass, field
from typing import Any

from facekit.damage.mixtures import MaskSampler
from train.data.critic_augment import DiscriminatorAugment
from train.engine.picture_losses import PictureLossConfig


@dataclass(kw_only=True)
class GuidanceConfig(PictureLossConfig):
    """Options of the modalities.

    Attributes:
        semantics: where label maps come from: "folder" (index maps of the 19 BiSeNet classes, one for each picture, at
            the same place and with the same name, as .png), "parser" (a network labels the pictures) or "none". Colour
            maps are the mean colours of their regions; with "none" there are neither.
        semantics_folder: default: the folder `semantic` in `data`.
        face_parser: the network for "parser", see `facekit.conditions.semantics.load_parser`.
        thin_sketch: share of the sketches that are eroded by a square of 2 or 3 pixels.
        modality_threshold: omega of Algorithm 5: how often a modality is shown, with gaps, in an edited region.
    """

    semantics: str = "folder"
    semantics_folder: str | None = None
    face_parser: str | None = None
    thin_sketch: float = 0.5
    modality_threshold: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(semantics=("folder", "parser", "none"))
        self.check_probabilities("thin_sketch", "modality_threshold")
        if self.semantics == "parser" and self.face_parser is None:
            raise ValueError(
                "semantics: parser needs face_parser, a folder or Hub id; or say --semantics none"
            )

    def check_probabilities(self, *names: str) -> None:
        """ValueError when one of these options is not within 0 to 1."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, got {getattr(self, name)}")


@dataclass(kw_only=True)
class ModalityConfig(GuidanceConfig):
    """Options of what the encoder is shown while it learns.

    Attributes:
        modality_rule: "trainer" (one modality rules a batch, with a large hole; each other one has a smaller hole or,
            half the time, is absent) or "thesis" (Algorithm 3: the others are always absent).
        unmasked_probability: how often the ruling modality has no hole.
        exemplar_probability: share of samples where the encoder reads the whole picture and nothing else, as it does
            with exemplars.
        edit_probability, edit_masks: share of samples as Algorithm 5 shows them (the picture outside a hole, and inside
            it each other modality with gaps, or absent with probability 1 - `modality_threshold`), and their holes.
    """

    modality_rule: str = "trainer"
    unmasked_probability: float = 0.25
    exemplar_probability: float = 0.0
    edit_probability: float = 0.0
    edit_masks: dict[str, Any] = field(default_factory=lambda: {"kind": "cmod"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(modality_rule=("trainer", "thesis"))
        self.check_probabilities("unmasked_probability", "exemplar_probability", "edit_probability")
        if self.exemplar_probability + self.edit_probability > 1:
            raise ValueError(
                "exemplar_probability and edit_probability are shares of all samples: 1 at most together"
            )
        MaskSampler(**self.edit_masks)


class ExemplarLosses:
    """For configurations with the losses of Eq. 5.8 and 6.24, over `train.engine.picture_losses.PictureLossConfig`."""

    def _check_losses(self) -> None:
        if self.critic == "projected" and self.augment != "none" and not self.needs_critic:
            raise ValueError(
                f"augment {self.augment} changes what the StyleGAN2 discriminator is shown, which this run with "
                "projected critics does not have: say augment none"
            )
        if self.same_image_probability == 0 and self.l1_weight > 0:
            raise ValueError(
                "l1_weight counts where the exemplar is the picture itself: same_image_probability must be above 0"
            )
        weights = (self.adversarial_weight, self.attribute_weight, self.l1_weight)
        identity = self.identity_weight > 0 and self.identity_encoder is not None
        if not (any(weight > 0 for weight in weights) or self.has_perceptual or identity):
            raise ValueError("no loss is left: give one of them a weight above 0")

    @property
    def has_perceptual(self) -> bool:
        """Whether a perceptual loss can ever act."""
        compares = (self.perceptual != "none" and self.perceptual_weight > 0) or self.parser_weight > 0
        return compares and self.same_image_probability > 0

    def make_augment(self) -> DiscriminatorAugment:
        return DiscriminatorAugment(
            self.augment,
            self.augment_policy,
            self.augment_probability,
            self.augment_target,
            self.augment_length,
        )
