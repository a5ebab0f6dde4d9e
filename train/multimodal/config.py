"""Options of the training of FACEMUG's aggregation and refinement."""

from dataclasses import dataclass, field
from typing import Any

from facekit.damage.mixtures import MaskSampler
from facekit.models.form import FORMS
from train.checks import check_choices, check_probabilities
from train.data.modalities import Guidance
from train.engine.options import (
    FIDS,
    Adversarial,
    AttributeLoss,
    Average,
    CriticAugment,
    FacePictures,
    GuidedLosses,
    MaskedValidation,
)
from train.engine.stage import StageConfig

# Thesis Table 6.6; "a" is the whole model.
ABLATIONS = ("none", "a", "b", "c", "d", "e")
# What stands in place of the style fusion blocks (`RefinementAutoEncoder.fusion`).
FUSIONS = {"b": "add", "c": "gated", "e": "no_bank"}


@dataclass(kw_only=True)
class EditGuidance(Guidance):
    """What is drawn into holes, and holes that are whole regions (`train.multimodal.regions`).

    Attributes:
        region_probability: how often the hole is a region of the picture's own label map, such as its hair, and up to
            16 pixels of 256 around it; not in the thesis (0), the starter uses it.
        recolor_probability: how often hair or lips in such a hole have another colour than in the picture; not in the
            thesis (0), the starter uses it.
    """

    region_probability: float = 0.0
    recolor_probability: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_probabilities(self, "region_probability", "recolor_probability")
        if self.region_probability > 0 and self.semantics == "none":
            raise ValueError(
                "region_probability needs label maps: say --guidance.semantics folder or parser, or "
                "--guidance.region_probability 0"
            )
        if self.recolor_probability > 0 and self.region_probability == 0:
            raise ValueError("recolor_probability is a share of the holes of region_probability, which is 0")


@dataclass(kw_only=True)
class GuidedValidation(MaskedValidation):
    """Validation of edits.

    Attributes:
        semantics: folder of the label maps; None: the folder `semantic` in `data`.
    """

    semantics: str | None = None


@dataclass(kw_only=True)
class MultimodalConfig(GuidedLosses, StageConfig):
    """Options of Algorithm 5; defaults are the thesis's, but for the form.

    Attributes:
        style_encoder: folder or Hub id of the frozen encoder of 26 channels.
        prior: folder or Hub id of the frozen generator that gives the facial feature bank.
        latent_warper: folder or Hub id of the warper (stage 2); with it the run ends with a whole `FaceEditPipeline`.
        directions: folder or Hub id of attribute directions (`train.directions`) for that pipeline; with
            `guidance.semantics` "parser" it also gets the parser.
        aggregation, refiner, discriminator: options of the three networks. The refiner's codes and widths are the
            prior's; a smaller `sample_size` uses the prior's first levels.
        form: "thesis": Eq. 6.6 to the letter in the refiner (see `RefinementAutoEncoder`), and an aggregation that
            reads of the picture I_m alone, without `mask_channel`; "published": both as in the starter.
        init_from: folder or Hub id with `aggregation` and `refiner` (and `discriminator`), of this form, to start from;
            the refiner's `sample_size` may grow.
        quiet_styles: begin a new refiner with style layers that modulate little, see `train.starts.quiet`.
        bank_start: let the refiner's new sizes begin by painting the prior's maps, see `train.starts.from_bank`.
        guide_size: side at which pictures and modalities are prepared and the encoder reads them, a multiple of the
            refiner's; the refiner's pictures are averaged down from them. None: the refiner's size.
        masks: options of `facekit.damage.mixtures.MaskSampler` for the edited regions.
        same_image_probability: rho of Algorithm 5: how often the exemplars of a step are the pictures themselves.
        projected_probability: share of the samples of such steps whose codes are not the exemplar's but those projected
            from the input, as in an edit without exemplar; not in the thesis (0), the starter uses it.
        random_codes: where the codes mixed with an exemplar's come from: "mapping" (random z) or "faces" (known faces'
            codes beside the prior, for a prior without a trained mapping network).
        bank_codes: the codes whose features the bank holds: "projected" (w^p, Algorithm 5) or "style" (those that the
            refiner gets, section 6.2.5).
        ablation: "b" to "e" of Table 6.6: addition in place of style fusion, gated convolutions in its place, codes of
            the exemplar alone in the attribute loss, no feature bank. "a" is the whole model, as "none".
        learning_rate, betas: of Adam.
        lazy_rates: lower learning rates and betas by what the regulariser's own updates add (StyleGAN2, appendix B).
        guidance: group, see `EditGuidance` and `train.data.modalities`.
        pictures, adversarial, attribute, critic_augment, average, validation: groups, see `train.engine.options` and
            `GuidedValidation`; the perceptual loss counts only where the exemplar is the picture itself.
            `validation.best` is "psnr" (codes of the picture itself), "psnr_guided" (everything drawn, codes
            projected), "psnr_alone" (nothing given), "imagenet" (mean ImageNet distance of the first two, in and
            next to the hole), "fid" or "fid-lite0" (of the second).
        l1_weight: of the mean absolute difference in the hole where the exemplar is the picture itself; not in the
            thesis (0), the starter uses it.
        strokes_weight: of the mean absolute difference of what the pencil filter finds in the hole
            (`facekit.losses.strokes`) where the exemplar is the picture itself, in samples with a sketch; not in the
            thesis (0), the starter uses it.
    """

    style_encoder: str
    prior: str
    latent_warper: str | None = None
    directions: str | None = None
    aggregation: dict[str, Any] = field(default_factory=dict)
    refiner: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    form: str = "published"
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
    betas: tuple[float, float] = (0.5, 0.99)
    lazy_rates: bool = False
    l1_weight: float = 0.0
    strokes_weight: float = 0.0

    guidance: EditGuidance = field(default_factory=EditGuidance)
    attribute: AttributeLoss = field(default_factory=lambda: AttributeLoss(distance="full_norm"))
    pictures: FacePictures = field(
        default_factory=lambda: FacePictures(perceptual_weight=0.5, identity_weight=0.1)
    )
    adversarial: Adversarial = field(default_factory=Adversarial)
    critic_augment: CriticAugment = field(default_factory=CriticAugment)
    average: Average = field(default_factory=lambda: Average(decay=0.999445, min_decay=0.0))
    validation: GuidedValidation = field(default_factory=GuidedValidation)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(
            self,
            ablation=ABLATIONS,
            form=FORMS,
            random_codes=("mapping", "faces"),
            bank_codes=("projected", "style"),
        )
        check_choices(self.validation, best=("psnr", "psnr_guided", "psnr_alone", "imagenet", *FIDS))
        if self.damage != "none":
            raise ValueError(f"holes are filled in whole pictures: damage must be none, got {self.damage}")
        check_probabilities(self, "same_image_probability", "projected_probability")
        if self.ablation == "d" and (self.attribute.weight == 0 or self.same_image_probability == 1):
            raise ValueError(
                "ablation d changes the codes that the attribute loss mixes with those of other faces: it needs "
                "attribute.weight above 0 and same_image_probability below 1"
            )
        if self.directions is not None and self.latent_warper is None:
            raise ValueError("directions belong to a whole pipeline, which needs --latent_warper too")
        self._check_losses("strokes_weight")
        MaskSampler(**self.masks)  # refuses wrong options before anything is loaded
