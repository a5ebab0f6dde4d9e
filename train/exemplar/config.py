"""Options of EXE-GAN training."""

from dataclasses import dataclass, field
from typing import Any

from facekit.damage.mixtures import MaskSampler
from facekit.losses.spatial_gradient import SpatialWeights
from train.engine.options import ExemplarLosses
from train.engine.picture_losses import PictureLossConfig

# Thesis Tables 5.3 to 5.5: what each variant changes.
ABLATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "a": {"spatial_attribute": False, "spatial_perceptual": False},
    "b": {"spatial_attribute": False},
    "c": {"spatial_perceptual": False},
    "d": {"attribute_weight": 0.0},
    "e": {"perceptual_weight": 0.0},
    "f": {"identity_weight": 0.0},
}


@dataclass(kw_only=True)
class ExemplarConfig(ExemplarLosses, PictureLossConfig):
    """Options of EXE-GAN training; defaults are the thesis's (section 5.2.5), the published code's are named.

    Attributes:
        style_encoder: folder or Hub id of the frozen encoder of exemplars.
        multi_style_generator, discriminator: options of the two networks.
        init_from: folder or Hub id with `multi_style_generator` (and `discriminator`) to start from; options of the
            generator must then be those it was made with, but for a larger `sample_size`: it grows.
        prior: folder or Hub id of a StyleGAN2 generator of the same widths: a new generator's decoder, or the levels
            that one of `init_from` grows by, begin as its own. None: at random (thesis).
        quiet_styles: begin a new generator with style layers that modulate almost nothing, see `train.starts.quiet`.
        sketch: train with strokes drawn into the hole (section 5.4.3). A generator of `init_from` that does not read
            them gets a channel for them, without effect at first.
        sketch_dropout: share of samples whose sketch is left out, so that the network works without one too.
        sketch_partial: share of samples whose sketch has gaps, as a user draws some strokes only.
        exemplar_layers: phi of Eq. 5.1, the codes that come from the exemplar; None: from the generator's
            `first_exemplar_style` (4) on.
        fewer_layers: share of steps whose exemplar gives only its codes from some later index on, or none, so that the
            model can be called with other `exemplar_layers`; not in the thesis (0), which trains anew for each phi.
        exemplars: "sampled" from the training data (thesis) or "reversed": the batch itself from its other end
            (published code; the middle picture of an odd batch then guides itself).
        same_image_probability: tau of Algorithm 2: how often the exemplars of a step are the pictures themselves.
        exemplar_jitter: where the exemplar is the picture itself, its codes are those of the picture with brightness,
            contrast and saturation changed by up to this share, so that colours follow the surroundings; not in the
            thesis (0), the starter uses it against seams.
        masks: options of `facekit.damage.mixtures.MaskSampler`.
        shared_mask: one mask for all samples of a batch (published 256 script).
        spatial_weights: options of `facekit.losses.spatial_gradient.SpatialWeights`.
        spatial_attribute, spatial_perceptual: weigh the gradients of these losses by reverse and confidence masks.
        ablation: "a" to "f" of Tables 5.3 to 5.5.
        update_order: "thesis" (G, then D on the same pictures) or "published" (D, then G with fresh random codes).
        betas, discriminator_betas: of Adam.
        lazy_rates: lower learning rates and betas by what the regularisers' own updates add (StyleGAN2, appendix B;
            published code).
        adversarial_weight, attribute_weight: of these losses; `perceptual_weight` counts only where the exemplar is
            the picture itself.
        attribute_distance: "norm" (Eq. 5.7: mean norm of the codes' differences) or "mse" (published code).
        l1_weight: pixel loss over the hole where the exemplar is the picture itself; not in the thesis, the starter
            uses it.
        r1_weight, r1_every: gamma of R1, and how often its own update is done (0: never).
        path_weight, path_every, path_batch_shrink, path_decay: path-length regularisation, see `train.prior`; the
            thesis has none.
        style_mixing: probability that an update's random codes come from two z.
        augment, augment_policy, augment_probability, augment_target, augment_length, augment_every: what the
            discriminator is shown, see `train.prior`.
        ema_decay, ema_min_decay: decay per step of the averaged generator, and its least value in early steps.
        latent_samples: z over which the mean code `latent_avg` is measured at the end.
        validation_data, validation_split, validation_images, validation_masks: pictures and mask options scored.
        best_metric: "psnr" (exemplar = picture), "imagenet" (ImageNet distance of the same, in and next to the hole)
            or "attribute" (distance of the codes of a fill to those of its exemplar); its best weights are kept in
            `best/`.
    """

    style_encoder: str
    multi_style_generator: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    prior: str | None = None
    quiet_styles: bool = False
    sketch: bool = False
    sketch_dropout: float = 0.1
    sketch_partial: float = 0.5
    exemplar_layers: list[int] | None = None
    fewer_layers: float = 0.0
    exemplars: str = "sampled"
    same_image_probability: float = 0.1
    exemplar_jitter: float = 0.0
    masks: dict[str, Any] = field(default_factory=lambda: {"kind": "gconv"})
    shared_mask: bool = False
    spatial_weights: dict[str, Any] = field(default_factory=dict)
    spatial_attribute: bool = True
    spatial_perceptual: bool = True
    ablation: str = "none"
    update_order: str = "thesis"
    learning_rate: float = 2e-3
    discriminator_learning_rate: float | None = None
    betas: tuple[float, float] = (0.5, 0.99)
    discriminator_betas: tuple[float, float] | None = None
    lazy_rates: bool = False
    adversarial_weight: float = 1.0
    perceptual_weight: float = 0.5
    identity_weight: float = 0.1
    attribute_weight: float = 0.1
    attribute_distance: str = "norm"
    l1_weight: float = 0.0
    r1_weight: float = 10.0
    r1_every: int = 16
    path_weight: float = 2.0
    path_every: int = 0
    path_batch_shrink: int = 2
    path_decay: float = 0.01
    style_mixing: float = 0.5
    augment: str = "none"
    augment_policy: str = "color,translation"
    augment_probability: float = 0.0
    augment_target: float = 0.6
    augment_length: int = 500_000
    augment_every: int = 4
    ema_decay: float = 0.997784
    ema_min_decay: float = 0.997784
    latent_samples: int = 10_000
    validation_data: str | None = None
    validation_split: str = "validation"
    validation_images: int = 16
    validation_masks: dict[str, Any] = field(default_factory=lambda: {"kind": "centre"})
    best_metric: str = "psnr"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(
            ablation=tuple(ABLATIONS),
            exemplars=("sampled", "reversed"),
            update_order=("thesis", "published"),
            attribute_distance=("norm", "mse"),
            best_metric=("psnr", "attribute", "imagenet"),
        )
        if self.damage != "none":
            raise ValueError(f"holes are filled in whole pictures: damage must be none, got {self.damage}")
        for name in (
            "same_image_probability",
            "style_mixing",
            "sketch_dropout",
            "sketch_partial",
            "fewer_layers",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.exemplar_jitter < 1:
            raise ValueError(f"exemplar_jitter is a share from 0 to below 1, got {self.exemplar_jitter}")
        if self.exemplar_layers is not None and not self.exemplar_layers:
            raise ValueError("exemplar_layers is empty: without a code of the exemplar there is none")
        if self.exemplars == "reversed" and self.batch_size == 1:
            raise ValueError("exemplars: reversed takes a batch's other pictures: batch_size must be above 1")
        self._apply_ablation()
        self._check_losses()
        # Wrong options are refused before anything is loaded.
        SpatialWeights(**self.spatial_weights)
        MaskSampler(**self.masks)
        MaskSampler(**self.validation_masks)
        self.make_augment()

    def _apply_ablation(self) -> None:
        """Switch off what the ablation is without; it must have been on."""
        has = {
            "spatial_attribute": self.weighs_attribute,
            "spatial_perceptual": self.weighs_perceptual,
            "attribute_weight": self.attribute_weight > 0,
            "perceptual_weight": self.has_perceptual,
            "identity_weight": self.identity_weight > 0 and self.identity_encoder is not None,
        }
        for name, value in ABLATIONS[self.ablation].items():
            if not has[name]:
                raise ValueError(
                    f"ablation {self.ablation} is a run without what {name} stands for, which these options "
                    "switch off or leave without effect already"
                )
            setattr(self, name, value)

    @property
    def weighs_attribute(self) -> bool:
        """Whether the attribute loss's gradients are weighed by the reverse mask."""
        return self.spatial_attribute and self.attribute_weight > 0

    @property
    def weighs_perceptual(self) -> bool:
        """Whether the perceptual loss's gradients are weighed by the confidence mask."""
        return self.spatial_perceptual and self.has_perceptual
