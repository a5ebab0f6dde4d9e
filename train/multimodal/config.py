"""Options of the training of FACEMUG's aggregation and refinement."""

from dataclasses import dataclass, field
from typing import Any

from facekit.damage.mixtures import MaskSampler
from train.engine.options import ExemplarLosses, GuidanceConfig

# Thesis Table 6.6; "a" is the whole model.
ABLATIONS = ("none", "a", "b", "c", "d", "e")
# What stands in place of the style fusion blocks.
FUSIONS = {"b": "add", "c": "gated", "e": "no_bank"}


@dataclass(kw_only=True)
class MultimodalConfig(ExemplarLosses, GuidanceConfig):
    """Options of Algorithm 5; defaults are the thesis's.

    Attributes:
        style_encoder: folder or Hub id of the frozen encoder of 26 channels.
        prior: folder or Hub id of the frozen generator that gives the facial feature bank.
        latent_warper: folder or Hub id of the warper (stage 2); with it the run ends with a whole `FaceEditPipeline`.
        directions: folder or Hub id of attribute directions (`train.directions`) for that pipeline; with
            `semantics` "parser" it also gets the parser.
        aggregation, refiner, discriminator: options of the three networks. The refiner's codes and widths are the
            prior's; a smaller `sample_size` uses the prior's first levels.
        init_from: folder or Hub id with `aggregation` and `refiner` (and `discriminator`) to start from; the refiner's
            `sample_size` may grow.
        quiet_styles: begin a new refiner with style layers that modulate little, see `train.starts.quiet`.
        bank_start: begin the refiner's new sizes as readers of the prior's maps, see `train.starts.from_bank`.
        guide_size: side at which pictures and modalities are prepared and the encoder reads them; the pictures that
            are trained on are their averages. Default: the refiner's size.
        masks: options of `facekit.damage.mixtures.MaskSampler` for the edited regions.
        same_image_probability: rho of Algorithm 5: how often the exemplars of a step are the pictures themselves.
        projected_probability: share of those samples whose codes are not the exemplar's but those projected from the
            input, as in an edit without exemplar; not in the thesis, the starter uses it.
        random_codes: where the codes mixed with an exemplar's come from: "mapping" (random z) or "faces" (known faces'
            codes beside the prior, for a prior without a trained mapping network).
        bank_codes: whose features the bank holds: "projected" (Algorithm 5: of w^p) or "style" (section 6.2.5: of the
            codes that the refiner gets).
        ablation: "b" to "e" of Table 6.6: addition in place of style fusion, gated convolutions in its place, codes of
            the exemplar alone in the attribute loss, no feature bank.
        betas, discriminator_betas: of Adam.
        lazy_rates: lower learning rates and betas by what the regulariser's own updates add (StyleGAN2, appendix B).
        adversarial_weight, attribute_weight: of these losses; `perceptual_weight` counts only where the exemplar is
            the picture itself.
        attribute_distance: "mse" or "norm" (Eq. 6.21 read literally: mean norm of the codes' differences).
        l1_weight: pixel loss over the hole where the exemplar is the picture itself; not in the thesis, the starter
            uses it.
        r1_weight, r1_every: gamma of R1, and how often its own update is done (0: never).
        augment, augment_policy, augment_probability, augment_target, augment_length, augment_every: what the
            discriminator is shown, see `train.prior`.
        ema_decay, ema_min_decay: decay per step of the averaged networks, and its least value in early steps.
        validation_data, validation_split, validation_images, validation_masks: pictures and mask options scored;
            label maps are then found in `validation_semantics` (default: the folder `semantic` in `validation_data`).
        best_metric: "psnr" (codes of the picture itself), "psnr_guided" (everything drawn, codes projected),
            "psnr_alone" (nothing given) or "imagenet" (mean ImageNet distance of the first two, in and next to the
            hole); its best weights are kept in `best/`.
    """

    style_encoder: str
    prior: str
    latent_warper: str | None = None
    directions: str | None = None
    aggregation: dict[str, Any] = field(default_factory=dict)
    refiner: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    quiet_styles: bool = False
    bank_start: bool = False
    guide_size: int | None = None
    masks: dict[str, Any] = field(default_factory=lambda: {"kind": "cmod"})
    same_image_probability: float = 0.5
    projected_probability: float = 0.0
    random_codes: str = "mapping"
    bank_codes: str = "projected"
    ablation: str = "none"
    learning_rate: float = 2e-3
    discriminator_learning_rate: float | None = None
    betas: tuple[float, float] = (0.5, 0.99)
    discriminator_betas: tuple[float, float] | None = None
    lazy_rates: bool = False
    adversarial_weight: float = 1.0
    perceptual_weight: float = 0.5
    identity_weight: float = 0.1
    attribute_weight: float = 0.1
    attribute_distance: str = "mse"
    l1_weight: float = 0.0
    r1_weight: float = 10.0
    r1_every: int = 16
    augment: str = "none"
    augment_policy: str = "color,translation"
    augment_probability: float = 0.0
    augment_target: float = 0.6
    augment_length: int = 500_000
    augment_every: int = 4
    ema_decay: float = 0.999445
    ema_min_decay: float = 0.0
    validation_data: str | None = None
    validation_split: str = "validation"
    validation_images: int = 16
    validation_semantics: str | None = None
    validation_masks: dict[str, Any] = field(default_factory=lambda: {"kind": "centre"})
    best_metric: str = "psnr"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(
            ablation=ABLATIONS,
            random_codes=("mapping", "faces"),
            bank_codes=("projected", "style"),
            attribute_distance=("mse", "norm"),
            best_metric=("psnr", "psnr_guided", "psnr_alone", "imagenet"),
        )
        if self.damage != "none":
            raise ValueError(f"holes are filled in whole pictures: damage must be none, got {self.damage}")
        self.check_probabilities("same_image_probability", "projected_probability")
        if self.ablation == "d" and (self.attribute_weight == 0 or self.same_image_probability == 1):
            raise ValueError(
                "ablation d changes the codes that the attribute loss mixes with those of other faces: it needs "
                "attribute_weight above 0 and same_image_probability below 1"
            )
        if self.directions is not None and self.latent_warper is None:
            raise ValueError("directions belong to a whole pipeline, which needs --latent_warper too")
        self._check_losses()
        # Wrong options are refused before anything is loaded.
        MaskSampler(**self.masks)
        MaskSampler(**self.validation_masks)
        self.make_augment()
