"""Options of EXE-GAN's training."""

from dataclasses import dataclass, field, replace
from typing import Any

from facekit.conditions.sketch import SKETCH_FILTERS
from facekit.damage.mixtures import MaskSampler
from facekit.losses.spatial_gradient import SpatialWeights
from train.checks import check_choices, check_probabilities
from train.engine.options import (
    FIDS,
    Adversarial,
    AttributeLoss,
    Average,
    CriticAugment,
    FacePictures,
    GuidedLosses,
    MaskedValidation,
    PathLength,
)
from train.engine.stage import StageConfig

# Thesis Tables 5.3 to 5.5: what each variant changes, by group and option.
ABLATIONS: dict[str, dict[tuple[str, str], Any]] = {
    "none": {},
    "a": {("spatial", "attribute"): False, ("spatial", "perceptual"): False},
    "b": {("spatial", "attribute"): False},
    "c": {("spatial", "perceptual"): False},
    "d": {("attribute", "weight"): 0.0},
    "e": {("pictures", "perceptual_weight"): 0.0},
    "f": {("pictures", "identity_weight"): 0.0},
}


@dataclass(kw_only=True)
class Sketches:
    """Strokes drawn into the hole (section 5.4.3).

    Attributes:
        read: whether the generator reads them. One of `init_from` that does not gets a channel for them, without
            effect at first.
        dropout: share of samples whose sketch is left out, so that the network works without one too.
        partial: share of samples whose sketch has gaps, since users draw some strokes only.
        filter: what draws them from pictures, "pencil" or "canny", see `facekit.conditions.sketch.filter_strokes`.
    """

    read: bool = False
    dropout: float = 0.1
    partial: float = 0.5
    filter: str = "pencil"

    def __post_init__(self) -> None:
        check_probabilities(self, "dropout", "partial")
        check_choices(self, filter=SKETCH_FILTERS)


@dataclass(kw_only=True)
class Spatial:
    """Spatially varying gradients (section 5.2.4).

    Attributes:
        attribute, perceptual: whether gradients of the attribute loss are weighed by the reverse mask, and those of the
            perceptual loss by the confidence mask.
        weights: options of `facekit.losses.spatial_gradient.SpatialWeights`.
    """

    attribute: bool = True
    perceptual: bool = True
    weights: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        SpatialWeights(**self.weights)  # refuses wrong options before anything is loaded


@dataclass(kw_only=True)
class ExemplarConfig(GuidedLosses, StageConfig):
    """Options of EXE-GAN's training; defaults are the thesis's (section 5.2.5), the published code's are named.

    Attributes:
        style_encoder: folder or Hub id of the frozen encoder of exemplars.
        multi_style_generator, discriminator: options of the two networks.
        init_from: folder or Hub id with `multi_style_generator` (and `discriminator`) to start from; options of the
            generator must then be those it was made with, but for a larger `sample_size`: it grows.
        prior: folder or Hub id of a StyleGAN2 generator of the same widths: a new generator's decoder, or the levels
            that one of `init_from` grows by, begin as its own. None: at random (thesis).
        quiet_styles: begin a new generator with style layers that modulate almost nothing, see `train.starts.quiet`.
        exemplar_layers: phi of Eq. 5.1, the codes that come from the exemplar; None: from the generator's
            `first_exemplar_style` (4) on.
        fewer_layers: share of steps in which the exemplar gives only its codes from a later index on, or none, so that
            the model can be called with other `exemplar_layers`; not in the thesis (0), which trains anew for each phi.
        exemplars: "sampled" from the training data (thesis) or "reversed": the batch itself from its other end
            (published code; the middle picture of an odd batch then guides itself).
        same_image_probability: tau of Algorithm 2: how often the exemplars of a step are the pictures themselves.
        exemplar_jitter: where the exemplar is the picture itself, its codes are those of the picture with brightness,
            contrast and saturation changed by up to this share, so that colours follow the surroundings; not in the
            thesis (0), the starter uses it against seams.
        masks: options of `facekit.damage.mixtures.MaskSampler`.
        shared_mask: one mask for all samples of a batch (published 256 script).
        ablation: "a" to "f" of Tables 5.3 to 5.5.
        update_order: "thesis" (G, then D on the same pictures) or "published" (D, then G with fresh random codes).
        learning_rate, betas: of Adam.
        lazy_rates: lower learning rates and betas by what the regularisers' own updates add (StyleGAN2, appendix B;
            published code).
        l1_weight: of the mean absolute difference in the hole where the exemplar is the picture itself; not in the
            thesis (0), the starter uses it.
        style_mixing: probability that an update's random codes come from two z.
        sketches, spatial: groups, see `Sketches` and `Spatial`.
        pictures, adversarial, attribute, critic_augment, path, average, validation: groups, see `train.engine.options`;
            the perceptual loss counts only where the exemplar is the picture itself, the thesis has no path lengths.
            `validation.best` is "psnr" (exemplar = picture), "imagenet" (ImageNet distance of the same, in and next to
            the hole), "attribute" (distance of the codes of a fill to those of its exemplar), "fid" or "fid-lite0" (of
            fills after another face).
        latent_samples: z over which the mean code `latent_avg` is measured at the end.
    """

    style_encoder: str
    multi_style_generator: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    prior: str | None = None
    quiet_styles: bool = False
    exemplar_layers: list[int] | None = None
    fewer_layers: float = 0.0
    exemplars: str = "sampled"
    same_image_probability: float = 0.1
    exemplar_jitter: float = 0.0
    masks: dict[str, Any] = field(default_factory=lambda: {"kind": "gconv"})
    shared_mask: bool = False
    ablation: str = "none"
    update_order: str = "thesis"
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.5, 0.99)
    lazy_rates: bool = False
    l1_weight: float = 0.0
    style_mixing: float = 0.5
    latent_samples: int = 10_000

    sketches: Sketches = field(default_factory=Sketches)
    spatial: Spatial = field(default_factory=Spatial)
    attribute: AttributeLoss = field(default_factory=AttributeLoss)
    pictures: FacePictures = field(
        default_factory=lambda: FacePictures(perceptual_weight=0.5, identity_weight=0.1)
    )
    adversarial: Adversarial = field(default_factory=Adversarial)
    critic_augment: CriticAugment = field(default_factory=CriticAugment)
    path: PathLength = field(default_factory=lambda: PathLength(every=0))
    average: Average = field(default_factory=lambda: Average(decay=0.997784, min_decay=0.997784))
    validation: MaskedValidation = field(default_factory=MaskedValidation)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(
            self,
            exemplars=("sampled", "reversed"),
            update_order=("thesis", "published"),
        )
        check_choices(self.validation, best=("psnr", "attribute", "imagenet", *FIDS))
        if self.damage != "none":
            raise ValueError(f"holes are filled in whole pictures: damage must be none, got {self.damage}")
        check_probabilities(self, "same_image_probability", "style_mixing", "fewer_layers")
        if not 0 <= self.exemplar_jitter < 1:
            raise ValueError(f"exemplar_jitter is a share from 0 to below 1, got {self.exemplar_jitter}")
        if self.exemplar_layers is not None and not self.exemplar_layers:
            raise ValueError("exemplar_layers is empty: without a code of the exemplar there is none")
        if self.exemplars == "reversed" and self.batch_size == 1:
            raise ValueError("exemplars: reversed takes a batch's other pictures: batch_size must be above 1")
        self._check_losses()
        MaskSampler(**self.masks)  # refuses wrong options before anything is loaded

    def apply_ablation(self) -> None:
        """Switch off what the ablation is without; it must have been on. Raises ValueError."""
        check_choices(self, ablation=tuple(ABLATIONS))
        has = {
            ("spatial", "attribute"): self.weighs_attribute,
            ("spatial", "perceptual"): self.weighs_perceptual,
            ("attribute", "weight"): self.attribute.weight > 0,
            ("pictures", "perceptual_weight"): self.has_perceptual,
            ("pictures", "identity_weight"): self.pictures.identity_weight > 0,
        }
        for (group, option), value in ABLATIONS[self.ablation].items():
            if not has[group, option]:
                raise ValueError(
                    f"ablation {self.ablation} is a run without what {group}.{option} stands for, which these options "
                    "switch off or leave without effect already"
                )
            setattr(self, group, replace(getattr(self, group), **{option: value}))

    @property
    def weighs_attribute(self) -> bool:
        """Whether the attribute loss's gradients are weighed by the reverse mask."""
        return self.spatial.attribute and self.attribute.weight > 0

    @property
    def weighs_perceptual(self) -> bool:
        """Whether the perceptual loss's gradients are weighed by the confidence mask."""
        return self.spatial.perceptual and self.has_perceptual
